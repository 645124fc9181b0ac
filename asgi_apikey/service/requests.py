"""A request id for each request, and a line in the log that holds no secret."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Final

from starlette.responses import JSONResponse

from asgi_apikey.asgi.proxies import address_of
from asgi_apikey.asgi.types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_apikey.logs import FIELDS, REQUEST_ID
from asgi_apikey.models import Seconds
from asgi_apikey.protocols import Clock
from asgi_apikey.tracebacks import described

NOTES: Final = "asgi_apikey.notes"
"""The entry of the ASGI scope in which the application inside leaves what the log should tell: a dictionary."""

HEADER: Final = b"x-request-id"

_log = logging.getLogger("asgi_apikey.access")

# No `_` and no `.`, and no more than a UUID has: a client that sends its key here by mistake must not find it in logs.
_SANE: Final = re.compile(rb"[0-9A-Za-z-]{8,36}")
_LONGEST_PATH: Final = 512
_PROBES: Final = frozenset({"/health", "/ready", "/metrics"})


class RequestLog:
    """The outermost layer: gives each request an id, tells it to the client, and writes one line when it is answered.

    The line has the method, the path without its query, the status, how long it took, from where it came, and what the
    application has noted. Health checks are told at the level `debug`, as there are many.

    Args:
        app: The application inside.
        clock: Tells how long it took.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        self._app = app
        self._monotonic = clock.monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, send, self._monotonic())
        token = REQUEST_ID.set(request.request_id)
        try:
            await self._answered(request, scope, receive)
        finally:
            request.log(self._monotonic())
            REQUEST_ID.reset(token)

    async def _answered(self, request: _Request, scope: Scope, receive: Receive) -> None:
        try:
            await self._app(scope, receive, request.send)
        except Exception as error:
            # Denies the request. The error's own text may quote what the client has sent.
            _log.error("a request could not be answered: %s", described(error), extra={"event": "request_failed"})
            if request.status:
                raise
            answer = JSONResponse({"title": "Internal error", "status": 500}, 500, {"cache-control": "no-store"})
            await answer(scope, receive, request.send)


class _Request:
    """One request on its way."""

    def __init__(self, scope: Scope, send: Send, began: Seconds) -> None:
        self._scope = scope
        self._send = send
        self._began = began
        self._notes: dict[str, str] = {}
        scope[NOTES] = self._notes
        self.request_id = _request_id(scope["headers"])
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a message, the first one with the request id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (HEADER, self.request_id.encode())]}
        await self._send(message)

    def log(self, now: Seconds) -> None:
        """Write the line."""
        scope, path = self._scope, self._scope["path"]
        level = logging.DEBUG if path in _PROBES and self.status < 500 else logging.INFO
        shown = path[:_LONGEST_PATH] + ("?..." if scope.get("query_string") else "")
        fields = {
            "method": scope["method"],
            "path": shown,
            "status": self.status,
            "ms": round((now - self._began) * 1000, 1),
            "client": address_of(scope),
            **self._notes,
        }
        _log.log(level, "%s %s %d", scope["method"], shown, self.status, extra={"event": "request", FIELDS: fields})


def note(scope: Scope, **notes: str | None) -> None:
    """Have the log tell this about the request, where there is a log; what is empty is left out."""
    taken = scope.get(NOTES)
    if isinstance(taken, dict):
        taken.update({name: value for name, value in notes.items() if value})


def _request_id(headers: Headers) -> str:
    """Return the id that the client has sent, if it is one and the only one; else a new one."""
    sent = [value for name, value in headers if name.lower() == HEADER]
    if len(sent) == 1 and _SANE.fullmatch(sent[0]):
        return sent[0].decode()
    return secrets.token_hex(8)
