"""Leases: the poll of the change feed that makes a revoke final everywhere, whatever else fails.

A poll that *began* at t0 on the worker's own clock, and whose answer has been applied, gives a lease: until t0 + L
the cache may be trusted. So a worker that has not heard of change n stops trusting its cache at most L after n was
committed. Whoever makes a change waits until every registered worker has acknowledged it, or until L has passed on
its own clock, whichever is first; then no worker accepts what the change forbids.

No time is compared between two machines, and nothing is trusted to arrive: a bus only makes it faster.
The traffic drives the polls, so there is no timer and an idle worker asks nothing.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakMethod

import anyio
from anyio.lowlevel import current_token

from asgi_apikey.background import Background
from asgi_apikey.errors import ConfigurationError, Undecidable
from asgi_apikey.invalidation.register import Register
from asgi_apikey.models import Acknowledgement, Change, Committed, Receipt, Seconds, Worker
from asgi_apikey.protocols import Bus, ChangeFeed, Clock, VerdictCache
from asgi_apikey.singleflight import SingleFlight

_log = logging.getLogger("asgi_apikey")

_BATCH = 1_000
_ATTEMPTS = 3
CLOCK_RATE = 1.05
"""How much faster one machine's clock may run than another's, for the revoker's wait: crystals err by 0.01 %,
clocks being slewed by NTP by 0.05 %; 5 % leaves room for virtual machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """The two numbers of the protocol.

    Attributes:
        poll: A worker with traffic reads the feed this often.
        lease: How long a poll's answer may be trusted, from when it was asked: the bound of every unconfirmed
            change. Must leave room for a few polls that fail.
    """

    poll: Seconds = 0.5
    lease: Seconds = 2.0

    def __post_init__(self) -> None:
        # Not for ever: nobody could wait for the end of such a lease. Neither comparison is true of NaN.
        if not 0 < self.poll <= self.lease / 2 < math.inf:
            raise ConfigurationError("a lease must last at least two polls: write LeaseTimes(poll=0.5, lease=2.0)")


class LeasedInvalidation:
    """Invalidation among any number of processes and hosts that share a change feed.

    Args:
        feed: Of the repository.
        cache: This process's cache.
        bus: Makes it fast.
        clock: Monotonic time that goes on while the machine is suspended, where there is one.
        background: Where polls run, so that no request's cancellation stops one.
        times: How often to poll and how long to trust.
    """

    fresh_until: Seconds
    refresh_at: Seconds
    counter: Sequence[int]
    seen: int
    _register: Register

    def __init__(
        self,
        feed: ChangeFeed,
        cache: VerdictCache,
        *,
        bus: Bus,
        clock: Clock,
        background: Background,
        times: LeaseTimes | None = None,
    ) -> None:
        self._feed = feed
        self._cache = cache
        self._bus = bus
        self._clock = clock
        self._background = background
        self._times = LeaseTimes() if times is None else times
        self._begin_anew()
        _after_fork(self._begin_anew)

    @property
    def max_staleness(self) -> Seconds:
        """See `Invalidation.max_staleness`: the lease."""
        return self._times.lease

    def position(self) -> int | None:
        """Return the feed position up to which every change is applied here; None without a current lease."""
        if self._clock.monotonic() >= self.fresh_until or self.counter[0] != self.seen:
            return None
        return self._position

    def refresh(self) -> None:
        """See `Invalidation.refresh`."""
        # Not once more before the lease ends, unless this poll succeeds and sets it anew.
        self.refresh_at = self.fresh_until
        self._background.spawn(self._poll)

    async def renew(self) -> None:
        """See `Invalidation.renew`. Everybody who asks meanwhile waits for the same poll, at most one interval."""
        if self._clock.monotonic() >= self.fresh_until or self.counter[0] != self.seen:
            with anyio.move_on_after(self._times.poll):
                await self._background.run(self._poll)

    async def tell(self, committed: Committed) -> None:
        """See `Invalidation.tell`."""
        self._apply(committed.changes)
        await self._bus.open(self._caught_up)
        self._background.spawn(partial(self._bus.wake, _newest(committed), (), patience=0.0))

    async def announce(self, committed: Committed) -> Receipt:
        """See `Invalidation.announce`. Confirmed when everybody has acknowledged, or no older lease can be left."""
        committed_at = self._clock.monotonic()
        self._apply(committed.changes)
        others = await self._others()
        longest = max((each.lease for each in others or ()), default=0.0)
        # From the commit on nobody can obtain a lease without knowing of the change; those of before end by then.
        leases_end = committed_at + max(longest, self._times.lease) * CLOCK_RATE
        acknowledged = await self._acknowledged(committed, others or (), leases_end)
        if others is None or len(acknowledged) < len(others):
            await self._sleep_until(leases_end)
        return Receipt(
            record=committed.record,
            confirmed=True,
            workers=1 + len(others or ()),
            acknowledged=1 + len(acknowledged),
            elapsed=self._clock.monotonic() - committed_at,
            max_staleness=0.0,
        )

    async def close(self) -> None:
        """See `Invalidation.close`."""
        self._give_up_lease()
        # Replaced first: a poll that is under way gives no lease to somebody who is about to leave.
        register, self._register = self._register, self._new_register()
        await self._polls.run(current_token(), _nothing)
        await self._bus.close()
        try:
            await register.leave()
        except Undecidable as error:
            _log.warning("this worker stays registered until somebody notices that it is gone: %s", error)

    def _begin_anew(self) -> None:
        """Forget everything that belongs to one process: at the start, and in a child after a fork."""
        self.counter = self._bus.counter
        self._give_up_lease()
        self.seen = 0
        self._newest: Change | None = None
        self._failing = False
        # One at a time in each event loop: a loop may be closed for good with a poll on its way.
        self._polls: SingleFlight[object, int] = SingleFlight()
        self._register = self._new_register()

    def _new_register(self) -> Register:
        return Register(self._feed, self._clock, lease=self._times.lease)

    def _give_up_lease(self) -> None:
        self.fresh_until = self.refresh_at = -math.inf

    @property
    def _position(self) -> int:
        return 0 if self._newest is None else self._newest.seq

    async def _poll(self) -> int:
        """Return the position that was reached; 0 if the feed cannot be read, which all who wait are told at once."""
        return await self._polls.run(current_token(), self._attempt)

    async def _attempt(self) -> int:
        try:
            return await self._catch_up()
        except Undecidable as error:
            if not self._failing:
                _log.warning("the change feed cannot be read; what is cached is not trusted meanwhile: %s", error)
            self._failing = True
            # There is time for another attempt before the lease ends.
            self.refresh_at = min(self.fresh_until, self._clock.monotonic() + self._times.poll)
            return 0

    async def _caught_up(self, seq: int) -> Acknowledgement:
        """Reach position `seq`, for a bus that has been told of it.

        Polls even where we seem to be there: after a gap nobody knows what to ask for, and a store that was put back to
        an older state gives positions away again that we have seen.
        """
        for _ in range(_ATTEMPTS):
            # The first poll may have been on its way before the change was committed.
            position = await self._poll()
            if position >= seq:
                break
        return Acknowledgement(self._register.worker_id, position)

    async def _catch_up(self) -> int:
        """Read and apply what is new in the feed; on success, a lease from the instant of asking."""
        await self._bus.open(self._caught_up)
        # Nothing is awaited between these: we register as listening to the very counter that is compared.
        self.counter, bus = self._bus.counter, self._bus.name
        # Noted before the feed is read: a change after this makes the two differ again.
        signal = self.counter[0]
        register = self._register
        began = await self._read_on() if await register.present(bus) else None
        if began is None:
            # First, for from here on nobody who makes a change knows that he has to wait for us.
            self._give_up_lease()
            await register.join(bus)
            began = await self._start_over()
        if register is not self._register:
            # Closed or forked meanwhile: nobody would wait for a lease of ours.
            return self._position
        self.seen = signal
        # Not from when the answer came: what was committed while it was on its way is not in it.
        self.fresh_until = min(began + self._times.lease, register.valid_until)
        self.refresh_at = min(began + self._times.poll, self.fresh_until)
        self._failing = False
        return self._position

    async def _read_on(self) -> Seconds | None:
        """Apply everything after our newest row; return when the last answer was asked for, None if it is not there.

        Then the store was put back to an older state, and may have grown since; nor do we know that it lists us.
        """
        while True:
            began = self._clock.monotonic()
            rows = await self._feed.changes(self._position, limit=_BATCH)
            if self._newest is not None and (not rows or rows[0] != self._newest):
                _log.warning("the change feed does not go on where it was; everything cached is dropped")
                return None
            self._apply(rows if self._newest is None else rows[1:])
            self._newest = rows[-1] if rows else None
            if len(rows) < _BATCH:
                return began

    async def _start_over(self) -> Seconds:
        """Take the newest row for ours, and then trust nothing that was read before it was known."""
        began = self._clock.monotonic()
        rows = await self._feed.changes(await self._feed.position(), limit=_BATCH)
        self._newest = rows[-1] if rows else None
        self._cache.clear()
        return began

    def _apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._cache.invalidate(change)

    async def _others(self) -> Sequence[Worker] | None:
        """Everybody else who may hold a lease; None if that cannot be told."""
        try:
            return await self._register.others()
        except Undecidable as error:
            _log.warning("the workers cannot be listed, so this change waits for their leases to end: %s", error)
            return None

    async def _acknowledged(self, committed: Committed, others: Sequence[Worker], until: Seconds) -> Collection[str]:
        """Wake the others; return the ids of those that have applied the changes."""
        await self._bus.open(self._caught_up)
        position = await self._position_of(committed)
        # Without a position nobody could say that he has reached it.
        hearing = [each.worker_id for each in others if position and each.bus and each.bus == self._bus.name]
        acknowledged = await self._bus.wake(position, hearing, patience=max(0.0, until - self._clock.monotonic()))
        return set(hearing).intersection(acknowledged)

    async def _position_of(self, committed: Committed) -> int:
        """Return a position by which the changes are in the feed; 0 if there is none, or it cannot be told.

        One that is only told again has no position of its own: it was committed by somebody who may not have told it.
        """
        position = _newest(committed)
        if position:
            return position
        try:
            return await self._feed.position()
        except Undecidable as error:
            _log.warning("the change feed cannot be read, so this change waits for the leases to end: %s", error)
            return 0

    async def _sleep_until(self, instant: Seconds) -> None:
        # More than once if need be: a loop's timer may fire early, as uvloop's do, which count whole milliseconds from
        # the beginning of an iteration of the loop.
        while (left := instant - self._clock.monotonic()) > 0:  # noqa: ASYNC110 - nobody else could tell us
            await anyio.sleep(left)


async def _nothing() -> int:
    return 0


def _newest(committed: Committed) -> int:
    return max((change.seq for change in committed.changes), default=0)


def _after_fork(begin_anew: Callable[[], None]) -> None:
    """Have a bound method called in every child process, for as long as its object lives."""
    weak = WeakMethod(begin_anew)

    def in_child() -> None:
        method = weak()
        if method is not None:
            method()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)
