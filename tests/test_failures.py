"""The failure budget: who has presented too many wrong keys, told in bounded memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.failures import Allowance, FailureBudget
from asgi_apikey.models import Seconds

WIDE = Allowance(burst=1_000_000, per=1.0)
STARTS = st.floats(min_value=0.0, max_value=1e9)
BURSTS = st.integers(min_value=1, max_value=100)
PERIODS = st.sampled_from([0.01, 0.1, 1 / 3, 1.0, 7.3, 60.0])


def of_addresses(burst: int, per: Seconds = 1.0, *, clients: int = 10_000) -> FailureBudget:
    """A budget that only counts by address."""
    return FailureBudget(address=Allowance(burst, per), pair=WIDE, clients=clients)


def fail(budget: FailureBudget, times: int, now: Seconds, *, address: str = "10.0.0.1", key_id: str = "k1") -> None:
    """Present a wrong key so many times."""
    for _ in range(times):
        budget.charge(address, key_id, now)


@given(BURSTS, PERIODS, STARTS)
def test_a_burst_is_free_and_then_the_budget_is_used_up(burst: int, per: Seconds, now: Seconds) -> None:
    """Exactly `burst` failures at one instant, at any reading of the clock."""
    budget = of_addresses(burst, per)
    fail(budget, burst - 1, now)
    before = budget.overdrawn("10.0.0.1", "k1", now)
    fail(budget, 1, now)

    assert not before
    assert budget.overdrawn("10.0.0.1", "k1", now)


@given(BURSTS, PERIODS, STARTS)
def test_a_used_up_budget_stays_so_until_a_whole_failure_is_paid_off(burst: int, per: Seconds, now: Seconds) -> None:
    """Nearly `per` seconds later nothing has come back; `per` seconds later one failure has, and only one."""
    budget = of_addresses(burst, per)
    fail(budget, burst, now)

    assert budget.overdrawn("10.0.0.1", "k1", now + 0.99 * per)
    assert not budget.overdrawn("10.0.0.1", "k1", now + per)
    fail(budget, 1, now + per)
    assert budget.overdrawn("10.0.0.1", "k1", now + per)


@given(
    burst=st.integers(min_value=1, max_value=10),
    per=PERIODS,
    now=STARTS,
    pauses=st.lists(st.floats(min_value=0.0, max_value=2.0), min_size=1, max_size=80),
)
def test_failures_let_through_are_bounded_in_every_window(
    burst: int, per: Seconds, now: Seconds, pauses: list[float]
) -> None:
    """A client that fails whenever it may gets `burst`, and one more per `per` seconds, however it times them."""
    budget = of_addresses(burst, per)
    let_through = []
    for pause in pauses:
        now += pause * per
        if not budget.overdrawn("10.0.0.1", "k1", now):
            let_through.append(now)
            fail(budget, 1, now)

    for first in range(len(let_through)):
        for last in range(first, len(let_through)):
            window = let_through[last] - let_through[first]
            assert last - first + 1 <= burst + window / per * 1.002 + 0.01


@given(st.integers(min_value=0, max_value=500), BURSTS, PERIODS)
def test_a_flood_is_paid_off_as_fast_as_a_burst(flood: int, burst: int, per: Seconds) -> None:
    """However long it lasted, the budget is whole again `burst * per` seconds after its last failure."""
    budget = of_addresses(burst, per)
    fail(budget, burst + flood, 1_000.0)
    later = 1_000.0 + burst * per * 1.001
    fail(budget, burst - 1, later)
    before = budget.overdrawn("10.0.0.1", "k1", later)
    fail(budget, 1, later)

    assert not before
    assert budget.overdrawn("10.0.0.1", "k1", later)


def test_a_flood_that_never_pauses_stays_overdrawn() -> None:
    """Ten failures a second against an allowance of one: never a gap, at readings that all differ."""
    budget = of_addresses(5, 1.0)
    fail(budget, 5, 1_000.0)
    overdrawn = []
    for tick in range(1, 600):
        now = 1_000.0 + tick * 0.1
        overdrawn.append(budget.overdrawn("10.0.0.1", "k1", now))
        fail(budget, 1, now)

    assert all(overdrawn)


def test_an_unknown_client_has_its_whole_budget() -> None:
    """Nothing is held against strangers."""
    assert not of_addresses(1).overdrawn("10.0.0.1", "k1", 0.0)


def test_clients_are_counted_apart() -> None:
    """One address's failures are not another's."""
    budget = of_addresses(3)
    fail(budget, 50, 1_000.0, address="10.0.0.1")

    assert budget.overdrawn("10.0.0.1", "k1", 1_000.0)
    assert not budget.overdrawn("10.0.0.2", "k1", 1_000.0)


def test_a_pair_is_used_up_before_its_address() -> None:
    """Guessing at one key costs the guesser that key, while other keys behind the same address go on."""
    budget = FailureBudget(address=Allowance(100, 0.1), pair=Allowance(20, 1.0))
    fail(budget, 20, 1_000.0, key_id="k1")

    assert budget.overdrawn("10.0.0.1", "k1", 1_000.0)
    assert not budget.overdrawn("10.0.0.1", "k2", 1_000.0)


def test_guessing_at_many_keys_uses_up_the_address() -> None:
    """One failure each, so no pair is used up: their sum is."""
    budget = FailureBudget(address=Allowance(100, 0.1), pair=Allowance(20, 1.0))
    for number in range(100):
        budget.charge("10.0.0.1", f"k{number}", 1_000.0)

    assert budget.overdrawn("10.0.0.1", "never tried", 1_000.0)


def test_asking_costs_nothing() -> None:
    """Only failures are counted."""
    budget = of_addresses(2)
    fail(budget, 1, 1_000.0)

    assert not any(budget.overdrawn("10.0.0.1", "k1", 1_000.0) for _ in range(100))


def test_memory_is_bounded_and_the_busiest_offender_is_remembered() -> None:
    """A client that goes on failing is not forgotten, however many others come by once."""
    budget = of_addresses(3, 1_000.0, clients=10)
    for number in range(1_000):
        fail(budget, 1, 1_000.0, address="10.0.0.1", key_id=f"k{number}")
        fail(budget, 1, 1_000.0, address=f"192.0.2.{number}")

    assert budget.overdrawn("10.0.0.1", "k1", 1_000.0)
    assert len(budget) == 10


@pytest.mark.parametrize(
    ("burst", "per"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0), (1, math.nan), (1, math.inf)], ids=str
)
def test_an_allowance_that_allows_nothing_or_anything_is_refused(burst: int, per: Seconds) -> None:
    """NaN too: no comparison with it would ever come out."""
    with pytest.raises(ConfigurationError, match="burst >= 1 and per > 0"):
        Allowance(burst, per)


def test_a_budget_remembers_somebody() -> None:
    """Room for an address and its pair is the least."""
    with pytest.raises(ConfigurationError, match="clients >= 2"):
        of_addresses(1, clients=1)
