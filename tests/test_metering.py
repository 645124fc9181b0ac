"""What a request does to a meter, held against models that are too simple to be wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.measures import Charge, LimitRule, Meter, Period, Quota, Rate
from asgi_apikey.metering import FRESH, MemoryMeters, all_taken, began, capacity, ends, expiry, readings, taken

pytestmark = pytest.mark.anyio

MILLISECOND = st.integers(0, 4_000_000_000_000)
STEPS = st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 3)), max_size=60)
LONG_STEPS = st.lists(st.tuples(st.integers(0, 50_000_000), st.integers(1, 3)), max_size=60)


def charge(rule: LimitRule, cost: int = 1) -> Charge:
    """So much of one meter."""
    return Charge(Meter("g", "s", "n", rule, "l"), cost)


@given(st.integers(1, 20), st.integers(1, 120), MILLISECOND, STEPS)
def test_a_rate_is_a_bucket_that_leaks(amount: int, per: int, start: int, steps: list[tuple[int, int]]) -> None:
    """Exactly: the model computes with fractions."""
    rule, state, now, level = Rate(amount, per), FRESH, start, Fraction(0)
    for pause, cost in steps:
        now += pause
        level = max(Fraction(0), level - Fraction(pause * amount, per * 1_000))
        fits = level + cost <= amount
        after = taken(charge(rule, cost), state, now)
        assert (after is not None) == fits
        if after is not None:
            state, level = after, level + cost


@given(st.integers(1, 20), st.integers(1, 60), MILLISECOND, STEPS)
def test_a_rate_bounds_every_span_of_time(amount: int, per: int, start: int, steps: list[tuple[int, int]]) -> None:
    """However requests are timed: within t seconds no more than the amount, and what comes back in t seconds."""
    rule, state, now, let_in = Rate(amount, per), FRESH, start, []
    for pause, _ in steps:
        now += pause
        after = taken(charge(rule), state, now)
        if after is not None:
            state = after
            let_in.append(now)

    for first in range(len(let_in)):
        for last in range(first, len(let_in)):
            span = let_in[last] - let_in[first]
            assert last - first + 1 <= amount + Fraction(span * amount, per * 1_000)


@given(st.integers(1, 20), st.sampled_from(Period), MILLISECOND, LONG_STEPS)
def test_a_quota_bounds_every_period(amount: int, period: Period, start: int, steps: list[tuple[int, int]]) -> None:
    """What is used in a period of the calendar is never more than the amount, and never refused while it fits."""
    rule, state, now, used = Quota(amount, period), FRESH, start, dict[str, int]()
    for pause, cost in steps:
        now += pause
        name = {Period.HOUR: "%Y%m%d%H", Period.DAY: "%Y%m%d", Period.MONTH: "%Y%m"}[period]
        label = datetime.fromtimestamp(now // 1_000, UTC).strftime(name)
        after = taken(charge(rule, cost), state, now)
        assert (after is not None) == (used.get(label, 0) + cost <= amount)
        if after is not None:
            state, used[label] = after, used.get(label, 0) + cost


@given(st.integers(1, 50), st.lists(st.integers(-20, 20), max_size=60))
def test_credits_are_never_oversold(amount: int, costs: list[int]) -> None:
    """What was spent is never more than what there was at first and was given since; what fits is never refused."""
    rule, state, balance = Quota(amount, None, True), FRESH, amount
    for cost in costs:
        after = taken(charge(rule, cost), state, 0)
        assert (after is not None) == (cost <= 0 or cost <= balance)
        if after is not None:
            state, balance = after, balance - cost
        assert balance >= 0
        assert capacity(rule) - state[1] == balance


@given(st.sampled_from([Rate(3, 60), Quota(3, Period.DAY), Quota(3)]), MILLISECOND, st.integers(0, 10**9))
def test_a_clock_that_goes_back_lets_in_no_more(rule: LimitRule, now: int, back: int) -> None:
    """What was used up stays used up at every earlier reading of the clock."""
    state = taken(charge(rule, 3), FRESH, now)

    assert state is not None
    assert taken(charge(rule), state, max(0, now - back)) is None


@given(st.sampled_from(Period), MILLISECOND)
def test_a_period_is_one_of_the_calendar_in_utc(period: Period, now: int) -> None:
    """It began at or before now, ends after, and the next one begins where it ends."""
    start = began(period, now)
    at = datetime.fromtimestamp(start / 1_000, UTC)

    assert start <= now < ends(period, start)
    assert began(period, ends(period, start)) == ends(period, start)
    assert began(period, ends(period, start) - 1) == start
    assert (at.minute, at.second, at.microsecond) == (0, 0, 0)
    assert period is Period.HOUR or at.hour == 0
    assert period is not Period.MONTH or at.day == 1


def test_months_are_as_long_as_they_are() -> None:
    """February of a leap year, and the end of a year."""
    for first, days in ((datetime(2028, 2, 1, tzinfo=UTC), 29), (datetime(2027, 12, 1, tzinfo=UTC), 31)):
        start = int(first.timestamp()) * 1_000

        assert ends(Period.MONTH, start) == int((first + timedelta(days=days)).timestamp()) * 1_000


@given(
    st.builds(Rate, st.integers(1, 20), st.integers(1, 60))
    | st.builds(Quota, st.integers(1, 20), st.sampled_from(Period)),
    MILLISECOND,
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_who_comes_back_when_told_is_let_in(rule: LimitRule, now: int, used: int, wanted: int) -> None:
    """And nobody a millisecond sooner."""
    state = taken(charge(rule, min(used, rule.amount)), FRESH, now)
    assert state is not None
    asked = charge(rule, wanted)
    if taken(asked, state, now) is not None:
        return
    [shown] = readings([asked], [state], now, refused=True)

    assert shown.refused
    if wanted > rule.amount:
        assert shown.resets_in is None
    else:
        assert shown.resets_in is not None
        again = now + round(shown.resets_in * 1_000)
        assert taken(asked, state, again) is not None
        assert taken(asked, state, again - 1) is None


@given(st.sampled_from([Rate(7, 13), Quota(7, Period.MONTH)]), MILLISECOND, st.integers(1, 7))
def test_an_expired_state_is_as_good_as_none(rule: LimitRule, now: int, used: int) -> None:
    """From its expiry on, whatever fits into a fresh meter fits; the millisecond before, not."""
    state = taken(charge(rule, used), FRESH, now)
    assert state is not None
    at = expiry(rule, state)

    assert taken(charge(rule, rule.amount), state, at) is not None
    assert taken(charge(rule, rule.amount), state, at - 1) is None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=6), st.integers(0, 10**12))
def test_several_are_taken_together_or_not_at_all(wanted: list[tuple[int, int]], now: int) -> None:
    """The outcome is that of the meter that has least."""
    asked = [Charge(Meter("g", "s", str(n), Quota(amount), "l"), cost) for n, (amount, cost) in enumerate(wanted)]
    after = all_taken(asked, [FRESH] * len(asked), now)

    assert (after is not None) == all(cost <= amount for amount, cost in wanted)


async def test_memory_drops_what_says_nothing_any_more() -> None:
    """A hundred thousand keys that come once each do not stay; what counts does."""
    meters = MemoryMeters()
    quota = Charge(Meter("g", "kept", "quota", Quota(5), "l"), 1)
    await meters.take([quota], 0.0)
    for second in range(20_000):
        await meters.take([Charge(Meter("g", f"k{second}", "rate", Rate(1, 60), "l"), 1)], float(second))
    [left] = await meters.take([Charge(quota.meter, 0)], 30_000.0)

    assert len(meters._states) < 3_000
    assert left.remaining == 4


async def test_memory_says_that_it_counts_per_process() -> None:
    """Where somebody looks who wonders why four processes let in four times as much."""
    await anyio.lowlevel.checkpoint()

    assert repr(MemoryMeters()) == "MemoryMeters(per process)"
