"""What was told once and is not told again, in a table or in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from asgi_apikey.models import DAY, Instant, Seconds
from asgi_apikey.repositories.driver import Driver, Transaction
from asgi_apikey.repositories.records import MICROSECONDS, to_micros

KEPT: Final[Seconds] = 400 * DAY
"""Longer than anybody wants to be told in advance that a key expires."""

Notice = tuple[str, str]

CLAIM: Final = """
    INSERT INTO api_key_notices (key_id, notice, at) VALUES (?, ?, ?)
    ON CONFLICT (key_id, notice) DO NOTHING RETURNING key_id
"""
FORGET: Final = "DELETE FROM api_key_notices WHERE at < ?"


class SQLNotices:
    """A `Notices` over the driver of an `SQLRepository`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def claim(self, notices: Sequence[Notice], at: Instant) -> Collection[Notice]:
        """See `Notices.claim`."""
        now = to_micros(at)
        # In one order, whoever asks: two that claim the same at once would wait for each other.
        wanted = sorted(set(notices))

        async def work(transaction: Transaction) -> Collection[Notice]:
            await transaction.fetch(FORGET, (now - round(KEPT * MICROSECONDS),))
            return [each for each in wanted if await transaction.fetch(CLAIM, (*each, now))]

        return await self._driver.write(work) if wanted else ()


class MemoryNotices:
    """A `Notices` in this process."""

    def __init__(self) -> None:
        self._claimed: dict[Notice, Instant] = {}

    async def claim(self, notices: Sequence[Notice], at: Instant) -> Collection[Notice]:
        """See `Notices.claim`."""
        self._claimed = {each: then for each, then in self._claimed.items() if then >= at - KEPT}
        new = [each for each in dict.fromkeys(notices) if each not in self._claimed]
        self._claimed.update(dict.fromkeys(new, at))
        return new
