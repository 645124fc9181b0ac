"""The simulated fleet of `benchmarks/growth.py`: what must be true of its figures whatever the costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_apikey.invalidation.announcer import CLOCK_RATE
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.invalidation.register import _BEAT
from benchmarks.crowd import LATENCY, Bus, Costs, Crowd, Scenario
from benchmarks.growth import as_text, tables

COSTS = Costs(poll=1e-4, beat=2e-4, look=1e-4, row=2e-6, message=3e-5, unseal=5e-6)
SMALL = Scenario(workers=20, requests=10.0, changes=0.5)
BUSES: tuple[Bus, ...] = ("none", "host", "redis", "postgres")


def test_the_same_seed_gives_the_same_figures() -> None:
    """And another one others."""
    first, again, other = (Crowd(SMALL, COSTS, seed).run(30.0) for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_an_idle_fleet_asks_nothing() -> None:
    """Without requests nobody polls, but to answer a wake-up."""
    idle = replace(SMALL, requests=0.0)
    nothing = Crowd(replace(idle, changes=0.0), COSTS, 1).run(60.0)
    woken = Crowd(idle, COSTS, 1).run(60.0)

    # Each begins with the one poll that its start is simulated as.
    assert nothing.polls * 60 == SMALL.workers
    assert woken.polls * 60 >= SMALL.workers * len(woken.receipts)
    assert woken.acknowledged == 1.0


@given(
    workers=st.integers(1, 40),
    requests=st.floats(0.05, 100.0),
    changes=st.floats(0.0, 2.0),
    poll=st.floats(0.2, 2.0),
    polls_in_a_lease=st.floats(2.0, 8.0),
    bus=st.sampled_from(BUSES),
    crashes=st.floats(0.0, 500.0),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_bounds_hold(
    workers: int,
    requests: float,
    changes: float,
    poll: float,
    polls_in_a_lease: float,
    bus: Bus,
    crashes: float,
    seed: int,
) -> None:
    """No receipt takes longer than the leases, no worker polls without a reason, and shares are shares."""
    times = LeaseTimes(poll=poll, lease=poll * polls_in_a_lease)
    scenario = Scenario(
        workers=workers, requests=requests, changes=changes, times=times, bus=bus, crashes=crashes, cores=2
    )
    seconds = 10 * times.lease
    found = Crowd(scenario, COSTS, seed).run(seconds)

    longest = times.lease * CLOCK_RATE + 0.1
    assert all(0 < each <= longest for each in found.receipts)
    assert 0 <= found.acknowledged <= 1
    assert 0 <= found.waiting <= 1
    # Requests make at most one poll an interval; a call is repeated at most so often before the leases end.
    repeats = 2 + math.log2(1 + longest / 0.1) + longest
    assert found.polls <= workers * (1 / poll + 1 / seconds + (changes * 3 + 3 / seconds) * repeats)
    assert found.writes <= workers * (1 / (_BEAT * times.lease) + 1 / seconds)
    assert found.rows >= found.polls - workers / seconds * 2
    assert found.busy >= found.polls * COSTS.poll * 0.99
    if bus in ("none", "host"):
        assert (found.published, found.delivered, found.pings) == (0, 0, 0)
    if bus == "none":
        assert found.acknowledged == 0


def test_polls_follow_the_interval_and_the_requests() -> None:
    """One for each interval and the mean wait for the next request."""
    found = Crowd(replace(SMALL, changes=0.0), COSTS, 1).run(300.0)
    expected = SMALL.workers / (SMALL.times.poll + 1 / SMALL.requests)

    assert found.polls == pytest.approx(expected, rel=0.02)


def test_each_change_is_one_message_to_all_and_one_from_each() -> None:
    """While everybody answers before the first repetition."""
    found = Crowd(SMALL, COSTS, 1).run(200.0)
    changes = len(found.receipts)

    assert found.published * 200 == pytest.approx(changes * (1 + SMALL.workers), rel=0.05)
    assert found.delivered * 200 == pytest.approx(changes * 2 * SMALL.workers, rel=0.05)


def test_a_receipt_takes_a_list_a_wake_up_a_poll_and_an_answer() -> None:
    """On a network of one speed, and with a database that has nothing else to do."""
    alone = Scenario(workers=1, requests=0.0, changes=0.1)
    found = Crowd(alone, COSTS, 1).run(200.0)
    fastest = 2 * LATENCY + COSTS.look + COSTS.row + 2 * LATENCY + 2 * LATENCY + COSTS.poll + 2 * LATENCY

    assert found.receipts[0] >= fastest
    assert found.receipts[-1] <= fastest + COSTS.beat + COSTS.look + COSTS.row + COSTS.unseal + 1e-9


def test_the_dead_make_receipts_wait_for_the_leases() -> None:
    """The more of them are registered, the fewer are acknowledged by all; a number in memory waits for nobody."""
    shares = [
        Crowd(replace(SMALL, crashes=crashes), COSTS, 1).run(200.0).acknowledged for crashes in (0.0, 100.0, 5_000.0)
    ]
    by_memory = Crowd(replace(SMALL, crashes=5_000.0, bus="host"), COSTS, 1).run(200.0)

    assert shares[0] == 1.0
    assert shares[0] > shares[1] > shares[2]
    assert by_memory.acknowledged == 1.0


def test_a_database_that_is_too_small_shows() -> None:
    """More is asked of it than it has cores, and requests wait."""
    slow = replace(COSTS, poll=0.1)
    found = Crowd(replace(SMALL, cores=1, changes=0.0), slow, 1).run(60.0)
    enough = Crowd(replace(SMALL, cores=8, changes=0.0), slow, 1).run(60.0)

    assert found.busy > 0.95
    assert found.waiting > enough.waiting == 0.0


def test_the_tables_are_complete() -> None:
    """Every column has its figure, for fleets of any size."""
    found = tables([1, 5], {"sqlite": COSTS, "postgres": COSTS}, 1, 4)
    text = as_text({"sqlite": COSTS, "postgres": COSTS}, found)

    assert [len(rows) for rows in found.values()] == [2, 5, 5, 7, 2]
    assert all(name in text for name in found)
