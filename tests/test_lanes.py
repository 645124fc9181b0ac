"""Bounded lanes: so many at work, so many waiting, so long; and no slot is ever lost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.lanes import BoundedLane
from asgi_apikey.models import Seconds
from tests.fakes import until

FOR_EVER: Seconds = 1_000.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


class Visitors:
    """Tasks that hold a slot until they are told to leave, and what became of them."""

    def __init__(self, lane: BoundedLane) -> None:
        self._lane = lane
        self.scopes: dict[Any, anyio.CancelScope] = {}
        self.exits: dict[Any, anyio.Event] = {}
        self.inside: list[Any] = []
        self.entered: list[Any] = []
        self.outcomes: dict[Any, str] = {}

    async def visit(self, name: Any, key: Any = "key") -> None:
        """Enter, wait to be told, leave."""
        self.exits[name] = anyio.Event()
        with anyio.CancelScope() as self.scopes[name]:
            try:
                async with self._lane.slot(key):
                    self.inside.append(name)
                    self.entered.append(name)
                    try:
                        await self.exits[name].wait()
                    finally:
                        self.inside.remove(name)
                self.outcomes[name] = "served"
            except Overloaded as error:
                self.outcomes[name] = str(error)
        self.outcomes.setdefault(name, "cancelled")


async def all_free(lane: BoundedLane, slots: int) -> bool:
    """Whether the lane has all its slots: so many enter at once, each without waiting."""
    held = [lane.slot(number) for number in range(slots)]
    with anyio.move_on_after(0) as scope:
        for slot in held:
            await slot.__aenter__()
    for slot in held:
        await slot.__aexit__(None, None, None)
    return not scope.cancelled_caught


@pytest.mark.anyio
async def test_no_more_than_the_slots_are_at_work() -> None:
    """The others wait, and get in one by one as those inside leave."""
    lane = BoundedLane(2, 10, patience=FOR_EVER)
    visitors = Visitors(lane)

    async with anyio.create_task_group() as tasks:
        for name in range(5):
            tasks.start_soon(visitors.visit, name)
            await anyio.wait_all_tasks_blocked()
        at_first = list(visitors.inside)
        visitors.exits[0].set()
        await anyio.wait_all_tasks_blocked()
        then = list(visitors.inside)
        for name in (1, 2, 3, 4):
            visitors.exits[name].set()
            await anyio.wait_all_tasks_blocked()

    assert (at_first, then) == ([0, 1], [1, 2])
    assert visitors.entered == [0, 1, 2, 3, 4]
    assert set(visitors.outcomes.values()) == {"served"}


@pytest.mark.anyio
async def test_a_newcomer_does_not_pass_the_queue() -> None:
    """A slot that is handed over is not free in between, not even for a turn of the loop."""
    lane = BoundedLane(1, 10, patience=FOR_EVER)
    visitors = Visitors(lane)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visitors.visit, "inside")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(visitors.visit, "waiting")
        await anyio.wait_all_tasks_blocked()
        visitors.exits["inside"].set()
        tasks.start_soon(visitors.visit, "newcomer")
        await anyio.wait_all_tasks_blocked()
        entered = list(visitors.entered)
        visitors.exits["waiting"].set()
        visitors.exits["newcomer"].set()

    assert entered == ["inside", "waiting"]
    assert visitors.entered == ["inside", "waiting", "newcomer"]


@pytest.mark.anyio
async def test_a_full_queue_refuses_at_once() -> None:
    """Whoever is beyond it is not made to wait for a refusal."""
    lane = BoundedLane(1, 1, patience=FOR_EVER)
    visitors = Visitors(lane)

    async with anyio.create_task_group() as tasks:
        for name in ("inside", "waiting"):
            tasks.start_soon(visitors.visit, name)
            await anyio.wait_all_tasks_blocked()
        await visitors.visit("beyond")
        tasks.cancel_scope.cancel()

    assert visitors.outcomes["beyond"] == "the queue is full"


@pytest.mark.anyio
async def test_a_lane_may_have_no_queue() -> None:
    """Then it is slots or nothing."""
    lane = BoundedLane(1, 0, patience=FOR_EVER)

    async with lane.slot("a"):
        with pytest.raises(Overloaded):
            async with lane.slot("b"):
                pass

    assert await all_free(lane, 1)


@pytest.mark.anyio
async def test_all_who_wait_can_be_refused_at_once() -> None:
    """Whoever is inside stays; who comes later waits as ever."""
    lane = BoundedLane(1, 2, patience=60.0)
    visitors = Visitors(lane)

    async with anyio.create_task_group() as tasks:
        for name in ("inside", "first", "second"):
            tasks.start_soon(visitors.visit, name)
            await anyio.wait_all_tasks_blocked()
        lane.refuse_waiting()
        tasks.start_soon(visitors.visit, "later")
        await anyio.wait_all_tasks_blocked()
        for name in ("inside", "later"):
            visitors.exits[name].set()

    assert visitors.outcomes == {
        "first": "waited in vain",
        "second": "waited in vain",
        "inside": "served",
        "later": "served",
    }


@pytest.mark.anyio
async def test_patience_ends() -> None:
    """A waiter that nobody lets in is refused, leaves the queue, and its place goes to the next."""
    lane = BoundedLane(1, 1, patience=0.01)
    visitors = Visitors(lane)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visitors.visit, "inside")
        await anyio.wait_all_tasks_blocked()
        await visitors.visit("first")
        await visitors.visit("second")
        visitors.exits["inside"].set()

    assert visitors.outcomes == {
        "inside": "served",
        "first": "waited too long in the queue",
        "second": "waited too long in the queue",
    }
    assert await all_free(lane, 1)


@pytest.mark.anyio
async def test_a_flood_on_one_key_leaves_room_for_the_others() -> None:
    """Holders and waiters of one key are counted together; other keys still find a place in the queue."""
    lane = BoundedLane(1, 10, patience=FOR_EVER, per_key=3)
    visitors = Visitors(lane)

    async with anyio.create_task_group() as tasks:
        for name in range(3):
            tasks.start_soon(visitors.visit, name, "flooded")
            await anyio.wait_all_tasks_blocked()
        await visitors.visit("one more", "flooded")
        tasks.start_soon(visitors.visit, "other", "other")
        await anyio.wait_all_tasks_blocked()
        for exit_ in visitors.exits.values():
            exit_.set()

    assert visitors.outcomes.pop("one more") == "too many requests with this key at once"
    assert set(visitors.outcomes.values()) == {"served"}


@pytest.mark.anyio
async def test_a_share_is_given_back() -> None:
    """By those who were served, refused, cancelled or too impatient; and nothing is kept about a key that left."""
    lane = BoundedLane(1, 1, patience=0.01, per_key=2)
    visitors = Visitors(lane)

    for round_ in range(3):
        async with anyio.create_task_group() as tasks:
            for name in ("inside", "impatient"):
                tasks.start_soon(visitors.visit, (round_, name))
                await anyio.wait_all_tasks_blocked()
            await visitors.visit((round_, "beyond"))
            await until(partial(visitors.outcomes.get, (round_, "impatient")))
            tasks.start_soon(visitors.visit, (round_, "cancelled"))
            await anyio.wait_all_tasks_blocked()
            visitors.scopes[round_, "cancelled"].cancel()
            await anyio.wait_all_tasks_blocked()
            visitors.exits[round_, "inside"].set()

    assert [outcome for (_, name), outcome in visitors.outcomes.items() if name == "inside"] == ["served"] * 3
    assert lane._present == {}


@pytest.mark.anyio
async def test_a_body_that_fails_frees_its_slot() -> None:
    """The failure goes through as it is."""
    lane = BoundedLane(1, 0, patience=FOR_EVER)

    with pytest.raises(LookupError):
        async with lane.slot("a"):
            raise LookupError

    assert await all_free(lane, 1)


@pytest.mark.anyio
async def test_a_slot_handed_to_a_waiter_that_is_being_cancelled_is_handed_on() -> None:
    """Both in one turn of the loop, in either order: the next waiter gets in."""
    for order in ("leave first", "cancel first"):
        lane = BoundedLane(1, 5, patience=FOR_EVER)
        visitors = Visitors(lane)
        async with anyio.create_task_group() as tasks:
            for name in ("inside", "cancelled", "next"):
                tasks.start_soon(visitors.visit, name)
                await anyio.wait_all_tasks_blocked()
            steps: list[Callable[[], object]] = [visitors.exits["inside"].set, visitors.scopes["cancelled"].cancel]
            for step in steps if order == "leave first" else reversed(steps):
                step()
            await anyio.wait_all_tasks_blocked()
            inside = list(visitors.inside)
            tasks.cancel_scope.cancel()

        assert inside == ["next"]
        assert await all_free(lane, 1)


@pytest.mark.parametrize("order", ["leave first", "cancel first"])
def test_a_natively_cancelled_waiter_loses_no_slot(order: str) -> None:
    """`Task.cancel` reaches a waiter that has just been let in: its slot is free again."""

    async def scenario() -> None:
        lane = BoundedLane(1, 5, patience=FOR_EVER)
        visitors = Visitors(lane)
        tasks = {}
        for name in ("inside", "cancelled", "next"):
            tasks[name] = asyncio.create_task(visitors.visit(name))
            await anyio.wait_all_tasks_blocked()
        steps: list[Callable[[], object]] = [visitors.exits["inside"].set, tasks["cancelled"].cancel]
        for step in steps if order == "leave first" else reversed(steps):
            step()
        visitors.exits["next"].set()
        await asyncio.wait(tasks.values())

        assert tasks["cancelled"].cancelled()
        assert visitors.outcomes["next"] == "served"
        assert await all_free(lane, 1)

    asyncio.run(scenario())


def test_a_slot_does_not_outlive_its_event_loop() -> None:
    """A loop that ends with holders and waiters leaves a lane that serves the next loop in full."""
    lane = BoundedLane(2, 5, patience=FOR_EVER)
    visitors = Visitors(lane)

    async def leave_visitors_behind() -> None:
        tasks = [asyncio.ensure_future(visitors.visit(name)) for name in range(4)]
        await anyio.wait_all_tasks_blocked()
        assert len(tasks) == 4

    asyncio.run(leave_visitors_behind())

    assert visitors.inside == []
    assert asyncio.run(all_free(lane, 2))


@pytest.mark.parametrize(
    ("slots", "queue", "patience", "per_key"),
    [
        (0, 1, 1.0, None),
        (1, -1, 1.0, None),
        (1, 1, 0.0, None),
        (1, 1, -1.0, None),
        (1, 1, math.nan, None),
        (1, 1, 1.0, 0),
    ],
)
def test_a_lane_that_admits_nobody_is_refused(slots: int, queue: int, patience: Seconds, per_key: int | None) -> None:
    """At construction, with what it needs."""
    with pytest.raises(ConfigurationError, match="slots >= 1, queue >= 0, patience > 0"):
        BoundedLane(slots, queue, patience=patience, per_key=per_key)


class StoppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until it is moved."""

    now = 1_000.0

    def time(self) -> float:
        """The loop's clock."""
        return self.now


class LaneMachine(RuleBasedStateMachine):
    """Visitors come, leave, are cancelled in both ways and run out of patience, several of it within one turn.

    What holds after every turn: never more than the slots at work; a free slot and a waiter never at the same
    time; nobody passes the queue; the queue and the shares are bounded; whoever has waited too long is gone.
    """

    SLOTS, QUEUE, PATIENCE, PER_KEY = 2, 3, 10.0, 4

    def __init__(self) -> None:
        super().__init__()
        self.loop = StoppedLoop()
        self.lane = BoundedLane(self.SLOTS, self.QUEUE, patience=self.PATIENCE, per_key=self.PER_KEY)
        self.visitors = Visitors(self.lane)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.keys: dict[int, str] = {}
        self.came: dict[int, float] = {}
        self.most = 0

    @rule(key=st.sampled_from("ab"))
    def come(self, key: str) -> None:
        """Somebody comes; nothing has happened yet."""
        name = len(self.tasks)
        self.keys[name] = key
        self.tasks[name] = self.loop.create_task(self._visit(name, key))

    @precondition(lambda self: self.visitors.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody at work is done."""
        self.visitors.exits[data.draw(st.sampled_from(self.visitors.inside))].set()

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), natively=st.booleans())
    def cancel(self, data: st.DataObject, natively: bool) -> None:
        """Somebody, inside or waiting or not yet there, is cancelled."""
        name = data.draw(st.sampled_from(self.under_way()))
        if natively or name not in self.visitors.scopes:
            self.tasks[name].cancel()
        else:
            self.loop.call_soon(self.visitors.scopes[name].cancel)

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes; whoever has waited too long hears of it in the next turn."""
        self.loop.now += seconds

    @rule(turns=st.integers(min_value=1, max_value=3))
    def turn(self, turns: int) -> None:
        """The loop runs a little, so that the next event comes in the midst of things."""
        self.loop.run_until_complete(self._turns(turns))

    @rule()
    def settle(self) -> None:
        """The loop runs until nothing moves; then the books must balance."""
        self.loop.run_until_complete(self._turns(40))
        now, waiting = self.loop.now, self.waiting()

        assert not waiting or len(self.visitors.inside) == self.SLOTS
        assert all(now < self.came[name] + self.PATIENCE for name in waiting)
        for key in "ab":
            assert sum(self.keys[name] == key for name in self.under_way()) <= self.PER_KEY

    @invariant()
    def bounded(self) -> None:
        """At every moment, settled or not."""
        assert len(self.visitors.inside) <= self.SLOTS
        # Called, but not resumed yet: a waiter may note its entry after one who came later and found another slot free.
        entered = self.visitors.entered
        for place, name in enumerate(entered):
            assert sum(earlier > name for earlier in entered[:place]) < self.SLOTS
        assert len(self.lane._waiting) <= self.QUEUE

    def under_way(self) -> list[int]:
        """Whose task has not ended."""
        return [name for name, task in self.tasks.items() if not task.done()]

    def waiting(self) -> list[int]:
        """Who is there and not at work."""
        return [name for name in self.under_way() if name not in self.visitors.inside]

    async def _visit(self, name: int, key: str) -> None:
        self.came[name] = self.loop.now
        await self.visitors.visit(name, key)

    @staticmethod
    async def _turns(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    def teardown(self) -> None:
        """When everybody has gone, every slot is free and nothing is kept about anybody."""
        try:
            for name in self.under_way():
                self.tasks[name].cancel()
            self.loop.run_until_complete(self._turns(40))
            assert self.under_way() == []
            assert self.loop.run_until_complete(all_free(self.lane, self.SLOTS))
            assert self.lane._present == {}
        finally:
            self.loop.close()


TestLaneMachine: Any = LaneMachine.TestCase
TestLaneMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
