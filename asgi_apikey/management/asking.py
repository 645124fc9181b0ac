"""The verbs that ask: about a presented key, about oneself, about the service."""

from __future__ import annotations

from contextlib import suppress

from asgi_apikey.errors import AuthenticationError, InvalidKey, InvalidRequest, KeyNotFound, MissingScope, Undecidable
from asgi_apikey.management import schemas
from asgi_apikey.management.calls import Call, Reply
from asgi_apikey.management.managed import ManagedKeys
from asgi_apikey.management.times import bound_of, time_or_none
from asgi_apikey.management.views import key_of
from asgi_apikey.models import KeyRecord
from asgi_apikey.paths import is_plain
from asgi_apikey.policy import is_scope_name, missing_scopes, restrictions_of

_INACTIVE = Reply(schemas.Introspection(active=False))
_NO_KEY = "ready"
"""Shorter than any key id."""


async def verify(keys: ManagedKeys, call: Call, body: schemas.Presented) -> Reply:
    """Say whether a key may be used. What is unknown, wrong, ended or foreign looks the same."""
    if not all(map(is_scope_name, body.scopes)):
        # `*` would cover it, whatever it was meant to be.
        raise InvalidRequest("that is no name of a scope", path="scopes")
    try:
        record = await keys.verify(body.key.encode(), client=body.address)
    except InvalidKey:
        return _INACTIVE
    if call.caller.owner not in (None, record.owner) or call.caller.tenant not in (None, record.tenant):
        return _INACTIVE
    refusal = _refusal(record, body)
    return Reply(
        schemas.Introspection(
            active=refusal is None,
            refusal=None if refusal is None else refusal.code,
            key_id=record.key_id,
            owner=record.owner,
            tenant=record.tenant,
            environment=record.environment,
            name=record.name,
            scopes=sorted(record.scopes),
            expires_at=time_or_none(record.expires_at),
            metadata=dict(record.metadata),
        )
    )


async def me(keys: ManagedKeys, call: Call, query: schemas.Nothing) -> Reply:
    """Say who the caller is."""
    caller = call.caller
    return Reply(
        schemas.Me(
            actor=caller.actor.name,
            owner=caller.owner,
            tenant=caller.tenant,
            actions=sorted(caller.actions),
            scopes=sorted(caller.grant.scopes),
            until=bound_of(caller.grant.until),
            key=await _own_key(keys, call),
        )
    )


async def test_auth(keys: ManagedKeys, call: Call, query: schemas.Nothing) -> Reply:
    """Say that the caller is somebody: otherwise nobody comes here."""
    return Reply(schemas.State(status="success"))


async def health(keys: ManagedKeys, call: Call, query: schemas.Nothing) -> Reply:
    """Say that the process is up."""
    return Reply(schemas.State(status="healthy"))


async def ready(keys: ManagedKeys, call: Call, query: schemas.Nothing) -> Reply:
    """Say that the store answers, having asked it for a key that does not exist."""
    with suppress(KeyNotFound):
        await keys.get(_NO_KEY)
    return Reply(schemas.State(status="ready"))


async def _own_key(keys: ManagedKeys, call: Call) -> schemas.Key | None:
    if call.caller.key_id is None:
        return None
    try:
        return key_of(await keys.get(call.caller.key_id), call.now)
    except KeyNotFound:
        # Deleted since it was verified.
        return None


def _refusal(record: KeyRecord, body: schemas.Presented) -> AuthenticationError | None:
    if missing_scopes(record.scopes, body.scopes):
        return MissingScope(frozenset(body.scopes))
    try:
        restrictions = restrictions_of(record.networks, record.routes, record.origins)
    except InvalidRequest as error:
        raise Undecidable("the key's restrictions cannot be read; were they changed by other means?") from error
    if restrictions is None:
        return None
    path = body.path if body.path is not None and is_plain(body.path) else None
    return restrictions.refusal(address=body.address, method=body.method or "", path=path, origin=body.origin)
