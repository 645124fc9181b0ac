"""Usage: counted in memory, written in batches, never lost in order and never counted twice."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.background import Background
from asgi_apikey.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from asgi_apikey.models import Seconds, Tally, Usage
from asgi_apikey.usage import UsageRecorder
from tests.fakes import NOON, FakeClock, Gate, until

SOON: Seconds = 0.001
NEVER: Seconds = 1e6


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


class Sink:
    """Takes batches, unless it is told to fail or to be slow."""

    def __init__(self) -> None:
        self.batches: list[list[Usage]] = []
        self.gate = Gate()
        self.failure: Exception | None = None
        self.tries = 0
        self.locked: set[str] = set()
        self.resolutions: list[Seconds] = []

    async def record_usage(self, batch: Sequence[Usage], *, resolution: Seconds = 0.0) -> Collection[str]:
        """Take all of the batch but what is locked, or nothing; where the outcome is unknown, it was taken."""
        self.tries += 1
        await self.gate.passed()
        if self.failure is not None:
            if isinstance(self.failure, StoreUnavailable) and self.failure.outcome_unknown:
                self.batches.append([*batch])
            raise self.failure
        self.batches.append([each for each in batch if each.key_id not in self.locked])
        self.resolutions.append(resolution)
        return self.locked

    @property
    def uses(self) -> Counter[str]:
        """What has been written for each key."""
        uses: Counter[str] = Counter()
        for each in self._all():
            uses[each.key_id] += each.uses
        return uses

    def _all(self) -> list[Usage]:
        return [each for batch in self.batches for each in batch]


class Timers:
    """Spawns, and knows how many of what it spawned have not ended."""

    def __init__(self) -> None:
        self.background = Background()
        self.started = 0
        self.running = 0

    def spawn(self, work: Callable[[], Awaitable[object]]) -> None:
        """Start one."""

        async def counted() -> None:
            try:
                await work()
            finally:
                self.running -= 1

        self.background.spawn(counted)
        self.started += 1
        self.running += 1


class Kit:
    """A recorder with its surroundings."""

    def __init__(self, *, interval: Seconds = NEVER, max_keys: int = 1_000) -> None:
        self.sink, self.clock, self.timers = Sink(), FakeClock(), Timers()
        self.tallies: dict[str, Tally] = {}
        self.recorder = UsageRecorder(
            self.sink, self.clock, spawn=self.timers.spawn, interval=interval, max_keys=max_keys
        )

    def count(self, key_id: str = "k1", times: int = 1) -> None:
        """Count accepted requests now."""
        for _ in range(times):
            self.recorder.count(self.tallies.setdefault(key_id, Tally(key_id)), self.clock.monotonic())

    async def close(self) -> None:
        """As the facade does it."""
        await self.recorder.close(self.drain)

    async def drain(self) -> None:
        """Wait for the timer."""
        assert await self.timers.background.drain(10)


@pytest.mark.anyio
async def test_a_replaced_verdict_takes_over_what_was_counted() -> None:
    """A key read anew is counted in another tally; the first one starts from nothing if it is still in use."""
    kit = Kit()
    first, second = Tally("k1"), Tally("k1")
    for tally in (first, second, first):
        kit.recorder.count(tally, kit.clock.monotonic())
    await kit.recorder.flush()

    assert kit.sink.uses == {"k1": 3}
    assert (first.uses, second.uses) == (0.0, 0.0)
    await kit.close()


@pytest.mark.anyio
async def test_an_open_tally_is_written_and_closed() -> None:
    """Whoever holds it may add to it until the flush, and is told to report the next use after it."""
    kit = Kit()
    tally = Tally("k1")
    kit.recorder.count(tally, kit.clock.monotonic())
    opened = tally.open_until > kit.clock.monotonic()
    tally.uses += 2.0
    tally.last = kit.clock.monotonic()
    await kit.recorder.flush()

    assert opened
    assert kit.sink.uses == {"k1": 3}
    assert (tally.uses, tally.open_until) == (0.0, -math.inf)
    await kit.close()


@pytest.mark.anyio
async def test_all_that_was_counted_is_told_before_and_after_a_flush() -> None:
    """Written, waiting, handed back by the sink, or dropped for want of room: each request once."""
    kit = Kit(max_keys=2)
    for key_id in ("k1", "k1", "k2", "k3"):
        kit.count(key_id)
    before = kit.recorder.counted()
    kit.sink.failure = StoreUnavailable()
    await kit.recorder.flush()
    unwritten = kit.recorder.counted()
    kit.sink.failure = None
    await kit.recorder.flush()

    assert (before, unwritten, kit.recorder.counted(), kit.recorder.dropped) == (4, 4, 4, 1)
    await kit.close()


@pytest.mark.anyio
async def test_counts_are_written_together() -> None:
    """One batch, one entry per key: how many, and when the last of them was, on the wall clock."""
    kit = Kit()
    kit.count("k1", 3)
    kit.clock.advance(5)
    kit.count("k1")
    kit.count("k2")
    kit.clock.advance(5)
    await kit.recorder.flush()

    assert kit.sink.batches == [[Usage("k1", 4, NOON + 5), Usage("k2", 1, NOON + 5)]]
    await kit.close()


@pytest.mark.anyio
async def test_a_wall_clock_that_was_set_does_not_date_the_past_ahead() -> None:
    """When a key was used is reckoned from the monotonic clock: how long ago, seen from now."""
    kit = Kit()
    kit.count()
    kit.clock.advance(7)
    kit.clock.set_wall(NOON + 3_600)
    await kit.close()

    assert kit.sink.batches == [[Usage("k1", 1, NOON + 3_593)]]


@pytest.mark.anyio
async def test_nothing_counted_is_nothing_written() -> None:
    """An idle process leaves the store alone and has no task."""
    kit = Kit()
    await kit.recorder.flush()
    await kit.close()

    assert (kit.sink.tries, kit.timers.started) == (0, 0)


@pytest.mark.anyio
async def test_the_first_count_starts_the_timer_and_an_idle_interval_ends_it() -> None:
    """It flushes without being asked, and is gone when nothing is left to flush; later counts start it again."""
    kit = Kit(interval=SOON)
    for uses in (1, 2):
        kit.count(times=uses)
        await until(lambda: not kit.timers.running)

    assert [[each.uses for each in batch] for batch in kit.sink.batches] == [[1], [2]]
    assert kit.timers.started == 2


@pytest.mark.anyio
async def test_a_busy_process_has_one_timer_at_a_time() -> None:
    """However often it flushes."""
    kit = Kit(interval=SOON)
    most = 0
    while len(kit.sink.batches) < 20:
        kit.count()
        most = max(most, kit.timers.running)
        await anyio.lowlevel.checkpoint()

    assert most == 1
    await kit.close()


@pytest.mark.anyio
async def test_counts_during_a_slow_write_start_no_second_timer() -> None:
    """The batch on its way has left the memory, so every key looks new: the timer is there all the same."""
    kit = Kit(interval=0.01)
    for _ in range(5):
        kit.sink.gate.shut()
        kit.count()
        await until(lambda: kit.sink.gate.waiting)
        kit.clock.advance(0.015)
        kit.count("k1")
        kit.count("k2")
        kit.sink.gate.open()
        await until(lambda: not kit.sink.gate.waiting)
        await anyio.lowlevel.checkpoint()

    assert kit.timers.started == 1
    await kit.close()
    assert kit.sink.uses == {"k1": 10, "k2": 5}


@pytest.mark.anyio
async def test_a_timer_that_hangs_is_replaced_and_ends_when_it_is_free() -> None:
    """The store may never answer: others' counts are written, and there are not more timers with every such write."""
    kit = Kit(interval=0.01)
    kit.count("hanging")
    kit.sink.gate.shut()
    await until(lambda: kit.sink.gate.waiting)
    gate, kit.sink.gate = kit.sink.gate, Gate()
    kit.clock.advance(1)
    kit.count("new")
    await until(lambda: kit.sink.uses["new"])
    await until(lambda: kit.timers.running == 1)
    kit.recorder._interval = NEVER
    kit.count("newer")
    both = kit.timers.running
    gate.open()
    await until(lambda: kit.timers.running == 1)

    assert both == 2
    await kit.close()
    assert kit.sink.uses == {"hanging": 1, "new": 1, "newer": 1}


@pytest.mark.parametrize("key_id", ["k1", "k2"])
def test_the_timer_starts_again_after_its_loop_died(key_id: str) -> None:
    """Also for the one key whose count was left over: a process that serves one key sees no new ones."""
    kit = Kit(interval=0.01)

    async def count_and_end() -> None:
        kit.count("k1")
        await anyio.lowlevel.checkpoint()

    async def count_and_wait() -> None:
        kit.clock.advance(0.1)
        kit.count(key_id)
        await until(lambda: kit.sink.uses[key_id])

    asyncio.run(count_and_end())
    left_over = list(kit.sink.batches)
    asyncio.run(count_and_wait())

    assert left_over == []
    assert kit.sink.uses == Counter(["k1", key_id])


def test_the_timer_starts_again_after_its_loop_was_abandoned() -> None:
    """A loop that is merely never run again gives its tasks no chance to clean up."""
    kit = Kit(interval=0.01)
    abandoned = asyncio.new_event_loop()

    async def count() -> None:
        kit.count()
        await anyio.lowlevel.checkpoint()

    async def count_and_wait() -> None:
        kit.clock.advance(0.1)
        kit.count()
        await until(lambda: kit.sink.uses["k1"])

    abandoned.run_until_complete(count())
    asyncio.run(count_and_wait())

    assert kit.sink.uses == {"k1": 2}
    for task in asyncio.all_tasks(abandoned):
        task.cancel()
    abandoned.run_until_complete(asyncio.sleep(0.01))
    abandoned.close()


@pytest.mark.anyio
async def test_what_could_not_be_written_is_written_later(caplog: pytest.LogCaptureFixture) -> None:
    """Counts from before and after the failed write add up, the newest use stays, and the log says it once."""
    kit = Kit()
    kit.count("k1", 2)
    kit.sink.failure = StoreUnavailable()
    await kit.recorder.flush()
    kit.clock.advance(5)
    kit.count("k1")
    kit.sink.failure = None
    await kit.close()

    assert kit.sink.batches == [[Usage("k1", 3, NOON + 5)]]
    assert [(each.levelno, each.message) for each in caplog.records] == [
        (logging.WARNING, "usage of 1 keys could not be written yet: the key store is unavailable")
    ]


@pytest.mark.anyio
async def test_a_use_during_a_failing_write_stays_the_newest() -> None:
    """Putting the batch back does not date the key back."""
    kit = Kit()
    kit.count()
    kit.sink.failure = StoreUnavailable()
    kit.sink.gate.shut()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kit.recorder.flush)
        await until(lambda: kit.sink.gate.waiting)
        kit.clock.advance(5)
        kit.count()
        kit.sink.gate.open()
    kit.sink.failure = None
    await kit.close()

    assert kit.sink.batches == [[Usage("k1", 2, NOON + 5)]]


@pytest.mark.anyio
async def test_the_timer_goes_on_while_the_store_is_away() -> None:
    """It tries once per interval, and succeeds when the store is back, without another request."""
    kit = Kit(interval=SOON)
    kit.sink.failure = StoreUnavailable()
    kit.count()
    await until(lambda: kit.sink.tries >= 3)
    kit.sink.failure = None
    await until(lambda: not kit.timers.running)

    assert kit.sink.uses == {"k1": 1}
    assert kit.timers.started == 1


@pytest.mark.anyio
async def test_a_sink_that_breaks_its_promise_loses_nothing_and_stops_nothing() -> None:
    """An error that no sink should raise ends the timer, with its traceback in the log; the next count starts one."""
    kit = Kit(interval=SOON)
    kit.sink.failure = InvalidRequest("an instant cannot be stored")
    kit.count()
    await until(lambda: kit.timers.started and not kit.timers.running)
    kit.sink.failure = None
    kit.count()
    await until(lambda: not kit.timers.running)

    assert kit.sink.uses == {"k1": 2}
    assert kit.timers.started == 2


@pytest.mark.anyio
async def test_what_may_have_been_written_is_not_written_again(caplog: pytest.LogCaptureFixture) -> None:
    """Bounded loss rather than double counting: the batch is given up, counted as dropped, and logged."""
    kit = Kit()
    kit.count("k1", 2)
    kit.recorder.refuse("k1", "disabled")
    kit.sink.failure = StoreUnavailable(outcome_unknown=True)
    await kit.recorder.flush()
    kit.sink.failure = None
    kit.count("k1")
    await kit.close()

    assert kit.sink.uses == {"k1": 3}
    assert kit.recorder.dropped == 3
    assert [each.message for each in caplog.records] == [
        "usage of 1 keys may not have been written; it is not written again"
    ]


@pytest.mark.anyio
async def test_only_the_batch_whose_outcome_is_unknown_is_given_up() -> None:
    """What was behind it is written later."""
    kit = Kit(max_keys=20_000)
    for number in range(5_001):
        kit.count(f"k{number}")
    kit.sink.failure = StoreUnavailable(outcome_unknown=True)
    await kit.recorder.flush()
    kit.sink.failure = None
    await kit.close()

    assert [len(batch) for batch in kit.sink.batches] == [5_000, 1]
    assert sum(kit.sink.uses.values()) == 5_001


@pytest.mark.anyio
async def test_a_cancelled_flush_gives_up_what_is_on_its_way_and_nothing_else() -> None:
    """The store may go on with it; what was counted meanwhile is written."""
    kit = Kit()
    kit.count("k1", 2)
    kit.sink.gate.shut()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kit.recorder.flush)
        await until(lambda: kit.sink.gate.waiting)
        kit.count("k2")
        tasks.cancel_scope.cancel()
    kit.sink.gate.open()
    await kit.close()

    assert kit.sink.uses == {"k2": 1}
    assert kit.recorder.dropped == 2


@pytest.mark.anyio
async def test_a_request_counted_while_closing_is_written_and_starts_no_timer() -> None:
    """Whether it comes during the first flush or while the rest is waited for: closing takes no interval longer."""
    kit = Kit()
    kit.count("k1")
    kit.sink.gate.shut()
    timers = []

    async def settle() -> None:
        kit.count("k3")
        timers.append(kit.timers.running)
        await kit.drain()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kit.recorder.close, settle)
        # The timer has nothing to write and is gone; the final flush is on its way.
        await until(lambda: kit.sink.gate.waiting and not kit.timers.running)
        kit.count("k2")
        timers.append(kit.timers.running)
        kit.sink.gate.open()

    assert timers == [0, 0]
    assert kit.timers.started == 1
    assert kit.sink.uses == {"k1": 1, "k2": 1, "k3": 1}


@pytest.mark.anyio
async def test_counting_after_closing_starts_anew() -> None:
    """Whoever goes on using it has a timer again, also after a close that failed, or that another one overlapped."""
    kit = Kit(interval=SOON)
    kit.count()
    kit.sink.failure = LookupError()
    with suppress(LookupError):
        await kit.close()
    kit.sink.failure = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kit.close)
        tasks.start_soon(kit.close)
    kit.clock.advance(1)
    kit.count("k2")
    await until(lambda: kit.sink.uses == {"k1": 1, "k2": 1})
    await until(lambda: not kit.timers.running)

    assert kit.timers.started == 2


@pytest.mark.anyio
async def test_closing_writes_everything_and_ends_the_timer() -> None:
    """At once, not when the interval is over; whatever is counted afterwards starts anew."""
    kit = Kit()
    kit.count()
    await until(lambda: kit.timers.running)
    await kit.close()
    running = kit.timers.running
    kit.count("k2")
    await kit.close()

    assert running == 0
    assert kit.sink.uses == {"k1": 1, "k2": 1}
    assert kit.timers.running == 0


@pytest.mark.anyio
async def test_closing_ends_a_timer_that_has_not_taken_its_first_step() -> None:
    """Even when its counts cannot be written, so that they are still there: closing does not wait an interval."""
    kit = Kit()
    kit.count()
    kit.sink.failure = StoreUnavailable()
    await kit.close()

    assert kit.timers.running == 0
    kit.sink.failure = None
    await kit.close()
    assert kit.sink.uses == {"k1": 1}


@pytest.mark.anyio
async def test_keys_beyond_the_bound_are_dropped_and_counted_as_such() -> None:
    """Memory is bounded; keys that are counted already go on, and after a flush there is room again."""
    kit = Kit(max_keys=2)
    for key_id in ("k1", "k2", "k3", "k1", "k3"):
        kit.count(key_id)
    await kit.recorder.flush()
    kit.count("k3")
    await kit.close()

    assert kit.sink.uses == {"k1": 2, "k2": 1, "k3": 1}
    assert kit.recorder.dropped == 2


@pytest.mark.anyio
async def test_the_bound_holds_while_the_store_is_away() -> None:
    """What a failed write puts back counts too; else memory would grow with every failure."""
    kit = Kit(max_keys=2)
    kit.sink.failure = StoreUnavailable()
    for number in range(10):
        kit.sink.gate.shut()
        async with anyio.create_task_group() as tasks:
            kit.count(f"before {number}")
            tasks.start_soon(kit.recorder.flush)
            await until(lambda: kit.sink.gate.waiting)
            kit.count(f"during {number}", 2)
            kit.count(f"more {number}")
            kit.sink.gate.open()
    kit.sink.failure = None
    await kit.close()

    assert len(kit.sink.batches[0]) == 2
    assert kit.sink.uses.total() + kit.recorder.dropped == 40


@pytest.mark.parametrize("module", ["trio", "no trio"])
def test_without_an_event_loop_counts_wait_for_a_flush(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`authenticate_nowait` may be called from plain code, whatever is installed."""
    if module == "no trio":
        monkeypatch.setitem(__import__("sys").modules, "trio", None)
    kit = Kit()
    kit.count("k1", 2)

    assert kit.timers.started == 0
    asyncio.run(kit.close())
    assert kit.sink.uses == {"k1": 2}


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan])
def test_an_interval_is_positive(interval: Seconds) -> None:
    """Zero would write in a loop."""
    with pytest.raises(ConfigurationError, match="usage_interval must be positive"):
        Kit(interval=interval)


def test_there_is_room_for_a_key() -> None:
    """A recorder that drops everything is a mistake."""
    with pytest.raises(ConfigurationError, match="max_keys must be at least 1"):
        Kit(max_keys=0)


STEPS = st.sampled_from(
    ["count", "count", "flush", "fail", "doubt", "mend", "shut", "open", "cancel", "break", "turn", "close"]
)


@given(
    steps=st.lists(st.tuples(STEPS, st.sampled_from("abc")), max_size=40), backend=st.sampled_from(["asyncio", "trio"])
)
def test_no_count_is_lost_unnoticed_and_none_is_written_twice(steps: list[tuple[str, str]], backend: Any) -> None:
    """Whatever order counts, flushes, failures, cancellations and closings come in; and time never goes back."""

    async def scenario() -> None:
        kit = Kit()
        counted: Counter[str] = Counter()
        newest: dict[str, float] = {}
        scopes: list[anyio.CancelScope] = []

        async def flush() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                with suppress(LookupError):
                    await kit.recorder.flush()

        async with anyio.create_task_group() as tasks:
            for step, key_id in steps:
                if step == "count":
                    kit.clock.advance(1)
                    kit.count(key_id)
                    counted[key_id] += 1
                    newest[key_id] = kit.clock.wall()
                elif step == "flush":
                    tasks.start_soon(flush)
                elif step == "fail":
                    kit.sink.failure = StoreUnavailable()
                elif step == "doubt":
                    kit.sink.failure = StoreUnavailable(outcome_unknown=True)
                elif step == "break":
                    kit.sink.failure = LookupError()
                elif step == "mend":
                    kit.sink.failure = None
                elif step == "shut" and not kit.sink.gate.waiting:
                    kit.sink.gate.shut()
                elif step == "open":
                    kit.sink.gate.open()
                elif step == "cancel" and scopes:
                    scopes[-1].cancel()
                elif step == "close" and kit.sink.failure is None and not kit.sink.gate.waiting:
                    kit.sink.gate.open()
                    await kit.close()
                else:
                    await anyio.wait_all_tasks_blocked()
            kit.sink.gate.open()
            await anyio.wait_all_tasks_blocked()
        kit.sink.failure = None
        await kit.close()

        assert kit.sink.uses <= counted
        assert sum(kit.sink.uses.values()) + kit.recorder.dropped >= sum(counted.values())
        if not kit.recorder.dropped:
            latest: dict[str, float] = {}
            for each in (each for batch in kit.sink.batches for each in batch):
                latest[each.key_id] = max(each.last_used_at, latest.get(each.key_id, 0.0))
            assert latest == newest
        assert kit.timers.running == 0

    anyio.run(scenario, backend=backend)


@pytest.mark.anyio
async def test_refusals_are_written_with_the_uses_of_the_key() -> None:
    """One entry per key: accepted, and refused by reason; a key that was only refused was not used."""
    kit = Kit()
    kit.count("k1", 2)
    kit.recorder.refuse("k1", "disabled")
    kit.recorder.refuse("k1", "wrong_secret")
    kit.recorder.refuse("k1", "disabled")
    kit.recorder.refuse("k2", "revoked")
    await kit.close()

    assert kit.sink.batches == [
        [
            Usage("k1", 2, NOON, (("disabled", 2), ("wrong_secret", 1))),
            Usage("k2", 0, NOON, (("revoked", 1),)),
        ]
    ]


@pytest.mark.anyio
async def test_a_refusal_alone_starts_the_timer() -> None:
    """A key that is only ever refused is seen in the store, too."""
    kit = Kit(interval=SOON)
    kit.recorder.refuse("k1", "revoked")
    await until(lambda: kit.sink.batches)
    await until(lambda: not kit.timers.running)

    assert kit.sink.batches == [[Usage("k1", 0, NOON, (("revoked", 1),))]]
    await kit.close()


@pytest.mark.anyio
async def test_keys_that_are_locked_are_counted_again_next_time() -> None:
    """Nothing of theirs was written, and nothing of the others is written twice."""
    kit = Kit()
    kit.count("k1", 2)
    kit.count("k2")
    kit.recorder.refuse("k1", "disabled")
    kit.sink.locked = {"k1"}
    await kit.recorder.flush()
    kit.sink.locked = set()
    kit.clock.advance(5)
    kit.count("k1")
    await kit.close()

    assert kit.sink.batches == [[Usage("k2", 1, NOON)], [Usage("k1", 3, NOON + 5, (("disabled", 1),))]]


@pytest.mark.anyio
async def test_what_an_outage_delays_stays_in_its_hour() -> None:
    """Counts of two hours are two entries, each with its own instant."""
    kit = Kit()
    kit.sink.failure = StoreUnavailable()
    for _ in range(2):
        kit.count("k1", 2)
        kit.recorder.refuse("k1", "disabled")
        kit.clock.advance(600)
        await kit.recorder.flush()
    kit.clock.advance(3_600)
    await kit.recorder.flush()
    kit.count("k1")
    kit.sink.failure = None
    await kit.close()

    assert kit.sink.batches == [
        [Usage("k1", 4, NOON + 600, (("disabled", 2),)), Usage("k1", 1, NOON + 4_800)],
    ]


@pytest.mark.anyio
async def test_a_flood_of_keys_is_bounded_and_what_is_lost_is_known() -> None:
    """No more keys are held than there is room for, not even through an outage that goes on for hours."""
    kit = Kit(max_keys=10)
    kit.sink.failure = StoreUnavailable()
    for hour in range(3):
        for number in range(20):
            kit.count(f"{hour}-{number}")
            kit.recorder.refuse(f"{hour}-{number}", "revoked")
        await kit.recorder.flush()
        kit.clock.advance(3_600)
    kit.sink.failure = None
    await kit.close()

    written = sum(each.uses + sum(number for _, number in each.refusals) for each in kit.sink.batches[0])
    assert len(kit.sink.batches[0]) <= 20
    assert written + kit.recorder.dropped == 3 * 20 * 2


@pytest.mark.anyio
async def test_many_keys_are_written_in_batches_of_bounded_size() -> None:
    """Each within the deadline of a store; what a failure leaves over is written later, and nothing twice."""
    kit = Kit(max_keys=20_000)
    for number in range(12_000):
        kit.count(f"k{number}")
    await kit.close()

    assert [len(batch) for batch in kit.sink.batches] == [5_000, 5_000, 2_000]
    assert len({each.key_id for batch in kit.sink.batches for each in batch}) == 12_000


@pytest.mark.anyio
async def test_the_last_use_may_lag_while_running_and_is_exact_at_the_end() -> None:
    """The sink is told how much; closing asks for the exact instant."""
    kit = Kit()
    kit.recorder._resolution = 900.0
    kit.count()
    await kit.recorder.flush()
    kit.count()
    await kit.close()

    assert kit.sink.resolutions == [900.0, 0.0]


@pytest.mark.anyio
async def test_old_hours_are_pruned_about_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """After a flush, away from the requests; a store that cannot is asked again an hour later."""
    kit = Kit(interval=SOON)
    asked: list[Seconds] = []

    async def prune() -> None:
        asked.append(kit.clock.monotonic())
        raise StoreUnavailable

    kit.recorder._prune = prune
    for _ in range(4):
        kit.count()
        await until(lambda: not kit.timers.running)
        kit.clock.advance(1_900)
    await kit.close()

    assert asked == [1_000.0, 4_800.0]
    assert "old usage could not be removed yet" in caplog.text


@pytest.mark.parametrize("resolution", [-1.0, math.inf, math.nan])
def test_an_impossible_resolution_is_refused(resolution: Seconds) -> None:
    """At construction, with what to write instead."""
    with pytest.raises(ConfigurationError, match="900 is the default"):
        UsageRecorder(Sink(), FakeClock(), spawn=Timers().spawn, resolution=resolution)
