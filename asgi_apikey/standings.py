"""Whether a key that was let in would be let in again: for connections that stay open, and ask again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from asgi_apikey.models import Principal, Seconds
from asgi_apikey.protocols import Clock, Invalidation, VerdictCache

Recheck: TypeAlias = Callable[[bytes], Awaitable[Principal]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What this process knew when it began to look at a key that it then found good.

    Attributes:
        mark: Of the cache: the changes that had been applied.
        at: On the monotonic clock.
    """

    mark: int
    at: Seconds


class Standings:
    """Tells whether what was found out about a key still holds, as a request with that key would be told.

    Args:
        recheck: Verifies a presented key anew; counted nowhere, for nobody presents it.
        cache: Where changes are applied.
        invalidation: Tells whether all changes have been that we must know of.
        clock: Monotonic.
        ttl: Seconds after which a key is looked at again though nobody has told of a change.
    """

    def __init__(
        self, recheck: Recheck, *, cache: VerdictCache, invalidation: Invalidation, clock: Clock, ttl: Seconds
    ) -> None:
        self.recheck = recheck
        self._cache = cache
        self._invalidation = invalidation
        self._monotonic = clock.monotonic
        self._ttl = ttl

    def look(self) -> Sight:
        """Return what is known now; to be taken before a key is looked at."""
        return Sight(self._cache.mark(), self._monotonic())

    def holds(self, key_id: str, since: Sight) -> bool:
        """Whether a key that was good at `since` is so still: nothing has changed, and else we would have heard."""
        now, invalidation = self._monotonic(), self._invalidation
        if now >= invalidation.fresh_until or invalidation.counter[0] != invalidation.seen:
            return False
        if now >= invalidation.refresh_at:
            # Who stays drives the polls as requests do.
            invalidation.refresh()
        return now < since.at + self._ttl and self._cache.settled(key_id, None, since.mark)

    async def renewed(self, key_id: str, since: Sight) -> bool:
        """Hear what there is to hear, and say whether the key is known to be as good as it was; never raises."""
        await self._invalidation.renew()
        return self.holds(key_id, since)
