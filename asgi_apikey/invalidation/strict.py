"""No trust in memory at all: every request reads the repository, so there is nobody to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asgi_apikey.models import Committed, Receipt, Seconds
from asgi_apikey.protocols import VerdictCache


class StrictInvalidation:
    """A lease that never begins. A change holds everywhere from its commit on, if every process is as strict.

    What stays in memory are proofs, so a slow hash is still paid once per key.

    Args:
        cache: This process's cache, whose rejections and proofs are kept up to date.
    """

    fresh_until: Seconds = -math.inf
    refresh_at: Seconds = -math.inf
    counter: Sequence[int] = (0,)
    seen: int = 0
    max_staleness: Seconds = 0.0

    def __init__(self, cache: VerdictCache) -> None:
        self._cache = cache

    def refresh(self) -> None:
        """See `Invalidation.refresh`; there is no lease to refresh."""

    async def renew(self) -> None:
        """See `Invalidation.renew`; there is none to be had, so the repository is asked."""

    async def tell(self, committed: Committed) -> None:
        """See `Invalidation.tell`."""
        for change in committed.changes:
            self._cache.invalidate(change)

    async def announce(self, committed: Committed) -> Receipt:
        """See `Invalidation.announce`."""
        await self.tell(committed)
        return Receipt(
            record=committed.record, confirmed=True, workers=1, acknowledged=1, elapsed=0.0, max_staleness=0.0
        )

    async def close(self) -> None:
        """See `Invalidation.close`; there is nothing to give back."""
