"""No trust in memory at all: every request reads the repository, so nobody needs to tell us anything."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

from asgi_apikey.models import Committed, Receipt, Seconds
from asgi_apikey.protocols import VerdictCache


class StrictInvalidation:
    """A lease that never begins, so this process is in no register. Others may be, and hear of what it changes.

    What stays in memory are proofs, so a slow hash is still paid once per key.

    Args:
        cache: This process's cache, whose rejections and proofs are kept up to date.
        announce: Tells the others of a change, and what is known about that.
        close: Releases what that needs.
    """

    fresh_until: Seconds = -math.inf
    refresh_at: Seconds = -math.inf
    counter: Sequence[int] = (0,)
    seen: int = 0
    max_staleness: Seconds = 0.0

    def __init__(
        self,
        cache: VerdictCache,
        announce: Callable[[Committed], Awaitable[Receipt]],
        *,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._cache = cache
        self._announce = announce
        self._close = close

    def refresh(self) -> None:
        """See `Invalidation.refresh`; there is no lease to refresh."""

    async def renew(self) -> None:
        """See `Invalidation.renew`; there is none to be had, so the repository is asked."""

    async def tell(self, committed: Committed) -> None:
        """See `Invalidation.tell`. Whoever remembers that there is no such key hears of it from the feed."""
        self._apply(committed)

    async def announce(self, committed: Committed) -> Receipt:
        """See `Invalidation.announce`."""
        self._apply(committed)
        return await self._announce(committed)

    async def close(self) -> None:
        """See `Invalidation.close`."""
        await self._close()

    def _apply(self, committed: Committed) -> None:
        for change in committed.changes:
            self._cache.invalidate(change)
