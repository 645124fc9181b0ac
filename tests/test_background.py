"""Work that outlives the request that started it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from asgi_apikey.background import Background
from asgi_apikey.errors import KeyNotFound, StoreUnavailable
from tests.fakes import until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


class Job:
    """Work that ends when it is told to, and knows whether it did."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.go = anyio.Event()
        self.started = 0
        self.finished = 0
        self._failure = failure

    async def __call__(self) -> str:
        """Wait to be told; return or fail."""
        self.started += 1
        await self.go.wait()
        self.finished += 1
        if self._failure is not None:
            raise self._failure
        return "result"


async def test_spawned_work_runs_after_the_caller_has_gone_on() -> None:
    """Nothing of it has happened when `spawn` returns."""
    background, job = Background(), Job()
    background.spawn(job)
    at_once = job.started
    job.go.set()

    assert at_once == 0
    assert await background.drain(10)
    assert job.finished == 1


async def test_spawned_work_survives_the_cancellation_of_its_caller() -> None:
    """Neither a cancelled scope around the caller nor the end of its task group reaches it."""
    background, job = Background(), Job()

    async def caller() -> None:
        background.spawn(job)
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        await until(lambda: job.started)
        tasks.cancel_scope.cancel()
    job.go.set()

    assert await background.drain(10)
    assert job.finished == 1


async def test_running_work_is_not_collected() -> None:
    """The loop itself keeps only weak references to tasks."""
    background, job = Background(), Job()
    background.spawn(job)
    await until(lambda: job.started)
    gc.collect()
    job.go.set()

    assert await background.drain(10)
    assert job.finished == 1


async def test_what_spawned_work_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it, so the log is where it is seen; other work goes on."""
    background = Background()
    failing, fine = Job(RuntimeError("disk full")), Job()
    for job in (failing, fine):
        background.spawn(job)
        job.go.set()

    assert await background.drain(10)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "background work failed")
    ]
    assert "disk full" in caplog.text
    assert fine.finished == 1


async def test_run_returns_the_result() -> None:
    """Of the work, as if it had been awaited here."""
    background, job = Background(), Job()
    job.go.set()

    assert await background.run(job) == "result"


async def test_run_raises_what_the_work_raised(caplog: pytest.LogCaptureFixture) -> None:
    """The very error, which is not logged as well: the caller has it."""
    background, error = Background(), KeyNotFound("k1")
    job = Job(error)
    job.go.set()

    with pytest.raises(KeyNotFound) as caught:
        await background.run(job)

    assert caught.value is error
    assert caplog.records == []


async def test_none_is_a_result() -> None:
    """Work that returns nothing has ended all the same."""

    async def work() -> object:
        await anyio.lowlevel.checkpoint()
        return None

    assert await Background().run(work) is None


async def test_a_cancelled_caller_leaves_its_work_running() -> None:
    """A change that is on its way to the database arrives, whatever becomes of the request."""
    background, job = Background(), Job()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(background.run, job)
        await until(lambda: job.started)
        tasks.cancel_scope.cancel()
    before = job.finished
    job.go.set()

    assert await background.drain(10)
    assert (before, job.finished) == (0, 1)


async def test_draining_waits_for_everything_started_so_far() -> None:
    """And says whether it has ended in time."""
    background, job = Background(), Job()
    background.spawn(job)
    await until(lambda: job.started)
    in_time = await background.drain(0.01)
    job.go.set()

    assert not in_time
    assert await background.drain(10)
    assert job.finished == 1


async def test_draining_when_there_is_nothing_returns_at_once() -> None:
    """Also without any patience."""
    background = Background()

    assert await background.drain(0)


async def test_nothing_is_kept_of_ended_work() -> None:
    """A process runs for months."""
    background = Background()
    for failure in (None, LookupError()):
        job = Job(failure)
        job.go.set()
        background.spawn(job)
    await background.drain(10)

    assert background._running == {}


def test_a_loop_that_ends_tells_whoever_waits() -> None:
    """Work that its loop's end has cancelled may have been done or not, and the error says so."""
    background, job = Background(), Job()
    outcomes: list[object] = []

    async def wait() -> None:
        try:
            await background.run(job)
        except StoreUnavailable as error:
            outcomes.append(error.outcome_unknown)

    async def end_the_work_only() -> None:
        waiting = asyncio.create_task(wait())
        await until(lambda: job.started)
        for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
            task.cancel()
        async with asyncio.timeout(10):
            await waiting

    asyncio.run(end_the_work_only())

    assert outcomes == [True]
    assert background._running == {}


def test_work_cancelled_before_its_first_step_does_not_hold_its_caller() -> None:
    """Such a task never enters its body, so nothing in the body can tell the caller."""
    background, job = Background(), Job()

    async def scenario() -> None:
        waiting = asyncio.create_task(background.run(job))
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
            task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable, match="shut down"):
                await waiting

    asyncio.run(scenario())

    assert job.started == 0


@pytest.mark.parametrize("starting", [lambda background, job: background.spawn(job), None], ids=["spawn", "run"])
def test_loops_may_come_one_after_the_other(starting: Callable[[Background, Job], None] | None) -> None:
    """What one loop's end has cancelled is not waited for in the next."""
    background = Background()

    async def leave_work_behind() -> None:
        job = Job()
        if starting is None:
            caller = asyncio.ensure_future(background.run(job))
            await until(lambda: job.started)
            assert not caller.done()
        else:
            starting(background, job)

    async def go_on() -> str:
        job = Job()
        job.go.set()
        assert await background.drain(0)
        return await background.run(job)

    asyncio.run(leave_work_behind())

    assert asyncio.run(go_on()) == "result"


def test_without_an_event_loop_nothing_is_started_and_nothing_is_kept() -> None:
    """The caller hears of it; a later drain does not wait for what never was."""
    background, job = Background(), Job()

    with pytest.raises(RuntimeError):
        background.spawn(job)

    assert background._running == {}
    assert job.started == 0


async def test_work_may_start_work() -> None:
    """A rehash that is spawned by a change is waited for by a second drain."""
    background, inner = Background(), Job()

    async def outer() -> None:
        background.spawn(inner)
        await anyio.lowlevel.checkpoint()

    background.spawn(outer)
    inner.go.set()

    assert await background.drain(10)
    assert await background.drain(10)
    assert inner.finished == 1


def test_it_takes_any_callable_that_makes_an_awaitable() -> None:
    """Its type says so: `spawn` fits wherever a `Callable[[Callable[[], Awaitable[object]]], None]` is asked for."""
    spawn: Callable[[Callable[[], Awaitable[object]]], None] = Background().spawn

    assert callable(spawn)
