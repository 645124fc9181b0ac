"""A small HTTP/1.1 client that knows when exactly it has sent: one connection, one request at a time."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Final

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_RETRY_AFTER: Final = re.compile(rb"(?i)\r\nretry-after: *\d")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        status: Of the response.
        body: Its content.
        sent: On this process's monotonic clock, just before the first byte was handed to the kernel.
        done: When the last byte was here.
        retry_after: Whether the response says when to come again.
    """

    status: int
    body: bytes
    sent: float
    done: float
    retry_after: bool


class Connection(asyncio.Protocol):
    """One connection. asyncio's streams would cost two thirds of the requests that one core can make."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        received = self._received
        received += data
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(received, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(received) >= end and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(received[:end]))
            del received[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the worker has closed the connection"))

    async def request(self, request: bytes) -> Reply:
        """Send a request and return the response.

        Raises:
            ConnectionResetError: The connection was closed before the response was complete.
        """
        if self.closed or self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._answer = answer = self._loop.create_future()
        sent = time.monotonic()
        self._transport.write(request)
        received = await answer
        done = time.monotonic()
        head, _, body = received.partition(b"\r\n\r\n")
        return Reply(int(head[9:12]), body, sent, done, _RETRY_AFTER.search(head + b"\r\n") is not None)

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


async def connect(port: int, *, source: str = "127.0.0.1") -> Connection:
    """Open a connection to a worker, from a loopback address of the caller's choice.

    Raises:
        OSError: Nobody listens.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port, local_addr=(source, 0))
    return connection


def page(key: str) -> bytes:
    """Return a request for the guarded page."""
    return f"GET / HTTP/1.1\r\nHost: worker\r\nX-API-Key: {key}\r\n\r\n".encode()


def verb(name: str, query: str) -> bytes:
    """Return a request for a verb."""
    return f"POST /-/{name}?{query} HTTP/1.1\r\nHost: worker\r\nContent-Length: 0\r\n\r\n".encode()
