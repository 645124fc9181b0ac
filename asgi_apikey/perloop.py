"""What belongs to one event loop of one process: connections, locks, tasks."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each event loop: made on first use, remade after a fork, discarded with its loop.

    Args:
        make: Returns the value for the running loop.
        discard: Lets go of a value without waiting, from any thread; its loop may be closed.
    """

    def __init__(self, make: Callable[[], T], discard: Callable[[asyncio.AbstractEventLoop, T], None]) -> None:
        self._make = make
        self._discard = discard
        self._inherited: list[dict[asyncio.AbstractEventLoop, T]] = []
        self._start_in_this_process()

    def here(self) -> T:
        """Return the running loop's value; those of dead loops are cleared away when a new loop comes."""
        if os.getpid() != self._pid:
            # Kept, not discarded: the parent goes on using these very sockets.
            self._inherited.append(self._values)
            self._start_in_this_process()
        loop = asyncio.get_running_loop()
        value = self._values.get(loop)
        if value is None:
            for dead in [each for each in self._values if each.is_closed()]:
                self._discard(dead, self._values.pop(dead))
            value = self._values[loop] = self._make()
        return value

    def take_all(self) -> dict[asyncio.AbstractEventLoop, T]:
        """Forget every loop's value and return them, by loop."""
        taken = dict(self._values) if os.getpid() == self._pid else {}
        for loop in taken:
            self._values.pop(loop, None)
        return taken

    def _start_in_this_process(self) -> None:
        self._pid = os.getpid()
        self._values: dict[asyncio.AbstractEventLoop, T] = {}
        # Without this, what nobody closed is found by the garbage collector, which warns about it.
        weakref.finalize(self, _discard_all, self._values, self._pid, self._discard).atexit = False


def _discard_all(
    values: dict[asyncio.AbstractEventLoop, T], pid: int, discard: Callable[[asyncio.AbstractEventLoop, T], None]
) -> None:
    if os.getpid() == pid:
        for loop, value in values.items():
            discard(loop, value)
