"""Bounded threads: who waits, who is refused, and what cancelling does not do."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.hashers.pool import HashingPool, default_workers
from asgi_apikey.models import Lane

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The pool runs on both event loops."""
    backend: str = request.param
    return backend


class Gate:
    """Work that starts, and ends when the test says so."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._starts = threading.Semaphore(0)
        self._lock = threading.Lock()
        self.started = 0
        self.at_work = 0
        self.peak = 0

    def __call__(self) -> str:
        """Run in a thread until the gate is open."""
        with self._lock:
            self.started += 1
            self.at_work += 1
            self.peak = max(self.peak, self.at_work)
        self._starts.release()
        assert self._open.wait(30)
        with self._lock:
            self.at_work -= 1
        return "done"

    async def wait_for_start(self) -> None:
        """Return once one more piece of work has started."""
        assert await anyio.to_thread.run_sync(self._starts.acquire, True, 30)

    def open(self) -> None:
        """Let all work end."""
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open after the test, so that no thread stays behind."""
    gate = Gate()
    yield gate
    gate.open()


async def settled(pool: HashingPool, work: Callable[[], str], lane: Lane) -> str:
    """Run work as soon as there is a place for it."""
    with anyio.fail_after(30):
        while True:
            try:
                return await pool.run(work, lane=lane)
            except Overloaded:
                await anyio.sleep(0.001)  # a thread is on its way out; nothing tells when it has gone


@pytest.mark.parametrize("lane", Lane)
async def test_work_is_done_in_another_thread(lane: Lane) -> None:
    """The caller gets what the work returned, and the event loop's thread did not do it."""
    pool = HashingPool(2)

    assert await pool.run(threading.get_ident, lane=lane) != threading.get_ident()


async def test_what_the_work_raises_is_raised() -> None:
    """An error is the caller's, and gives its place back."""
    pool = HashingPool(2, 0)

    def fail() -> str:
        raise LookupError("no such thing")

    for _ in range(3):
        with pytest.raises(LookupError, match="no such thing"):
            await settled(pool, fail, Lane.STRANGER)


async def test_a_full_queue_refuses_before_any_work(gate: Gate) -> None:
    """One works, one waits, the third is refused at once; nothing of it runs."""
    pool = HashingPool(2, 1)
    refused = Gate()
    results = []

    async def ask() -> None:
        results.append(await pool.run(gate, lane=Lane.STRANGER))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await gate.wait_for_start()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded) as raised:
            await pool.run(refused, lane=Lane.STRANGER)
        gate.open()

    assert raised.value.retry_after > 0
    assert refused.started == 0
    assert results == ["done", "done"]


async def test_strangers_never_take_the_reserved_thread(gate: Gate) -> None:
    """With every stranger's thread and queue place taken, proven keys are served at once."""
    pool = HashingPool(4, 8, reserved=1)

    async with anyio.create_task_group() as tasks:
        for _ in range(3 + 8):
            tasks.start_soon(lambda: pool.run(gate, lane=Lane.STRANGER))
        for _ in range(3):
            await gate.wait_for_start()
        with pytest.raises(Overloaded):
            await pool.run(gate, lane=Lane.STRANGER)

        assert await pool.run(lambda: "served", lane=Lane.PROVEN) == "served"
        gate.open()

    assert gate.peak == 3


async def test_the_proven_lane_is_bounded_too(gate: Gate) -> None:
    """Its own thread, its own queue; strangers' places are not used for it."""
    pool = HashingPool(2, 5, reserved_queue=0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: pool.run(gate, lane=Lane.PROVEN))
        await gate.wait_for_start()
        with pytest.raises(Overloaded):
            await pool.run(gate, lane=Lane.PROVEN)

        assert await pool.run(lambda: "served", lane=Lane.STRANGER) == "served"
        gate.open()


async def test_a_cancelled_caller_leaves_its_thread_busy(gate: Gate) -> None:
    """Cancelling frees no place while the thread works; the place comes back when it ends."""
    pool = HashingPool(2, 0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: pool.run(gate, lane=Lane.STRANGER))
        await gate.wait_for_start()
        tasks.cancel_scope.cancel()

    with pytest.raises(Overloaded):
        await pool.run(gate, lane=Lane.STRANGER)
    assert await pool.run(lambda: "served", lane=Lane.PROVEN) == "served"
    gate.open()
    assert await settled(pool, lambda: "served", Lane.STRANGER) == "served"
    assert gate.started == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_leaves_its_thread_busy_too(gate: Gate) -> None:
    """The same for `task.cancel()`, which does not go through a cancel scope."""
    pool = HashingPool(3, 4)
    tasks = [asyncio.create_task(pool.run(gate, lane=Lane.STRANGER)) for _ in range(6)]
    for _ in range(2):
        await gate.wait_for_start()

    for each in tasks:
        each.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
    for _ in range(50):
        with pytest.raises(Overloaded):
            await pool.run(gate, lane=Lane.STRANGER)
    assert await pool.run(lambda: "served", lane=Lane.PROVEN) == "served"
    gate.open()
    assert await settled(pool, lambda: "served", Lane.STRANGER) == "served"
    assert (gate.started, gate.peak) == (2, 2)


async def test_abandoned_work_is_not_begun(gate: Gate) -> None:
    """What a cancelled caller had waiting in the queue is never hashed."""
    pool = HashingPool(2, 1)
    abandoned = Gate()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: pool.run(gate, lane=Lane.STRANGER))
        await gate.wait_for_start()
        with anyio.move_on_after(0):
            await pool.run(abandoned, lane=Lane.STRANGER)
        gate.open()

    assert await settled(pool, lambda: "served", Lane.STRANGER) == "served"
    assert abandoned.started == 0


async def test_every_place_comes_back() -> None:
    """After hundreds of calls, cancelled at any moment, exactly as many places are free as at the start."""
    pool = HashingPool(3, 2)
    rng = random.Random(11)

    async def call() -> None:
        lane = rng.choice(list(Lane))
        with anyio.move_on_after(rng.choice([0, 0.0005, 10])):
            try:
                await pool.run(lambda: sum(range(2_000)), lane=lane)
            except Overloaded:
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(500):
            tasks.start_soon(call)
            if rng.random() < 0.3:
                await anyio.lowlevel.checkpoint()

    for lane, places in ((Lane.STRANGER, 2 + 2), (Lane.PROVEN, 1 + 2)):
        gate = Gate()
        await settled(pool, lambda: "settled", lane)
        async with anyio.create_task_group() as tasks:
            for _ in range(places):
                tasks.start_soon(settled, pool, gate, lane)
            await gate.wait_for_start()
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Overloaded):
                await pool.run(gate, lane=lane)
            gate.open()
        assert gate.started == places


async def test_closing_refuses_what_waits(gate: Gate) -> None:
    """Work in the queue is refused, work at hand ends, and the pool may be used again."""
    pool = HashingPool(2, 1)
    outcomes = []

    async def ask() -> None:
        try:
            outcomes.append(await pool.run(gate, lane=Lane.STRANGER))
        except Overloaded:
            outcomes.append("refused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await gate.wait_for_start()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        pool.close()
        pool.close()

        assert await pool.run(lambda: "again", lane=Lane.STRANGER) == "again"
        gate.open()

    assert sorted(outcomes) == ["done", "refused"]
    pool.close()


async def test_when_no_thread_starts_the_answer_is_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without threads to give is a reason to answer 503; no place is lost, none is made up."""
    pool = HashingPool(2, 0)
    gate = Gate()

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for _ in range(3):
            with pytest.raises(Overloaded):
                await pool.run(gate, lane=Lane.STRANGER)

    assert await pool.run(lambda: "served", lane=Lane.STRANGER) == "served"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(settled, pool, gate, Lane.STRANGER)
        await gate.wait_for_start()
        with pytest.raises(Overloaded):
            await pool.run(gate, lane=Lane.STRANGER)
        gate.open()
    assert gate.started == 1


def test_two_event_loops_share_a_pool(gate: Gate) -> None:
    """Each caller is woken on its own loop."""
    pool = HashingPool(3, 4)
    results = []

    def loop(backend: str) -> None:
        async def ask() -> str:
            return await pool.run(gate, lane=Lane.STRANGER)

        results.append(anyio.run(ask, backend=backend))

    threads = [threading.Thread(target=loop, args=(backend,)) for backend in ("asyncio", "trio")]
    for each in threads:
        each.start()
    gate.open()
    for each in threads:
        each.join(30)

    assert results == ["done", "done"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_is_gone_disturbs_nobody(backend: str, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """A thread that ends after its caller's loop was closed says nothing and serves the next one."""
    pool = HashingPool(2, 0)

    async def give_up() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: pool.run(gate, lane=Lane.STRANGER))
            await gate.wait_for_start()
            tasks.cancel_scope.cancel()

    anyio.run(give_up, backend=backend)
    with caplog.at_level(logging.DEBUG, "concurrent.futures"):
        gate.open()
        served = anyio.run(settled, pool, lambda: "served", Lane.STRANGER, backend=backend)

    assert served == "served"
    assert caplog.records == []


def test_a_forked_child_has_threads_of_its_own(gate: Gate) -> None:
    """The parent's threads do not exist in the child; its busy places are not inherited either."""
    pool = HashingPool(2, 0)
    parent = threading.Thread(target=lambda: anyio.run(lambda: pool.run(gate, lane=Lane.STRANGER)))
    parent.start()
    assert gate._starts.acquire(timeout=30)

    child = os.fork()
    if child == 0:  # no assertion here: only the exit status comes back
        status = 1
        try:
            for lane in Lane:
                anyio.run(partial(pool.run, str, lane=lane))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    gate.open()
    parent.join(30)

    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(("workers", "reserved"), [(1, 1), (2, 0), (0, 1), (-1, 1), (2, 2), (3, -1)])
def test_a_lane_without_a_thread_is_refused(workers: int, reserved: int) -> None:
    """It would refuse everything, or wait for ever; it fails while wiring."""
    with pytest.raises(ConfigurationError, match="workers=2 or more"):
        HashingPool(workers, reserved=reserved)


@pytest.mark.parametrize(("queue", "reserved_queue"), [(-1, 0), (0, -1)])
def test_a_negative_queue_is_refused(queue: int, reserved_queue: int) -> None:
    """Zero is the least: refuse whenever every thread is busy."""
    with pytest.raises(ConfigurationError, match="negative"):
        HashingPool(2, queue, reserved_queue=reserved_queue)


def test_by_default_there_are_as_many_threads_as_cores() -> None:
    """Within 2, one for each lane, and 4."""
    assert 2 <= default_workers() <= 4
    assert HashingPool().workers == default_workers()
