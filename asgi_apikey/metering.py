"""What a request does to a meter: taken whole or not at all, never more than there is, never less than nothing.

A meter's state is two integers. Of a rate: when it was last looked at, and how full the bucket is that its requests
fall into and that leaks (the leaky bucket as a meter, ITU-T I.371 Annex A). Milliseconds times requests, so that every
sum is exact. Of a quota: when its period began, and how much of it is used; less than nothing after a gift.

Whatever keeps meters does what stands here, so all of them agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from asgi_apikey.measures import Charge, LimitRule, Meter, Period, Quota, Rate, Reading
from asgi_apikey.models import Instant

State: TypeAlias = tuple[int, int]
"""What a meter remembers: its mark and its value."""

FRESH: Final[State] = (0, 0)
"""A meter that nobody has touched."""

NEVER: Final = 2**62
"""Milliseconds: later than anything."""

_MILLISECONDS: Final = 1_000
_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR
_SWEEP_FROM: Final = 1_024


def milliseconds(now: Instant) -> int:
    """Return the whole milliseconds of an instant."""
    return int(now * _MILLISECONDS)


def began(period: Period | None, now: int) -> int:
    """Return when the present period began; 0 for the one that is for ever."""
    if period is None:
        return 0
    if period is not Period.MONTH:
        return now - now % (_HOUR if period is Period.HOUR else _DAY)
    first = datetime.fromtimestamp(now // _MILLISECONDS, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int(first.timestamp()) * _MILLISECONDS


def ends(period: Period | None, start: int) -> int:
    """Return when the period that began at `start` ends."""
    if period is None:
        return NEVER
    if period is not Period.MONTH:
        return start + (_HOUR if period is Period.HOUR else _DAY)
    # The 32nd day of any month is in the next one.
    return began(period, start + 31 * _DAY)


def unit(rule: LimitRule) -> int:
    """What one request adds to the value."""
    return rule.per * _MILLISECONDS if isinstance(rule, Rate) else 1


def capacity(rule: LimitRule) -> int:
    """The most that the value may be."""
    return rule.amount * unit(rule)


def present(rule: LimitRule, state: State, now: int) -> State:
    """Return the state as time alone has changed it. A clock that went back changes nothing."""
    mark, value = state
    if isinstance(rule, Rate):
        return (now, max(0, value - (now - mark) * rule.amount)) if now > mark else state
    start = began(rule.period, now)
    return (start, min(value, 0)) if start > mark else state


def taken(charge: Charge, state: State, now: int) -> State | None:
    """Return the state after the charge; None if there is not as much."""
    rule = charge.meter.rule
    mark, value = present(rule, state, now)
    after = value + charge.cost * unit(rule)
    if charge.cost > 0 and after > capacity(rule):
        return None
    # What is given back to a rate is never more than was taken.
    return mark, max(0, after) if isinstance(rule, Rate) else after


def all_taken(charges: Sequence[Charge], states: Sequence[State], now: int) -> list[State] | None:
    """Return the states after all charges; None, for nothing is taken, if one of the meters has not as much."""
    after: list[State] = []
    for charge, state in zip(charges, states, strict=True):
        new = taken(charge, state, now)
        if new is None:
            return None
        after.append(new)
    return after


def expiry(rule: LimitRule, state: State) -> int:
    """Return from when on the state is no different from that of a fresh meter."""
    mark, value = state
    if isinstance(rule, Rate):
        return mark - -value // rule.amount
    return NEVER if value < 0 else ends(rule.period, mark)


def readings(charges: Sequence[Charge], states: Sequence[State], now: int, *, refused: bool) -> tuple[Reading, ...]:
    """Return what the meters show.

    Args:
        charges: What was asked for.
        states: After it; where it was refused, as they were and are.
        now: When, in milliseconds.
        refused: Whether it was.
    """
    return tuple(_reading(charge, state, now, refused) for charge, state in zip(charges, states, strict=True))


def _reading(charge: Charge, state: State, now: int, refused: bool) -> Reading:
    rule = charge.meter.rule
    mark, value = present(rule, state, now)
    short = refused and taken(charge, state, now) is None
    left = max(0, (capacity(rule) - value) // unit(rule))
    return Reading(charge.meter, left, _resets_in(rule, (mark, value), now, charge.cost if short else None), short)


def _resets_in(rule: LimitRule, state: State, now: int, wanted: int | None) -> float | None:
    """Seconds until all is back, or until as much as is wanted."""
    mark, value = state
    if wanted is not None and wanted > rule.amount:
        return None
    if isinstance(rule, Quota):
        return None if rule.period is None else (ends(rule.period, mark) - now) / _MILLISECONDS
    target = 0 if wanted is None else capacity(rule) - wanted * unit(rule)
    # Rounded up: asked a millisecond too early, the answer would be no again.
    return max(0, mark - now - (target - value) // rule.amount) / _MILLISECONDS


class MemoryMeters:
    """`Meters` in this process: each process counts for itself, and a restart forgets.

    With four processes, four times as much gets through: for one process, for tests, and for rates that only protect
    the machine.
    """

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], tuple[State, int]] = {}
        self._sweep_at = _SWEEP_FROM

    def __repr__(self) -> str:
        return "MemoryMeters(per process)"

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """See `Meters.take`. Nothing in it awaits, so it is atomic."""
        at = milliseconds(now)
        before = [self._states.get(_key(each.meter), (FRESH, 0))[0] for each in charges]
        after = all_taken(charges, before, at)
        if after is None:
            return readings(charges, before, at, refused=True)
        for charge, state in zip(charges, after, strict=True):
            self._states[_key(charge.meter)] = (state, expiry(charge.meter.rule, state))
        if len(self._states) >= self._sweep_at:
            await self.prune(now)
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._states))
        return readings(charges, after, at, refused=False)

    async def prune(self, now: Instant) -> None:
        """See `Meters.prune`."""
        at = milliseconds(now)
        self._states = {key: held for key, held in self._states.items() if held[1] > at}

    async def close(self) -> None:
        """Do nothing: there is nowhere else where the counts are."""


def _key(meter: Meter) -> tuple[str, str]:
    return meter.subject, meter.name
