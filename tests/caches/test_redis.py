"""The shared cache in Redis: bounded in time, and a miss whenever anything is the matter."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from asgi_apikey.caches.redis import RedisCache
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from tests.contracts.shared_cache import SharedCacheContract
from tests.faultproxy import Fault, faults_before, scripted
from tests.servers import LOOPBACK, RedisServer

pytestmark = pytest.mark.anyio

LENIENT = 5.0
"""Seconds for tests that are not about slowness: 50 ms are not enough on a machine that runs many tests at once."""


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis to torment."""
    with RedisServer() as server:
        yield server


@pytest.fixture
async def cache(own_redis: RedisServer) -> AsyncIterator[RedisCache]:
    """An empty cache."""
    found = RedisCache(own_redis.url, namespace=secrets.token_hex(4), timeout=LENIENT)
    yield found
    await found.close()


class TestRedisCache(SharedCacheContract):
    """Keeps the contract."""


async def test_clear_drops_nothing_else(own_redis: RedisServer) -> None:
    """Neighbours keep what is theirs, also where a namespace looks like a pattern."""
    mine, other = (RedisCache(own_redis.url, namespace=name, timeout=LENIENT) for name in ("a*[x]", "a*[x]b"))
    own_redis.execute("SET", "ax:name", "somebody else's")
    await mine.put("name", b"value", 60.0)
    await other.put("name", b"value", 60.0)
    await mine.clear()

    assert await mine.get("name") is None
    assert await other.get("name") is not None
    assert own_redis.execute("GET", "ax:name") == b"somebody else's"
    await mine.close()
    await other.close()


async def test_a_frozen_redis_is_soon_left_alone(own_redis: RedisServer) -> None:
    """The first few wait for their time-out, the others for nothing; with defaults, each would have waited a minute."""
    cache = RedisCache(own_redis.url)
    await cache.put("name", b"value", 60.0)
    with own_redis.frozen():
        began = time.monotonic()
        found = [await cache.get("name") for _ in range(100)]
        took = time.monotonic() - began

    assert found == [None] * 100
    assert took < 3  # 100 x 50 ms would be 5 s
    await cache.close()


async def test_after_a_pause_redis_is_asked_again(own_redis: RedisServer) -> None:
    """When it answers, all is as before."""
    cache = RedisCache(own_redis.url, timeout=LENIENT)
    own_redis.kill()
    for _ in range(5):
        assert await cache.get("name") is None
    own_redis.start()
    async with asyncio.timeout(30):
        while await cache.get("name") is None:
            await cache.put("name", b"value", 60.0)
            await asyncio.sleep(0.05)
    await cache.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b":7\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"what?\r\n",
        b":what?\r\n",
        b"$999999999\r\n",
        b"*100000\r\n*1\r\n",
    ],
)
async def test_whatever_redis_says_is_a_miss(answer: bytes) -> None:
    """Errors, nonsense and half an answer: no value, no exception."""
    async with scripted(answer) as port:
        cache = RedisCache(f"redis://{LOOPBACK}:{port}")
        await cache.put("name", b"value", 60.0)

        assert await cache.get("name") is None
        await cache.close()


@pytest.mark.parametrize("fault", [Fault.DELAY, Fault.TRICKLE, Fault.BLACKHOLE])
async def test_a_slow_network_is_a_miss(own_redis: RedisServer, fault: Fault) -> None:
    """Also where each byte comes in time, and all of them together do not."""
    async with faults_before(own_redis.port) as proxy:
        proxy.delay = 0.03 if fault is Fault.TRICKLE else 0.2
        cache = RedisCache(f"redis://{LOOPBACK}:{proxy.port}")
        proxy.fault = fault
        began = time.monotonic()
        found = [await cache.get("name") for _ in range(20)]
        took = time.monotonic() - began
        await cache.close()

    assert found == [None] * 20
    assert took < 3


async def test_a_storm_of_cancelled_calls_mixes_nothing_up(cache: RedisCache) -> None:
    """Answers of calls whose callers have left never reach another caller."""
    names = [str(number) for number in range(20)]
    for name in names:
        await cache.put(name, name.encode() * 10, 60.0)
    for number in range(300):
        call = asyncio.create_task(cache.get(names[number % 20]))
        for _ in range(number % 9):
            await asyncio.sleep(0)
        call.cancel()
        name = names[(number + 7) % 20]
        held = await cache.get(name)
        await asyncio.gather(call, return_exceptions=True)

        assert held is None or held.value == name.encode() * 10


def test_one_loop_after_the_other(own_redis: RedisServer) -> None:
    """A loop that ends without `close` leaves no connection behind."""
    cache = RedisCache(own_redis.url, namespace="loops", timeout=LENIENT)

    async def once() -> bool:
        await cache.put("name", b"value", 60.0)
        return await cache.get("name") is not None

    assert [asyncio.run(once()), asyncio.run(once())] == [True, True]


async def test_an_absent_redis_is_not_cleared() -> None:
    """Whoever asks for it is told that it was not done."""
    cache = RedisCache(f"redis://{LOOPBACK}:1")
    with pytest.raises(StoreUnavailable, match="not cleared"):
        await cache.clear()
    await cache.close()


async def test_what_is_too_long_is_not_taken(cache: RedisCache) -> None:
    """An intruder's megabytes are a miss."""
    await cache.put("name", bytes(100_000), 60.0)

    assert await cache.get("name") is None


@pytest.mark.parametrize(("url", "namespace"), [("http://h", "n"), ("redis://u:hush@h:port", "n"), ("redis://h", "")])
def test_what_cannot_be_used_is_refused(url: str, namespace: str) -> None:
    """At construction, without repeating the password."""
    with pytest.raises(ConfigurationError) as refused:
        RedisCache(url, namespace=namespace)

    assert "hush" not in str(refused.value)
