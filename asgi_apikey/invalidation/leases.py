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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.lowlevel import current_token

from asgi_apikey.background import Background
from asgi_apikey.errors import ConfigurationError, Undecidable
from asgi_apikey.invalidation.announcer import LONGEST_AWAITED, Announcer, newest
from asgi_apikey.invalidation.forks import after_fork
from asgi_apikey.invalidation.register import Register
from asgi_apikey.models import Acknowledgement, Change, Committed, Receipt, Seconds
from asgi_apikey.protocols import Bus, ChangeFeed, Clock, VerdictCache
from asgi_apikey.singleflight import SingleFlight

_log = logging.getLogger("asgi_apikey")

_BATCH = 1_000
_ATTEMPTS = 3
_PATIENCE: Seconds = 0.5
"""How long a request waits for a poll: about half of what it may wait for the store in all."""


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


@dataclass(slots=True)
class FeedStats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        confirmed: Changes of this process that were known everywhere when their verb returned.
        unconfirmed: Those of which that was not known.
        failures: Attempts to read the feed that failed.
        read_at: On the monotonic clock, when the last answer was asked for; None: there was none yet.
    """

    confirmed: int = 0
    unconfirmed: int = 0
    failures: int = 0
    read_at: Seconds | None = None


class LeasedInvalidation:
    """Invalidation among any number of processes and hosts that share a change feed.

    Args:
        feed: Of the repository.
        cache: This process's cache.
        bus: Makes it fast.
        clock: Monotonic time that goes on while the machine is suspended, where there is one.
        background: Where polls run, so that no request's cancellation stops one.
        times: How often to poll and how long to trust.
        outage_grace: Seconds for which memory is trusted beyond the end of a lease while the feed cannot be read.

    Attributes:
        stats: See `FeedStats`.

    Raises:
        ConfigurationError: An `outage_grace` that is negative or not finite.
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
        outage_grace: Seconds = 0.0,
    ) -> None:
        if not 0 <= outage_grace < math.inf:
            raise ConfigurationError("outage_grace must be finite seconds, such as outage_grace=60; 0 for none")
        self._feed = feed
        self._cache = cache
        self._bus = bus
        self._clock = clock
        self._background = background
        self._times = times = LeaseTimes() if times is None else times
        self._grace = outage_grace
        self.stats = FeedStats()
        self._announcer = Announcer(
            feed, bus, clock=clock, lease=self.max_staleness, patience=max(times.lease, LONGEST_AWAITED)
        )
        self._begin_anew()
        after_fork(self._begin_anew)

    @property
    def max_staleness(self) -> Seconds:
        """See `Invalidation.max_staleness`: the lease, and what an outage may add to it. Others wait that long."""
        return self._times.lease + self._grace

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
        """See `Invalidation.renew`. Everybody who asks meanwhile waits for the same poll, and not for long."""
        if self._clock.monotonic() >= self.fresh_until or self.counter[0] != self.seen:
            with anyio.move_on_after(min(self._times.poll, _PATIENCE)):
                await self._background.run(self._poll)

    async def tell(self, committed: Committed) -> None:
        """See `Invalidation.tell`."""
        self._apply(committed.changes)
        await self._bus.open(self._caught_up)
        self._background.spawn(partial(self._bus.wake, newest(committed), (), patience=0.0))

    async def announce(self, committed: Committed) -> Receipt:
        """See `Invalidation.announce`. Confirmed when everybody has acknowledged, or no older lease can be left."""
        self._apply(committed.changes)
        receipt = await self._announcer.announce(committed, self._register, self._caught_up)
        self.stats.confirmed += receipt.confirmed
        self.stats.unconfirmed += not receipt.confirmed
        return receipt

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
            _log.warning(
                "this worker stays registered until somebody notices that it is gone: %s",
                error,
                extra={"event": "worker_left_registered"},
            )

    def _begin_anew(self) -> None:
        """Forget everything that belongs to one process: at the start, and in a child after a fork."""
        self.counter = self._bus.counter
        self._give_up_lease()
        self.seen = 0
        self._newest: Change | None = None
        self._failing = self._holding_out = False
        # One at a time in each event loop: a loop may be closed for good with a poll on its way.
        self._polls: SingleFlight[object, int] = SingleFlight()
        self._register = self._new_register()

    def _new_register(self) -> Register:
        return Register(self._feed, self._clock, lease=self.max_staleness)

    def _give_up_lease(self) -> None:
        self.fresh_until = self.refresh_at = self._grace_until = -math.inf

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
            self._hold_out(error)
            return 0

    def _hold_out(self, error: Undecidable) -> None:
        """Go on with what we have, for as long as that may be: the feed cannot be read."""
        self.stats.failures += 1
        now = self._clock.monotonic()
        self.fresh_until = max(self.fresh_until, self._grace_until)
        # There is time for another attempt before that is over.
        self.refresh_at = min(self.fresh_until, now + self._times.poll)
        left = self.fresh_until - now
        if not self._failing and self._grace and left > 0:
            _log.warning(
                "the change feed cannot be read; what is cached is trusted for %.0f s more: %s",
                left,
                error,
                extra={"event": "feed_held_out"},
            )
            self._holding_out = True
        elif not self._failing or (self._holding_out and left <= 0):
            _log.warning(
                "the change feed cannot be read; what is cached is not trusted meanwhile: %s",
                error,
                extra={"event": "feed_lost"},
            )
            self._holding_out = False
        self._failing = True

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
        self.seen, self.stats.read_at = signal, began
        # Not from when the answer came: what was committed while it was on its way is not in it.
        self.fresh_until = min(began + self._times.lease, register.valid_until)
        self.refresh_at = min(began + self._times.poll, self.fresh_until)
        self._grace_until = min(began + self.max_staleness, register.valid_until)
        self._recovered()
        if register.look_is_due:
            self._background.spawn(register.tidy)
        return self._position

    def _recovered(self) -> None:
        if self._holding_out:
            _log.warning("the change feed can be read again", extra={"event": "feed_back"})
        self._failing = self._holding_out = False

    async def _read_on(self) -> Seconds | None:
        """Apply everything after our newest row; return when the last answer was asked for, None if it is not there.

        Then the store was put back to an older state, and may have grown since; nor do we know that it lists us.
        """
        while True:
            began = self._clock.monotonic()
            rows = await self._feed.changes(self._position, limit=_BATCH)
            if self._newest is not None and (not rows or rows[0] != self._newest):
                _log.warning(
                    "the change feed does not go on where it was; everything cached is dropped",
                    extra={"event": "feed_broken"},
                )
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


async def _nothing() -> int:
    return 0
