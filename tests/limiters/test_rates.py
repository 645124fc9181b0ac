"""Plain rates on the library `limits`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from limits.aio.storage import RedisStorage

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.limiters.rates import RateMeters
from asgi_apikey.measures import Charge
from tests.contracts.meters import charges, let_in
from tests.servers import LOOPBACK, RedisServer, free_port

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def in_redis(url: str) -> AsyncIterator[RateMeters]:
    """Meters in Redis, by the client that is installed; `limits` itself never closes it."""
    storage = RedisStorage(f"async+{url}", implementation="redispy", wrap_exceptions=True)
    yield RateMeters(storage)
    await storage.bridge.get_connection().aclose()


@pytest.fixture(params=["memory", "redis"])
async def meters(request: pytest.FixtureRequest, redis: RedisServer) -> AsyncIterator[RateMeters]:
    """In this process, and in a server."""
    if request.param == "memory":
        yield RateMeters("async+memory://")
        return
    redis.execute("FLUSHALL")
    async with in_redis(redis.url) as meters:
        yield meters


async def test_a_rate_is_kept(meters: RateMeters) -> None:
    """Of five requests at once, three; another key has its own three."""
    now = time.time()
    got = await let_in(meters, 5, "3/hour", now=now)
    [other] = await meters.take(charges("3/hour", subject="key k2"), now)
    [refused] = await meters.take(charges("3/hour"), now)

    assert got == 3
    assert (other.refused, other.remaining) == (False, 2)
    assert (refused.refused, refused.remaining) == (True, 0)
    assert refused.resets_in is not None
    assert 0 < refused.resets_in <= 7_200


async def test_asking_takes_nothing(meters: RateMeters) -> None:
    """A cost of nothing."""
    [shown] = await meters.take(charges("3/hour", cost=0), time.time())

    assert (shown.refused, shown.remaining) == (False, 3)


@pytest.mark.parametrize(
    "asked",
    [
        charges("quota 5/day"),
        charges("credits 5"),
        charges("3/minute", "100/hour"),
        charges("3/minute") + charges("5/minute", subject="owner"),
        charges("3/minute", cost=-1),
        [],
    ],
)
async def test_what_it_cannot_count_atomically_it_does_not_count(asked: list[Charge]) -> None:
    """Nobody is let in on half of it."""
    with pytest.raises(StoreUnavailable, match="one rate per key"):
        await RateMeters("async+memory://").take(asked, time.time())


async def test_a_storage_that_fails_lets_nobody_in() -> None:
    """It cannot be told."""
    async with in_redis(f"redis://{LOOPBACK}:{free_port()}") as meters:
        with pytest.raises(StoreUnavailable, match="cannot be told"):
            await meters.take(charges("3/minute"), time.time())


@pytest.mark.parametrize(
    "url", ["memory://", "redis://:hunter2@localhost", "async+what://:hunter2@localhost", "async+memcached://x:hunter2"]
)
async def test_a_storage_that_cannot_be_used_is_refused(url: str) -> None:
    """With what to write, and without the URL."""
    with pytest.raises(ConfigurationError) as caught:
        RateMeters(url)

    assert "hunter2" not in str(caught.value)


async def test_it_says_whether_processes_share_it(redis: RedisServer) -> None:
    """Where somebody looks who wonders why four processes let in four times as much."""
    async with in_redis(redis.url) as shared:
        assert repr(RateMeters("async+memory://")) == "RateMeters(per process)"
        assert repr(shared) == "RateMeters(shared)"
