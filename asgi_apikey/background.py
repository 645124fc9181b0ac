"""Work that belongs to the process, not to the request that started it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVar

import anyio

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds

T = TypeVar("T")
_log = logging.getLogger("asgi_apikey")


class Background:
    """Runs coroutines in tasks of their own, on asyncio or trio, and keeps them alive until they end.

    Cancelling a caller never cancels what it started here: a change that is on its way to the database
    arrives, and is announced, whatever becomes of the HTTP request that asked for it.
    """

    def __init__(self) -> None:
        # Tasks on asyncio, their entry on trio: the loop itself keeps only weak references to tasks.
        self._running: dict[object, anyio.Event] = {}

    def spawn(self, work: Callable[[], Awaitable[object]]) -> None:
        """Start `work()` and return at once; what it raises is logged.

        It runs in an empty context: what it logs is not of the request that happened to start it.

        Raises:
            RuntimeError: No event loop is running.
        """
        Context().run(self._start, work)

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Start `work()` in a task of its own and wait for its result; if we are cancelled, it goes on.

        Raises:
            StoreUnavailable: The event loop was shut down before the work ended; `outcome_unknown` is set.
            Exception: What the work raised.
        """
        outcome: list[T] = []
        failure: list[Exception] = []

        async def carry() -> None:
            try:
                outcome.append(await work())
            except Exception as error:
                failure.append(error)

        # The task's own end is waited for: one that is cancelled before its first step never enters `carry`.
        await self._start(carry).wait()
        if failure:
            raise failure[0]
        if not outcome:
            raise StoreUnavailable("the event loop was shut down meanwhile", outcome_unknown=True)
        return outcome[0]

    async def drain(self, patience: Seconds) -> bool:
        """Wait until everything started so far has ended; False when that took longer than `patience`."""
        with anyio.move_on_after(patience):
            for ended in list(self._running.values()):
                await ended.wait()
            return True
        return False

    def _start(self, work: Callable[[], Awaitable[object]]) -> anyio.Event:
        ended = anyio.Event()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # Not asyncio, so trio runs us, if anybody does; its system tasks need no nursery and outlive the
            # caller's scopes.
            trio = sys.modules.get("trio")
            if trio is None:
                raise
            trio.lowlevel.spawn_system_task(self._as_system_task, work, ended)
            self._running[ended] = ended
            return ended
        task = asyncio.ensure_future(_logged(work))
        self._running[task] = ended
        # A callback, not a `finally`: a task cancelled before its first step never enters its body.
        task.add_done_callback(self._ended)
        return ended

    async def _as_system_task(self, work: Callable[[], Awaitable[object]], ended: anyio.Event) -> None:
        try:
            await _logged(work)
        finally:
            self._ended(ended)

    def _ended(self, entry: object) -> None:
        self._running.pop(entry).set()


async def _logged(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except Exception:
        _log.exception("background work failed", extra={"event": "background_failed"})
