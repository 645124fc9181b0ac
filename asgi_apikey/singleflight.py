"""One execution per key at a time; whoever asks meanwhile waits for its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    __slots__ = ("landed", "result")

    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.result: tuple[V] | None = None


class SingleFlight(Generic[K, V]):
    """Joins concurrent work on equal keys.

    The first caller of a key leads and does the work in its own task. If it is cancelled, or its work raises,
    one of the waiters takes the lead: nobody inherits another caller's cancellation or failure. Outcomes that
    the waiters are meant to share, refusals included, are therefore *returned* by the work, not raised.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        """The number of keys being worked on."""
        return len(self._flights)

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """Return the result of `work()`, or of an equal call that is already under way.

        Raises:
            Exception: What this caller's own `work()` raised.
        """
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.result is not None:
                return flight.result[0]
        flight = self._flights[key] = _Flight()
        try:
            value = await work()
            flight.result = (value,)
            return value
        finally:
            del self._flights[key]
            flight.landed.set()
