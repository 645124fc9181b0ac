"""A change feed in memory, whose store can be put back to an older state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asgi_apikey.models import Change, Seconds, Worker
from asgi_apikey.repositories.memory import MemoryRepository


class MemoryFeed:
    """The `ChangeFeed` of a `MemoryRepository`.

    Attributes:
        registered: Who is in the register, by id.
    """

    def __init__(self, repository: MemoryRepository) -> None:
        self._rows = repository._feed
        self.registered: dict[str, Worker] = {}

    async def position(self) -> int:
        """See `ChangeFeed.position`."""
        return self._rows[-1].seq if self._rows else 0

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """See `ChangeFeed.changes`."""
        return [row for row in self._rows[max(since - 1, 0) :] if row.seq >= since][:limit]

    async def join(self, worker_id: str, bus: str, *, lease: Seconds) -> None:
        """See `ChangeFeed.join`."""
        self.registered[worker_id] = Worker(worker_id, bus, 0, lease)

    async def beat(self, worker_id: str) -> bool:
        """See `ChangeFeed.beat`."""
        worker = self.registered.get(worker_id)
        if worker is not None:
            self.registered[worker_id] = replace(worker, beat=worker.beat + 1)
        return worker is not None

    async def leave(self, worker_id: str) -> None:
        """See `ChangeFeed.leave`."""
        self.registered.pop(worker_id, None)

    async def workers(self) -> Sequence[Worker]:
        """See `ChangeFeed.workers`."""
        return list(self.registered.values())

    async def dismiss(self, worker: Worker) -> None:
        """See `ChangeFeed.dismiss`."""
        if self.registered.get(worker.worker_id) == worker:
            del self.registered[worker.worker_id]

    def append(self, key_id: str, version: int = 1) -> Change:
        """Commit a change."""
        change = Change(len(self._rows) + 1, key_id, version)
        self._rows.append(change)
        return change

    def put_back(self, position: int) -> None:
        """Have the store as it was at a position of its feed, without anybody who has joined since."""
        del self._rows[position:]
        self.registered.clear()
