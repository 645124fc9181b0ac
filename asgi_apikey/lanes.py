"""A bounded number at work, a bounded number waiting, a bounded wait: everything beyond is refused at once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import anyio

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.models import Seconds


class _Waiter:
    __slots__ = ("admitted", "called")

    def __init__(self) -> None:
        self.called = anyio.Event()
        self.admitted = False


class BoundedLane:
    """Admits at most `slots` holders; others queue in order, at most `queue` of them, for at most `patience`.

    Args:
        slots: Holders at one time, at least 1.
        queue: Waiters beyond them.
        patience: Seconds a waiter waits before it is refused.
        per_key: Holders and waiters together that may name the same key, so that a flood on one key
            leaves room for the others; None for no such share.

    Raises:
        ConfigurationError: A bound that admits nobody.
    """

    def __init__(self, slots: int, queue: int, *, patience: Seconds, per_key: int | None = None) -> None:
        if slots < 1 or queue < 0 or not patience > 0 or (per_key is not None and per_key < 1):
            raise ConfigurationError("a lane needs slots >= 1, queue >= 0, patience > 0 and per_key >= 1 or None")
        self._free = slots
        self._queue = queue
        self._patience = patience
        self._per_key = per_key
        self._waiting: deque[_Waiter] = deque()
        self._present: Counter[Hashable] = Counter()

    @asynccontextmanager
    async def slot(self, key: Hashable) -> AsyncIterator[None]:
        """Hold one slot for the body of the `async with`.

        Raises:
            Overloaded: The queue or the key's share is full, the wait took too long, or all who waited were refused.
        """
        if self._per_key is not None and self._present[key] >= self._per_key:
            raise Overloaded("too many requests with this key at once")
        self._present[key] += 1
        try:
            await self._enter()
            try:
                yield
            finally:
                self._leave()
        finally:
            self._present[key] -= 1
            if not self._present[key]:
                del self._present[key]

    def refuse_waiting(self) -> None:
        """Refuse everybody who waits now: what they wait for would not be served either."""
        for waiter in self._waiting:
            waiter.called.set()
        self._waiting.clear()

    async def _enter(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise Overloaded("the queue is full")
        waiter = _Waiter()
        self._waiting.append(waiter)
        try:
            with anyio.move_on_after(self._patience):
                await waiter.called.wait()
        except BaseException:
            self._withdraw(waiter)
            raise
        # Called and timed out in the same turn of the loop: the slot is ours, so it is used.
        if not waiter.admitted:
            self._withdraw(waiter)
            raise Overloaded("waited in vain" if waiter.called.is_set() else "waited too long in the queue")

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter.admitted:
            self._leave()
        elif waiter in self._waiting:
            self._waiting.remove(waiter)

    def _leave(self) -> None:
        if self._waiting:
            waiter = self._waiting.popleft()
            waiter.admitted = True
            waiter.called.set()
        else:
            self._free += 1
