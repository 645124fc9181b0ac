"""A worker as a bus sees it: woken, it says how far it has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from asgi_apikey.models import Acknowledgement
from asgi_apikey.protocols import Bus
from tests.fakes import Gate

SECRET = "aB3-dE5_gH7.jK9+mN1=pQ2/sT4*vW6^yZ8"


class Listener:
    """One worker.

    Attributes:
        position: How far it comes.
        woken: What it was asked for, in order; 0 for "look, you may have missed something".
        before: A gate in front of each look.
        failure: What it raises in place of looking.
    """

    def __init__(self, worker_id: str, position: int = 0) -> None:
        self.worker_id = worker_id
        self.position = position
        self.woken: list[int] = []
        self.before = Gate()
        self.failure: Exception | None = None

    async def catch_up(self, seq: int) -> Acknowledgement:
        """Look at the feed."""
        self.woken.append(seq)
        await self.before.passed()
        if self.failure is not None:
            raise self.failure
        return Acknowledgement(self.worker_id, self.position)


@asynccontextmanager
async def listening(make: Callable[[], Bus], *listeners: Listener) -> AsyncIterator[tuple[Bus, ...]]:
    """A bus for each of them, and one more for who wakes them, closed afterwards."""
    buses = tuple(make() for _ in range(len(listeners) + 1))
    for bus, listener in zip(buses, (Listener("waker"), *listeners), strict=True):
        await bus.open(listener.catch_up)
    try:
        yield buses
    finally:
        for bus in buses:
            await bus.close()
