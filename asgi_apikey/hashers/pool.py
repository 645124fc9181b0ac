"""Threads for slow hashing: few, bounded, ours alone, with some that strangers never get.

The bound is on threads at work, not on callers that wait. Cancelling a caller does not stop its thread, and a limiter
that is left on cancellation let six hashes run at once under a limit of one; so a place is given back when its thread
is done with it, never before. A full queue is refused before anything is hashed.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import anyio

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.models import Lane, Seconds

T = TypeVar("T")

MAX_DEFAULT_WORKERS: Final = 4
DEFAULT_QUEUE: Final = 32
BUSY_RETRY: Final[Seconds] = 1.0


class HashingPool:
    """Runs work in threads of its own, one share of them for each lane; for asyncio and trio.

    Threads start on first use. A forked child gets a pool of its own. `close` may be followed by further use.

    Args:
        workers: Threads in all. None: one per core this process may use, at least 2 and at most 4.
        queue: How many strangers may wait for a thread.
        reserved: How many of the threads serve the proven lane only; the others serve strangers only.
        reserved_queue: How many may wait in the proven lane; None means as many as strangers.

    Raises:
        ConfigurationError: A lane would have no thread, or a queue is negative.
    """

    def __init__(
        self,
        workers: int | None = None,
        queue: int = DEFAULT_QUEUE,
        *,
        reserved: int = 1,
        reserved_queue: int | None = None,
    ) -> None:
        self.workers = default_workers() if workers is None else workers
        proven_queue = queue if reserved_queue is None else reserved_queue
        if reserved < 1 or self.workers <= reserved:
            raise ConfigurationError(
                f"workers={self.workers} with reserved={reserved} leaves a lane without a thread: "
                f"use reserved=1 and workers=2 or more"
            )
        if queue < 0 or proven_queue < 0:
            raise ConfigurationError("a queue cannot be negative; 0 means: refuse when every thread is busy")
        self._make = partial(make_crew, strangers=(self.workers - reserved, queue), proven=(reserved, proven_queue))
        self._pid = os.getpid()
        self._crew = self._make()

    async def run(self, work: Callable[[], T], *, lane: Lane) -> T:
        """Run `work` in one of the lane's threads and return what it returns.

        If the caller is cancelled, work that has not begun is dropped; work that has begun ends unheard, and its
        thread counts as busy until then.

        Raises:
            Overloaded: Every place of the lane is taken, or the pool was closed while the work waited.
        """
        done = anyio.Event()
        wake = waker(done)
        future, abandoned = self._current()[lane].submit(work)
        future.add_done_callback(lambda _: wake())
        try:
            await done.wait()
        finally:
            abandoned.set()
        try:
            return future.result()
        except CancelledError as error:
            raise Overloaded("the hashing pool was closed", retry_after=BUSY_RETRY) from error

    def close(self) -> None:
        """Drop what waits, let what runs end unheard, and do not wait for it. Idempotent."""
        crew, self._crew = self._current(), self._make()
        for each in crew.values():
            each.close()

    def _current(self) -> dict[Lane, Threads]:
        # Threads do not survive a fork, and a count copied in the middle of a hash would never come down.
        if self._pid != os.getpid():
            self._pid, self._crew = os.getpid(), self._make()
        return self._crew


class Threads:
    """A share of the threads and the queue in front of it.

    Args:
        workers: How many threads.
        queue: How many pieces of work may wait for one.
    """

    def __init__(self, workers: int, queue: int) -> None:
        self._places = threading.Semaphore(workers + queue)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="asgi-apikey-hash")

    def submit(self, work: Callable[[], T]) -> tuple[Future[T], threading.Event]:
        """Queue work. The returned event, once set, makes it be dropped if it has not begun.

        Raises:
            Overloaded: Every place is taken.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded("every place for hashing is taken", retry_after=BUSY_RETRY)
        abandoned = threading.Event()
        place = threading.Lock()  # held once it is given back

        def give_back() -> None:
            if place.acquire(blocking=False):
                self._places.release()

        def attempt() -> T:
            try:
                if abandoned.is_set():
                    raise CancelledError
                return work()
            finally:
                # An abandoned place too is given back only here, when a thread has come by: were it given back at
                # once, a flood of callers that come and go would fill the executor's own queue, which has no bound.
                give_back()

        try:
            return self._executor.submit(attempt), abandoned
        except RuntimeError as error:  # closed meanwhile, or no thread can be started: then it is queued all the same
            abandoned.set()
            give_back()
            raise Overloaded("no thread to hash in", retry_after=BUSY_RETRY) from error

    def close(self) -> None:
        """Cancel what waits; do not wait for what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def make_crew(*, strangers: tuple[int, int], proven: tuple[int, int]) -> dict[Lane, Threads]:
    """Both lanes' threads, each from (workers, queue); none is started yet."""
    return {Lane.STRANGER: Threads(*strangers), Lane.PROVEN: Threads(*proven)}


def waker(event: anyio.Event) -> Callable[[], None]:
    """Return a function that any thread may call to set the event on the event loop that runs now.

    It never waits for that loop, so a stalled loop keeps no thread busy and a closed one keeps none for ever.
    """
    try:
        notify: Callable[[Callable[[], object]], object] = asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio  # only ever reached under trio

        notify = trio.lowlevel.current_trio_token().run_sync_soon

    def wake() -> None:
        try:
            notify(event.set)
        except RuntimeError:  # both libraries' way to say that the loop is gone; then nobody waits any more
            return

    return wake


def default_workers() -> int:
    """One thread per core that this process may use, but 2 at least (one per lane) and 4 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(MAX_DEFAULT_WORKERS, cores))
