"""Tasks that outlive the caller who asked for them, and how long that caller waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds

T = TypeVar("T")


class Progress:
    """How far a piece of owned work has come.

    Attributes:
        begun: From here on it may leave traces, so nobody may cancel it and not know what it left.
    """

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


class OwnedTasks:
    """Runs work in tasks of their own: a cancelled request neither cancels nor half-does a write that has begun.

    The loop keeps only weak references to tasks, so these are held here until they end. asyncio only.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, work: Callable[[Progress], Coroutine[object, object, T]], *, patience: Seconds, what: str) -> T:
        """Wait for `work` at most `patience` seconds.

        When we are cancelled or out of patience, work that has not begun (it waits for a lock, say) is cancelled,
        and work that has begun goes on.

        Args:
            work: Sets `begun` on what it is given, just before it may leave traces.
            patience: Seconds.
            what: Says in a message what took too long.

        Raises:
            StoreUnavailable: Out of patience, or the loop is being shut down; `outcome_unknown` if it had begun.
        """
        progress = Progress()
        task = asyncio.create_task(work(progress))
        self._own(task)
        try:
            # `asyncio.wait` leaves the task alone when it is itself cancelled, unlike `await task`.
            await asyncio.wait({task}, timeout=patience)
        finally:
            if not progress.begun:
                task.cancel()
        if task.done() and not task.cancelled():
            return task.result()
        raise StoreUnavailable(f"{what} took more than {patience:g} s", outcome_unknown=progress.begun)

    def spawn(self, work: Coroutine[object, object, object]) -> None:
        """Run `work` with nobody waiting for it."""
        self._own(asyncio.create_task(work))

    async def finish(self, *, patience: Seconds) -> None:
        """Wait at most `patience` seconds for what is still under way, whoever has asked for it."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)

    def _own(self, task: asyncio.Task[T]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Fetched, so that the loop does not report an error that its caller did not stay to hear.
            task.exception()
