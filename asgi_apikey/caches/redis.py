"""A shared cache in Redis."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from typing import Final, cast

from redis.asyncio import Redis, RedisCluster

from asgi_apikey.caches.breaker import Breaker
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Held, Seconds
from asgi_apikey.perloop import PerLoop
from asgi_apikey.redisaddress import NewClient, new_client
from asgi_apikey.redisclient import TIMEOUT, OwnedClient, RedisFailed

_log = logging.getLogger("asgi_apikey")

_LONGEST_VALUE: Final = 64 * 1024
_CLEAR_WITHIN: Final[Seconds] = 60.0
_LEARN_WITHIN: Final[Seconds] = 5.0
_LEARN_AGAIN: Final[Seconds] = 1.0
_BATCH: Final = 1_000
_GLOB: Final = re.compile(r"([*?\[\]\\^-])")
"""What has a meaning in a pattern of SCAN (Redis documentation, KEYS)."""


class RedisCache:
    """A `SharedCache` in a Redis server, 5 or newer, a cluster of them, or what speaks their protocol.

    Redis is asked once and has 50 ms to answer; when it has not three times in a row, it is left alone for a second. It
    needs `GET`, `SET` and `PTTL` on `{namespace}:*`, and `SCAN` and `UNLINK` for `clear`. Each operation names one key,
    so it does not matter where in a cluster that is. Give that Redis a `maxmemory` and a policy such as `allkeys-lru`:
    anything may be dropped at any time.

    Each event loop has a client of its own, opened on first use, remade after a fork. asyncio only.

    Args:
        address: URL of Redis, see `redisaddress`; or a function that returns a new client.
        namespace: What all names start with.
        timeout: Seconds that Redis has for each operation.

    Raises:
        ConfigurationError: An address that cannot be used, or no namespace.
    """

    def __init__(self, address: str | NewClient, *, namespace: str = "asgi-apikey", timeout: Seconds = TIMEOUT) -> None:
        if not namespace:
            raise ConfigurationError("a cache in Redis needs a namespace: `clear` drops everything in it")
        new = new_client(address, timeout)
        self._namespace = namespace
        self._timeout = timeout
        self._places = PerLoop(lambda: _Place(new), _discard)

    def __repr__(self) -> str:
        return f"RedisCache(namespace={self._namespace!r})"

    async def get(self, name: str) -> Held | None:
        """See `SharedCache.get`."""
        place, key = self._places.here(), self._key(name)
        if not place.may_ask():
            return None
        try:
            async with place.client.within(self._timeout) as client:
                # The time first: if the value is replaced in between, it seems older than it is.
                both = client.pipeline(transaction=False)
                both.pttl(key)
                both.get(key)
                remaining, value = await both.execute()
        except RedisFailed as error:
            place.failed(error)
            return None
        place.succeeded()
        if not isinstance(value, bytes) or not isinstance(remaining, int) or remaining < 0:
            return None
        return Held(value, remaining / 1000) if len(value) <= _LONGEST_VALUE else None

    async def put(self, name: str, value: bytes, ttl: Seconds) -> None:
        """See `SharedCache.put`."""
        place, milliseconds = self._places.here(), round(ttl * 1000)
        if milliseconds < 1 or not place.may_ask():
            return
        try:
            async with place.client.within(self._timeout) as client:
                await client.set(self._key(name), value, px=milliseconds)
        except RedisFailed as error:
            place.failed(error)
        else:
            place.succeeded()

    async def clear(self) -> None:
        """See `SharedCache.clear`. Looks at every key that the server holds, some thousands at a time.

        Raises:
            StoreUnavailable: Redis did not do it, or not within a minute.
        """
        place = self._places.here()
        ours = _GLOB.sub(r"\\\1", self._namespace) + ":*"
        try:
            async with place.client.within(_CLEAR_WITHIN) as client:
                found: list[bytes] = []
                async for key in client.scan_iter(match=ours, count=_BATCH):
                    found.append(cast(bytes, key))
                    if len(found) == _BATCH:
                        await client.unlink(*found)
                        found.clear()
                if found:
                    await client.unlink(*found)
        except RedisFailed as error:
            raise StoreUnavailable(f"the shared cache was not cleared: {error}") from error

    async def close(self) -> None:
        """See `SharedCache.close`."""
        here = asyncio.get_running_loop()
        for loop, place in self._places.take_all().items():
            if loop is here:
                await place.close()
            else:
                _discard(loop, place)

    def _key(self, name: str) -> str:
        return f"{self._namespace}:{name}"


class _Place:
    """What one event loop has: a client, and whether it is worth asking."""

    def __init__(self, new: NewClient) -> None:
        self.client: OwnedClient[Redis | RedisCluster] = OwnedClient(new)
        self._breaker = Breaker()
        self._loop = asyncio.get_running_loop()
        self._in_doubt = asyncio.Event()
        # When the loop ends without `close`, it cancels its tasks: this one then closes the connections in time.
        self._keeper = self._loop.create_task(self._keep())

    def may_ask(self) -> bool:
        return self._breaker.lets_through(self._loop.time())

    def succeeded(self) -> None:
        self._breaker.succeeded()

    def failed(self, error: RedisFailed) -> None:
        self._in_doubt.set()
        if self._breaker.failed(self._loop.time()):
            _log.warning(
                "the shared cache is left alone, and asked again every now and then: %s",
                error,
                extra={"event": "shared_cache_lost"},
            )

    async def close(self) -> None:
        self._keeper.cancel()
        await asyncio.wait({self._keeper})

    def cancel(self) -> None:
        self._keeper.cancel()

    async def _keep(self) -> None:
        try:
            while True:
                await self._learn()
                await asyncio.sleep(_LEARN_AGAIN)
                await self._in_doubt.wait()
        finally:
            await self.client.close()

    async def _learn(self) -> None:
        """Have a client of a cluster find out which node holds what: it takes longer than an operation may.

        Nor does redis-py ask again by itself when a node is silent: a pipeline to it fails as long as that is so.
        """
        doubtful = self._in_doubt.is_set()
        self._in_doubt.clear()
        with suppress(RedisFailed):
            async with self.client.within(_LEARN_WITHIN) as client:
                if isinstance(client, RedisCluster):
                    if doubtful:
                        await client.aclose()
                    await client.initialize()


def _discard(loop: asyncio.AbstractEventLoop, place: _Place) -> None:
    """Let go of a loop's client, from any thread. A closed loop has cancelled its tasks, and with them the client."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(place.cancel)
