"""Operations on Redis end when they are told to."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest

from asgi_apikey.caches.redis import RedisCache
from asgi_apikey.redisclient import RedisFailed, within
from tests.servers import RedisServer

pytestmark = pytest.mark.anyio

LENIENT = 5.0


@pytest.mark.parametrize("steps", range(12))
async def test_no_cancellation_is_lost(redis: RedisServer, steps: int) -> None:
    """Wherever it comes: redis-py swallows one that meets it between two steps of getting a connection."""
    cache = RedisCache(redis.url, namespace="cancelled", timeout=LENIENT)
    await cache.put("name", b"value", 60.0)
    done = asyncio.Event()

    async def ask() -> None:
        await cache.get("name")
        done.set()
        await asyncio.Event().wait()

    asking = asyncio.create_task(ask())
    for _ in range(steps):
        await asyncio.sleep(0)
    asking.cancel()
    ended, _ = await asyncio.wait({asking}, timeout=LENIENT)
    await cache.close()

    assert ended == {asking}
    assert asking.cancelled()


@pytest.mark.parametrize("steps", range(12))
async def test_a_scope_of_anyio_catches_its_own(redis: RedisServer, steps: int) -> None:
    """What it has cancelled ends there, and whoever opened the scope goes on."""
    cache = RedisCache(redis.url, namespace="cancelled", timeout=LENIENT)
    await cache.put("name", b"value", 60.0)
    with anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()

        def later(left: int) -> None:
            if left:
                loop.call_soon(later, left - 1)
            else:
                scope.cancel()

        later(steps)
        for _ in range(1_000):
            await cache.get("name")
    held = await cache.get("name")
    await cache.close()

    assert scope.cancelled_caught
    assert held is not None


async def test_what_takes_too_long_has_failed() -> None:
    """In time, and with nothing left of its cancellation."""
    began = time.monotonic()
    with pytest.raises(RedisFailed, match="TimeoutError"):
        async with within(0.02):
            await asyncio.Event().wait()

    assert time.monotonic() - began < LENIENT
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
