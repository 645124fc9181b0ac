"""Clients of Redis that give up in time, and what their errors are.

The defaults of redis-py are made for patient callers: on a frozen server one request waited 59 s (5 s for each of 11
tries, and pauses), measured with redis-py 8.1. Ours try once and wait 50 ms; what is worth trying again, and when, is
decided by whoever calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    NoPermissionError,
    RedisError,
)

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Seconds

TIMEOUT: Final[Seconds] = 0.05
"""Ten times what a loaded server on the same network takes; shorter than anybody would notice on a cold request."""

_LONGEST_TIMEOUT: Final[Seconds] = 10.0
_PATIENCE_ON_CLOSE: Final[Seconds] = 1.0
_SCHEMES: Final = ("redis://", "rediss://", "unix://")

NewClient: TypeAlias = Callable[[], Redis]
"""Makes a client for the running event loop; we close it."""

# What redis-py raises of itself, and what its parsers stumble over when a server sends what no Redis would.
_ERRORS: Final = (
    *(RedisError, OSError, EOFError),
    *(ValueError, TypeError, LookupError, AttributeError, RuntimeError, AssertionError),
)
_HOPELESS: Final = (AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError)


class RedisFailed(Exception):
    """Redis did not do what it was asked for, in time; the message names the kind of error and nothing else.

    Attributes:
        hopeless: It refuses us: trying again will not help.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(f"Redis failed ({type(error).__name__})")
        self.hopeless = isinstance(error, _HOPELESS)


def new_client(address: str | NewClient, timeout: Seconds) -> NewClient:
    """Return what makes clients of this server.

    Args:
        address: A URL (`redis://user:password@host:6379/0`, `rediss://` for TLS, `unix://`), or a function that
            returns a new client: of a Sentinel (`lambda: sentinel.master_for("mymaster")`), say. Its own time-outs and
            tries are cut off after `timeout`.
        timeout: Seconds that any one operation may take.

    Raises:
        ConfigurationError: The URL cannot be read, or the time-out is not a possible one.
    """
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise ConfigurationError(f"the time-out of Redis must be positive seconds, at most {_LONGEST_TIMEOUT:g}")
    if not isinstance(address, str):
        return address
    url = address
    if not url.startswith(_SCHEMES):
        raise ConfigurationError("write 'redis://host:6379/0', 'rediss://…' for TLS or 'unix:///path'")

    def make() -> Redis:
        # RESP2: the same on every server, and on a subscribed connection the one that has been used for longest.
        return Redis.from_url(
            url,
            protocol=2,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )

    try:
        make()
    except _ERRORS:
        # Not chained: the message may repeat a part of the URL, which holds a password.
        raise ConfigurationError("the URL of Redis cannot be read; write 'redis://user:password@host:6379/0'") from None
    return make


@asynccontextmanager
async def within(seconds: Seconds) -> AsyncIterator[None]:
    """Bound everything inside, however often the client tries and however slowly the answer trickles in.

    Raises:
        RedisFailed: It took longer, or failed.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except _ERRORS as error:
        raise RedisFailed(error) from error


class OwnedClient:
    """A client that one event loop uses until it is closed, and that is closed when nobody uses it any more.

    redis-py connects anew for whoever uses a client that was closed: such a connection nobody would ever close.

    Args:
        new: Makes the client.

    Attributes:
        raw: For what is not an operation: its subscriptions.
    """

    def __init__(self, new: NewClient) -> None:
        self.raw = new()
        self._users = 0
        self._closed = False
        self._unused = asyncio.Event()
        self._unused.set()

    @asynccontextmanager
    async def within(self, seconds: Seconds) -> AsyncIterator[Redis]:
        """Give the client for operations that together may take so many seconds.

        Raises:
            RedisFailed: They took longer, or failed, or it is closed.
        """
        async with within(seconds):
            if self._closed:
                raise ConnectionError("the client is closed")
            self._users += 1
            self._unused.clear()
            try:
                yield self.raw
            finally:
                self._users -= 1
                if not self._users:
                    self._unused.set()

    async def close(self) -> None:
        """Wait for those who use it, as long as their time is bounded, and close it."""
        self._closed = True
        for step in (self._unused.wait, self.raw.aclose):
            # Cut off too early, it would leave its sockets to the garbage collector.
            with suppress(RedisFailed):
                async with within(_PATIENCE_ON_CLOSE):
                    await step()
