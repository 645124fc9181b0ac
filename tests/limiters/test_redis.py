"""Meters in Redis: the script does what the rules say, and whatever goes wrong is "cannot tell", in time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import redis as sync_redis
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.limiters.redis import _TAKE, RedisMeters, _arguments
from asgi_apikey.measures import Charge, LimitRule, Meter, Period, Quota, Rate
from asgi_apikey.metering import FRESH, State, all_taken, present
from tests.contracts.meters import NOON, charges, left, let_in
from tests.faultproxy import Fault, faults_before, scripted
from tests.servers import LOOPBACK, RedisServer
from tests.topologies import Cluster, cluster

pytestmark = pytest.mark.anyio

RULES: list[LimitRule] = [
    Rate(3, 60),
    Rate(999_999, 2_678_400),
    Quota(5, Period.HOUR),
    Quota(7, Period.MONTH, True),
    Quota(999_999_999_999, None, True),
]
COSTS = st.integers(-3, 4) | st.sampled_from([999_998, 10**12 - 1, -(10**12)])
STEPS = st.lists(
    st.tuples(st.integers(-5_000, 4_000_000), st.lists(COSTS, min_size=5, max_size=5)), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis to torment."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def script(own_redis: RedisServer) -> Iterator[tuple[sync_redis.Redis, object]]:
    """A plain client, and the script."""
    client = sync_redis.Redis.from_url(own_redis.url)
    yield client, client.register_script(_TAKE)
    client.close()


@pytest.fixture
async def meters(own_redis: RedisServer) -> AsyncIterator[RedisMeters]:
    """New ones."""
    meters = RedisMeters(own_redis.url, namespace=secrets.token_hex(4), timeout=5.0)
    yield meters
    await meters.close()


@given(start=st.integers(1_000_000, 4_000_000_000_000), steps=STEPS)
def test_the_script_does_what_the_rules_say(script: tuple[sync_redis.Redis, object], start: int, steps: object) -> None:
    """For every rule, cost and reading of the clock: the same states, to the last digit, and the same refusals."""
    client, take = script
    client.flushall()
    states: list[State] = [FRESH] * len(RULES)
    now = start
    for pause, costs in steps:  # type: ignore[attr-defined] # made by hypothesis
        now = max(1, now + pause)
        asked = [
            Charge(Meter("g", "s", str(number), rule, "l"), cost)
            for number, (rule, cost) in enumerate(zip(RULES, costs, strict=True))
        ]
        expected = all_taken(asked, states, now)
        seen = [present(rule, state, now) for rule, state in zip(RULES, states, strict=True)]
        keys = [each.meter.name for each in asked]
        answer = take(keys=keys, args=[now, *(x for each in asked for x in _arguments(each, now))])  # type: ignore[operator]
        refused, *numbers = map(int, answer)

        assert bool(refused) == (expected is None)
        assert list(zip(numbers[::2], numbers[1::2], strict=True)) == (seen if expected is None else expected)
        if expected is not None:
            # What costs nothing is not written.
            states = [new if each.cost else old for each, old, new in zip(asked, states, expected, strict=True)]


async def test_counts_end_when_they_mean_nothing_any_more(own_redis: RedisServer) -> None:
    """Rates and quotas are dropped some time after their span; credits, and gifts, never."""
    meters = RedisMeters(own_redis.url, namespace="ttl", timeout=5.0)
    await meters.take(charges("3/minute", "quota 5/hour", "quota 5/day", "credits 5"), NOON)
    await meters.take(charges("credits 7/month", cost=-2), NOON)
    client = sync_redis.Redis.from_url(own_redis.url, decode_responses=True)
    lives = {key.rpartition(":")[2]: client.pttl(key) for key in client.scan_iter("ttl:*")}
    client.close()
    await meters.close()

    assert sorted(lives) == ["credits-ever", "credits-month", "quota-day", "quota-hour", "rate-60"]
    assert 3_600_000 < lives["rate-60"] <= 3_660_000
    assert 3_600_000 < lives["quota-hour"] <= 7_200_000
    assert 57_000_000 < lives["quota-day"] <= 16 * 3_600_000 + 3_600_000
    assert lives["credits-ever"] == lives["credits-month"] == -1


async def test_names_in_redis_tell_nothing_about_owners(own_redis: RedisServer, meters: RedisMeters) -> None:
    """They are digests: whatever an owner is called, it is one key in the right slot."""
    odd = replace(charges("3/minute")[0].meter, group="a}{\n*?[ü", subject="owner a}{\n*?[ü")
    await meters.take([Charge(odd, 1)], NOON)

    assert "ü".encode() not in own_redis.execute("KEYS", "*")
    assert await let_in(meters, 3, "3/minute") == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b":7\r\n",
        b"*0\r\n",
        b"*2\r\n:0\r\n:2\r\n",
        b"*3\r\n:0\r\n$1\r\nx\r\n$1\r\ny\r\n",
        b"what?\r\n",
        b"$999999999\r\n",
    ],
)
async def test_whatever_redis_says_that_is_no_answer_lets_nobody_in(answer: bytes) -> None:
    """Errors, nonsense and half an answer: it cannot be told."""
    async with scripted(answer) as port:
        meters = RedisMeters(f"redis://{LOOPBACK}:{port}")
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            await meters.take(charges("3/minute"), NOON)
        await meters.close()


@pytest.mark.parametrize("fault", [Fault.DELAY, Fault.TRICKLE, Fault.BLACKHOLE])
async def test_a_slow_network_is_not_waited_for(own_redis: RedisServer, fault: Fault) -> None:
    """A quarter of a second, however slowly the answer trickles in."""
    async with faults_before(own_redis.port) as proxy:
        proxy.delay = 0.1 if fault is Fault.TRICKLE else 0.6
        meters = RedisMeters(f"redis://{LOOPBACK}:{proxy.port}")
        proxy.fault = fault
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            await meters.take(charges("3/minute"), NOON)
        took = time.monotonic() - began
        await meters.close()

    assert took < 3
    assert caught.value.outcome_unknown


async def test_after_an_outage_counting_goes_on(own_redis: RedisServer) -> None:
    """By itself."""
    meters = RedisMeters(own_redis.url, namespace=secrets.token_hex(4), timeout=5.0)
    await let_in(meters, 1, "3/minute")
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        await let_in(meters, 1, "3/minute")
    own_redis.start()
    async with asyncio.timeout(30):
        while True:
            try:
                got = await let_in(meters, 5, "3/minute")
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    await meters.close()

    # A Redis that keeps nothing on disk begins anew.
    assert got == 3


async def test_a_storm_of_cancelled_calls_takes_nothing_twice(meters: RedisMeters) -> None:
    """A caller who leaves may have paid; nobody gets his answer, and no more is let in than there is."""
    got = 0
    for number in range(100):
        call = asyncio.create_task(meters.take(charges("quota 50/day"), NOON))
        for _ in range(number % 9):
            await asyncio.sleep(0)
        call.cancel()
        outcome = (await asyncio.gather(call, return_exceptions=True))[0]
        got += not isinstance(outcome, BaseException) and not outcome[0].refused
    got += await let_in(meters, 100, "quota 50/day")

    assert got <= 50
    assert await left(meters, "quota 50/day") == [0]


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Cluster]:
    """A cluster."""
    with cluster(3) as found:
        yield found


async def test_in_a_cluster_a_key_and_its_owner_are_counted_in_one_place(three_nodes: Cluster) -> None:
    """One script cannot touch two nodes; so what belongs together is kept together, whoever it is."""
    meters = RedisMeters(three_nodes.url, namespace=secrets.token_hex(4), timeout=5.0)
    got = 0
    for number in range(20):
        [of_key], [of_owner] = charges("3/minute"), charges("2/minute", subject="owner")
        group = f"\nowner {number}"
        both = [replace(each, meter=replace(each.meter, group=group)) for each in (of_key, of_owner)]
        for _ in range(4):
            got += not any(each.refused for each in await meters.take(both, NOON))
    await meters.close()

    assert got == 40


async def test_the_address_is_never_shown() -> None:
    """It may hold a password."""
    assert "secret" not in repr(RedisMeters("redis://:secret@localhost"))
    with pytest.raises(ConfigurationError) as caught:
        RedisMeters("redis://:secret@localhost:what")
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="namespace"):
        RedisMeters("redis://localhost", namespace="")
