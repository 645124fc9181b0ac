"""A store that does not answer: one request waits for it once, and those behind it not at all."""

from __future__ import annotations

import time
from dataclasses import replace

import anyio
import pytest

from asgi_apikey.authenticator import Limits
from asgi_apikey.errors import ConfigurationError, Overloaded, RevokedKey, StoreUnavailable
from asgi_apikey.models import Seconds
from tests.fakes import FakeClock, FakeInvalidation, together, until
from tests.wiring import Wired

pytestmark = pytest.mark.anyio

BRIEF = Limits(store_patience=0.6)


def without_a_lease(wired: Wired, *, waits: Seconds) -> None:
    """Have no lease, and wait for one so long in vain."""
    invalidation = wired.invalidation
    assert isinstance(invalidation, FakeInvalidation)
    invalidation.fresh_until = 0.0

    async def renew() -> None:
        wired.clock.advance(waits)

    invalidation.renew = renew  # type: ignore[method-assign] # a poll that nobody answers


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_read_has_what_the_lease_has_left_of_the_patience() -> None:
    """The store that has not answered the poll is not given the whole time once more."""
    wired = Wired(lease=2.0, limits=BRIEF)
    issued = await wired.issue()
    without_a_lease(wired, waits=0.5)
    wired.store.before["get"].shut()
    began = time.perf_counter()
    with pytest.raises(StoreUnavailable, match="silent"):
        await wired.authenticate(issued.key)

    assert 0.09 <= time.perf_counter() - began < 0.4


async def test_a_read_after_a_long_wait_still_has_a_moment() -> None:
    """The store may have come back just now."""
    wired = Wired(lease=2.0, limits=BRIEF)
    issued = await wired.issue()
    without_a_lease(wired, waits=5.0)

    assert (await wired.authenticate(issued.key)).owner == "acme"


async def test_whoever_has_not_waited_has_the_stores_own_deadline() -> None:
    """A slow store is not a silent one."""
    wired = Wired(limits=replace(BRIEF, store_patience=0.01))
    issued = await wired.issue()
    wired.store.before["get"].shut()

    async def answer() -> None:
        await until(lambda: wired.store.before["get"].waiting)
        await anyio.sleep(0.05)
        wired.store.before["get"].open()

    principal, _ = await together(lambda: wired.authenticate(issued.key), answer)

    assert getattr(principal, "key_id", None) == issued.record.key_id


async def test_those_who_wait_for_a_slot_are_refused_with_the_one_who_waited_for_the_store() -> None:
    """They would be no luckier, one after the other."""
    wired = Wired(limits=Limits(stranger_slots=1, patience=60.0))
    issued = [await wired.issue() for _ in range(3)]
    wired.store.before["get"].shut()

    async def be_silent() -> None:
        await until(lambda: wired.store.before["get"].waiting == 1)
        await anyio.wait_all_tasks_blocked()
        wired.clock.advance(1.0)
        wired.store.failures["get"] = StoreUnavailable("no answer")
        wired.store.before["get"].open()

    first, *others, _ = await together(*[lambda each=each: wired.authenticate(each.key) for each in issued], be_silent)

    assert isinstance(first, StoreUnavailable)
    assert [type(each) for each in others] == [Overloaded, Overloaded]
    assert wired.store.calls["get"] == 1


async def test_an_error_that_comes_at_once_is_nobody_elses() -> None:
    """One broken connection says nothing about the next."""
    wired = Wired(limits=Limits(stranger_slots=1))
    issued = [await wired.issue() for _ in range(2)]
    wired.store.before["get"].shut()

    async def break_once() -> None:
        await until(lambda: wired.store.before["get"].waiting == 1)
        await anyio.wait_all_tasks_blocked()
        wired.store.failures["get"] = StoreUnavailable("reset")
        wired.store.before["get"].open()
        await until(lambda: wired.authenticator.stats.undecided)
        wired.store.failures.clear()

    wired.store.after["get"].open()
    first, second, _ = await together(*[lambda each=each: wired.authenticate(each.key) for each in issued], break_once)

    assert isinstance(first, StoreUnavailable)
    assert not isinstance(second, Overloaded)


async def test_no_answer_is_no_reason_to_ask_for_a_lease() -> None:
    """The store that was silent would be asked once more, for nothing."""
    wired = Wired(lease=2.0)
    issued = await wired.issue()
    assert isinstance(wired.invalidation, FakeInvalidation)
    wired.store.failures["get"] = StoreUnavailable("away")
    wired.invalidation.failing = True
    wired.invalidation.fresh_until = 0.0
    asked = 0

    async def renew() -> None:
        nonlocal asked
        asked += 1

    wired.invalidation.renew = renew  # type: ignore[method-assign] # counted
    with pytest.raises(StoreUnavailable):
        await wired.authenticate(issued.key)

    assert asked == 1


async def test_the_order_of_events_is_not_told_by_a_clock() -> None:
    """A look-up that was on its way when a request came does not answer it, though a coarse clock shows one time."""
    clock = FakeClock()
    wired = Wired(lease=2.0, clock=clock)
    issued = await wired.issue()
    assert isinstance(wired.invalidation, FakeInvalidation)
    wired.invalidation.failing = True
    wired.invalidation.fresh_until = 0.0
    wired.store.after["get"].shut()

    async def revoke_and_come_later() -> object:
        await until(lambda: wired.store.after["get"].waiting)
        # By another process: nothing of it is known here.
        record = await wired.repository.get(issued.record.key_id)
        assert record is not None
        wired.repository._records[record.key_id] = replace(record, revoked_at=clock.wall(), version=2)
        async with anyio.create_task_group() as group:

            async def come() -> None:
                with pytest.raises(RevokedKey):
                    await wired.authenticate(issued.key)

            group.start_soon(come)
            await anyio.wait_all_tasks_blocked()
            wired.store.after["get"].open()
        return None

    first, _ = await together(lambda: wired.authenticate(issued.key), revoke_and_come_later)

    assert getattr(first, "key_id", None) == issued.record.key_id


@pytest.mark.parametrize("patience", [0.0, -1.0, float("inf"), float("nan")])
def test_impossible_patience_is_refused(patience: Seconds) -> None:
    """Nobody could wait so long."""
    with pytest.raises(ConfigurationError, match="store_patience"):
        Limits(store_patience=patience)
