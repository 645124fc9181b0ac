"""Tells a client whether the application inside was called, without asking the application."""

from __future__ import annotations

from asgi_apikey.asgi.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-app-calls"
"""On every response: how many calls other than for the open path have reached the application so far."""

OPEN_PATH = "/health"
"""The one exempt path; only this very spelling is not counted."""


class CallCounter:
    """Stands between the middleware and the application and counts what comes through.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the call and pass it on."""
        if scope["type"] != "lifespan" and scope["path"] != OPEN_PATH:
            self._calls += 1

        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER.encode(), b"%d" % self._calls)]
            await send(message)

        await self.app(scope, receive, labelled)
