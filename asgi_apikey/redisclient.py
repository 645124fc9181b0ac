"""Clients of Redis that give up in time, and what their errors are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, Protocol, TypeVar

from anyio.lowlevel import checkpoint
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)

from asgi_apikey.models import Seconds

TIMEOUT: Final[Seconds] = 0.05
"""Ten times what a loaded server on the same network takes; shorter than anybody would notice on a cold request."""

_PATIENCE_ON_CLOSE: Final[Seconds] = 1.0
# What redis-py raises of itself, and what its parsers stumble over when a server sends what no Redis would.
_ERRORS: Final = (
    # Theirs of a cluster is not one of theirs.
    *(RedisError, RedisClusterException, OSError, EOFError),
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


@asynccontextmanager
async def within(seconds: Seconds) -> AsyncIterator[None]:
    """Bound everything inside, however often the client tries and however slowly the answer trickles in.

    Raises:
        RedisFailed: It took longer, or failed.
    """
    before = _cancellations()
    try:
        async with asyncio.timeout(seconds):
            yield
    except _ERRORS as error:
        await _cancelled_since(before)
        raise RedisFailed(error) from error
    await _cancelled_since(before)


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def _cancelled_since(before: int) -> None:
    """Raise what redis-py may have swallowed: a cancellation that comes while it makes a connection ready (8.1).

    Whoever waits for the end of a task that he has cancelled would wait for ever.
    """
    if _cancellations() > before:
        # One by a scope of anyio is known to it, and is raised here.
        await checkpoint()
        raise asyncio.CancelledError


class _Closable(Protocol):
    """What every client of Redis is."""

    async def aclose(self) -> None: ...


_Client = TypeVar("_Client", bound=_Closable)


class OwnedClient(Generic[_Client]):
    """A client that one event loop uses until it is closed, and that is closed when nobody uses it any more.

    redis-py connects anew for whoever uses a client that was closed: such a connection nobody would ever close.

    Args:
        new: Makes the client.

    Attributes:
        raw: For what is not an operation: its subscriptions.
    """

    def __init__(self, new: Callable[[], _Client]) -> None:
        self.raw = new()
        self._users = 0
        self._closed = False
        self._unused = asyncio.Event()
        self._unused.set()

    @asynccontextmanager
    async def within(self, seconds: Seconds) -> AsyncIterator[_Client]:
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
