"""One execution per key at a time, whoever is cancelled and whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_apikey.singleflight import SingleFlight
from tests.fakes import until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


class Work:
    """Work that ends when it is told to; each start is numbered."""

    def __init__(self) -> None:
        self.starts = 0
        self.running = 0
        self.most = 0
        self.failing: set[int] = set()
        self.ends: dict[int, anyio.Event] = {}

    async def __call__(self) -> int:
        """Return the number of this start, unless that one is to fail."""
        self.starts += 1
        number = self.starts
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.ends.setdefault(number, anyio.Event()).wait()
            if number in self.failing:
                raise LookupError(number)
            return number
        finally:
            self.running -= 1

    def end(self, number: int) -> None:
        """Let this start end."""
        self.ends.setdefault(number, anyio.Event()).set()


class Callers:
    """Tasks that call `run`, and what became of them."""

    def __init__(self, flights: SingleFlight[str, int], work: Callable[[], Awaitable[int]]) -> None:
        self._flights = flights
        self._work = work
        self.scopes: dict[str, anyio.CancelScope] = {}
        self.outcomes: dict[str, object] = {}

    async def call(self, name: str, key: str = "key") -> None:
        """Call, as a task of this name."""
        with anyio.CancelScope() as self.scopes[name]:
            try:
                self.outcomes[name] = await self._flights.run(key, self._work)
            except LookupError as error:
                self.outcomes[name] = f"failed {error}"
        self.outcomes.setdefault(name, "cancelled")


async def test_callers_of_one_key_share_one_execution() -> None:
    """Two hundred at once, one piece of work, one result."""
    flights: SingleFlight[str, object] = SingleFlight()
    results: list[object] = []
    go = anyio.Event()
    starts = 0

    async def work() -> object:
        nonlocal starts
        starts += 1
        await go.wait()
        return object()

    async def call() -> None:
        results.append(await flights.run("key", work))

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        go.set()

    assert starts == 1
    assert len(results) == 200
    assert len(set(map(id, results))) == 1
    assert len(flights) == 0


async def test_keys_do_not_wait_for_each_other() -> None:
    """A slow key holds up nobody else's."""
    flights: SingleFlight[str, int] = SingleFlight()
    slow, quick = Work(), Work()
    quick.end(1)
    slow_callers, quick_callers = Callers(flights, slow), Callers(flights, quick)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow_callers.call, "slow", "a")
        await until(lambda: slow.running)
        await quick_callers.call("quick", "b")
        before = dict(slow_callers.outcomes)
        slow.end(1)

    assert quick_callers.outcomes == {"quick": 1}
    assert before == {}


async def test_nothing_is_remembered() -> None:
    """It joins what is under way; it is not a cache."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.end(1)
    work.end(2)

    assert [await flights.run("key", work), await flights.run("key", work)] == [1, 2]


async def test_a_cancelled_leader_hands_over() -> None:
    """One of the waiters starts the work anew; the others go on waiting, now for that one."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = Callers(flights, work)
    work.end(2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(callers.call, "leader")
        await until(lambda: work.running)
        for name in ("second", "third", "fourth"):
            tasks.start_soon(callers.call, name)
        await anyio.wait_all_tasks_blocked()
        callers.scopes["leader"].cancel()

    assert callers.outcomes == {"leader": "cancelled", "second": 2, "third": 2, "fourth": 2}
    assert (work.starts, work.most, len(flights)) == (2, 1, 0)


async def test_a_failing_leader_keeps_its_failure() -> None:
    """It raises what its own work raised; the waiters try for themselves, one after the other."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = Callers(flights, work)
    work.failing = {1, 2}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(callers.call, "first")
        await until(lambda: work.running)
        for name in ("second", "third", "fourth"):
            tasks.start_soon(callers.call, name)
        await anyio.wait_all_tasks_blocked()
        for number in (1, 2, 3):
            work.end(number)

    assert callers.outcomes.pop("first") == "failed 1"
    assert sorted(map(str, callers.outcomes.values())) == ["3", "3", "failed 2"]
    assert (work.starts, work.most, len(flights)) == (3, 1, 0)


async def test_a_cancelled_waiter_bothers_nobody() -> None:
    """The work goes on for the others."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = Callers(flights, work)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(callers.call, "leader")
        await until(lambda: work.running)
        tasks.start_soon(callers.call, "impatient")
        tasks.start_soon(callers.call, "patient")
        await anyio.wait_all_tasks_blocked()
        callers.scopes["impatient"].cancel()
        await until(lambda: "impatient" in callers.outcomes)
        work.end(1)

    assert callers.outcomes == {"leader": 1, "impatient": "cancelled", "patient": 1}
    assert work.starts == 1


async def test_a_caller_between_a_failure_and_the_waiters_takes_the_lead() -> None:
    """Whoever comes first flies; the waiters join it, and still only one is at work."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = Callers(flights, work)
    work.failing = {1}

    async def fail_and_call_again() -> None:
        await callers.call("leader")
        await callers.call("leader again")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail_and_call_again)
        await until(lambda: work.running)
        tasks.start_soon(callers.call, "waiter")
        await anyio.wait_all_tasks_blocked()
        work.end(1)
        await anyio.wait_all_tasks_blocked()
        work.end(2)

    assert callers.outcomes == {"leader": "failed 1", "leader again": 2, "waiter": 2}
    assert (work.starts, work.most) == (2, 1)


async def test_none_is_a_result() -> None:
    """A result that is false is shared like any other."""
    flights: SingleFlight[str, object] = SingleFlight()
    starts = 0
    results: list[object] = []

    async def work() -> object:
        nonlocal starts
        starts += 1
        await anyio.wait_all_tasks_blocked()
        return None

    async def call() -> None:
        results.append(await flights.run("key", work))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)

    assert results == [None, None, None]
    assert starts == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_natively_cancelled_leader_hands_over() -> None:
    """`Task.cancel`, as frameworks on asyncio do it, is a cancellation like anyio's."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.end(2)
    leader = asyncio.create_task(flights.run("key", work))
    await until(lambda: work.running)
    waiter = asyncio.create_task(flights.run("key", work))
    await anyio.wait_all_tasks_blocked()
    leader.cancel()

    assert await waiter == 2
    with pytest.raises(asyncio.CancelledError):
        await leader


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_leader_cancelled_in_the_turn_in_which_its_work_ends_hands_over() -> None:
    """Whether the end or the cancellation is seen first: the waiter has an answer, and nobody is at work twice."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.end(2)
    leader = asyncio.create_task(flights.run("key", work))
    await until(lambda: work.running)
    waiter = asyncio.create_task(flights.run("key", work))
    await anyio.wait_all_tasks_blocked()
    work.end(1)
    leader.cancel()

    assert await waiter == work.starts
    assert leader.cancelled()
    assert (work.most, len(flights)) == (1, 0)


def test_a_flight_does_not_outlive_its_event_loop() -> None:
    """A loop that ends with work under way leaves nothing behind that the next loop would wait for."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()

    async def leave_work_behind() -> None:
        tasks = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
        await until(lambda: work.running)
        assert not any(task.done() for task in tasks)

    asyncio.run(leave_work_behind())
    work.ends.clear()
    work.starts = 0
    work.end(1)

    assert len(flights) == 0
    assert asyncio.run(flights.run("key", work)) == 1


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.sampled_from(["call", "call", "end", "fail", "cancel leader", "cancel last", "turn"]), max_size=40
    ),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_at_most_one_is_at_work_and_everybody_gets_an_answer(steps: list[str], backend: Any) -> None:
    """Whatever order calls, ends, failures and cancellations come in, also several within one turn of the loop."""

    async def scenario() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        work = Work()
        callers = Callers(flights, work)
        calls = 0
        async with anyio.create_task_group() as tasks:
            for step in steps:
                if step == "call":
                    calls += 1
                    tasks.start_soon(callers.call, str(calls))
                elif step in {"end", "fail"} and work.running:
                    if step == "fail":
                        work.failing.add(work.starts)
                    work.end(work.starts)
                elif step.startswith("cancel") and callers.scopes:
                    under_way = [name for name in callers.scopes if name not in callers.outcomes]
                    if under_way:
                        callers.scopes[under_way[0 if step == "cancel leader" else -1]].cancel()
                elif step == "turn":
                    await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(10):
                while len(callers.outcomes) < calls:
                    await anyio.wait_all_tasks_blocked()
                    work.end(work.starts)

        assert work.most <= 1
        assert len(flights) == 0
        results = [each for each in callers.outcomes.values() if isinstance(each, int)]
        assert all(1 <= each <= work.starts for each in results)

    anyio.run(scenario, backend=backend)
