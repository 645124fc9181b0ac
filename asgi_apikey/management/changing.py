"""The verbs that change keys, each with a receipt in its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import UnsetType

from asgi_apikey import lifecycle
from asgi_apikey.errors import StaleRecord, StoreUnavailable
from asgi_apikey.management import schemas
from asgi_apikey.management.calls import Call, Reply
from asgi_apikey.management.criteria import check_filtered, criteria_of
from asgi_apikey.management.managed import ManagedKeys
from asgi_apikey.management.times import instant_of
from asgi_apikey.management.views import key_of, receipt_of
from asgi_apikey.models import NO_METADATA, UNSET, JSONValue, Metadata, Receipt, Unset

_RACES = 20


async def amend(keys: ManagedKeys, call: Call, body: schemas.KeyPatch) -> Reply:
    """Change what is given."""
    if isinstance(body.metadata, UnsetType):
        return await _amended(keys, call, body, UNSET, call.version)
    if body.metadata is None:
        return await _amended(keys, call, body, NO_METADATA, call.version)
    patch, caller = lifecycle.metadata(body.metadata), call.caller
    for _ in range(_RACES):
        record = await keys.get(call.key_id, owner=caller.owner, tenant=caller.tenant)
        version = record.version if call.version is None else call.version
        try:
            return await _amended(keys, call, body, merged(record.metadata, patch), version)
        except StaleRecord:
            if call.version is not None:
                raise
    raise StoreUnavailable("the key keeps changing")


async def disable(keys: ManagedKeys, call: Call, body: schemas.Nothing) -> Reply:
    """Switch a key off."""
    caller = call.caller
    receipt = await keys.disable(
        call.key_id,
        version=call.version,
        owner=caller.owner,
        tenant=caller.tenant,
        wait=call.wait,
        actor=caller.actor,
    )
    return _changed(call, receipt)


async def enable(keys: ManagedKeys, call: Call, body: schemas.Nothing) -> Reply:
    """Switch a key on."""
    caller = call.caller
    receipt = await keys.enable(
        call.key_id,
        version=call.version,
        owner=caller.owner,
        tenant=caller.tenant,
        granter=caller.grant,
        wait=call.wait,
        actor=caller.actor,
    )
    return _changed(call, receipt)


async def revoke(keys: ManagedKeys, call: Call, body: schemas.Ending) -> Reply:
    """End a key and its lineage, or it alone."""
    caller = call.caller
    receipt = await keys.revoke(
        call.key_id,
        by=caller.actor.name,
        reason=body.reason,
        only=body.only,
        version=call.version,
        owner=caller.owner,
        tenant=caller.tenant,
        wait=call.wait,
        actor=caller.actor,
    )
    return _changed(call, receipt)


async def delete(keys: ManagedKeys, call: Call, body: schemas.Nothing) -> Reply:
    """Remove a key and its record."""
    caller = call.caller
    receipt = await keys.delete(
        call.key_id,
        version=call.version,
        owner=caller.owner,
        tenant=caller.tenant,
        wait=call.wait,
        actor=caller.actor,
    )
    return _changed(call, receipt)


async def revoke_where(keys: ManagedKeys, call: Call, body: schemas.BulkEnding) -> Reply:
    """End every key that the filters match, of those that the caller sees."""
    check_filtered(body.where)
    receipt = await keys.revoke_where(
        by=call.caller.actor.name,
        reason=body.reason,
        dry_run=body.dry_run,
        wait=call.wait,
        actor=call.caller.actor,
        **criteria_of(call.caller, body.where),
    )
    content = schemas.BulkChanged(
        matched=receipt.matched,
        key_ids=list(receipt.key_ids),
        dry_run=receipt.dry_run,
        receipt=receipt_of(receipt),
    )
    return Reply(content, 200 if call.wait or body.dry_run else 202)


def merged(target: Metadata, patch: Metadata) -> Metadata:
    """Return a JSON object after a merge patch (RFC 7396 section 2): what is `null` in it goes, objects are merged."""
    result: dict[str, JSONValue] = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result


async def _amended(
    keys: ManagedKeys, call: Call, body: schemas.KeyPatch, metadata: Metadata | Unset, version: int | None
) -> Reply:
    caller = call.caller
    receipt = await keys.amend(
        call.key_id,
        name=UNSET if isinstance(body.name, UnsetType) else body.name,
        description=UNSET if isinstance(body.description, UnsetType) else body.description or "",
        scopes=_labels(body.scopes),
        metadata=metadata,
        not_before=UNSET if isinstance(body.not_before, UnsetType) else instant_of(body.not_before),
        expires_at=UNSET if isinstance(body.expires_at, UnsetType) else instant_of(body.expires_at),
        tags=_labels(body.tags),
        networks=_labels(body.networks),
        routes=_labels(body.routes),
        limits=_labels(body.limits),
        origins=_labels(body.origins),
        version=version,
        owner=caller.owner,
        tenant=caller.tenant,
        granter=caller.grant,
        wait=call.wait,
        actor=caller.actor,
    )
    return _changed(call, receipt)


def _labels(values: schemas.Labels | None | UnsetType) -> Iterable[str] | Unset:
    return UNSET if isinstance(values, UnsetType) else values or ()


def _changed(call: Call, receipt: Receipt) -> Reply:
    content = schemas.Changed(record=key_of(receipt.record, call.now), receipt=receipt_of(receipt))
    return Reply(content, 200 if call.wait else 202, (("etag", f'"{receipt.record.version}"'),))
