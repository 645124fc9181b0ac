"""What we know, as it goes over the wire. No digest ever does, and a secret only as `Issued.key`."""

from __future__ import annotations

from asgi_apikey.management import schemas
from asgi_apikey.management.times import time_of, time_or_none
from asgi_apikey.models import AuditEntry, BulkReceipt, HourlyUsage, Instant, KeyRecord, Receipt
from asgi_apikey.verification import status_of


def key_of(record: KeyRecord, now: Instant) -> schemas.Key:
    """Return a key as it stands now."""
    return schemas.Key(
        key_id=record.key_id,
        version=record.version,
        owner=record.owner,
        tenant=record.tenant,
        environment=record.environment,
        name=record.name,
        description=record.description,
        hint=record.hint,
        status=status_of(record, now),
        scopes=sorted(record.scopes),
        tags=sorted(record.tags),
        networks=sorted(record.networks),
        routes=sorted(record.routes),
        limits=sorted(record.limits),
        origins=sorted(record.origins),
        created_at=time_of(record.created_at),
        created_by=record.created_by,
        not_before=time_or_none(record.not_before),
        expires_at=time_or_none(record.expires_at),
        disabled_at=time_or_none(record.disabled_at),
        revoked_at=time_or_none(record.revoked_at),
        revoked_by=record.revoked_by,
        revoke_reason=record.revoke_reason,
        replaces=record.replaces,
        lineage=record.lineage,
        last_used_at=time_or_none(record.last_used_at),
        uses=record.uses,
        metadata=dict(record.metadata),
    )


def receipt_of(receipt: Receipt | BulkReceipt) -> schemas.Receipt:
    """Return what is known about the effect of a change."""
    return schemas.Receipt(
        confirmed=receipt.confirmed,
        workers=receipt.workers,
        acknowledged=receipt.acknowledged,
        elapsed=round(receipt.elapsed, 6),
        max_staleness=receipt.max_staleness,
    )


def hour_of(hour: HourlyUsage) -> schemas.Hour:
    """Return one hour of usage."""
    return schemas.Hour(hour=time_of(hour.hour), accepted=hour.accepted, refused=dict(hour.refused))


def entry_of(entry: AuditEntry) -> schemas.Entry:
    """Return one entry of the audit."""
    return schemas.Entry(
        number=entry.number,
        seq=entry.seq,
        at=time_of(entry.at),
        actor=entry.actor,
        action=entry.action,
        key_id=entry.key_id,
        tenant=entry.tenant,
        version=entry.version,
        fields=list(entry.fields),
        reason=entry.reason,
        correlation_id=entry.correlation_id,
        mac=entry.mac,
    )
