"""Warming up and closing `keys` around the lifespan of the application inside.

Nothing depends on it: servers and test clients that run no lifespan get everything opened by its first use.
Source: https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import logging

import anyio

from asgi_apikey.asgi.types import ASGIApp, Keys, Message, Receive, Scope, Send
from asgi_apikey.errors import ConfigurationError, Undecidable
from asgi_apikey.models import Seconds
from asgi_apikey.tracebacks import described

CLOSING_TIME: Seconds = 10.0
"""Seconds that closing may take, even when the server has given up on us: what uvicorn and Docker wait by default."""

_WATCHED = "asgi_apikey.lifespan"

_logger = logging.getLogger("asgi_apikey")


async def run_lifespan(app: ASGIApp, keys: Keys, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the lifespan of `app` with `keys` open.

    `keys` opens before the application starts and closes after it has stopped. A store that does not answer yet does
    not keep the application from starting: its requests are answered 503 until it does. Wrong wiring does.
    An application that knows nothing of lifespans (it returns at once, or raises, as Django does) is served for.

    Raises:
        Exception: Whatever the application raised after it had answered the startup.
    """
    if scope.get(_WATCHED) is keys:
        # A layer further out has opened them and will close them, after us.
        await app(scope, receive, send)
        return
    state = scope.get("state")
    scope[_WATCHED] = keys
    if isinstance(state, dict):
        keys.lifespan_states[id(state)] = state
    try:
        await _Course(app, keys).run(scope, receive, send)
    finally:
        keys.lifespan_states.pop(id(state), None)


class _Course:
    """One lifespan: how far the application inside has come with it."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self._startup_answered = False
        self._startup_failed = False
        self._shutdown_seen = False
        self._shutdown_answered = False
        self._closed = False

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        pending = [await receive()]

        async def watched_receive() -> Message:
            message = pending.pop() if pending else await receive()
            self._shutdown_seen = self._shutdown_seen or message["type"] == "lifespan.shutdown"
            return message

        async def watched_send(message: Message) -> None:
            await self._note(message["type"])
            await send(message)

        if not await self._opened(send):
            return
        try:
            await self._inside(scope, watched_receive, watched_send)
            await self._stand_in(watched_receive, watched_send)
        finally:
            await self._close()

    async def _opened(self, send: Send) -> bool:
        try:
            await self._keys.open()
        except Undecidable as error:
            _logger.warning(
                "starting without the key store, requests are answered 503 until it is there: %s",
                error,
                extra={"event": "starting_without_store"},
            )
        except ConfigurationError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return False
        return True

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if self._startup_answered:
                raise
            # What servers do in their place: an application that raises here does not support lifespans.
            _logger.warning(
                "the application does not support lifespans: %s", described(error), extra={"event": "no_lifespan"}
            )

    async def _stand_in(self, receive: Receive, send: Send) -> None:
        """Answer what the application has left unanswered."""
        if self._startup_failed:
            return
        if not self._startup_answered:
            await send({"type": "lifespan.startup.complete"})
        while not self._shutdown_seen:
            await receive()
        if not self._shutdown_answered:
            await send({"type": "lifespan.shutdown.complete"})

    async def _note(self, kind: str) -> None:
        if kind.startswith("lifespan.startup."):
            self._startup_answered = True
            self._startup_failed = kind == "lifespan.startup.failed"
        elif kind.startswith("lifespan.shutdown."):
            self._shutdown_answered = True
            # Before the answer: once the server has it, it may end the process.
            await self._close()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with anyio.move_on_after(CLOSING_TIME, shield=True) as bound:
            try:
                await self._keys.close()
            except Undecidable as error:
                _logger.warning(
                    "closing without the key store; what was pending is lost: %s",
                    error,
                    extra={"event": "closing_without_store"},
                )
        if bound.cancelled_caught:
            _logger.warning(
                "closing took more than %s seconds and was given up", CLOSING_TIME, extra={"event": "closing_timed_out"}
            )
