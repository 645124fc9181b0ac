"""Memory that is trusted for a time: others know of it, and wait for it or say that they have not."""

from __future__ import annotations

import math

import anyio
import pytest

from asgi_apikey.background import Background
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.invalidation.announcer import CLOCK_RATE, CLOCK_STEP
from asgi_apikey.invalidation.poll import NoBus
from asgi_apikey.invalidation.ttl import TimedInvalidation
from asgi_apikey.models import Principal, Seconds, Tally, Verdict
from asgi_apikey.protocols import Invalidation
from tests.fakes import Watched, together, until
from tests.invalidation.test_leases import Fleet, a_fleet, in_child
from tests.records import recalled

pytestmark = pytest.mark.anyio

TTL = 5.0


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """See `a_fleet`."""
    return a_fleet(monkeypatch)


class Timed:
    """One process that trusts its memory for a time."""

    def __init__(self, fleet: Fleet, ttl: Seconds = TTL) -> None:
        self.feed = Watched(fleet.feed)
        self.clock = fleet.clock
        self.cache = LocalCache()
        self.background = Background()
        self.invalidation = TimedInvalidation(
            self.feed, self.cache, bus=NoBus(), clock=fleet.clock, background=self.background, ttl=ttl
        )

    @property
    def trusted(self) -> bool:
        """Whether its memory may be used now."""
        return self.clock.monotonic() < self.invalidation.fresh_until

    def remember(self, mark: int | None = None) -> None:
        """Put a verdict about `k1`, as one that was read after `mark`."""
        verdict = Verdict(Principal(key_id="k1", owner="acme"), 1, math.inf, None, Tally("k1"))
        self.cache.put(b"k1", verdict, self.cache.mark() if mark is None else mark)

    @property
    def remembers(self) -> bool:
        """Whether there is a verdict about `k1`."""
        return recalled(self.cache, b"k1") is not None


def test_it_is_an_invalidation(fleet: Fleet) -> None:
    """All that the protocol asks for."""
    invalidation: Invalidation = Timed(fleet).invalidation

    assert invalidation.max_staleness == TTL


async def test_memory_is_not_trusted_before_others_know_of_it(fleet: Fleet) -> None:
    """It is in the register with the time for which it trusts what it has read."""
    timed = Timed(fleet)
    assert not timed.trusted
    await timed.invalidation.renew()

    assert timed.trusted
    assert [(each.bus, each.lease) for each in fleet.feed.registered.values()] == [("ttl", TTL)]


async def test_what_was_read_before_the_registration_is_forgotten(fleet: Fleet) -> None:
    """Whoever has made a change meanwhile has not waited for us."""
    timed = Timed(fleet)
    timed.remember()
    mark = timed.cache.mark()
    await timed.invalidation.renew()
    timed.remember(mark)

    assert not timed.remembers


async def test_the_feed_is_never_read(fleet: Fleet) -> None:
    """One write for every two times `ttl`, under traffic only."""
    timed = Timed(fleet)
    await timed.invalidation.renew()
    for _ in range(20):
        fleet.clock.advance(TTL / 2)
        if fleet.clock.monotonic() >= timed.invalidation.refresh_at:
            timed.invalidation.refresh()
            await timed.background.drain(10)
        assert timed.trusted

    assert (timed.feed.calls["join"], timed.feed.calls["beat"]) == (1, 5)
    assert (timed.feed.calls["changes"], timed.feed.calls["position"]) == (0, 0)


async def test_everybody_waits_for_one_registration(fleet: Fleet) -> None:
    """A hundred requests cost one write."""
    timed = Timed(fleet)
    await together(*[timed.invalidation.renew] * 100)

    assert timed.feed.calls["join"] == 1


async def test_who_cannot_register_trusts_nothing(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """It reads the store for every request, is told so once, and tries again after a second, not every time."""
    timed = Timed(fleet)
    timed.feed.failures["join"] = StoreUnavailable("read-only")
    for _ in range(3):
        await timed.invalidation.renew()
    assert not timed.trusted
    assert timed.feed.calls["join"] == 1
    timed.feed.failures.clear()
    fleet.clock.advance(1.0)
    await timed.invalidation.renew()

    assert timed.trusted
    assert caplog.messages == ["this worker cannot be registered; what is cached is not trusted meanwhile: read-only"]


async def test_a_beat_that_fails_costs_nothing_until_the_registration_is_in_doubt(fleet: Fleet) -> None:
    """Nobody takes us for dead before."""
    timed = Timed(fleet)
    await timed.invalidation.renew()
    timed.feed.failures["beat"] = StoreUnavailable("away")
    fleet.clock.advance(2 * TTL)
    timed.invalidation.refresh()
    await timed.background.drain(10)
    assert timed.trusted
    fleet.clock.advance(TTL)

    assert not timed.trusted


async def test_who_was_dismissed_registers_anew_and_forgets(fleet: Fleet) -> None:
    """Nobody has waited for him."""
    timed = Timed(fleet)
    await timed.invalidation.renew()
    timed.remember()
    fleet.feed.registered.clear()
    fleet.clock.advance(2 * TTL)
    timed.invalidation.refresh()
    await timed.background.drain(10)

    assert len(fleet.feed.registered) == 1
    assert not timed.remembers
    assert timed.trusted


async def test_a_process_with_leases_waits_for_it(fleet: Fleet) -> None:
    """Then nothing that was read before the change is used any more."""
    timed, worker = Timed(fleet), fleet.worker()
    await timed.invalidation.renew()
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.workers, receipt.acknowledged) == (True, 2, 1)
    assert receipt.elapsed == pytest.approx(TTL * CLOCK_RATE + 2 * CLOCK_STEP)


async def test_a_process_with_leases_does_not_confirm_what_it_would_wait_for_too_long(fleet: Fleet) -> None:
    """It says how long it takes."""
    timed, worker = Timed(fleet, 60.0), fleet.worker()
    await timed.invalidation.renew()
    receipt = await worker.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.max_staleness) == (False, 60.0)


async def test_its_own_changes_are_unconfirmed_while_others_are_there(fleet: Fleet) -> None:
    """Nobody is waited for; the bound is the longest of all."""
    timed, worker = Timed(fleet), Timed(fleet, 60.0)
    await worker.invalidation.renew()
    timed.remember()
    receipt = await timed.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.workers, receipt.max_staleness) == (False, 2, 60.0)
    assert fleet.slept == []
    assert not timed.remembers


@pytest.mark.parametrize("silent", [False, True])
async def test_its_own_bound_is_never_below_its_own_time(fleet: Fleet, silent: bool) -> None:
    """Workers with leases have forgotten sooner."""
    timed, worker = Timed(fleet), fleet.worker()
    await worker.invalidation.renew()
    if silent:
        timed.feed.failures["workers"] = StoreUnavailable("away")
    receipt = await timed.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.max_staleness) == (False, TTL)


async def test_alone_it_confirms(fleet: Fleet) -> None:
    """There is nobody in the register."""
    timed = Timed(fleet)
    await timed.invalidation.renew()
    receipt = await timed.invalidation.announce(fleet.commit())

    assert (receipt.confirmed, receipt.workers) == (True, 1)


async def test_a_new_key_is_told_to_our_own_memory(fleet: Fleet) -> None:
    """What it says about others, they hear from the feed."""
    timed = Timed(fleet)
    timed.remember()
    await timed.invalidation.tell(fleet.commit())

    assert not timed.remembers
    assert timed.feed.calls["workers"] == 0


async def test_the_dead_are_removed_by_it_too(fleet: Fleet) -> None:
    """Ten of its own times later."""
    timed, dead = Timed(fleet), fleet.worker()
    await dead.invalidation.renew()
    for _ in range(11):
        await timed.invalidation.renew()
        timed.invalidation.refresh()
        await timed.background.drain(10)
        fleet.clock.advance(TTL)

    assert [each.bus for each in fleet.feed.registered.values()] == ["ttl"]


async def test_a_clean_exit_leaves(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """And begins anew when it is used again; a store that is away is said."""
    timed = Timed(fleet)
    await timed.invalidation.renew()
    await timed.invalidation.close()
    assert not fleet.feed.registered
    assert not timed.trusted
    await timed.invalidation.renew()
    timed.feed.failures["leave"] = StoreUnavailable("away")
    await timed.invalidation.close()

    assert caplog.messages == ["this worker stays registered until somebody notices that it is gone: away"]


async def test_a_registration_under_way_is_of_no_use_to_who_has_closed(fleet: Fleet) -> None:
    """Nor is it left behind."""
    timed = Timed(fleet)
    timed.feed.after["join"].shut()

    async def close_meanwhile() -> None:
        await until(lambda: timed.feed.after["join"].waiting)
        async with anyio.create_task_group() as group:
            group.start_soon(timed.invalidation.close)
            await anyio.wait_all_tasks_blocked()
            timed.feed.after["join"].open()

    await together(timed.invalidation.renew, close_meanwhile)

    assert not timed.trusted
    assert not fleet.feed.registered


async def test_a_child_begins_anew(fleet: Fleet) -> None:
    """It is another worker."""
    timed = Timed(fleet)
    await timed.invalidation.renew()

    assert in_child(lambda: str(timed.trusted)) == "False"
    assert timed.trusted
