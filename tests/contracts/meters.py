"""The contract of meters: all charges or none, never more than there is, whoever asks at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from asgi_apikey.limits import limit_rule, name_of
from asgi_apikey.measures import Charge, Meter, Reading
from asgi_apikey.protocols import Meters

NOON = 1_800_000_000.0
"""08:00 UTC, in the middle of January 2027."""

MIDNIGHT = NOON + 16 * 3_600
"""The end of that day."""

DAY = 86_400.0


def a_meter(text: str, subject: str = "key k1") -> Meter:
    """A meter of acme's."""
    rule = limit_rule(text)
    return Meter("\nacme", subject, name_of(rule), rule, text)


def charges(*texts: str, cost: int = 1, subject: str = "key k1") -> list[Charge]:
    """What one request costs."""
    return [Charge(a_meter(text, subject), cost) for text in texts]


async def left(meters: Meters, *texts: str, now: float = NOON) -> list[int]:
    """What is left of each, without taking anything."""
    shown = {each.meter.label: each.remaining for each in await meters.take(charges(*texts, cost=0), now)}
    return [shown[text] for text in texts]


async def let_in(meters: Meters, times: int, *texts: str, now: float = NOON, cost: int = 1) -> int:
    """How many of so many requests are."""
    got = 0
    for _ in range(times):
        got += not _refused(await meters.take(charges(*texts, cost=cost), now))
    return got


async def let_in_at_once(meters: Meters, requests: Sequence[list[Charge]]) -> int:
    """How many of these requests are, all sent at the same time."""
    shown: list[tuple[Reading, ...]] = []

    async def send(request: list[Charge]) -> None:
        shown.append(await meters.take(request, NOON))

    async with anyio.create_task_group() as group:
        for each in requests:
            group.start_soon(send, each)
    return sum(not _refused(each) for each in shown)


def _refused(shown: tuple[Reading, ...]) -> bool:
    return any(each.refused for each in shown)


class MetersContract:
    """What all meters do."""

    pytestmark = pytest.mark.anyio

    async def test_a_rate_lets_its_amount_in_at_once_and_the_rest_evenly(self, meters: Meters) -> None:
        """Three of five at once; a third of the span later one more, and no two."""
        at_once = await let_in(meters, 5, "3/minute")
        early = await let_in(meters, 1, "3/minute", now=NOON + 19.999)
        later = await let_in(meters, 2, "3/minute", now=NOON + 20.0)
        all_back = await let_in(meters, 5, "3/minute", now=NOON + 200.0)

        assert (at_once, early, later, all_back) == (3, 0, 1, 3)

    @pytest.mark.parametrize(
        ("limit", "last", "first"),
        [
            ("quota 3/hour", NOON + 3_599.999, NOON + 3_600.0),
            ("quota 3/day", MIDNIGHT - 0.001, MIDNIGHT),
            ("quota 3/month", MIDNIGHT + 16 * DAY - 0.001, MIDNIGHT + 16 * DAY),
            ("credits 3/month", MIDNIGHT + 16 * DAY - 0.001, MIDNIGHT + 16 * DAY),
        ],
    )
    async def test_a_quota_comes_back_with_its_period(
        self, meters: Meters, limit: str, last: float, first: float
    ) -> None:
        """To the millisecond, in UTC; nothing does before."""
        before = await let_in(meters, 5, limit)
        at_the_end = await let_in(meters, 1, limit, now=last)
        after = await let_in(meters, 5, limit, now=first)

        assert (before, at_the_end, after) == (3, 0, 3)

    async def test_what_has_no_period_never_comes_back(self, meters: Meters) -> None:
        """Credits that are spent are spent."""
        first = await let_in(meters, 5, "credits 3")
        years_later = await let_in(meters, 5, "credits 3", now=NOON + 4_000 * DAY)

        assert (first, years_later) == (3, 0)

    async def test_a_charge_takes_all_or_nothing(self, meters: Meters) -> None:
        """Where one of three meters has not as much, the other two lose nothing."""
        texts = ("100/minute", "quota 2/day", "credits 50")
        got = await let_in(meters, 10, *texts)

        assert got == 2
        assert await left(meters, *texts) == [98, 0, 48]

    async def test_the_meter_that_had_not_enough_says_so(self, meters: Meters) -> None:
        """And only that one, with the time until it has."""
        texts = ("2/minute", "quota 2/day", "credits 50")
        await let_in(meters, 2, *texts)
        shown = {each.meter.label: each for each in await meters.take(charges(*texts), NOON + 10)}

        assert {label: (each.refused, each.resets_in) for label, each in shown.items()} == {
            "2/minute": (True, 20.0),
            "quota 2/day": (True, MIDNIGHT - NOON - 10),
            "credits 50": (False, None),
        }

    async def test_a_cost_is_taken_whole(self, meters: Meters) -> None:
        """Of ten credits, four go twice; the two that are left are enough for two, and nothing goes below zero."""
        got = await let_in(meters, 5, "credits 10", cost=4)
        rest = await left(meters, "credits 10")
        small = await let_in(meters, 5, "credits 10", cost=1)

        assert (got, rest, small) == (2, [2], 2)
        assert await left(meters, "credits 10") == [0]

    async def test_what_costs_more_than_there_ever_is_will_never_do(self, meters: Meters) -> None:
        """No time is named after which it would."""
        [rate] = await meters.take(charges("3/minute", cost=4), NOON)

        assert (rate.refused, rate.resets_in, rate.remaining) == (True, None, 3)

    async def test_asking_takes_nothing(self, meters: Meters) -> None:
        """A cost of nothing is always to be had, also when nothing is left."""
        first = await left(meters, "quota 2/day")
        await let_in(meters, 2, "quota 2/day")
        [empty] = await meters.take(charges("quota 2/day", cost=0), NOON)

        assert first == [2]
        assert (empty.refused, empty.remaining) == (False, 0)

    async def test_a_gift_is_there_until_it_is_spent(self, meters: Meters) -> None:
        """Beyond the amount, and across the end of a period, which fills up but takes nothing away."""
        await let_in(meters, 2, "credits 3/month")
        await meters.take(charges("credits 3/month", cost=-10), NOON)
        given = await left(meters, "credits 3/month")
        next_month = await left(meters, "credits 3/month", now=NOON + 40 * DAY)
        got = await let_in(meters, 20, "credits 3/month", now=NOON + 40 * DAY)
        month_after = await left(meters, "credits 3/month", now=NOON + 70 * DAY)

        assert (given, next_month, got, month_after) == ([11], [11], 11, [3])

    async def test_a_rate_gets_back_no_more_than_was_taken(self, meters: Meters) -> None:
        """There is nothing to save up for."""
        await let_in(meters, 1, "3/minute")
        await meters.take(charges("3/minute", cost=-10), NOON)

        assert await left(meters, "3/minute") == [3]

    async def test_subjects_are_counted_apart(self, meters: Meters) -> None:
        """One key's requests are not another's, and its hours are not its days."""
        await let_in(meters, 3, "quota 3/day")
        other = await meters.take(charges("quota 3/day", subject="key k2"), NOON)

        assert not _refused(other)
        assert await left(meters, "quota 3/hour", "quota 3/month") == [3, 3]

    async def test_another_amount_keeps_what_was_counted(self, meters: Meters) -> None:
        """A limit that is amended does not begin anew, up or down."""
        await let_in(meters, 3, "quota 3/day", "3/minute")
        raised = await left(meters, "quota 10/day", "10/minute")
        lowered = await let_in(meters, 1, "quota 2/day", "2/minute")

        assert (raised, lowered) == ([7, 7], 0)
        assert await left(meters, "quota 2/day", "2/minute") == [0, 0]

    async def test_a_clock_that_goes_back_gives_nothing_back(self, meters: Meters) -> None:
        """Of machines whose clocks differ, the slower ones let in no more than the faster ones."""
        await let_in(meters, 3, "3/minute", "quota 3/day", now=MIDNIGHT + 5.0)
        behind = await let_in(meters, 3, "3/minute", "quota 10/day", now=MIDNIGHT - 5.0)
        counted_today = await let_in(meters, 3, "quota 4/day", now=MIDNIGHT - 5.0)

        assert (behind, counted_today) == (0, 1)

    async def test_racing_requests_get_exactly_what_there_is(self, meters: Meters) -> None:
        """Of sixty at once, twenty; and of the limit that would have let in more, no more than twenty are taken."""
        got = await let_in_at_once(meters, [charges("quota 20/day", "50/minute")] * 60)

        assert got == 20
        assert await left(meters, "quota 20/day", "50/minute") == [0, 30]

    async def test_racing_requests_of_several_meters_do_not_stand_in_each_others_way(self, meters: Meters) -> None:
        """In whatever order they name them."""
        one, other = charges("quota 30/day", "40/minute"), charges("40/minute", "quota 30/day")
        got = await let_in_at_once(meters, [one, other] * 25)

        assert got == 30

    async def test_the_largest_amounts_are_exact(self, meters: Meters) -> None:
        """A million in a month, and a million millions of credits: taken but for one, one is left."""
        rate, credits = "999999/31 days", "credits 999999999999"
        await meters.take([replace(each, cost=999_998) for each in charges(rate)], NOON)
        await meters.take([replace(each, cost=999_999_999_998) for each in charges(credits)], NOON)

        assert await left(meters, rate, credits) == [1, 1]
        assert await let_in(meters, 3, rate, credits) == 1

    async def test_pruning_drops_nothing_that_counts(self, meters: Meters) -> None:
        """Whatever is dropped was as good as untouched."""
        texts, owner = ("3/minute", "quota 3/day", "credits 3"), "owner \nacme"
        await meters.take(charges(*texts, subject=owner), NOON)
        await meters.prune(NOON + 1)
        soon = await meters.take(charges(*texts, cost=0, subject=owner), NOON + 1)
        await meters.prune(MIDNIGHT)
        later = await meters.take(charges(*texts, cost=0, subject=owner), MIDNIGHT)

        assert {each.meter.label: each.remaining for each in soon} == dict.fromkeys(texts, 2)
        assert {each.meter.label: each.remaining for each in later} == dict(zip(texts, (3, 3, 2), strict=True))

    async def test_closed_meters_open_again(self, meters: Meters) -> None:
        """With what was counted."""
        await let_in(meters, 1, "quota 3/day")
        await meters.close()

        assert await left(meters, "quota 3/day") == [2]
