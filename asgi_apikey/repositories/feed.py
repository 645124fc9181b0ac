"""The change feed of an SQL repository, and the register of the workers that read it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, cast

from asgi_apikey.models import Change, Seconds, Worker
from asgi_apikey.repositories.driver import Driver, Transaction
from asgi_apikey.repositories.records import MICROSECONDS, Row, Value

POSITION: Final = "SELECT max(seq) FROM api_key_changes"
CHANGES: Final = "SELECT seq, key_id, version FROM api_key_changes WHERE seq >= ? ORDER BY seq LIMIT ?"
WORKERS: Final = "SELECT worker_id, bus, beat, lease FROM api_key_workers ORDER BY worker_id"
JOIN: Final = "INSERT INTO api_key_workers (worker_id, bus, beat, lease) VALUES (?, ?, 0, ?) RETURNING worker_id"
BEAT: Final = "UPDATE api_key_workers SET beat = beat + 1 WHERE worker_id = ? RETURNING worker_id"
LEAVE: Final = "DELETE FROM api_key_workers WHERE worker_id = ? RETURNING worker_id"
DISMISS: Final = "DELETE FROM api_key_workers WHERE worker_id = ? AND beat = ? RETURNING worker_id"


class SQLChangeFeed:
    """A `ChangeFeed` over the driver of an `SQLRepository`.

    The register is written without the change lock: workers come and go while changes are made, and whoever
    joins after a change was committed reads a position that includes it.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def position(self) -> int:
        """See `ChangeFeed.position`."""
        [[newest]] = await self._driver.fetch(POSITION)
        return cast(int, newest or 0)

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """See `ChangeFeed.changes`."""
        rows = await self._driver.fetch(CHANGES, (since, limit))
        return [Change(cast(int, seq), cast(str, key_id), cast(int, version)) for seq, key_id, version in rows]

    async def join(self, worker_id: str, bus: str, *, lease: Seconds) -> None:
        """See `ChangeFeed.join`."""
        await self._write(JOIN, (worker_id, bus, math.ceil(lease * MICROSECONDS)))

    async def beat(self, worker_id: str) -> bool:
        """See `ChangeFeed.beat`."""
        return bool(await self._write(BEAT, (worker_id,)))

    async def leave(self, worker_id: str) -> None:
        """See `ChangeFeed.leave`."""
        await self._write(LEAVE, (worker_id,))

    async def workers(self) -> Sequence[Worker]:
        """See `ChangeFeed.workers`."""
        rows = await self._driver.fetch(WORKERS)
        return [
            Worker(cast(str, worker_id), cast(str, bus), cast(int, beat), cast(int, lease) / MICROSECONDS)
            for worker_id, bus, beat, lease in rows
        ]

    async def dismiss(self, worker: Worker) -> None:
        """See `ChangeFeed.dismiss`."""
        await self._write(DISMISS, (worker.worker_id, worker.beat))

    async def _write(self, sql: str, args: Sequence[Value]) -> list[Row]:
        async def work(transaction: Transaction) -> list[Row]:
            return await transaction.fetch(sql, args)

        return await self._driver.write(work)
