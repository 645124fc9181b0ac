"""An application whose connections stay open."""

from __future__ import annotations

import os

import anyio

from asgi_apikey import APIKeyMiddleware
from asgi_apikey.asgi.connections import Live
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.asgi.websockets import WebSockets
from tests.integration.apps.counter import OPEN_PATH
from tests.integration.apps.settings import keys_from_environment

FRAME = "x" * 65_536


class Application:
    """Echoes on `/echo`, sends as much as anybody takes on `/flood` and `/stream`, and counts who is there."""

    def __init__(self) -> None:
        self.present = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            self.present += 1
            try:
                await (_flood(send) if scope["path"] == "/flood" else _echo(receive, send))
            finally:
                self.present -= 1
        elif scope["path"] == "/stream":
            await _stream(send)
        else:
            headers = [(b"content-length", b"0"), (b"x-app-calls", b"%d" % self.present)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})


async def _live(receive: Receive, send: Send) -> None:
    while (told := (await receive())["type"]) != "lifespan.shutdown":
        await send({"type": f"{told}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _echo(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _flood(send: Send) -> None:
    while True:
        await send({"type": "websocket.send", "text": FRAME})


async def _stream(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b": still there\n\n", "more_body": True})
        await anyio.sleep(0.02)


def create() -> APIKeyMiddleware:
    """Return it as it is served: all places that WebSockets have, responses cut off as well."""
    return APIKeyMiddleware(
        Application(),
        keys=keys_from_environment(),
        exempt=(OPEN_PATH,),
        websockets=WebSockets(
            subprotocol=True, first_message=2.0, close_codes=os.environ.get("LIVE_APP_CLOSE_CODES") == "1"
        ),
        live=Live(streams=True),
    )
