"""The real coroutines of several processes, in chosen orders and in thousands of random ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asgi_apikey.caches.local import LocalCache
from asgi_apikey.invalidation import announcer
from tests.model.scheduler import KINDS, LEASE, Schedule, sleep_by_own_clock

STEPS = 130


@pytest.fixture(autouse=True)
def own_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeps follow the clock of the process that sleeps."""
    monkeypatch.setattr("asgi_apikey.invalidation.leases.anyio.sleep", sleep_by_own_clock)


def play(scene: Callable[[Schedule], Awaitable[None]], *, kind: str = "none", processes: int = 2) -> Schedule:
    """Play a scene by hand."""
    schedule = Schedule(1, kind=kind, processes=processes)
    asyncio.set_event_loop(schedule.loop)

    async def prepared() -> None:
        await schedule.prepare()
        await scene(schedule)

    try:
        schedule.loop.run_until_complete(prepared())
    finally:
        schedule.close()
    return schedule


async def revoked(schedule: Schedule) -> None:
    """The first process revokes, and the others' leases are waited for."""
    revoking = schedule.revoke(schedule.processes[0])
    await schedule.up_to(schedule.processes[0], "workers: done")
    await schedule.until(lambda: revoking.done() or schedule.loop.next_timer is not None)
    schedule.advance(2 * LEASE)
    await schedule.until(revoking.done)
    assert schedule.confirmed


def test_a_read_that_began_before_the_change_is_of_no_use_after_it() -> None:
    """It is neither remembered nor believed, however late it lands; whoever joins it asks again."""

    async def scene(schedule: Schedule) -> None:
        server = schedule.processes[1]
        server.cache.clear()
        early = schedule.request(server)
        read = await schedule.up_to(server, "get: done")
        schedule.points.remove(read)
        await revoked(schedule)
        joined = schedule.request(server)
        await schedule.settle()
        schedule.points.append(read)
        await schedule.until(lambda: early.done() and joined.done())
        after = schedule.request(server)
        await schedule.until(after.done)

    assert play(scene).late == []


def test_a_process_stopped_in_the_middle_of_a_poll_comes_back_without_a_lease() -> None:
    """What it had asked for is answered from before the change."""

    async def scene(schedule: Schedule) -> None:
        server = schedule.processes[1]
        schedule.advance(LEASE / 2)
        schedule.request(server)
        answer = await schedule.up_to(server, "changes: done")
        schedule.points.remove(answer)
        await revoked(schedule)
        schedule.points.append(answer)
        late = schedule.request(server)
        await schedule.until(late.done)

    assert play(scene).late == []


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_no_order_of_events_lets_a_revoked_key_in(
    kind: str, fault_rounds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests, changes, polls, cancelled, stopped and killed processes, clocks of different rates."""
    late, accepted, confirmed, runs = [], 0, 0, 8 * fault_rounds
    for seed in range(runs):
        schedule = Schedule(seed, kind=kind)
        schedule.run(STEPS)
        late += schedule.late
        accepted += schedule.accepted
        confirmed += schedule.confirmed
    with capsys.disabled():
        print(f"\n{kind}: seeds 0 to {runs - 1}, {accepted} accepted, {confirmed} confirmed", end=" ")

    assert late == []
    # Else nothing was tried.
    assert confirmed > runs / 4


def always_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory believes what was read before a change."""
    monkeypatch.setattr(LocalCache, "settled", lambda *_: True)


def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The revoker does not wait long enough."""
    monkeypatch.setattr(announcer, "CLOCK_RATE", 0.6)


@pytest.mark.parametrize("spoil", [always_settled, hasty])
def test_the_scheduler_finds_what_is_wrong(spoil: Callable[[pytest.MonkeyPatch], None]) -> None:
    """With a guard taken out of the code, some order lets a revoked key in."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        spoil(monkeypatch)
        found = False
        for seed in range(1_000):
            schedule = Schedule(seed)
            schedule.run(STEPS)
            if schedule.late:
                found = True
                break

    assert found
