"""Deadlines of many calls, watched by one timer."""

from __future__ import annotations

import asyncio
import gc

import anyio
import pytest

from asgi_apikey.repositories.deadlines import Deadlines

pytestmark = pytest.mark.anyio


async def test_a_call_in_time_is_left_alone() -> None:
    """Its result is returned, its errors are its own, and the task is not marked as cancelled."""
    deadlines = Deadlines()
    with deadlines.within(60.0):
        await asyncio.sleep(0)
    with pytest.raises(LookupError), deadlines.within(60.0):
        raise LookupError
    task = asyncio.current_task()

    assert task is not None
    assert task.cancelling() == 0


async def test_a_call_that_takes_too_long_ends_with_a_timeout() -> None:
    """As with `asyncio.timeout`; afterwards the task can wait for something else."""
    deadlines = Deadlines()

    with pytest.raises(TimeoutError), deadlines.within(0.01):
        await asyncio.Event().wait()
    await asyncio.sleep(0)


async def test_each_call_has_its_own_deadline() -> None:
    """Long before short, short before long: each one ends when its own time is up, in that order."""
    deadlines = Deadlines()
    ended: list[float] = []

    async def call(deadline: float) -> None:
        try:
            with deadlines.within(deadline):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append(deadline)

    calls = [asyncio.ensure_future(call(each)) for each in (0.05, 0.01, 60.0, 0.03)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([each for each in calls if each is not calls[2]])
    alive = not calls[2].done()
    calls[2].cancel()
    await asyncio.wait({calls[2]})

    assert ended == [0.01, 0.03, 0.05]
    assert alive


async def test_many_calls_in_time_set_one_timer() -> None:
    """That is what it is for."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines()
    for _ in range(1_000):
        with deadlines.within(60.0):
            await asyncio.sleep(0)
    timers = [each for each in loop._scheduled if each._callback == deadlines._ring]  # type: ignore[attr-defined]
    deadlines._timer.cancel()  # type: ignore[union-attr]

    assert len(timers) == 1


async def test_a_timer_that_rings_for_nobody_sets_no_other() -> None:
    """An idle loop is left in peace."""
    deadlines = Deadlines()
    with deadlines.within(0.01):
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)

    assert deadlines._timer is None


async def test_somebody_elses_cancellation_stays_one() -> None:
    """Natively, and by a cancel scope around the call: it is no timeout, also where the time is up in the same turn."""
    deadlines = Deadlines()
    entered = asyncio.Event()

    async def call(deadline: float) -> None:
        with deadlines.within(deadline):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(call(60.0))
    await entered.wait()
    task.cancel()
    await asyncio.wait({task})
    with anyio.move_on_after(0.01) as scope:
        await call(60.0)
    both = asyncio.ensure_future(call(60.0))
    await asyncio.sleep(0)
    [watched] = deadlines._calls
    both.cancel()
    watched.expire()
    await asyncio.wait({both})

    assert task.cancelled()
    assert scope.cancelled_caught
    assert both.cancelled()


async def test_what_has_ended_is_not_held() -> None:
    """Neither the calls nor their tasks outlive the call."""
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.within(0.001):
        await asyncio.Event().wait()
    with deadlines.within(60.0):
        pass
    gc.collect()

    assert deadlines._calls == set()
