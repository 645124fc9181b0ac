"""Keys that end soon, each told once for every span of time that somebody wants to know it in advance."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Final

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import Instant, KeyQuery, KeyRecord, Seconds, SortBy, Status
from asgi_apikey.protocols import Clock, KeyRepository, Notices

_PAGE: Final = 100


class ExpiryWatch:
    """Finds keys that end soon.

    Args:
        repository: Where they are.
        notices: Keeps what was told.
        tell: Is told each key once for each span.
        clock: Tells when.
    """

    def __init__(
        self,
        repository: KeyRepository,
        notices: Notices,
        *,
        tell: Callable[[KeyRecord, Seconds], None],
        clock: Clock,
    ) -> None:
        self._repository = repository
        self._notices = notices
        self._tell = tell
        self._clock = clock

    async def tell(self, within: Seconds) -> int:
        """Tell of every active key that ends within so many seconds; return how many were told now.

        A key is told once for each span and each end: not again tomorrow, nor by another process, but when it was given
        another end.

        Raises:
            InvalidRequest: Not a positive number of seconds.
            StoreUnavailable: The repository did not answer.
        """
        if not 0 < within < math.inf:
            raise InvalidRequest("within= must be a positive number of seconds, such as 14 * DAY")
        now, told = self._clock.wall(), 0
        async for page in self._pages(now, now + within):
            claimed = await self._notices.claim([_notice(each, within) for each in page], now)
            for record in page:
                if _notice(record, within) in claimed:
                    self._tell(record, within)
                    told += 1
        return told

    async def _pages(self, since: Instant, until: Instant) -> AsyncIterator[tuple[KeyRecord, ...]]:
        cursor: str | None = None
        while True:
            query = KeyQuery(
                status=Status.ACTIVE,
                expires_after=since,
                expires_before=until,
                sort=SortBy.EXPIRES_AT,
                ascending=True,
                limit=_PAGE,
                cursor=cursor,
            )
            page = await self._repository.find(query, now=since)
            yield page.records
            if (cursor := page.next_cursor) is None:
                return


def _notice(record: KeyRecord, within: Seconds) -> tuple[str, str]:
    assert record.expires_at is not None, "the search is for keys with an end"
    return record.key_id, f"expires {record.expires_at:.6f} within {within:g}"
