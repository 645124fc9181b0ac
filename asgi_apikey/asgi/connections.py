"""The open connections of one process, and the watch over their keys.

A request is over before anything changes; a WebSocket stays. So it is treated like a client that presents its key again
all the time: each message needs a key that holds, and while nothing flows a watch in each event loop looks every half a
second, and whenever a change was applied in this process. What is looked at is memory. Only a key about which something
has changed, or about which we cannot know, is verified anew, once for all connections that present it.

The watch is traffic to the protocol of leases: as long as a connection is open, it keeps the polls going.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import anyio
from anyio.lowlevel import current_token

from asgi_apikey.arguments import check_counts, check_flags, check_numbers, present
from asgi_apikey.asgi.connection import Connection
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.background import Background
from asgi_apikey.errors import (
    APIKeyError,
    AuthenticationError,
    ConfigurationError,
    Overloaded,
    TooManyConnections,
    Undecidable,
)
from asgi_apikey.models import Principal, Seconds
from asgi_apikey.protocols import Clock
from asgi_apikey.standings import Sight
from asgi_apikey.tracebacks import described

_log = logging.getLogger("asgi_apikey")

_AT_ONCE: Final = 8
"""Keys of one event loop that are verified anew at a time: far fewer than there is room for in the store's lane."""
_SHORTEST: Final[Seconds] = 0.001
_BREATH: Final[Seconds] = 0.02
_PATIENCE: Final[Seconds] = 3.0
"""What finding out about a key may take before it counts as having failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What becomes of connections that are open when their key is not accepted any more. WebSockets are closed.

    Attributes:
        streams: Whether responses are cut off too. Then no request takes the short way through the middleware.
        outage: Seconds for which a connection may stay open, and silent, while nobody can tell whether its key is still
            good, because the store does not answer; then it is closed with 1013. 0: it is closed at once.
        most_per_key: WebSockets that one key may have open in one process; None: any number.

    Raises:
        ConfigurationError: A value of the wrong kind.
    """

    streams: bool = False
    outage: Seconds = 10.0
    most_per_key: int | None = None

    def __post_init__(self) -> None:
        check_flags(streams=self.streams)
        check_numbers(outage=self.outage)
        check_counts(**present(most_per_key=self.most_per_key))
        if not 0 <= self.outage < math.inf:
            raise ConfigurationError("outage must be finite seconds, such as outage=10; 0 for none")
        if self.most_per_key is not None and self.most_per_key < 1:
            raise ConfigurationError("most_per_key must be at least 1, or None for any number")


WATCHED: Final = Live()
"""WebSockets are closed, other responses go on."""


class Judge(Protocol):
    """Who can tell whether a key that was good is so still; `Standings` can."""

    def look(self) -> Sight:
        """Return what is known now."""
        ...

    def holds(self, key_id: str, since: Sight) -> bool:
        """Whether it is known, without asking anybody, that a key which was good at `since` is so still."""
        ...

    async def renewed(self, key_id: str, since: Sight) -> bool:
        """Hear what there is to hear; then whether it holds."""
        ...

    @property
    def recheck(self) -> Callable[[bytes], Awaitable[Principal]]:
        """Verify a presented key anew."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Whom a connection speaks for, and how to find out whether it still may.

    Attributes:
        principal: As it was let in.
        presented: What it has presented.
        since: From before that was verified.
        verify: Verifies a token anew; None: it is a key.
    """

    principal: Principal
    presented: bytes
    since: Sight
    verify: Callable[[bytes], Awaitable[Principal]] | None = None

    def __repr__(self) -> str:
        """Without what was presented."""
        return f"Admitted({self.principal!r})"


class Connections:
    """Watches over the connections of one process. Each event loop has a watch of its own.

    Args:
        judge: Knows about keys.
        clock: Wall and monotonic time.
        interval: Seconds between two looks.
        background: Where the watch runs.
    """

    def __init__(
        self, judge: Judge, clock: Clock, *, interval: Seconds = 0.5, background: Background | None = None
    ) -> None:
        self._judge = judge
        self._clock = clock
        self._interval = interval
        self._background = Background() if background is None else background
        self._watches: dict[object, _Watch] = {}
        self._pending = 0

    @property
    def open(self) -> int:
        """How many connections are watched now."""
        return sum(watch.open for watch in tuple(self._watches.values()))

    def look(self) -> Sight:
        """Return what is known now; to be taken before a key is verified."""
        return self._judge.look()

    def changed(self) -> None:
        """Have the watch look at once: something was forgotten. Only the one of this thread; others do in time."""
        for watch in tuple(self._watches.values()):
            watch.wake()

    def enter(self, scope: Scope, receive: Receive, send: Send, *, admitted: Admitted, live: Live) -> Connection:
        """Watch over a new connection from now on; running it ends that.

        Raises:
            TooManyConnections: The key has as many WebSockets as it may have.
        """
        key_id, most = admitted.principal.key_id, live.most_per_key
        if most is not None and scope["type"] == "websocket" and self._websockets_of(key_id) >= most:
            raise TooManyConnections(most)
        watch = self._here()
        key = watch.watched(admitted)
        connection = Connection(
            scope, receive, send, key_id=key_id, watcher=key, spawn=self._background.spawn, outage=live.outage
        )
        watch.add(key, connection)
        return connection

    def _websockets_of(self, key_id: str) -> int:
        return sum(watch.websockets[key_id] for watch in tuple(self._watches.values()))

    @contextmanager
    def pending(self, most: int) -> Iterator[None]:
        """Count a connection that has not presented anything yet.

        Raises:
            Overloaded: There are as many as there may be.
        """
        if self._pending >= most:
            raise Overloaded("too many connections have not presented a key yet")
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1

    def close(self) -> None:
        """End the connections of this event loop: from now on nobody could tell whether their keys still stand."""
        watch = self._watches.get(current_token())
        if watch is not None:
            watch.close()

    def _here(self) -> _Watch:
        loop = current_token()
        watch = self._watches.get(loop)
        if watch is None:
            watch = self._watches[loop] = _Watch(
                self._judge,
                self._clock,
                interval=self._interval,
                spawn=self._background.spawn,
                gone=partial(self._forget, loop),
            )
        return watch

    def _forget(self, loop: object, watch: _Watch) -> None:
        # Not its successor, where something that it had ended goes late.
        if self._watches.get(loop) is watch:
            del self._watches[loop]


class _Watched:
    """One presented key in one event loop, and the connections that live by it.

    Attributes:
        since: What was known when the look at the key began that found it good.
        turn: When that was, as the watch counts.
        doubtful_since: When it was first not known to hold, on the monotonic clock; None: it is.
        failed: Whether an attempt to find out has failed since then.
        retry_at: Before then there is no other attempt.
        attempt: Set when the one that is under way or due has ended; None: there is none.
        alive: Whether it may still be found good.
    """

    def __init__(self, watch: _Watch, admitted: Admitted) -> None:
        self._watch = watch
        self.presented = admitted.presented
        self.verify = admitted.verify
        self.principal = admitted.principal
        self.since = admitted.since
        self.turn = 0
        self.doubtful_since: Seconds | None = None
        self.failed = False
        self.retry_at: Seconds = -math.inf
        self.attempt: anyio.Event | None = None
        self.alive = True
        self.connections: set[Connection] = set()

    def holds(self) -> bool:
        """See `Watcher.holds`."""
        return self._watch.holds(self)

    async def judged(self) -> None:
        """See `Watcher.judged`."""
        await self._watch.judged(self)

    def leave(self, connection: Connection) -> None:
        """See `Watcher.leave`."""
        self._watch.leave(self, connection)

    def end(self, error: APIKeyError) -> None:
        """End every connection that lives by this key."""
        self.alive = False
        for connection in tuple(self.connections):
            connection.end(error)

    def found_good(self, principal: Principal, since: Sight, turn: int) -> None:
        """Go on from what was found by a look that began then, and end what this principal would not be let in to."""
        self.principal, self.since, self.turn = principal, since, turn
        for connection in tuple(self.connections):
            connection.review(principal)


class _Watch:
    """The watch of one event loop.

    Attributes:
        websockets: How many are open, by key id.
    """

    def __init__(
        self,
        judge: Judge,
        clock: Clock,
        *,
        interval: Seconds,
        spawn: Callable[[Callable[[], Awaitable[object]]], None],
        gone: Callable[[_Watch], None],
    ) -> None:
        self._judge = judge
        self._clock = clock
        self._interval = interval
        self._spawn = spawn
        self._gone = gone
        self.websockets: Counter[str] = Counter()
        self._thread = threading.get_ident()
        self._keys: dict[tuple[bytes, bool], _Watched] = {}
        self._due: deque[_Watched] = deque()
        self._working = 0
        self._turn = 0
        self._running = False
        self._woken = anyio.Event()

    @property
    def open(self) -> int:
        return sum(len(key.connections) for key in self._keys.values())

    def watched(self, admitted: Admitted) -> _Watched:
        """Return what is known of a presented key, which was verified just now."""
        name = (admitted.presented, admitted.verify is not None)
        key = self._keys.get(name)
        if key is None or not key.alive:
            key = self._keys[name] = _Watched(self, admitted)
            ends_at = admitted.principal.expires_at
            if ends_at is not None and ends_at - self._clock.wall() < self._interval:
                self._woken.set()
        return key

    def add(self, key: _Watched, connection: Connection) -> None:
        key.connections.add(connection)
        if connection.is_websocket:
            self.websockets[connection.key_id] += 1
        if not self._running:
            self._running = True
            self._spawn(self._run)

    def wake(self) -> None:
        # Another thread's event must not be touched from here; its watch looks in time.
        if threading.get_ident() == self._thread:
            self._woken.set()

    def close(self) -> None:
        for key in tuple(self._keys.values()):
            key.end(Undecidable())
        self.wake()

    def leave(self, key: _Watched, connection: Connection) -> None:
        key.connections.discard(connection)
        if connection.is_websocket:
            self.websockets[connection.key_id] -= 1
            if not self.websockets[connection.key_id]:
                del self.websockets[connection.key_id]
        if not key.connections:
            name = (key.presented, key.verify is not None)
            if self._keys.get(name) is key:
                del self._keys[name]
        if not self._keys and not self._running:
            self._gone(self)

    def holds(self, key: _Watched) -> bool:
        ends_at = key.principal.expires_at
        if ends_at is not None and self._clock.wall() >= ends_at:
            return False
        # Nobody can change a token.
        return key.verify is not None or self._judge.holds(key.principal.key_id, key.since)

    async def judged(self, key: _Watched) -> None:
        arrived = self._next_turn()
        while key.alive and key.turn < arrived and not self.holds(key):
            await anyio.sleep(max(0.0, key.retry_at - self._clock.monotonic()))
            await self._attempt(key).wait()

    def _next_turn(self) -> int:
        """Number what happens here in order; two readings of a coarse clock may be equal."""
        self._turn += 1
        return self._turn

    async def _run(self) -> None:
        """Look after the keys until there are none."""
        try:
            while self._keys:
                delay = self._looked_around()
                with anyio.move_on_after(delay):
                    await self._woken.wait()
                if self._woken.is_set():
                    # Whoever changes a thousand keys does not have us look at all of ours a thousand times.
                    await anyio.sleep(_BREATH)
                    self._woken = anyio.Event()
        finally:
            self._running = False
            if not self._keys:
                self._gone(self)

    def _looked_around(self) -> Seconds:
        try:
            return self._look_around()
        except Exception as error:
            # Owns the loop: a watch that died would leave its connections to themselves.
            _log.error(
                "the watch over open connections failed: %s",
                described(error),
                extra={"event": "connection_watch_failed"},
            )
            return self._interval

    def _look_around(self) -> Seconds:
        """Start verifying what may not hold any more; return after how many seconds to look again."""
        now, wall, delay = self._clock.monotonic(), self._clock.wall(), self._interval
        for key in tuple(self._keys.values()):
            ends_at = key.principal.expires_at
            if self.holds(key):
                key.doubtful_since, key.failed = None, False
                if ends_at is not None:
                    delay = min(delay, max(ends_at - wall, _SHORTEST))
            elif key.alive:
                self._doubt(key, now)
                if now >= key.retry_at:
                    self._attempt(key)
        return delay

    def _doubt(self, key: _Watched, now: Seconds) -> None:
        """End those connections that nobody could judge for longer than they may stay so."""
        if key.doubtful_since is None:
            # Not from when it was last sure: we may have been stopped meanwhile, and it was nobody's fault.
            key.doubtful_since = now
        doubtful = now - key.doubtful_since - (0.0 if key.failed else _PATIENCE)
        for connection in tuple(key.connections):
            if doubtful >= connection.outage:
                connection.end(Undecidable())

    def _attempt(self, key: _Watched) -> anyio.Event:
        """Have a key verified anew, unless that is about to be done; the event is set afterwards."""
        if key.attempt is None:
            key.attempt = anyio.Event()
            self._due.append(key)
            if self._working < _AT_ONCE:
                self._working += 1
                self._spawn(self._work)
        return key.attempt

    async def _work(self) -> None:
        try:
            while self._due:
                key = self._due.popleft()
                try:
                    await self._verify(key)
                finally:
                    if key.attempt is not None:
                        key.attempt.set()
                    key.attempt = None
        finally:
            self._working -= 1

    async def _verify(self, key: _Watched) -> None:
        if not key.connections:
            return
        try:
            await self._ask(key)
        except AuthenticationError as error:
            key.end(error)
        except Exception as error:
            # Owns the loop, and denies: until it is known to hold, nothing flows.
            if not isinstance(error, Undecidable) and not key.failed:
                _log.error(
                    "the key of an open connection could not be judged: %s",
                    described(error),
                    extra={"event": "connection_undecided"},
                )
            now = self._clock.monotonic()
            key.failed, key.retry_at = True, now + self._interval
            self._doubt(key, now)

    async def _ask(self, key: _Watched) -> None:
        """Find out about a key.

        Raises:
            AuthenticationError: It stands no more.
            Undecidable: That cannot be told now.
        """
        if key.verify is None and await self._judge.renewed(key.principal.key_id, key.since) and self.holds(key):
            return
        since, turn = self._judge.look(), self._next_turn()
        principal = await (key.verify or self._judge.recheck)(key.presented)
        key.doubtful_since, key.failed = None, False
        key.found_good(principal, since, turn)
