"""Knowing a repetition: the id of a key that was asked for under an idempotency key follows from the request.

Its first seven characters follow from the caller, the verb and the idempotency key, the other five from the body. So
whoever repeats the request, in whatever process, asks for the same id, of which the store has but one; and whoever
asks for something else under the same idempotency key finds a key that begins like it and goes on otherwise. Nothing is
kept beside the record, and a repetition is known for as long as that exists.

Two unrelated keys of one caller begin alike once in 62**7 (3.5 * 10**12); that request is refused, nothing is made.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from asgi_apikey.errors import IdempotencyConflict
from asgi_apikey.keyformat import KEY_ID_LENGTH, base62
from asgi_apikey.management.callers import Caller
from asgi_apikey.management.calls import Call
from asgi_apikey.management.managed import ManagedKeys
from asgi_apikey.models import KeyRecord

_LABEL: Final = b"asgi-apikey idempotency 1\0"
_BEGINNING: Final = 7
_ALIKE: Final = 16
"""Keys that begin alike and are looked at."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request under an idempotency key is entitled to.

    Attributes:
        key_id: The id of the key that it makes.
    """

    key_id: str

    async def earlier(self, keys: ManagedKeys, caller: Caller) -> KeyRecord | None:
        """Return the key that an equal request has made; None: there was none.

        Raises:
            IdempotencyConflict: Another request has made one.
        """
        beginning = self.key_id[:_BEGINNING]
        alike = [
            each
            for each in await keys.repository.archive.records(beginning, limit=_ALIKE)
            if each.key_id.startswith(beginning) and _is_of(caller, each)
        ]
        if not alike:
            return None
        for each in alike:
            if each.key_id == self.key_id:
                return each
        raise IdempotencyConflict


async def claim_of(keys: ManagedKeys, call: Call, verb: str, body: Struct) -> Claim | None:
    """Return what the request is entitled to; None: it has no idempotency key.

    Args:
        keys: Of the store, whose id goes into that of the key: a copied script makes other keys in another store.
        call: Who asks, and under which idempotency key.
        verb: What for.
        body: With what; checked already.
    """
    if call.idempotency_key is None:
        return None
    caller = call.caller
    store = (await keys.repository.audit.anchor()).database_id
    who = [verb, call.key_id, caller.tenant, caller.owner, caller.actor.name, call.idempotency_key]
    beginning = _base62(store, json.dumps(who).encode(), _BEGINNING)
    # Sets and objects have no order of their own.
    rest = _base62(store, msgspec.json.encode(body, order="deterministic"), KEY_ID_LENGTH - _BEGINNING)
    return Claim(beginning + rest)


def _base62(store: str, message: bytes, length: int) -> str:
    # Not a secret: it only keeps stores apart.
    digest = hmac.digest(_LABEL + store.encode(), message, hashlib.sha256)
    return base62(int.from_bytes(digest, "big") % 62**length, length).decode()


def _is_of(caller: Caller, record: KeyRecord) -> bool:
    return (
        record.created_by == caller.actor.name
        and caller.owner in (None, record.owner)
        and caller.tenant in (None, record.tenant)
    )
