"""One open connection: all that flows through it passes here, until it is ended from outside."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeAlias

import anyio
import anyio.lowlevel

from asgi_apikey.asgi.closing import close_message
from asgi_apikey.asgi.types import ASGIApp, Message, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, MissingScope
from asgi_apikey.models import Principal, Seconds
from asgi_apikey.policy import missing_scopes
from asgi_apikey.tracebacks import described

RefusalTo: TypeAlias = Callable[[Principal], APIKeyError | None]
"""Why a principal would not be let in, or None."""

LIVE: Final = "asgi_apikey.live"
"""The private entry of the ASGI scope of a connection that is watched."""

CLOSING_TIME: Final[Seconds] = 2.0
"""Seconds that the close message may take: a client that reads nothing does not take it."""

PARTING_TIME: Final[Seconds] = 10.0
"""Seconds that the application of a closed WebSocket has to come to its end, before it is cancelled."""

CUTTING_TIME: Final[Seconds] = 1.0
"""The same for a response: it is only over for the client when the application has returned."""

_LAST: Final = frozenset({"websocket.close", "http.response.pathsend"})
"""What says all that is left, beside a body without more; https://asgi.readthedocs.io/en/latest/extensions.html."""

_log = logging.getLogger("asgi_apikey")


class Disconnected(OSError):
    """What an application gets that sends to a connection which we have ended.

    An `OSError`, as servers raise it (https://asgi.readthedocs.io/en/latest/specs/www.html#disconnected-client-send-exception).
    """


class Watcher(Protocol):
    """Who knows whether the key of a connection still stands."""

    def holds(self) -> bool:
        """Whether that is known without asking."""
        ...

    async def judged(self) -> None:
        """Return when the key was found to stand after this call; if it does not, the connection is ended meanwhile."""
        ...

    def leave(self, connection: Connection) -> None:
        """Stop watching; the connection is over."""
        ...


def demand(scope: Scope, principal: Principal | None, refusal_to: RefusalTo) -> None:
    """Have a connection, if it is watched, ended when its key comes to be what a layer further in would not let in."""
    connection = scope.get(LIVE)
    # Another key's, where a layer between the two has other keys and does not watch.
    if connection is not None and principal is not None and connection.key_id == principal.key_id:
        connection.demand(refusal_to)


def demand_scopes(scope: Scope, principal: Principal, needed: frozenset[str]) -> None:
    """Have a connection, if it is watched, ended when its key loses a scope; asking twice is asking once."""
    connection = scope.get(LIVE)
    if connection is not None and connection.key_id == principal.key_id:
        connection.needed |= needed


class Connection:
    """Wraps what a server gave us for one connection.

    Every message either way needs a key that holds, as a request does: from memory, as long as that may be trusted. So
    a connection whose key cannot be judged stays open for a while, and silent. One that was ended looks to the
    application as if the client had gone; if it does not go as well, it is cancelled.

    Args:
        scope: Its ASGI scope.
        receive: The server's.
        send: The server's.
        key_id: Of its key.
        watcher: Knows about its key.
        spawn: Starts a task that outlives the caller's.
        outage: Seconds for which its key may be impossible to judge.

    Attributes:
        needed: Scopes that its key must have, beside what `demand` has added.
        ended: Why it was ended; None: it was not.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        key_id: str,
        watcher: Watcher,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        outage: Seconds,
    ) -> None:
        self.is_websocket = scope["type"] == "websocket"
        self.key_id = key_id
        self.outage = outage
        self.needed: frozenset[str] = frozenset()
        self.ended: APIKeyError | None = None
        self._spec = _version(scope)
        self._receive = receive
        self._send = send
        self._watcher = watcher
        self._spawn = spawn
        self._refusals: list[RefusalTo] = []
        self._waits: set[anyio.CancelScope] = set()
        self._running: anyio.CancelScope | None = None
        self._returned = False
        self._closed: anyio.Event | None = None
        self._parted: anyio.Event | None = None
        self._begun = False
        self._over = False

    @property
    def unanswered(self) -> bool:
        """Whether it was ended before the application had begun to answer a request, so that there can be an answer."""
        return self.ended is not None and not self._begun and not self.is_websocket

    def demand(self, refusal_to: RefusalTo) -> None:
        """Add what a principal must meet whenever the key's record is read again."""
        self._refusals.append(refusal_to)

    def review(self, principal: Principal) -> None:
        """End the connection if the key, as it is now, would not be let in here."""
        if missing_scopes(principal.scopes, self.needed):
            self.end(MissingScope(self.needed))
        for refusal_to in self._refusals:
            if (refusal := refusal_to(principal)) is not None:
                self.end(refusal)

    def end(self, error: APIKeyError) -> None:
        """End the connection; returns at once, whatever the client does.

        One that is over anyway is left alone: what its application still has to do, it does for what was let in.
        """
        if self.ended is not None or self._over or self._returned:
            return
        self.ended = error
        self._closed, self._parted = anyio.Event(), anyio.Event()
        for wait in tuple(self._waits):
            wait.cancel()
        self._spawn(self._part)

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application on this connection, and stop watching when it returns.

        Raises:
            Exception: Whatever the application raised, but for what we have told it ourselves.
        """
        try:
            await self._to_its_end(app, scope)
            if self._closed is not None:
                # Servers close a WebSocket in their own way as soon as its application returns: granian without a code.
                await self._closed.wait()
        finally:
            self._returned = True
            if self._parted is not None:
                self._parted.set()
            self._watcher.leave(self)

    async def _to_its_end(self, app: ASGIApp, scope: Scope) -> None:
        try:
            with anyio.CancelScope() as self._running:
                await app(scope, self.receive, self.send)
        except Disconnected:
            if self.ended is None:
                raise

    async def receive(self) -> Message:
        """Return the server's next message; a disconnect once the connection was ended."""
        if self.ended is None:
            with self._abandoned_when_ended():
                message = await self._receive()
                if message["type"].endswith(".disconnect"):
                    self._over = True
                    return message
                await self._admit()
                # Not if it was ended between the two: nobody is to act on it any more.
                if self.ended is None:
                    return message
        # Whoever asks again and again must not keep the event loop to himself.
        await anyio.lowlevel.checkpoint()
        return self._disconnect()

    async def send(self, message: Message) -> None:
        """Pass a message on.

        Raises:
            Disconnected: The connection was ended. To a request's application of an ASGI version before 2.4 the message
                just gets lost, as there.
        """
        if self.ended is None:
            with self._abandoned_when_ended():
                await self._admit()
                if self.ended is None:
                    self._note(message)
                    await self._send(message)
                    return
        await anyio.lowlevel.checkpoint()
        if self.is_websocket or self._spec >= (2, 4):
            raise Disconnected("the connection was ended because its key is not accepted any more")

    async def _admit(self) -> None:
        if not self._watcher.holds():
            await self._watcher.judged()

    @contextmanager
    def _abandoned_when_ended(self) -> Iterator[None]:
        """Leave the block, at the latest when the connection is ended: also a `send` that waits for a slow client."""
        with anyio.CancelScope() as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def _note(self, message: Message) -> None:
        self._begun = True
        kind = message["type"]
        if kind in _LAST or (kind.endswith("http.response.body") and not message.get("more_body")):
            self._over = True

    def _disconnect(self) -> Message:
        if not self.is_websocket:
            return {"type": "http.disconnect"}
        assert self.ended is not None
        return {**close_message(self.ended), "type": "websocket.disconnect"}

    async def _part(self) -> None:
        """Say goodbye to the client, if it listens, and then see the application off."""
        assert self._closed is not None
        assert self._parted is not None
        try:
            if self.is_websocket:
                with anyio.move_on_after(CLOSING_TIME):
                    await self._close()
        finally:
            self._closed.set()
        with anyio.move_on_after(PARTING_TIME if self.is_websocket else CUTTING_TIME):
            await self._parted.wait()
        if not self._returned and self._running is not None:
            self._running.cancel()

    async def _close(self) -> None:
        # They have been cancelled, and leave at their next step.
        while self._waits:
            await anyio.lowlevel.checkpoint()
        assert self.ended is not None
        try:
            await self._send(close_message(self.ended))
        except Exception as error:
            # Whatever a server says here: it is not open any more.
            _log.debug(
                "a connection was gone before it was closed: %s", described(error), extra={"event": "connection_gone"}
            )


def _version(scope: Scope) -> tuple[int, ...]:
    text = (scope.get("asgi") or {}).get("spec_version", "2.0")
    return tuple(int(each) for each in text.split(".") if each.isdigit())
