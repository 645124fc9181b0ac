"""One unit of work in a fresh task, which nobody interrupts inside of `databases`.

`databases` ties a connection to the task that asked for it. A cancelled call leaves that connection taken, its
transaction open, and the task unable to ever ask again ("Connection is already acquired"); a pool of four was lost
after 3 to 19 rounds of cancelled transactions. So a caller never touches `databases` himself: he waits for a task that
does one unit of work and ends, and when time is up, what the unit waits for is ended, not the unit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds

T = TypeVar("T")

_GRACE: Final[Seconds] = 0.1
"""How long a unit whose time is up may take to say how it ended."""


class Unit:
    """How far a unit of work has come, and how to end it from outside.

    Attributes:
        deadline: Seconds that it has.
        ends_at: When its time is up, on the loop's clock.
        end: Ends what it waits for now: at first the task itself, later the statement or the connection.
        holding: Whether it holds a connection: a caller who leaves now leaves it to its end.
        began: Whether its transaction is open: what fails from here on is not tried again.
        committing: Whether COMMIT may have been sent: only from here on can it leave traces.
        expired: Whether its time is up.
    """

    __slots__ = ("began", "committing", "deadline", "end", "ends_at", "expired", "holding")

    def __init__(self, deadline: Seconds, ends_at: Seconds) -> None:
        self.deadline = deadline
        self.ends_at = ends_at
        self.end: Callable[[], object] = nothing
        self.holding = False
        self.began = False
        self.committing = False
        self.expired = False

    def expire(self) -> None:
        """Its time is up."""
        self.expired = True
        self.end()

    def check_time(self) -> None:
        """Go on, unless the unit's time is up.

        Raises:
            StoreUnavailable: It is.
        """
        if self.expired:
            raise StoreUnavailable("time is up")


class Units:
    """Runs units of work. The loop keeps only weak references to tasks, so these are held here until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, work: Callable[[Unit], Coroutine[object, object, T]], *, deadline: Seconds) -> T:
        """Return what `work` returns.

        When the caller is cancelled, a unit that holds no connection yet is dropped; one that does goes on, under the
        same deadline.

        Args:
            work: What to do; keeps the attributes of the unit it is given.
            deadline: Seconds from now; the answer may take 0.1 s more.

        Raises:
            StoreUnavailable: Out of time; `outcome_unknown` if a COMMIT may have been sent and no answer came.
        """
        loop = asyncio.get_running_loop()
        unit = Unit(deadline, loop.time() + deadline)
        task = asyncio.create_task(work(unit))
        unit.end = task.cancel
        # Not the caller's business: he may have left, and somebody must still end what hangs.
        timer = loop.call_at(unit.ends_at, unit.expire)
        self._own(task, timer)
        try:
            # `asyncio.wait` leaves the task alone when it is itself cancelled, unlike `await task`.
            await asyncio.wait({task}, timeout=deadline + _GRACE)
        except asyncio.CancelledError:
            if not unit.holding:
                unit.expire()
            raise
        try:
            if task.done() and not task.cancelled():
                return task.result()
        except StoreUnavailable as error:
            if not unit.expired:
                raise
            raise _late(deadline, outcome_unknown=error.outcome_unknown) from error
        raise _late(deadline, outcome_unknown=unit.committing)

    async def finish(self, *, patience: Seconds) -> None:
        """Wait at most `patience` seconds for units whose callers have left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)

    def _own(self, task: asyncio.Task[T], timer: asyncio.TimerHandle) -> None:
        self._tasks.add(task)

        def disown(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            timer.cancel()
            if not task.cancelled():
                # Fetched, so that the loop does not report an error that its caller did not stay to hear.
                task.exception()

        task.add_done_callback(disown)


def _late(deadline: Seconds, *, outcome_unknown: bool) -> StoreUnavailable:
    return StoreUnavailable(f"the database did not answer within {deadline:g} s", outcome_unknown=outcome_unknown)


def nothing() -> None:
    """The `end` of a unit that must not be interrupted where it is."""
