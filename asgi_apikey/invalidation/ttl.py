"""Memory that is trusted for a time, whatever others do; they know of it, and for how long.

What is read of the store is never older than the time for which this process trusts it. Nobody is asked whether
anything has changed meanwhile, so all that others have to know is that this process is there: it is in the register,
with that time for its lease, and acknowledges nothing. So whoever makes a change waits that long for it, or says that
he has not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import anyio
from anyio.lowlevel import current_token

from asgi_apikey.background import Background
from asgi_apikey.errors import Undecidable
from asgi_apikey.invalidation.announcer import Announcer, deaf
from asgi_apikey.invalidation.forks import after_fork
from asgi_apikey.invalidation.register import Register
from asgi_apikey.models import Committed, Receipt, Seconds
from asgi_apikey.protocols import Bus, ChangeFeed, Clock, VerdictCache
from asgi_apikey.singleflight import SingleFlight

_log = logging.getLogger("asgi_apikey")

_BUS = "ttl"
"""The name of no bus: nothing wakes us."""
_PATIENCE: Seconds = 0.5
_PAUSE: Seconds = 1.0
"""Between two attempts to register: one who may not write to the store is to cost it little."""


class TimedInvalidation:
    """Invalidation by the clock alone, in a store that others may use as well.

    Args:
        feed: Of the repository; only its register is used.
        cache: This process's cache.
        bus: Wakes those who listen, when this process makes a change.
        clock: Monotonic.
        background: Where the register is written to.
        ttl: Seconds after which nobody here is answered with what was read before.
    """

    fresh_until: Seconds
    refresh_at: Seconds
    counter: Sequence[int] = (0,)
    seen: int = 0

    def __init__(
        self, feed: ChangeFeed, cache: VerdictCache, *, bus: Bus, clock: Clock, background: Background, ttl: Seconds
    ) -> None:
        self._feed = feed
        self._cache = cache
        self._bus = bus
        self._clock = clock
        self._background = background
        self._ttl = ttl
        self._announcer = Announcer(feed, bus, clock=clock, lease=ttl, patience=0.0)
        self._begin_anew()
        after_fork(self._begin_anew)

    @property
    def max_staleness(self) -> Seconds:
        """See `Invalidation.max_staleness`."""
        return self._ttl

    def refresh(self) -> None:
        """See `Invalidation.refresh`: shows in the register that we live."""
        self.refresh_at = self.fresh_until
        self._background.spawn(self._show)

    async def renew(self) -> None:
        """See `Invalidation.renew`: registers, if that is still to be done."""
        now = self._clock.monotonic()
        if now >= self.fresh_until and now >= self._again_at:
            with anyio.move_on_after(_PATIENCE):
                await self._background.run(self._show)

    async def tell(self, committed: Committed) -> None:
        """See `Invalidation.tell`. Whoever remembers that there is no such key hears of it from the feed."""
        self._apply(committed)

    async def announce(self, committed: Committed) -> Receipt:
        """See `Invalidation.announce`. Nobody is waited for; who is alone has a confirmation."""
        self._apply(committed)
        receipt = await self._announcer.announce(committed, self._register, deaf)
        return receipt if receipt.confirmed else replace(receipt, max_staleness=max(receipt.max_staleness, self._ttl))

    async def close(self) -> None:
        """See `Invalidation.close`."""
        shows, register = self._shows, self._register
        self._begin_anew()
        # One that is under way might register us after we have left.
        await shows.run(current_token(), _nothing)
        await self._bus.close()
        try:
            await register.leave()
        except Undecidable as error:
            _log.warning(
                "this worker stays registered until somebody notices that it is gone: %s",
                error,
                extra={"event": "worker_left_registered"},
            )

    def _apply(self, committed: Committed) -> None:
        for change in committed.changes:
            self._cache.invalidate(change)

    def _begin_anew(self) -> None:
        """Forget everything that belongs to one process: at the start, and in a child after a fork."""
        self._give_up()
        self._again_at: Seconds = -math.inf
        self._failing = False
        self._shows: SingleFlight[object, None] = SingleFlight()
        self._register = Register(self._feed, self._clock, lease=self._ttl)

    def _give_up(self) -> None:
        self.fresh_until = self.refresh_at = -math.inf

    async def _show(self) -> None:
        await self._shows.run(current_token(), self._attempt)

    async def _attempt(self) -> None:
        register = self._register
        try:
            await self._be_present(register)
        except Undecidable as error:
            if not self._failing:
                _log.warning(
                    "this worker cannot be registered; what is cached is not trusted meanwhile: %s",
                    error,
                    extra={"event": "worker_unregistered"},
                )
            self._failing = True
            self._again_at = self._clock.monotonic() + _PAUSE
            self.refresh_at = min(self.fresh_until, self._again_at)
            return
        if register is not self._register:
            # Closed or forked meanwhile.
            return
        self._failing = False
        self.fresh_until = register.valid_until
        self.refresh_at = register.beat_due_at
        if register.look_is_due:
            self._background.spawn(register.tidy)

    async def _be_present(self, register: Register) -> None:
        """Be in the register; who was not, was not waited for, so he forgets what he has read before.

        Raises:
            StoreUnavailable: That is in doubt.
        """
        if not await register.present(_BUS):
            self._give_up()
            await register.join(_BUS)
            self._cache.clear()


async def _nothing() -> None:
    pass
