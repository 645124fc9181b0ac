"""Pure rules of rotation: which keys of a lineage go, and which stay, when one of them gets a successor.

At most two keys of a lineage are live at a time, so an old secret never lingers behind two newer ones. Rotating again,
because the answer got lost, replaces the successor that nobody has used; the replaced key keeps its grace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.lifecycle import succession
from asgi_apikey.models import DAY, At, Instant, KeyRecord, RecordPatch, Seconds, Status
from asgi_apikey.verification import status_of

MOST_LIVE: Final = 2
"""Live keys of one lineage: the successor, and the one it replaces until its grace is over."""

_DEAD: Final = (Status.REVOKED, Status.EXPIRED)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation does beside making the successor.

    Attributes:
        ending: Of the replaced key.
        retired: Successors that nobody has used, to be revoked.
    """

    ending: RecordPatch
    retired: tuple[At, ...]


def rotation(record: KeyRecord, lineage: Iterable[KeyRecord], now: Instant, *, grace: Seconds | None) -> Rotation:
    """Return what to do with the keys of a lineage when one of them is rotated.

    Args:
        record: The key to be replaced.
        lineage: All keys of its lineage; more do no harm.
        now: The present.
        grace: Seconds that the replaced key still works, but never longer than it would have. None: a day, or, if it
            is rotated once more, as long as it was given the first time.

    Raises:
        InvalidRequest: The key is not active, has a successor in use, or would be one live key too many.
    """
    alive = [
        each
        for each in lineage
        if each.key_id != record.key_id and each.lineage == record.lineage and status_of(each, now) not in _DEAD
    ]
    successors = [each for each in alive if each.replaces == record.key_id]
    used = [each for each in successors if _is_used(each)]
    if used:
        raise InvalidRequest(
            f"the key was rotated before, and its successor {used[0].key_id} is in use: rotate that one"
        )
    retired = tuple(At(each.key_id, each.version) for each in successors)
    if grace is None and retired and record.expires_at is not None:
        # Checked all the same: the key must be active.
        succession(record, now, grace=0)
        ending = RecordPatch()
    else:
        ending = succession(record, now, grace=DAY if grace is None else grace)
    others = [each for each in alive if each not in successors]
    if others and not _ends_at_once(record, ending, now):
        raise InvalidRequest(
            f"key {others[0].key_id} of the same lineage still works, and a lineage has at most {MOST_LIVE} live keys: "
            "wait until its grace is over, revoke it alone, or rotate without grace"
        )
    return Rotation(ending, retired)


def lifetime_of(record: KeyRecord, lineage: Iterable[KeyRecord]) -> Seconds | None:
    """Return the lifetime that a key was given; None: no end.

    A rotation has shortened the replaced key's own, so where it was rotated before, that of its newest successor is
    told, which was given the same.

    Args:
        record: The key.
        lineage: All keys of its lineage, the revoked ones too.
    """
    successors = {each.replaces: each for each in sorted(lineage, key=lambda each: (each.created_at, each.key_id))}
    # Popped, so that no circle, which only raw SQL can make, is walked for ever.
    while (newer := successors.pop(record.key_id, None)) is not None:
        record = newer
    return None if record.expires_at is None else record.expires_at - record.created_at


def is_retirable(record: KeyRecord, successor: KeyRecord) -> bool:
    """Whether one looks like a successor of the other that nobody has used."""
    return successor.replaces == record.key_id and successor.revoked_at is None and not _is_used(successor)


def _is_used(record: KeyRecord) -> bool:
    return record.uses > 0 or record.last_used_at is not None


def _ends_at_once(record: KeyRecord, ending: RecordPatch, now: Instant) -> bool:
    end = ending.columns().get("expires_at", record.expires_at)
    return isinstance(end, int | float) and end <= now
