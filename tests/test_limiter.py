"""The limiter: what a request costs, what a refusal says, and what happens when it cannot be told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from asgi_apikey.errors import InvalidRequest, LimitExceeded, QuotaExceeded, RateExceeded, StoreUnavailable
from asgi_apikey.limiter import Limiter
from asgi_apikey.limits import LimitPolicy
from asgi_apikey.measures import Charge, Reading
from asgi_apikey.metering import MemoryMeters
from asgi_apikey.models import Instant, KeyRecord, Principal
from asgi_apikey.verification import principal_of
from tests.contracts.repository import a_record
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


class Counted:
    """Meters that count how often they are asked, and fail on demand."""

    def __init__(self) -> None:
        self.real = MemoryMeters()
        self.asked = 0
        self.error: Exception | None = None

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """As real ones, unless there is an error."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return await self.real.take(charges, now)

    async def prune(self, now: Instant) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class Desk:
    """A limiter with a policy, its meters, and a clock."""

    def __init__(self, **policy: Any) -> None:
        self.policy = LimitPolicy(**policy)
        self.meters, self.clock = Counted(), FakeClock()
        self.limiter = Limiter(self.meters, self.clock, policy=self.policy)

    def principal(self, *limits: str, **columns: Any) -> Principal:
        """Who sends requests with a key that has these limits."""
        record = self.record(*limits, **columns)
        return principal_of(record, limits=self.policy.meters(record))

    def record(self, *limits: str, **columns: Any) -> KeyRecord:
        """A key with these limits."""
        return a_record(limits=frozenset(limits), **columns)

    async def send(self, principal: Principal, path: str | None = "/x", *, times: int = 1) -> int:
        """Send requests; return how many got in."""
        got = 0
        for _ in range(times):
            try:
                await self.limiter.take(principal, method="GET", path=path)
            except LimitExceeded:
                continue
            got += 1
        return got


async def test_nothing_is_counted_for_a_key_without_limits() -> None:
    """The meters are not even asked."""
    desk = Desk()

    assert await desk.limiter.take(desk.principal(), method="GET", path="/x") == ()
    assert desk.meters.asked == 0
    assert desk.principal().restrictions is None


async def test_a_key_with_limits_is_seen_where_restrictions_are() -> None:
    """The hot path has one attribute to look at; such a key may be used everywhere."""
    restrictions = Desk().principal("1/day").restrictions

    assert restrictions is not None
    assert restrictions.refusals(address=None, method="GET", path=None, origin=None) == ()


@pytest.mark.parametrize(
    ("limits", "kind", "retry_after"),
    [
        (("2/minute",), RateExceeded, 30.0),
        (("quota 2/day",), QuotaExceeded, 57_600.0),
        (("2/minute", "quota 2/day"), QuotaExceeded, 57_600.0),
        (("credits 2", "2/minute"), QuotaExceeded, None),
        (("2/minute", "quota 9/day"), RateExceeded, 30.0),
    ],
)
async def test_a_refusal_says_what_is_used_up_and_until_when(
    limits: tuple[str, ...], kind: type[LimitExceeded], retry_after: float | None
) -> None:
    """Until all of it is back; never, where something never comes back."""
    desk = Desk()
    principal = desk.principal(*limits)
    await desk.send(principal, times=2)
    with pytest.raises(LimitExceeded) as caught:
        await desk.limiter.take(principal, method="GET", path="/x")

    assert type(caught.value) is kind
    assert caught.value.retry_after == retry_after
    assert {each.meter.label for each in caught.value.readings} == set(limits)


async def test_credits_are_spent_as_routes_cost() -> None:
    """A free route costs nothing, but counts for rates; an odd spelling costs what the dearest does."""
    desk = Desk(costs={"/free": 0, "/report": 5})
    principal = desk.principal("credits 12", "100/minute")
    await desk.send(principal, "/free")
    await desk.send(principal, "/x")
    await desk.send(principal, "/report")
    await desk.send(principal, None)
    left = {
        each.meter.label: each.remaining
        for each in await desk.limiter.remaining(desk.record("credits 12", "100/minute"))
    }

    assert left == {"credits 12": 1, "100/minute": 96}


async def test_all_keys_of_an_owner_share_its_limit() -> None:
    """Beside what each has of its own; another owner has its own."""
    desk = Desk(per_owner=["5/minute"])
    one, two = desk.principal("3/minute"), desk.principal(key_id="key2")
    first = await desk.send(one, times=9)
    second = await desk.send(two, times=9)

    assert (first, second) == (3, 2)
    assert await desk.send(desk.principal(key_id="key3", owner="other")) == 1


async def test_a_refused_client_that_goes_on_costs_nothing() -> None:
    """A thousand more requests ask the meters no more than once a second."""
    desk = Desk()
    principal = desk.principal("quota 1/day")
    await desk.send(principal, times=1_000)
    asked = desk.meters.asked
    desk.clock.advance(1.0)
    await desk.send(principal, times=1_000)

    assert (asked, desk.meters.asked) == (2, 3)
    assert desk.limiter.stats.refused == 1_999


async def test_what_is_remembered_of_a_refusal_is_never_longer_true_than_it_is() -> None:
    """At the very millisecond at which there is enough again, the request gets in; a cheaper one got in before."""
    desk = Desk(costs={"/report": 5})
    principal = desk.principal("10/second", "credits 6")
    await desk.send(principal, "/x", times=2)
    dear = await desk.send(principal, "/report")
    cheap = await desk.send(principal, "/x")
    rate = desk.principal("10/second", key_id="key2")
    await desk.send(rate, times=11)
    desk.clock.advance(0.1)

    assert (dear, cheap) == (0, 1)
    assert await desk.send(rate, times=2) == 1


async def test_a_gift_is_noticed_at_once_by_whoever_gave_it() -> None:
    """And it is only given where there are credits, in whole numbers."""
    desk = Desk(per_owner=["credits 100"])
    record = desk.record("credits 1")
    principal = desk.principal("credits 1")
    before = await desk.send(principal, times=5)
    shown = await desk.limiter.top_up(record, 2)
    after = await desk.send(principal, times=5)

    assert (before, after) == (1, 2)
    assert [(each.meter.label, each.remaining) for each in shown] == [("credits 1", 2)]
    for amount in (0, -1, 1.5, True, 10**13):
        with pytest.raises(InvalidRequest, match="whole number"):
            await desk.limiter.top_up(record, amount)  # type: ignore[arg-type] # that is the point
    with pytest.raises(InvalidRequest, match="has no credits"):
        await desk.limiter.top_up(desk.record("quota 5/day"), 1)


async def test_what_cannot_be_counted_is_not_let_in(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and once when it is over."""
    desk = Desk()
    principal = desk.principal("5/minute")
    desk.meters.error = StoreUnavailable()
    with caplog.at_level(logging.WARNING, "asgi_apikey"):
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await desk.limiter.take(principal, method="GET", path="/x")
        desk.meters.error = None
        await desk.send(principal, times=2)

    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "limits cannot be counted, requests are answered 503",
        "limits can be counted again",
    ]
    assert desk.limiter.stats.undecided == 3


async def test_only_who_asks_for_it_lets_in_what_cannot_be_counted() -> None:
    """Uncounted, and told in a number; what is used up stays refused."""
    desk = Desk(fail_open=True)
    principal = desk.principal("1/minute")
    desk.meters.error = StoreUnavailable()
    blind = await desk.send(principal, times=3)
    desk.meters.error = None
    seeing = await desk.send(principal, times=3)

    assert (blind, seeing) == (3, 1)
    assert (desk.limiter.stats.uncounted, desk.limiter.stats.taken) == (3, 1)


async def test_an_error_of_another_kind_is_not_let_in_either() -> None:
    """`fail_open` is for what is out of reach, not for what is broken."""
    desk = Desk(fail_open=True)
    desk.meters.error = RuntimeError("a fault")

    with pytest.raises(RuntimeError):
        await desk.limiter.take(desk.principal("1/minute"), method="GET", path="/x")
