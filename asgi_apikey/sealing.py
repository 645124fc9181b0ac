"""What processes tell each other through a cache that nobody needs to trust: facts under a seal, or nothing.

A *proof* says that a presented key matches a stored digest. It is kept under a keyed digest of the key, and is itself a
MAC of that name and the digest, so it tells a reader without the secret nothing, and one about another key or another
digest is not one. It is true for ever.

A *record* is what the repository held about a key: JSON, and a MAC of its name and of everything in it: the store, the
feed position before which nothing has been missed, and when it was read. It is not encrypted.

MACs are HMAC-SHA-256 (RFC 2104), each use under a key of its own made of one secret.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Instant, JSONValue, KeyRecord, Seconds, frozen_metadata

MIN_SECRET: Final = 32
MAX_ENTRY: Final = 64 * 1024
"""Bytes of a sealed record; one that is longer is not shared."""

# These, and what they stand for, never change: another meaning gets another label, and old entries are not found.
_PROOF_NAME: Final = b"asgi-apikey shared proof name 1\0"
_PROOF: Final = b"asgi-apikey shared proof 1\0"
_RECORD_NAME: Final = b"asgi-apikey shared record name 1\0"
_RECORD: Final = b"asgi-apikey shared record 1\0"

_MAC_LENGTH: Final = 32
_FIELDS: Final = tuple(each.name for each in fields(KeyRecord))
_SETS: Final = frozenset({"scopes", "tags", "networks", "routes", "limits", "origins"})
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class SharedRecord:
    """A record that some process has read from the repository.

    Attributes:
        store: Which repository.
        position: The feed position that the process had applied before it began to read.
        read_at: When it began to, by its own wall clock.
        ttl: Seconds after `read_at` at which the cache was told to drop the entry.
    """

    record: KeyRecord
    store: str
    position: int
    read_at: Instant
    ttl: Seconds


class SharedSeal:
    """Names and seals what is shared; opens what others with the same secret have sealed.

    Args:
        secret: Shared by the processes, at least 32 bytes; not a pepper.

    Raises:
        ConfigurationError: No secret, or a short one.
    """

    def __init__(self, secret: str | bytes) -> None:
        as_bytes = secret.encode() if isinstance(secret, str) else secret
        if len(as_bytes) < MIN_SECRET:
            raise ConfigurationError(
                f"a shared cache needs a cache_secret of at least {MIN_SECRET} bytes, or whoever can write to it could "
                "make keys; `asgi-apikey pepper` prints a good one"
            )
        self._proof_names, self._proofs, self._record_names, self._records = (
            hmac.digest(as_bytes, label, "sha256") for label in (_PROOF_NAME, _PROOF, _RECORD_NAME, _RECORD)
        )

    def __repr__(self) -> str:
        return "SharedSeal()"

    def proof_name(self, presented: bytes) -> str:
        """Return where a proof about this presented key is kept; tells nothing about it without the secret."""
        return "p:" + hmac.digest(self._proof_names, presented, "sha256").hex()

    def proof(self, name: str, digest: str) -> bytes:
        """Return the proof that the key of this name matches the digest."""
        return hmac.digest(self._proofs, name.encode() + b"\0" + digest.encode(), "sha256").hex().encode()

    def is_proof(self, value: bytes, name: str, digest: str) -> bool:
        """Whether it is that proof."""
        return hmac.compare_digest(value, self.proof(name, digest))

    def record_name(self, store: str, key_id: str) -> str:
        """Return where the record of this id in this store is kept."""
        return "r:" + hmac.digest(self._record_names, _framed(store) + key_id.encode(), "sha256").hex()

    def seal_record(self, shared: SharedRecord) -> bytes | None:
        """Return the sealed record; None if it is too long to be shared."""
        name = self.record_name(shared.store, shared.record.key_id)
        said = [_FORMAT, shared.store, shared.position, shared.read_at, shared.ttl, _plain(shared.record)]
        body = json.dumps(said, separators=(",", ":")).encode()
        sealed = self._record_mac(name, body) + body
        return sealed if len(sealed) <= MAX_ENTRY else None

    def open_record(self, value: bytes, store: str, key_id: str) -> SharedRecord | None:
        """Return what is sealed, if it is sealed, about this key in this store, in a format that we know."""
        name = self.record_name(store, key_id)
        mac, body = value[:_MAC_LENGTH], value[_MAC_LENGTH:]
        if len(value) > MAX_ENTRY or not hmac.compare_digest(mac, self._record_mac(name, body)):
            return None
        # Everything from here on was written by somebody with the secret, perhaps by another version of us.
        found = json.loads(body)
        if found[0] != _FORMAT or found[1] != store:
            return None
        _, _, position, read_at, ttl, plain = found
        record = _record(plain)
        return (
            None if record is None or record.key_id != key_id else SharedRecord(record, store, position, read_at, ttl)
        )

    def _record_mac(self, name: str, body: bytes) -> bytes:
        return hmac.digest(self._records, _framed(name) + body, "sha256")


def _framed(text: str) -> bytes:
    """The text with its length: no two pairs of texts look the same when they are put together."""
    as_bytes = text.encode()
    return len(as_bytes).to_bytes(4) + as_bytes


def _plain(record: KeyRecord) -> dict[str, object]:
    return {name: _thawed(getattr(record, name)) for name in _FIELDS}


def _thawed(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    return [_thawed(item) for item in value] if isinstance(value, list | tuple) else value


def _record(plain: dict[str, JSONValue]) -> KeyRecord | None:
    """Return the record; None if it has other fields than ours, as one of another version may."""
    if tuple(plain) != _FIELDS:
        return None
    facts: dict[str, object] = dict(plain)
    for name in _SETS:
        facts[name] = frozenset(_texts(plain[name]))
    metadata = plain["metadata"]
    if not isinstance(metadata, Mapping):
        return None
    facts["metadata"] = frozen_metadata(metadata)
    return KeyRecord(**facts)  # type: ignore[arg-type]  # the seal says that we wrote them


def _texts(values: JSONValue) -> list[str]:
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []
