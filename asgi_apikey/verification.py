"""Pure rules of standing: may this record be used at `now`, and until when may that answer be trusted."""

from __future__ import annotations

from asgi_apikey.errors import DisabledKey, ExpiredKey, InvalidKey, NotYetValid, RevokedKey, WrongEnvironment
from asgi_apikey.measures import Meter
from asgi_apikey.models import Instant, KeyRecord, Metadata, Principal, Status
from asgi_apikey.policy import Restrictions, restrictions_of

_REJECTIONS: dict[Status, type[InvalidKey]] = {
    Status.REVOKED: RevokedKey,
    Status.EXPIRED: ExpiredKey,
    Status.DISABLED: DisabledKey,
    Status.NOT_YET_VALID: NotYetValid,
}


def status_of(record: KeyRecord, now: Instant) -> Status:
    """Return where the record stands at `now`.

    What cannot be undone comes first: revoked, expired, disabled, not yet valid, active.
    A key ends *at* `expires_at` and starts *at* `not_before`.
    """
    if record.revoked_at is not None:
        return Status.REVOKED
    if record.expires_at is not None and now >= record.expires_at:
        return Status.EXPIRED
    if record.disabled_at is not None:
        return Status.DISABLED
    if record.not_before is not None and now < record.not_before:
        return Status.NOT_YET_VALID
    return Status.ACTIVE


def rejection_of(record: KeyRecord, *, environment: str, now: Instant) -> InvalidKey | None:
    """Return why a key whose secret has matched may not be used at `now`, or None when it may."""
    if record.environment != environment:
        return WrongEnvironment(record.key_id)
    rejection = _REJECTIONS.get(status_of(record, now))
    return None if rejection is None else rejection(record.key_id)


def next_turn(record: KeyRecord, now: Instant) -> Instant | None:
    """Return the next instant at which the record's status changes by time alone, or None.

    No cached answer about the record, good or bad, may be used from that instant on.
    """
    turns = [at for at in (record.not_before, record.expires_at) if at is not None and at > now]
    return min(turns, default=None)


def principal_of(
    record: KeyRecord, *, account: Metadata | None = None, limits: tuple[Meter, ...] | None = None
) -> Principal:
    """Return the principal that a request with this record's key speaks for.

    Args:
        record: Of a key that may be used.
        account: What is known about its owner.
        limits: What is counted for each request.

    Raises:
        InvalidRequest: A restriction of the record cannot be parsed: it was stored by other means than ours.
    """
    restrictions = restrictions_of(record.networks, record.routes, record.origins)
    if restrictions is None and limits is not None:
        # So that the hot path has one thing to look at, not two.
        restrictions = Restrictions(None, None)
    return Principal(
        key_id=record.key_id,
        owner=record.owner,
        tenant=record.tenant,
        environment=record.environment,
        name=record.name,
        scopes=record.scopes,
        metadata=record.metadata,
        expires_at=record.expires_at,
        restrictions=restrictions,
        account=account,
        limits=limits,
    )
