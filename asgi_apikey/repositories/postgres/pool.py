"""The connections of one event loop.

Not asyncpg's pool, because of what it does when the server does not answer: acquiring waits without end, releasing
waits for the answer to a cancelled statement, and every release costs a round trip that resets a session which ours
never change. Here nothing waits for the server but opening a connection, and that has a deadline.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from copy import copy

from asgi_apikey.errors import APIKeyError, ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.postgres.session import Session


class Pool:
    """At most `size` sessions, opened when they are needed.

    They are opened one at a time: a server that has just come back, or is short of connections, is not stormed, and
    one that is frozen holds up one attempt instead of all. Waiting operations meanwhile get what others give back.

    Args:
        connect: Opens a session, within a deadline of its own.
        size: The most sessions to have at once.
        longest_idle: Seconds after which an unused session is closed; firewalls forget connections without a word.
    """

    def __init__(self, connect: Callable[[], Awaitable[Session]], *, size: int, longest_idle: Seconds) -> None:
        self._connect = connect
        self._size = size
        self._longest_idle = longest_idle
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Session] = deque()
        self._taken: set[Session] = set()
        self._waiters: deque[asyncio.Future[Session]] = deque()
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def sessions(self) -> int:
        """How many are open."""
        return len(self._idle) + len(self._taken)

    @property
    def in_use(self) -> int:
        """How many are held by operations."""
        return len(self._taken)

    async def take(self) -> Session:
        """Return a session for one operation, which gives it back; waits in line for it.

        Raises:
            StoreUnavailable: None could be opened.
            ConfigurationError: None ever will be: the URL or the schema is wrong.
        """
        self._close_stale()
        while self._idle:
            # The one used last: the others grow old together, and are closed when the load is gone.
            session = self._idle.pop()
            if session.reusable:
                self._taken.add(session)
                session.rested = True
                return session
            session.terminate()
        waiter: asyncio.Future[Session] = self._loop.create_future()
        self._waiters.append(waiter)
        self._open_for_waiters()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Handed over in the same turn of the loop in which we were cancelled.
                self.give_back(waiter.result())
            raise

    def give_back(self, session: Session) -> None:
        """Take a session back; one that is broken, or in a transaction, is closed."""
        self._taken.discard(session)
        if session.reusable:
            self._hand_over(session)
        else:
            session.terminate()
            self._open_for_waiters()

    def drop_idle(self) -> None:
        """Close every idle session: one of them was found dead, so the server has probably been restarted."""
        while self._idle:
            self._idle.pop().terminate()

    async def close(self, *, patience: Seconds) -> None:
        """Close the idle sessions in good order, within `patience` seconds, and the others when they are given back."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        idle, self._idle = list(self._idle), deque()
        await asyncio.gather(*(session.close(patience=patience) for session in idle))

    def terminate(self) -> None:
        """Close everything at once."""
        self._closed = True
        self.drop_idle()
        for session in self._taken:
            session.terminate()

    def bury(self) -> None:
        """Close everything when the loop is closed."""
        self._closed = True
        for session in (*self._idle, *self._taken):
            session.bury()

    def _hand_over(self, session: Session) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._taken.add(session)
                session.rested = False
                waiter.set_result(session)
                return
        if self._closed:
            session.terminate()
        else:
            session.idle_since = self._loop.time()
            self._idle.append(session)

    def _open_for_waiters(self) -> None:
        """Begin to open a session if somebody waits for one."""
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        if self._waiters and self._opening is None and self.sessions < self._size:
            self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        waiting = tuple(self._waiters)
        try:
            session = await self._connect()
        except (StoreUnavailable, ConfigurationError) as error:
            _refuse(waiting, error)
        else:
            self._hand_over(session)
        finally:
            self._opening = None
        self._open_for_waiters()

    def _close_stale(self) -> None:
        limit = self._loop.time() - self._longest_idle
        while self._idle and self._idle[0].idle_since < limit:
            self._idle.popleft().terminate()


def _refuse(waiting: Iterable[asyncio.Future[Session]], error: APIKeyError) -> None:
    """Let all know at once who waited when the attempt began; each trying for himself would take a deadline each.

    Not those who came later: it may have failed of what was the matter before they came.
    """
    for waiter in waiting:
        if not waiter.done():
            # A copy each: raised in several tasks, one exception would collect all their tracebacks.
            own = copy(error)
            own.__cause__ = error.__cause__
            waiter.set_exception(own)
