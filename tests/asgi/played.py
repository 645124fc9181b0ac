"""A connection of which a test plays the server: message by message, with a client that may stop reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from asgi_apikey.asgi.types import ASGIApp, Message, Receive, Scope, Send
from tests.fakes import Gate, until


class Played:
    """One connection.

    Attributes:
        sent: What the client has got.
        reading: Shut while the client reads nothing.
        returned: Whether the application has.
    """

    def __init__(self) -> None:
        self._put, self._take = anyio.create_memory_object_stream[Message](100)
        self.sent: list[Message] = []
        self.reading = Gate()
        self.returned = False

    def says(self, *messages: Message | str) -> None:
        """Have the client send these; a text is a message of a WebSocket."""
        for message in messages:
            self._put.send_nowait(
                {"type": "websocket.receive", "text": message} if isinstance(message, str) else message
            )

    async def receive(self) -> Message:
        """The server's."""
        return await self._take.receive()

    async def send(self, message: Message) -> None:
        """The server's."""
        await self.reading.passed()
        self.sent.append(message)

    async def got(self, kind: str) -> Message:
        """Wait until the client has got a message of this type, and return the last one."""
        await until(lambda: any(each["type"] == kind for each in self.sent))
        return [each for each in self.sent if each["type"] == kind][-1]

    async def ended(self) -> None:
        """Wait until the application has returned."""
        await until(lambda: self.returned)

    def texts(self) -> list[str]:
        """Return the texts that the client has got."""
        return [each["text"] for each in self.sent if each["type"] == "websocket.send"]

    def close(self) -> None:
        """Let go of the streams."""
        self._put.close()
        self._take.close()


@asynccontextmanager
async def playing(app: ASGIApp, scope: Scope) -> AsyncIterator[Played]:
    """Serve a connection for the body of the `with`, and to its end."""
    played = Played()

    async def serve() -> None:
        await app(scope, played.receive, played.send)
        played.returned = True

    if scope["type"] == "websocket":
        played.says({"type": "websocket.connect"})
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                yield played
            finally:
                tasks.cancel_scope.cancel()
                played.close()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and send back what is said, until the client goes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


class Feed:
    """Sends numbers as fast as they are taken; remembers what it was told.

    Attributes:
        told: The exception that stopped it.
    """

    def __init__(self) -> None:
        self.told: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        start = {"type": "websocket.accept"} if kind == "websocket" else {"type": "http.response.start", "status": 200}
        try:
            await send(start)
            number = 0
            while True:
                number += 1
                await anyio.sleep(0.001)
                if kind == "websocket":
                    await send({"type": "websocket.send", "text": str(number)})
                else:
                    await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        except BaseException as error:
            self.told = error
            raise
