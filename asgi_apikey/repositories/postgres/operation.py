"""One unit of work on the database, in a task of its own, and how long its caller waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.driver import allowed
from asgi_apikey.repositories.postgres.session import Session

T = TypeVar("T")


class Operation:
    """What an operation holds and how far it has come, so that it can be ended from outside.

    Attributes:
        session: The session it holds; None while it waits for one.
        began: Whether its transaction is open: from here on, a second try is a new one.
        committing: Whether COMMIT has been sent: only from here on can it leave traces.
        expired: Whether it was ended from outside.
    """

    __slots__ = ("began", "committing", "expired", "session", "task")

    def __init__(self) -> None:
        self.session: Session | None = None
        self.began = False
        self.committing = False
        self.expired = False
        self.task: asyncio.Task[object] | None = None

    def expire(self) -> None:
        """End it now, whatever it waits for. Nothing happens to one that has ended.

        A task inside of asyncpg is never cancelled: asyncpg would ask the server to stop, and wait for its answer.
        Without its connection it fails at once.
        """
        if self.task is None or self.task.done():
            return
        self.expired = True
        if self.session is None:
            self.task.cancel()
        else:
            self.session.terminate()


class Operations:
    """Runs operations that a cancelled caller does not interrupt, and a silent server does not hold up.

    The loop keeps only weak references to tasks, so these are held here until they end.

    Args:
        deadline: Seconds that an operation may take, from the call to the answer.
    """

    def __init__(self, deadline: Seconds) -> None:
        self._deadline = deadline
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(
        self, work: Callable[[Operation], Coroutine[object, object, T]], *, deadline: Seconds | None = None
    ) -> T:
        """Return what `work` returns.

        When the caller is cancelled, an operation that still waits for a session is dropped, and one that has a
        session goes on to its end, at most for another deadline.

        Args:
            work: Keeps the attributes of the operation that it is given.
            deadline: Seconds, if more than the usual ones.

        Raises:
            StoreUnavailable: Out of time; `outcome_unknown` if a COMMIT was on its way.
        """
        operation, patience = Operation(), allowed(self._deadline, deadline)
        task = asyncio.create_task(work(operation))
        operation.task = task
        self._own(task)
        try:
            # `asyncio.wait` leaves the task alone when it is itself cancelled or runs out of time.
            await asyncio.wait({task}, timeout=patience)
        except asyncio.CancelledError:
            if operation.session is None:
                operation.expire()
            else:
                asyncio.get_running_loop().call_later(patience, operation.expire)
            raise
        if task.done() and not task.cancelled():
            return task.result()
        operation.expire()
        raise StoreUnavailable(f"PostgreSQL did not answer within {patience:g} s", outcome_unknown=operation.committing)

    async def finish(self) -> None:
        """Wait for operations whose callers have left, at most for a deadline."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._deadline)

    def _own(self, task: asyncio.Task[T]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Fetched, so that the loop does not report an error that its caller did not stay to hear.
            task.exception()
