"""Announcing a change: when can no worker be without it any more?

Everybody who may trust its memory is registered, with how long it may do so without having heard of a change. So a
change is known everywhere when each has acknowledged it, or when the longest such time has passed since its commit.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final

import anyio

from asgi_apikey.errors import Undecidable
from asgi_apikey.invalidation.register import Register
from asgi_apikey.models import Acknowledgement, Committed, Receipt, Seconds, Worker
from asgi_apikey.protocols import Bus, CatchUp, ChangeFeed, Clock

_log = logging.getLogger("asgi_apikey")

CLOCK_RATE: Final = 1.05
"""How much faster one machine's clock may run than another's, for the revoker's wait: crystals err by 0.01 %,
clocks being slewed by NTP by 0.05 %; 5 % leaves room for virtual machines."""

CLOCK_STEP: Final[Seconds] = 0.016
"""How coarse a clock may be: a tick of Windows lasts 15.6 ms. A lease may last a step longer than its length, and a
wait may be a step shorter."""

LONGEST_AWAITED: Final[Seconds] = 10.0
"""A caller is not kept waiting for longer leases than this, unless his own is longer: he is told that they go on."""

_TO_ACKNOWLEDGE: Final[Seconds] = 2.0
"""What workers have to acknowledge where the leases are too long to be waited for."""


class Announcer:
    """Tells the workers of changes, and what is known about that.

    Args:
        feed: Where the changes are.
        bus: Wakes who listens to it.
        clock: Monotonic.
        lease: Seconds that a worker of whom nothing is known is taken to trust its memory.
        patience: Seconds; longer leases than this are not waited for. 0: no lease is.
    """

    def __init__(self, feed: ChangeFeed, bus: Bus, *, clock: Clock, lease: Seconds, patience: Seconds) -> None:
        self._feed = feed
        self._bus = bus
        self._clock = clock
        self._longest = self._lease = lease
        self._patience = patience

    async def announce(self, committed: Committed, register: Register, catch_up: CatchUp) -> Receipt:
        """Return when all have acknowledged, or no older lease can be left, or it is not worth waiting for that.

        Args:
            committed: Just now, or earlier; applied in this process.
            register: This process's view of the others.
            catch_up: What the bus calls when it wakes us.
        """
        committed_at = self._clock.monotonic()
        others = await self._others(register)
        lease = self._longest_of(others)
        until = self._leases_end(committed_at, lease if self._awaits(lease) else min(self._patience, _TO_ACKNOWLEDGE))
        acknowledged = await self._acknowledged(committed, others, catch_up, until)
        if others is None and self._patience:
            # Who cannot be listed may have any lease. The store, which was there to commit, may be back by then.
            await self._sleep_until(until)
            others = await self._others(register)
        silent = None if others is None else [each for each in others if each.worker_id not in acknowledged]
        lease = self._longest_of(silent)
        if silent and self._awaits(lease):
            await self._sleep_until(self._leases_end(committed_at, lease))
            silent = []
        confirmed = silent is not None and not silent
        return Receipt(
            record=committed.record,
            confirmed=confirmed,
            workers=1 + len(others or ()),
            acknowledged=1 + len(acknowledged),
            elapsed=self._clock.monotonic() - committed_at,
            max_staleness=0.0 if confirmed else lease,
        )

    def _longest_of(self, workers: Sequence[Worker] | None) -> Seconds:
        """How long any of them may trust its memory; of unknown ones, the longest that we have ever heard of."""
        if workers is None:
            return self._longest
        longest = max((each.lease for each in workers), default=0.0)
        self._longest = max(self._longest, longest)
        return max(longest, self._lease)

    def _awaits(self, lease: Seconds) -> bool:
        return lease <= self._patience

    def _leases_end(self, committed_at: Seconds, lease: Seconds) -> Seconds:
        """When every lease of before is over, on our clock: nobody obtains one later without knowing of the change."""
        return committed_at + lease * CLOCK_RATE + 2 * CLOCK_STEP

    async def _others(self, register: Register) -> Sequence[Worker] | None:
        """Everybody else who may trust its memory; None if that cannot be told."""
        try:
            return await register.others()
        except Undecidable as error:
            _log.warning(
                "the workers cannot be listed, so nobody knows when this change holds everywhere: %s",
                error,
                extra={"event": "workers_unknown"},
            )
            return None

    async def _acknowledged(
        self, committed: Committed, others: Sequence[Worker] | None, catch_up: CatchUp, until: Seconds
    ) -> Collection[str]:
        """Wake the others; return the ids of those that have applied the changes."""
        if others is not None and not others:
            # Whoever joins from now on begins with the change.
            return ()
        await self._bus.open(catch_up)
        position = await self._position_of(committed)
        # Without a position nobody could say that he has reached it.
        hearing = [each.worker_id for each in others or () if position and each.bus and each.bus == self._bus.name]
        acknowledged = await self._bus.wake(position, hearing, patience=max(0.0, until - self._clock.monotonic()))
        return set(hearing).intersection(acknowledged)

    async def _position_of(self, committed: Committed) -> int:
        """Return a position by which the changes are in the feed; 0 if there is none, or it cannot be told.

        One that is only told again has no position of its own: it was committed by somebody who may not have told it.
        """
        position = newest(committed)
        if position:
            return position
        try:
            return await self._feed.position()
        except Undecidable as error:
            _log.warning(
                "the change feed cannot be read, so this change waits for the leases to end: %s",
                error,
                extra={"event": "feed_unread"},
            )
            return 0

    async def _sleep_until(self, instant: Seconds) -> None:
        # More than once if need be: a loop's timer may fire early, as uvloop's do, which count whole milliseconds from
        # the beginning of an iteration of the loop.
        while (left := instant - self._clock.monotonic()) > 0:  # noqa: ASYNC110 - nobody else could tell us
            await anyio.sleep(left)


async def deaf(seq: int) -> Acknowledgement:
    """Answer a bus for nobody: one who applies nothing that others tell."""
    return Acknowledgement("", 0)


def newest(committed: Committed) -> int:
    """Return the position of the last of these changes; 0 if none has one."""
    return max((change.seq for change in committed.changes), default=0)
