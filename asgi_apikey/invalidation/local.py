"""Invalidation within one process: the issuer and the cache are in the same memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asgi_apikey.models import Committed, Receipt, Seconds
from asgi_apikey.protocols import Clock, VerdictCache


class LocalInvalidation:
    """Drops changed keys from this process's cache, at once.

    It knows nothing of other processes, so it confirms a change only when told that there are none;
    otherwise what they have cached ends with `cache_ttl`, and the receipt says so.

    Args:
        cache: This process's cache.
        clock: For the time a receipt took.
        alone: No other process uses the same store (`memory:`, or `single_process=True`).
        cache_ttl: Seconds that another process may serve an older verdict.
    """

    counter: Sequence[int]

    def __init__(self, cache: VerdictCache, clock: Clock, *, alone: bool, cache_ttl: Seconds) -> None:
        self._cache = cache
        self._clock = clock
        self._alone = alone
        self._cache_ttl = cache_ttl
        # Of the instance, not of the class: the interpreter finds these in half the time.
        self.fresh_until = self.refresh_at = math.inf
        self.counter = (0,)
        self.seen = 0

    @property
    def max_staleness(self) -> Seconds:
        """See `Invalidation.max_staleness`."""
        return 0.0 if self._alone else self._cache_ttl

    def refresh(self) -> None:
        """See `Invalidation.refresh`; never due."""

    async def renew(self) -> None:
        """See `Invalidation.renew`; the lease of a single process never ends."""

    async def tell(self, committed: Committed) -> None:
        """See `Invalidation.tell`."""
        for change in committed.changes:
            self._cache.invalidate(change)

    async def announce(self, committed: Committed) -> Receipt:
        """See `Invalidation.announce`."""
        began = self._clock.monotonic()
        await self.tell(committed)
        return Receipt(
            record=committed.record,
            confirmed=self._alone,
            workers=1,
            acknowledged=1,
            elapsed=self._clock.monotonic() - began,
            max_staleness=self.max_staleness,
        )

    async def close(self) -> None:
        """See `Invalidation.close`; there is nothing to give back."""
