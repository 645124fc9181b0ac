"""What every shared cache does. Write `class TestMine(SharedCacheContract)` and give it a fixture `cache`."""

# ruff: noqa: ASYNC110 - a server sends us no event when it drops something.

from __future__ import annotations

import asyncio

import pytest

from asgi_apikey.protocols import SharedCache

pytestmark = pytest.mark.anyio


class SharedCacheContract:
    """For a cache that is empty and within reach."""

    async def test_what_was_put_is_there(self, cache: SharedCache) -> None:
        """Byte by byte, with the time that is left of it."""
        value = bytes(range(256))
        await cache.put("name", value, 60.0)
        held = await cache.get("name")

        assert held is not None
        assert held.value == value
        assert 30.0 < held.remaining <= 60.0

    async def test_what_was_not_put_is_not(self, cache: SharedCache) -> None:
        """A name is all of it."""
        await cache.put("name", b"value", 60.0)

        assert await cache.get("nam") is None
        assert await cache.get("name:") is None

    async def test_the_last_one_counts(self, cache: SharedCache) -> None:
        """Value and time are both replaced."""
        await cache.put("name", b"first", 60.0)
        await cache.put("name", b"second", 5.0)
        held = await cache.get("name")

        assert held is not None
        assert (held.value, held.remaining <= 5.0) == (b"second", True)

    async def test_it_ends(self, cache: SharedCache) -> None:
        """After its time it is gone."""
        await cache.put("name", b"value", 0.02)
        async with asyncio.timeout(10):
            while await cache.get("name") is not None:
                await asyncio.sleep(0.01)

    async def test_no_time_is_no_entry(self, cache: SharedCache) -> None:
        """What has no time left is not put."""
        await cache.put("name", b"value", 0.0)
        await cache.put("name", b"value", -1.0)

        assert await cache.get("name") is None

    async def test_clear_drops_everything(self, cache: SharedCache) -> None:
        """Of this cache, however much that is."""
        for number in range(50):
            await cache.put(f"name {number}", b"value", 60.0)
        await cache.clear()

        assert [await cache.get(f"name {number}") for number in range(50)] == [None] * 50

    async def test_many_at_once(self, cache: SharedCache) -> None:
        """Nobody gets another one's value."""
        names = [str(number) for number in range(50)]
        await asyncio.gather(*(cache.put(name, name.encode(), 60.0) for name in names))
        helds = await asyncio.gather(*(cache.get(name) for name in names))

        assert all(held is None or held.value == name.encode() for name, held in zip(names, helds, strict=True))

    async def test_a_closed_one_may_be_used_again(self, cache: SharedCache) -> None:
        """Closing lets go of connections, not of entries that a server keeps, nor of the right to come back."""
        await cache.close()
        await cache.put("name", b"value", 60.0)

        assert (await cache.get("name")) is not None
