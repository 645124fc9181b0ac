"""Leases: polls that make a change final everywhere, whatever else fails."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Collection, Sequence

import anyio
import pytest

from asgi_apikey.background import Background
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.invalidation.announcer import CLOCK_RATE, CLOCK_STEP, LONGEST_AWAITED
from asgi_apikey.invalidation.leases import LeasedInvalidation, LeaseTimes
from asgi_apikey.invalidation.poll import NoBus
from asgi_apikey.models import Acknowledgement, Change, Committed, Principal, Seconds, Tally, Verdict
from asgi_apikey.protocols import Bus, CatchUp
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import FakeClock, Watched, together, until
from tests.feeds import MemoryFeed
from tests.records import a_record, recalled

pytestmark = pytest.mark.anyio

LEASE = LeaseTimes().lease
POLL = LeaseTimes().poll
WAIT = LEASE * CLOCK_RATE + 2 * CLOCK_STEP
GRACE = 60.0


class ListeningBus:
    """A bus in this process: who is woken answers when the test says so."""

    def __init__(self, name: str = "line") -> None:
        self.name = name
        self.moving = [0]
        self.counter: Sequence[int] = self.moving
        self.catch_up: CatchUp | None = None
        self.answers: Callable[[int], Awaitable[Collection[str]]] | None = None
        self.woken: list[int] = []
        self.closing: Callable[[], Awaitable[object]] | None = None

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`."""
        self.catch_up = catch_up

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`."""
        self.woken.append(seq)
        return () if self.answers is None else await self.answers(seq)

    async def close(self) -> None:
        """See `Bus.close`."""
        if self.closing is not None:
            await self.closing()


class Worker:
    """One process, over a feed that may be shared with others."""

    def __init__(
        self,
        repository: MemoryRepository,
        feed: MemoryFeed,
        clock: FakeClock,
        *,
        bus: Bus | None = None,
        times: LeaseTimes | None = None,
        outage_grace: Seconds = 0.0,
    ) -> None:
        self.repository = repository
        self.feed = Watched(feed)
        self.clock = clock
        self.cache = LocalCache()
        self.background = Background()
        self.invalidation = LeasedInvalidation(
            self.feed,
            self.cache,
            bus=bus or NoBus(),
            clock=clock,
            background=self.background,
            times=times,
            outage_grace=outage_grace,
        )

    @property
    def leased(self) -> bool:
        """Whether its memory may be trusted now."""
        invalidation = self.invalidation
        return self.clock.monotonic() < invalidation.fresh_until and invalidation.counter[0] == invalidation.seen

    def remember(self, key_id: str = "k1", mark: int | None = None) -> None:
        """Put a verdict about the key, as one that was read after `mark`."""
        verdict = Verdict(Principal(key_id=key_id, owner="acme"), 1, math.inf, None, Tally(key_id))
        self.cache.put(key_id.encode(), verdict, self.cache.mark() if mark is None else mark)

    def remembers(self, key_id: str = "k1") -> bool:
        """Whether there is a verdict about the key."""
        return recalled(self.cache, key_id.encode()) is not None


class Fleet:
    """Workers over one store. A clock stands still but while somebody sleeps."""

    def __init__(self) -> None:
        self.repository = MemoryRepository()
        self.feed = MemoryFeed(self.repository)
        self.clock = FakeClock()
        self.slept: list[Seconds] = []

    def worker(self, *, bus: Bus | None = None, times: LeaseTimes | None = None, outage_grace: Seconds = 0.0) -> Worker:
        """One more."""
        return Worker(self.repository, self.feed, self.clock, bus=bus, times=times, outage_grace=outage_grace)

    def commit(self, key_id: str = "k1", version: int = 2) -> Committed:
        """Commit a change, and tell nobody."""
        return Committed(a_record(key_id, version=version), (self.feed.append(key_id, version),))


def a_fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A store with one key, where sleeping is what makes time pass."""
    fleet = Fleet()
    fleet.feed.append("k1")

    async def sleep(seconds: Seconds) -> None:
        fleet.slept.append(seconds)
        fleet.clock.advance(seconds)

    monkeypatch.setattr("asgi_apikey.invalidation.leases.anyio.sleep", sleep)
    return fleet


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """See `a_fleet`."""
    return a_fleet(monkeypatch)


# ---- the lease -----------------------------------------------------------------------------------------------------


async def test_nobody_begins_with_a_lease(fleet: Fleet) -> None:
    """What is in memory is not trusted before the feed was read."""
    worker = fleet.worker()

    assert not worker.leased
    assert worker.invalidation.max_staleness == LEASE


async def test_a_poll_gives_a_lease_from_when_it_began(fleet: Fleet) -> None:
    """What was committed while the answer was on its way is not in it."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    asked = fleet.clock.monotonic()
    fleet.clock.advance(LEASE)
    worker.feed.before["changes"].shut()

    async def answer_late() -> None:
        await until(lambda: worker.feed.before["changes"].waiting)
        fleet.clock.advance(1.5)
        worker.feed.before["changes"].open()

    await together(worker.invalidation.renew, answer_late)

    assert worker.invalidation.fresh_until == asked + LEASE + LEASE
    assert worker.invalidation.refresh_at == asked + LEASE + POLL


async def test_a_current_lease_is_not_renewed(fleet: Fleet) -> None:
    """Who asks for one has one."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    asked = worker.feed.calls["changes"]
    await worker.invalidation.renew()

    assert worker.feed.calls["changes"] == asked


async def test_a_refresh_runs_in_the_background(fleet: Fleet) -> None:
    """Only one, however many requests ask for it."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    fleet.clock.advance(POLL)
    first_end, asked = worker.invalidation.fresh_until, worker.feed.calls["changes"]
    worker.invalidation.refresh()
    assert worker.invalidation.refresh_at == first_end
    await worker.background.drain(10)

    assert worker.invalidation.fresh_until == first_end + POLL
    assert worker.feed.calls["changes"] == asked + 1


async def test_everybody_waits_for_one_poll(fleet: Fleet) -> None:
    """A hundred requests cost one read."""
    worker = fleet.worker()
    await together(*[worker.invalidation.renew] * 100)

    assert worker.leased
    assert (worker.feed.calls["join"], worker.feed.calls["position"]) == (1, 1)


async def test_a_poll_drops_what_was_changed(fleet: Fleet) -> None:
    """Neither the verdict nor what was read before is of use any more; other keys stay."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    worker.remember("k1")
    worker.remember("k2")
    mark = worker.cache.mark()
    fleet.commit("k1")
    fleet.clock.advance(LEASE)
    await worker.invalidation.renew()
    worker.remember("k1", mark)

    assert (worker.remembers("k1"), worker.remembers("k2")) == (False, True)


async def test_more_changes_than_fit_into_one_answer_are_all_applied(fleet: Fleet) -> None:
    """The lease is from the last answer, behind which there is nothing."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    for number in range(2_500):
        fleet.feed.append(f"key{number}")
    worker.remember("key0")
    worker.remember("key2499")
    fleet.clock.advance(LEASE)
    await worker.invalidation.renew()

    assert not worker.remembers("key0")
    assert not worker.remembers("key2499")
    assert worker.leased


async def test_joining_comes_before_asking_for_the_position_and_flushing_after(fleet: Fleet) -> None:
    """A change by somebody who did not see us in the register is before our position, and nothing older is kept."""
    worker = fleet.worker()
    worker.remember("k1")
    mark = worker.cache.mark()
    worker.feed.before["join"].shut()

    async def commit_before_the_join() -> None:
        await until(lambda: worker.feed.before["join"].waiting)
        fleet.commit("k1")
        worker.feed.before["join"].open()

    await together(worker.invalidation.renew, commit_before_the_join)
    worker.remember("k1", mark)

    assert worker.leased
    assert not worker.remembers("k1")


async def test_a_store_without_changes_gives_leases_too() -> None:
    """Position 0; the first change is not missed."""
    fleet = Fleet()
    worker = fleet.worker()
    await worker.invalidation.renew()
    assert worker.leased
    worker.remember("k1")
    fleet.commit("k1", 1)
    fleet.clock.advance(LEASE)
    await worker.invalidation.renew()

    assert not worker.remembers("k1")
    assert worker.feed.calls["join"] == 1


# ---- failures ------------------------------------------------------------------------------------------------------


async def test_a_failed_poll_gives_no_lease(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and not again before it has worked."""
    worker = fleet.worker()
    worker.feed.failures["join"] = StoreUnavailable("away")
    await worker.invalidation.renew()
    await worker.invalidation.renew()

    assert not worker.leased
    assert [record.message for record in caplog.records] == [
        "the change feed cannot be read; what is cached is not trusted meanwhile: away"
    ]


async def test_a_failure_is_said_while_there_is_still_a_lease(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Once: not again when it is over."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    worker.feed.failures["changes"] = StoreUnavailable("away")
    for _ in range(5):
        fleet.clock.advance(POLL)
        worker.invalidation.refresh()
        await worker.background.drain(10)

    assert caplog.messages == ["the change feed cannot be read; what is cached is not trusted meanwhile: away"]


async def test_everybody_who_waits_is_told_of_the_failure_at_once(fleet: Fleet) -> None:
    """They do not try one after the other: a store that is silent would hold each of them longer than the last."""
    worker = fleet.worker()
    worker.feed.failures["join"] = StoreUnavailable("away")
    worker.feed.before["join"].shut()

    async def fail() -> None:
        await until(lambda: worker.feed.before["join"].waiting)
        await anyio.wait_all_tasks_blocked()
        worker.feed.before["join"].open()

    await together(*[worker.invalidation.renew] * 100, fail)

    assert worker.feed.calls["join"] == 1


async def test_a_request_waits_for_a_poll_no_longer_than_an_interval(fleet: Fleet) -> None:
    """Then it asks the repository itself. The poll goes on, and gives the lease when it is answered."""
    worker = fleet.worker(times=LeaseTimes(poll=0.01, lease=LEASE))
    worker.feed.before["join"].shut()
    await worker.invalidation.renew()
    assert not worker.leased
    worker.feed.before["join"].open()
    await worker.background.drain(10)

    assert worker.leased


async def test_a_failed_refresh_is_tried_again_before_the_lease_ends(fleet: Fleet) -> None:
    """After another interval, not at the end."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    fleet.clock.advance(POLL)
    worker.feed.failures["changes"] = StoreUnavailable("away")
    worker.invalidation.refresh()
    await worker.background.drain(10)

    assert worker.leased
    assert worker.invalidation.refresh_at == fleet.clock.monotonic() + POLL


async def test_a_cancelled_request_does_not_stop_the_poll(fleet: Fleet) -> None:
    """Others wait for it."""
    worker = fleet.worker()
    worker.feed.before["join"].shut()
    async with anyio.create_task_group() as group:
        group.start_soon(worker.invalidation.renew)
        await until(lambda: worker.feed.before["join"].waiting)
        group.cancel_scope.cancel()
    worker.feed.before["join"].open()
    await worker.background.drain(10)

    assert worker.leased


# ---- an outage that is to be outlasted ----------------------------------------------------------------------------


async def in_outage(fleet: Fleet) -> Worker:
    """A worker with a grace, whose feed has just stopped answering."""
    worker = fleet.worker(outage_grace=GRACE)
    await worker.invalidation.renew()
    worker.remember("k1")
    for call in ("changes", "beat"):
        worker.feed.failures[call] = StoreUnavailable("away")
    return worker


async def test_an_outage_prolongs_trust_by_its_grace_and_no_more(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted from when the lease would have ended; said once at the beginning, and once at the end."""
    worker = await in_outage(fleet)
    ends_at = worker.invalidation.fresh_until
    for _ in range(40):
        fleet.clock.advance(1.6)
        await worker.invalidation.renew()
        worker.invalidation.refresh()
        await worker.background.drain(10)
        assert worker.leased == (fleet.clock.monotonic() < ends_at + GRACE)

    assert [message.partition(":")[0] for message in caplog.messages] == [
        "the change feed cannot be read; what is cached is trusted for 60 s more",
        "the change feed cannot be read; what is cached is not trusted meanwhile",
    ]


async def test_the_feed_is_asked_all_the_time(fleet: Fleet) -> None:
    """So a change that was made meanwhile is known as soon as it answers."""
    worker = await in_outage(fleet)
    fleet.clock.advance(POLL)
    worker.invalidation.refresh()
    await worker.background.drain(10)
    assert worker.invalidation.refresh_at == fleet.clock.monotonic() + POLL
    fleet.clock.advance(LEASE)
    assert worker.leased
    fleet.commit("k1")
    worker.feed.failures.clear()
    worker.invalidation.refresh()
    await worker.background.drain(10)

    assert worker.leased
    assert not worker.remembers("k1")
    assert worker.invalidation.fresh_until == fleet.clock.monotonic() + LEASE


async def test_the_end_of_an_outage_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Once."""
    worker = await in_outage(fleet)
    for _ in range(3):
        fleet.clock.advance(LEASE)
        await worker.invalidation.renew()
    worker.feed.failures.clear()
    for _ in range(3):
        fleet.clock.advance(GRACE)
        await worker.invalidation.renew()

    assert caplog.messages[1:] == ["the change feed can be read again"]


async def test_who_is_told_of_a_change_in_an_outage_does_not_answer_from_memory(fleet: Fleet) -> None:
    """The counter has moved: something has changed, and nobody can be asked what."""
    bus = ListeningBus()
    worker = fleet.worker(bus=bus, outage_grace=GRACE)
    await worker.invalidation.renew()
    worker.feed.failures["changes"] = StoreUnavailable("away")
    bus.moving[0] = 1
    await worker.invalidation.renew()

    assert not worker.leased


async def test_who_is_not_registered_any_more_has_no_grace(fleet: Fleet) -> None:
    """Nobody waits for him."""
    worker = await in_outage(fleet)
    fleet.feed.registered.clear()
    del worker.feed.failures["beat"]
    worker.feed.failures["join"] = StoreUnavailable("away")
    fleet.clock.advance(2 * (LEASE + GRACE))
    await worker.invalidation.renew()

    assert not worker.leased


async def test_a_grace_is_registered_with_the_lease(fleet: Fleet) -> None:
    """Whoever makes a change reckons with both, and says so where he does not wait for it."""
    await in_outage(fleet)
    revoker = fleet.worker()
    receipt = await revoker.invalidation.announce(fleet.commit())

    assert [each.lease for each in fleet.feed.registered.values()] == [LEASE + GRACE]
    assert (receipt.confirmed, receipt.max_staleness) == (False, LEASE + GRACE)


async def test_a_short_grace_is_waited_for(fleet: Fleet) -> None:
    """Then the change is confirmed, and nobody has any trust left."""
    worker = fleet.worker(outage_grace=5.0)
    await worker.invalidation.renew()
    worker.feed.failures["changes"] = StoreUnavailable("away")
    await worker.invalidation._poll()
    assert worker.invalidation.fresh_until == fleet.clock.monotonic() + LEASE + 5.0
    receipt = await fleet.worker().invalidation.announce(fleet.commit())

    assert receipt.confirmed
    assert not worker.leased


@pytest.mark.parametrize("grace", [-1.0, math.inf, math.nan])
async def test_impossible_graces_are_refused(fleet: Fleet, grace: Seconds) -> None:
    """For ever is not a bound."""
    with pytest.raises(ConfigurationError, match="outage_grace"):
        fleet.worker(outage_grace=grace)


# ---- another store -------------------------------------------------------------------------------------------------


async def test_a_store_that_was_put_back_is_noticed(fleet: Fleet) -> None:
    """Everything is forgotten, and we register anew: it may not list us."""
    worker = fleet.worker()
    fleet.commit("k2")
    await worker.invalidation.renew()
    worker.remember("k1")
    fleet.feed.put_back(1)
    fleet.clock.advance(LEASE)
    await worker.invalidation.renew()

    assert worker.leased
    assert not worker.remembers("k1")
    assert len(fleet.feed.registered) == 1


async def test_a_store_that_was_put_back_and_has_grown_again_is_noticed(fleet: Fleet) -> None:
    """There is a row at our position, but it is another one; the change before it was not applied here."""
    worker = fleet.worker()
    fleet.commit("k2")
    fleet.commit("k2", 3)
    await worker.invalidation.renew()
    worker.remember("k1")
    fleet.feed.put_back(1)
    fleet.commit("k1")
    fleet.commit("k2")
    fleet.clock.advance(LEASE)
    await worker.invalidation.renew()

    assert not worker.remembers("k1")


# ---- the registration ----------------------------------------------------------------------------------------------


async def test_a_lease_does_not_outlive_the_registration(fleet: Fleet) -> None:
    """A process stopped between its beat and its read was taken for dead: what it reads then gives no lease."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    fleet.clock.advance(LEASE)
    worker.feed.before["changes"].shut()

    async def be_stopped() -> None:
        await until(lambda: worker.feed.before["changes"].waiting)
        fleet.clock.advance(2 * LEASE)
        worker.feed.before["changes"].open()

    registered_at = fleet.clock.monotonic() - LEASE
    await together(worker.invalidation.renew, be_stopped)

    assert not worker.leased
    assert worker.invalidation.fresh_until <= registered_at + 3 * LEASE


async def test_who_was_dismissed_registers_anew_and_forgets(fleet: Fleet) -> None:
    """Nobody has waited for him."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    worker.remember("k1")
    fleet.feed.registered.clear()
    fleet.clock.advance(2 * LEASE)
    await worker.invalidation.renew()

    assert len(fleet.feed.registered) == 1
    assert not worker.remembers("k1")


async def test_there_is_no_lease_while_the_registration_is_changed(fleet: Fleet) -> None:
    """Whoever makes a change in the gap knows nobody to wait for."""
    bus = ListeningBus("one")
    worker = fleet.worker(bus=bus)
    await worker.invalidation.renew()
    bus.name = "two"
    worker.feed.before["join"].shut()
    worker.invalidation.refresh()
    await until(lambda: worker.feed.before["join"].waiting)
    assert not fleet.feed.registered
    assert not worker.leased
    worker.feed.before["join"].open()
    await worker.background.drain(10)

    assert worker.leased
    assert [each.bus for each in fleet.feed.registered.values()] == ["two"]


async def test_polls_remove_the_registrations_of_the_dead(fleet: Fleet) -> None:
    """Whoever has traffic does, though he never makes a change; the living, who beat, stay."""
    worker, dead, alive = fleet.worker(), fleet.worker(), fleet.worker()
    await dead.invalidation.renew()
    for _ in range(11):
        for each in (worker, alive):
            await each.invalidation.renew()
            await each.background.drain(10)
        fleet.clock.advance(LEASE)

    assert set(fleet.feed.registered) == {each.invalidation._register.worker_id for each in (worker, alive)}
    assert worker.feed.calls["workers"] == 2


async def test_a_register_that_cannot_be_tidied_is_no_trouble(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The lease is there already."""
    worker = fleet.worker()
    worker.feed.failures["workers"] = StoreUnavailable("away")
    await worker.invalidation.renew()
    await worker.background.drain(10)

    assert worker.leased
    assert caplog.messages == []


async def test_a_clean_exit_leaves(fleet: Fleet) -> None:
    """And begins anew when it is used again."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    await worker.invalidation.close()
    assert not fleet.feed.registered
    assert not worker.leased
    await worker.invalidation.renew()

    assert worker.leased
    assert len(fleet.feed.registered) == 1


async def test_a_poll_under_way_gives_no_lease_to_who_has_closed(fleet: Fleet) -> None:
    """Nor does it leave a registration behind."""
    bus = ListeningBus()
    worker = fleet.worker(bus=bus)
    worker.feed.after["join"].shut()

    async def close_meanwhile() -> None:
        await until(lambda: worker.feed.after["join"].waiting)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.invalidation.close)
            await anyio.wait_all_tasks_blocked()
            worker.feed.after["join"].open()

    await together(worker.invalidation.renew, close_meanwhile)

    assert not worker.leased
    assert not fleet.feed.registered


async def test_leaving_a_store_that_is_away_is_said(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Closing goes on."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    worker.feed.failures["leave"] = StoreUnavailable("away")
    await worker.invalidation.close()

    assert caplog.messages == ["this worker stays registered until somebody notices that it is gone: away"]


# ---- announcing ----------------------------------------------------------------------------------------------------


async def test_alone_a_change_is_confirmed_at_once(fleet: Fleet) -> None:
    """Our own memory is told directly."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    worker.remember("k1")
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.workers, receipt.acknowledged, receipt.elapsed) == (True, 1, 1, 0.0)
    assert not worker.remembers("k1")


async def test_without_a_bus_the_others_leases_are_waited_for(fleet: Fleet) -> None:
    """By our own clock, which may be the faster one."""
    worker, other = fleet.worker(), fleet.worker()
    await other.invalidation.renew()
    other.remember("k1")
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.workers, receipt.acknowledged) == (True, 2, 1)
    assert receipt.elapsed == pytest.approx(WAIT)
    assert not other.leased


async def test_the_longest_lease_is_waited_for(fleet: Fleet) -> None:
    """The command line knows nothing of how the servers are configured."""
    worker = fleet.worker()
    other = fleet.worker(times=LeaseTimes(poll=1.0, lease=10.0))
    await other.invalidation.renew()
    receipt = await worker.invalidation.announce(fleet.commit())

    assert receipt.elapsed == pytest.approx(10.0 * CLOCK_RATE + 2 * CLOCK_STEP)
    assert not other.leased


async def test_timers_that_fire_early_confirm_nothing_early(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock decides, not the sleep."""

    async def sleep(seconds: Seconds) -> None:
        fleet.clock.advance(max(0.4 * seconds, 0.001))

    monkeypatch.setattr("asgi_apikey.invalidation.leases.anyio.sleep", sleep)
    worker, other = fleet.worker(), fleet.worker()
    await other.invalidation.renew()
    receipt = await worker.invalidation.announce(fleet.commit())

    assert receipt.elapsed >= WAIT


async def test_who_cannot_be_listed_is_not_confirmed(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Silence is never taken for an empty register, nor for one of leases like ours."""
    worker, other = fleet.worker(), fleet.worker(times=LeaseTimes(poll=1.0, lease=9.0))
    await other.invalidation.renew()
    worker.feed.failures["workers"] = StoreUnavailable("away")
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.max_staleness) == (False, LEASE)
    assert other.leased
    assert "cannot be listed" in caplog.text


async def test_who_was_once_listed_is_reckoned_with(fleet: Fleet) -> None:
    """The longest lease that we have heard of is the bound we give when nobody can be listed."""
    worker, other = fleet.worker(), fleet.worker(times=LeaseTimes(poll=1.0, lease=9.0))
    await other.invalidation.renew()
    await worker.invalidation.announce(fleet.commit())
    worker.feed.failures["workers"] = StoreUnavailable("away")
    receipt = await worker.invalidation.announce(fleet.commit("k1", 3))

    assert (receipt.confirmed, receipt.max_staleness) == (False, 9.0)


async def test_who_can_be_listed_later_is_waited_for(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store that did not answer after the commit is asked once more when our own lease would be over."""
    worker, other = fleet.worker(), fleet.worker(times=LeaseTimes(poll=1.0, lease=9.0))
    await other.invalidation.renew()
    worker.feed.failures["workers"] = StoreUnavailable("away")

    async def sleep(seconds: Seconds) -> None:
        fleet.clock.advance(seconds)
        worker.feed.failures.clear()

    monkeypatch.setattr("asgi_apikey.invalidation.leases.anyio.sleep", sleep)
    receipt = await worker.invalidation.announce(fleet.commit())

    assert receipt.confirmed
    assert receipt.elapsed == pytest.approx(9.0 * CLOCK_RATE + 2 * CLOCK_STEP)
    assert not other.leased


async def test_a_lease_that_is_too_long_is_not_waited_for_and_nothing_is_confirmed(fleet: Fleet) -> None:
    """The caller is told how long it goes on."""
    worker = fleet.worker()
    other = fleet.worker(times=LeaseTimes(poll=1.0, lease=LONGEST_AWAITED + 1))
    await other.invalidation.renew()
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.max_staleness, receipt.workers) == (False, LONGEST_AWAITED + 1, 2)
    assert fleet.slept == []


async def test_whoever_has_acknowledged_may_have_any_lease(fleet: Fleet) -> None:
    """He is not waited for."""
    bus = ListeningBus()
    worker = fleet.worker(bus=bus)
    other = fleet.worker(bus=ListeningBus(), times=LeaseTimes(poll=1.0, lease=100.0))
    await other.invalidation.renew()

    async def answers(seq: int) -> Collection[str]:
        return [(await other.invalidation._caught_up(seq)).worker_id]

    bus.answers = answers
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.max_staleness, receipt.elapsed) == (True, 0.0, 0.0)


async def test_where_nobody_else_is_nobody_is_woken(fleet: Fleet) -> None:
    """Whoever joins later begins with the change."""
    bus = ListeningBus()
    worker = fleet.worker(bus=bus)
    await worker.invalidation.announce(fleet.commit())

    assert bus.woken == []


async def test_when_all_have_acknowledged_nobody_is_waited_for(fleet: Fleet) -> None:
    """They have applied it."""
    bus = ListeningBus()
    worker, other = fleet.worker(bus=bus), fleet.worker(bus=ListeningBus())
    await other.invalidation.renew()
    other.remember("k1")

    async def answers(seq: int) -> Collection[str]:
        return [(await other.invalidation._caught_up(seq)).worker_id]

    bus.answers = answers
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.workers, receipt.acknowledged, receipt.elapsed) == (True, 2, 2, 0.0)
    assert other.leased
    assert not other.remembers("k1")


@pytest.mark.parametrize("made_up", [("x", "y"), ("x",)])
async def test_acknowledgements_of_strangers_do_not_count(fleet: Fleet, made_up: tuple[str, ...]) -> None:
    """Each worker is waited for by name."""
    bus = ListeningBus()
    worker, other = fleet.worker(bus=bus), fleet.worker(bus=ListeningBus())
    await other.invalidation.renew()

    async def answers(seq: int) -> Collection[str]:
        return made_up

    bus.answers = answers
    receipt = await worker.invalidation.announce(fleet.commit())

    assert receipt.acknowledged == 1
    assert not other.leased


async def test_who_listens_to_another_bus_is_waited_for(fleet: Fleet) -> None:
    """Even if the bus says that it has heard."""
    bus = ListeningBus("one")
    worker, other = fleet.worker(bus=bus), fleet.worker(bus=ListeningBus("two"))
    await other.invalidation.renew()

    async def answers(seq: int) -> Collection[str]:
        return list(fleet.feed.registered)

    bus.answers = answers
    receipt = await worker.invalidation.announce(fleet.commit())

    assert receipt.acknowledged == 1
    assert not other.leased


async def test_what_is_told_again_is_acknowledged_by_its_position(fleet: Fleet) -> None:
    """Somebody else committed it and was killed; a worker that has not read so far must not say that it has."""
    bus = ListeningBus()
    worker, other = fleet.worker(bus=bus), fleet.worker(bus=ListeningBus())
    await other.invalidation.renew()
    committed = fleet.commit()
    again = Committed(committed.record, (Change(0, "k1", 2),))
    await worker.invalidation.announce(again)

    assert bus.woken == [committed.changes[0].seq]


async def test_what_is_told_again_without_a_position_is_not_acknowledged(fleet: Fleet) -> None:
    """Then the leases decide."""
    bus = ListeningBus()
    worker, other = fleet.worker(bus=bus), fleet.worker(bus=ListeningBus())
    await other.invalidation.renew()

    async def answers(seq: int) -> Collection[str]:
        return list(fleet.feed.registered)

    bus.answers = answers
    fleet.commit()
    worker.feed.failures["position"] = StoreUnavailable("away")
    receipt = await worker.invalidation.announce(Committed(a_record("k1", version=2), (Change(0, "k1", 2),)))

    assert receipt.confirmed
    assert not other.leased


async def test_a_new_key_is_told_without_waiting(fleet: Fleet) -> None:
    """It forbids nothing; rejections of it are dropped here at once."""
    bus = ListeningBus()
    worker, other = fleet.worker(bus=bus), fleet.worker(bus=ListeningBus())
    await other.invalidation.renew()
    await worker.invalidation.tell(fleet.commit("k2", 1))
    await worker.background.drain(10)

    assert bus.woken == [2]
    assert fleet.slept == []


async def test_woken_in_the_middle_of_a_poll_another_one_follows(fleet: Fleet) -> None:
    """The one on its way may have been asked before the change."""
    bus = ListeningBus()
    worker = fleet.worker(bus=bus)
    await worker.invalidation.renew()
    fleet.clock.advance(LEASE)
    worker.feed.after["changes"].shut()
    acknowledged: list[Acknowledgement] = []

    async def change_and_wake() -> None:
        await until(lambda: worker.feed.after["changes"].waiting)
        committed = fleet.commit()
        async with anyio.create_task_group() as group:

            async def wake() -> None:
                acknowledged.append(await worker.invalidation._caught_up(committed.changes[0].seq))

            group.start_soon(wake)
            await anyio.wait_all_tasks_blocked()
            worker.feed.after["changes"].open()

    await together(worker.invalidation.renew, change_and_wake)

    assert [each.position for each in acknowledged] == [2]


async def test_who_cannot_read_the_feed_acknowledges_nothing(fleet: Fleet) -> None:
    """Position 0 is none."""
    worker = fleet.worker(bus=ListeningBus())
    await worker.invalidation.renew()
    worker.feed.failures["changes"] = StoreUnavailable("away")

    assert (await worker.invalidation._caught_up(1)).position == 0


async def test_a_counter_that_moves_during_a_poll_stays_noticed(fleet: Fleet) -> None:
    """It was noted before the feed was read."""
    bus = ListeningBus()
    worker = fleet.worker(bus=bus)
    await worker.invalidation.renew()
    worker.feed.after["changes"].shut()
    bus.moving[0] = 1

    async def move_again() -> None:
        await until(lambda: worker.feed.after["changes"].waiting)
        bus.moving[0] = 2
        worker.feed.after["changes"].open()

    await together(worker.invalidation.renew, move_again)
    assert not worker.leased
    await worker.invalidation.renew()

    assert worker.leased


# ---- processes and loops -------------------------------------------------------------------------------------------


def in_child(tell: Callable[[], str]) -> str:
    """Fork, and return what `tell` returns in the child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, tell().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    told = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    return told


async def test_a_child_begins_anew(fleet: Fleet) -> None:
    """No lease, no registration, whatever its parent had; the parent keeps its own."""
    worker = fleet.worker()
    await worker.invalidation.renew()
    ours = worker.invalidation._register.worker_id
    told = in_child(lambda: f"{worker.leased} {worker.invalidation._register.worker_id}")

    assert told == "False "
    assert worker.leased
    assert worker.invalidation._register.worker_id == ours


def test_a_loop_that_died_in_the_middle_of_a_poll_holds_up_no_other() -> None:
    """Some test clients close their loop without ending its tasks."""
    fleet = Fleet()
    worker = fleet.worker()
    worker.feed.before["join"].shut()

    async def leave_it_there() -> None:
        worker.invalidation.refresh()
        await until(lambda: worker.feed.before["join"].waiting)

    first = asyncio.new_event_loop()
    first.run_until_complete(leave_it_there())
    left = asyncio.all_tasks(first)
    first.close()
    worker.feed.before["join"].bypass()
    asyncio.run(worker.invalidation.renew())
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    assert worker.leased


@pytest.mark.parametrize(
    ("poll", "lease"), [(0.0, 2.0), (-1.0, 2.0), (1.1, 2.0), (0.5, math.inf), (math.nan, 2.0), (0.5, math.nan)]
)
def test_impossible_times_are_refused(poll: Seconds, lease: Seconds) -> None:
    """A lease that never ends could not be waited for."""
    with pytest.raises(ConfigurationError, match="at least two polls"):
        LeaseTimes(poll=poll, lease=lease)
