"""The opening of a WebSocket: which subprotocol is chosen, and a key that comes as the first message.

The first message costs more than the other places. The handshake is accepted before it is known whose it is, so
strangers get a connection for some seconds: bounded in time, in number, and in what is read of them, which is one
message. And the application comes late: it cannot choose the subprotocol, nor add headers to the answer.
"""

from __future__ import annotations

from typing import Final

import anyio

from asgi_apikey.asgi.closing import ACCEPTED, close_code_of
from asgi_apikey.asgi.connections import Connections
from asgi_apikey.asgi.subprotocol import offers_ours, stand_in
from asgi_apikey.asgi.types import Message, Receive, Scope, Send
from asgi_apikey.asgi.websockets import WebSockets
from asgi_apikey.errors import MalformedKey, MissingCredential

_DENIAL: Final = "websocket.http.response"
_LONGEST: Final = 4_096
"""Characters of a first message beyond which it is not looked at: no key comes near."""


class Opening:
    """One WebSocket, as the layers further in see it.

    Args:
        scope: Before anything was taken out of it.
        receive: The server's.
        send: The server's.
        options: See `WebSockets`.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, options: WebSockets) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._options = options
        self._stand_in = stand_in(scope)
        self._chooses = options.subprotocol and offers_ours(scope)
        self._accepted = False
        self._replayed: list[Message] = []

    async def key(self, connections: Connections) -> bytes | None:
        """Accept, and return the first message as the presented key; None where that is no place for one.

        Args:
            connections: Counts who is waiting for theirs.

        Raises:
            MissingCredential: None came in time.
            MalformedKey: It is too long for a key, or no text.
            Overloaded: Too many are being waited for.
        """
        within = self._options.first_message
        if within is None:
            return None
        with connections.pending(self._options.most_pending), anyio.move_on_after(within):
            return await self._first_message()
        raise MissingCredential

    async def receive(self) -> Message:
        """Return what the server has, and what was taken away before."""
        return self._replayed.pop(0) if self._replayed else await self._receive()

    async def send(self, message: Message) -> None:
        """Pass a message on; one that accepts chooses a subprotocol, unless that was done."""
        kind = message["type"]
        if kind == "websocket.accept":
            if self._accepted:
                return
            if message.get("subprotocol") is None and self._chooses:
                message = {**message, "subprotocol": self._stand_in}
        elif self._accepted and kind.startswith(_DENIAL):
            # Too late for a response: what its status says is said by a code.
            if not kind.endswith("start"):
                return
            message = {"type": "websocket.close", "code": close_code_of(message["status"]), "reason": ""}
        await self._send(message)

    async def _first_message(self) -> bytes:
        message = await self._receive()
        self._replayed = [message]
        if message["type"] == "websocket.connect":
            await self._accept()
            message = await self._receive()
        if message["type"] != "websocket.receive":
            # Gone. Whoever refuses it finds that out again.
            self._replayed = [message]
            raise MissingCredential
        text = message.get("text")
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise MalformedKey
        return text.encode()

    async def _accept(self) -> None:
        await self._send({"type": "websocket.accept", "subprotocol": self._stand_in})
        self._accepted = True
        # Nobody further in may answer the handshake any more, but with a close.
        extensions = self._scope.get("extensions") or {}
        self._scope["extensions"] = {name: each for name, each in extensions.items() if name != _DENIAL}
        self._scope[ACCEPTED] = True
