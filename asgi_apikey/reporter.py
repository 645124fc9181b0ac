"""Makes events of what the other services do: changes of keys, refusals, limits that are nearly used up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from asgi_apikey.errors import RevokedKey
from asgi_apikey.events import CAPACITY, Event, EventName, Events
from asgi_apikey.keyformat import KEY_ID_LENGTH
from asgi_apikey.logs import Redact
from asgi_apikey.measures import Reading
from asgi_apikey.models import (
    HOUR,
    MINUTE,
    NO_METADATA,
    Action,
    Instant,
    JSONValue,
    KeyRecord,
    Note,
    Principal,
    Seconds,
    Tally,
)
from asgi_apikey.protocols import Clock
from asgi_apikey.sampling import Sampler

OnChange: TypeAlias = Callable[[Note, Sequence[KeyRecord]], None]
"""Is told of records that were just changed, and of what the audit keeps of it; must not suspend or raise."""

LEFT: Final = 5
"""A limit is told when no more than one in so many is left: when four fifths are used."""

_SHORTEST: Final = KEY_ID_LENGTH + 12
"""Characters; in a shorter text there is no room for a key's id and a dozen characters of its secret."""

_EVERY: Final[Seconds] = MINUTE
"""Between two events about refusals of one key for one reason."""

NAMES: Final[Mapping[Action, EventName]] = {
    Action.ISSUE: EventName.ISSUED,
    Action.ADOPT: EventName.ADOPTED,
    Action.ROTATE: EventName.ROTATED,
    Action.AMEND: EventName.AMENDED,
    Action.DISABLE: EventName.DISABLED,
    Action.ENABLE: EventName.ENABLED,
    Action.REVOKE: EventName.REVOKED,
    Action.DELETE: EventName.DELETED,
}
"""Pruning and imports are not told: they are many, and none of them changes what a key may do."""


class Reporter:
    """Tells events.

    Args:
        events: To whom.
        clock: Wall and monotonic time.
        redact: Cuts keys out of texts that people have written, such as the reason for a revoke.
    """

    def __init__(self, events: Events, clock: Clock, *, redact: Redact) -> None:
        self._events = events
        self._redact = redact
        self._clock = clock
        self._refusals = Sampler()
        self._limits = Sampler()

    def changed(self, note: Note, records: Sequence[KeyRecord]) -> None:
        """Tell what was done to keys."""
        name = None if note.action is None else NAMES.get(note.action)
        if name is None or not self._events.wants(name):
            return
        at = self._clock.wall() if note.at is None else note.at
        # No more than a hook's queue holds: to make a hundred thousand events would keep everybody else waiting.
        for record in records[:CAPACITY]:
            self._events.emit(self._of(record, name, at, note.actor.name, note.reason))
        if len(records) > CAPACITY:
            self._events.pass_over(name, len(records) - CAPACITY)

    def expiring(self, record: KeyRecord, within: Seconds) -> None:
        """Tell that a key ends soon."""
        details: dict[str, JSONValue] = {"within": within}
        self._events.emit(self._of(record, EventName.EXPIRING, self._clock.wall(), details=details))

    def refused(self, key_id: str, reason: str) -> None:
        """Tell, at most once a minute for each key and reason, that a key which exists was refused."""
        used = reason == RevokedKey.reason and self._events.wants(EventName.REVOKED_KEY_USED)
        if not used and not self._events.wants(EventName.REFUSED):
            return
        times = self._refusals.due((key_id, reason), self._clock.monotonic(), every=_EVERY)
        if not times:
            return
        names = (EventName.REFUSED, EventName.REVOKED_KEY_USED) if used else (EventName.REFUSED,)
        for name in names:
            details: dict[str, JSONValue] = {"times": times}
            at = self._clock.wall()
            self._events.emit(Event(name=name, at=at, key_id=key_id, reason=reason, details=details))

    def metered(self, principal: Principal, readings: Sequence[Reading]) -> None:
        """Tell of limits of which four fifths are used, once for each of their periods."""
        if not self._events.wants(EventName.LIMIT_NEAR):
            return
        for each in readings:
            rule = each.meter.rule
            if each.remaining * LEFT > rule.amount:
                continue
            every = HOUR if each.resets_in is None else max(each.resets_in, MINUTE)
            if self._limits.due((each.meter.subject, each.meter.name), self._clock.monotonic(), every=every):
                self._events.emit(self._near(principal, each))

    def _near(self, principal: Principal, reading: Reading) -> Event:
        return Event(
            name=EventName.LIMIT_NEAR,
            at=self._clock.wall(),
            key_id=principal.key_id,
            owner=self._clean(principal.owner),
            tenant=self._clean(principal.tenant),
            environment=principal.environment,
            details={"limit": reading.meter.label, "remaining": reading.remaining, "resets_in": reading.resets_in},
        )

    def _of(
        self,
        record: KeyRecord,
        name: EventName,
        at: Instant,
        actor: str = "",
        reason: str = "",
        *,
        details: Mapping[str, JSONValue] = NO_METADATA,
    ) -> Event:
        return Event(
            name=name,
            at=at,
            key_id=record.key_id,
            owner=self._clean(record.owner),
            tenant=self._clean(record.tenant),
            environment=record.environment,
            actor=self._clean(actor),
            reason=self._clean(reason),
            details={
                "name": self._clean(record.name),
                "expires_at": record.expires_at,
                "replaces": record.replaces,
                **details,
            },
        )

    def _clean(self, text: str) -> str:
        return text if len(text) < _SHORTEST else self._redact(text)


class UsageCounter(Protocol):
    """Who counts accepted and refused requests."""

    def count(self, tally: Tally, now: Seconds) -> None:
        """Count an accepted one."""
        ...

    def counted(self) -> int:
        """Return how many were accepted."""
        ...

    def refuse(self, key_id: str, reason: str) -> None:
        """Count one that was refused."""
        ...


class WatchedUsage:
    """Counts as before, and tells of refusals.

    Args:
        usage: Who counts.
        refused: Is told the key and the reason, of keys that exist only.
    """

    def __init__(self, usage: UsageCounter, refused: Callable[[str, str], None]) -> None:
        # The very methods: requests call them.
        self.count = usage.count
        self.counted = usage.counted
        self._refuse = usage.refuse
        self._refused = refused

    def refuse(self, key_id: str, reason: str) -> None:
        """Count a refusal, and tell it."""
        self._refuse(key_id, reason)
        self._refused(key_id, reason)
