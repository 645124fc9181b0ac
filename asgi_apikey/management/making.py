"""The verbs that make keys: their answers are the only ones with a secret in them."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from asgi_apikey import lifecycle
from asgi_apikey.errors import InvalidRequest, KeyExists
from asgi_apikey.management import schemas
from asgi_apikey.management.calls import Call, Reply
from asgi_apikey.management.idempotency import Claim, claim_of
from asgi_apikey.management.managed import ManagedKeys
from asgi_apikey.management.times import instant_of
from asgi_apikey.management.views import key_of, receipt_of
from asgi_apikey.models import DAY, IssuedKey, KeyRecord, Seconds

B = TypeVar("B", bound=Struct)


async def issue(keys: ManagedKeys, call: Call, body: schemas.NewKey) -> Reply:
    """Make a key."""
    owner = call.caller.owner if body.owner is None else body.owner
    if owner is None:
        raise InvalidRequest("say whose key it is to be", path="owner")
    expires_in = _expires_in(body)
    # Before it is written down for the claim: it may be nested beyond what can be written.
    metadata = lifecycle.metadata(body.metadata)
    claim = await claim_of(keys, call, "issue", body)
    earlier = None if claim is None else await claim.earlier(keys, call.caller)
    if earlier is not None:
        return _repeated(call, earlier)
    try:
        issued = await keys.issue(
            owner=owner,
            tenant=(call.caller.tenant or "") if body.tenant is None else body.tenant,
            environment=body.environment,
            name=body.name,
            description=body.description,
            scopes=body.scopes,
            not_before=instant_of(body.not_before),
            expires_at=instant_of(body.expires_at),
            expires_in=expires_in,
            created_by=call.caller.actor.name,
            metadata=metadata,
            tags=body.tags,
            networks=body.networks,
            routes=body.routes,
            limits=body.limits,
            origins=body.origins,
            key_id=None if claim is None else claim.key_id,
            granter=call.caller.grant,
            actor=call.caller.actor,
        )
    except KeyExists:
        return _repeated(call, await _overtaken(keys, call, claim))
    return _made(call, issued)


async def rotate(keys: ManagedKeys, call: Call, body: schemas.Rotation) -> Reply:
    """Make a successor."""
    caller = call.caller
    claim = await claim_of(keys, call, "rotate", body)
    earlier = None if claim is None else await claim.earlier(keys, caller)
    if earlier is not None:
        return _repeated(call, earlier)
    try:
        issued = await keys.rotate(
            call.key_id,
            grace=body.grace,
            created_by=caller.actor.name,
            successor_id=None if claim is None else claim.key_id,
            version=call.version,
            owner=caller.owner,
            tenant=caller.tenant,
            granter=caller.grant,
            wait=call.wait,
            actor=caller.actor,
        )
    except KeyExists:
        return _repeated(call, await _overtaken(keys, call, claim))
    return _made(call, issued)


async def _overtaken(keys: ManagedKeys, call: Call, claim: Claim | None) -> KeyRecord:
    """Return the key that an equal request has made since we looked.

    Raises:
        KeyExists: The id is taken by somebody else's key.
    """
    earlier = None if claim is None else await claim.earlier(keys, call.caller)
    if earlier is None:
        raise KeyExists("" if claim is None else claim.key_id)
    return earlier


def _expires_in(body: schemas.NewKey) -> Seconds | None:
    ends = [each for each in (body.expires_at, body.expires_in, body.expires_in_days) if each is not None]
    if len(ends) > 1:
        raise InvalidRequest("give one of expires_at, expires_in and expires_in_days", path="expires_at")
    return body.expires_in if body.expires_in_days is None else body.expires_in_days * DAY


def _made(call: Call, issued: IssuedKey) -> Reply:
    content = schemas.Issued(
        key=issued.key,
        shown_before=False,
        record=key_of(issued.record, call.now),
        receipt=None if issued.receipt is None else receipt_of(issued.receipt),
    )
    location = f"{call.root}/{issued.record.key_id}"
    return Reply(content, 201, (("location", location), ("etag", f'"{issued.record.version}"')))


def _repeated(call: Call, record: KeyRecord) -> Reply:
    content = schemas.Issued(key=None, shown_before=True, record=key_of(record, call.now))
    return Reply(content, 200, (("etag", f'"{record.version}"'),))
