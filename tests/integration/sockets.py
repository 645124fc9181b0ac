"""A WebSocket client of a few lines: what goes over the wire, and nothing that closes, answers or reads by itself."""

from __future__ import annotations

import asyncio
import struct
from base64 import b64encode
from dataclasses import dataclass, field

TEXT = 1
CLOSE = 8

_opened: list[asyncio.StreamWriter] = []


@dataclass(frozen=True, slots=True)
class Closed:
    """The server's close frame, or 1006 where there was none."""

    code: int
    reason: str = ""


@dataclass(slots=True)
class Socket:
    """One connection.

    Attributes:
        status: Of the answer to the handshake; 101: it is open.
        headers: Of that answer, names in lower case.
        body: Of a denial.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int
    headers: dict[str, str]
    body: bytes = b""
    _text: list[str] = field(default_factory=list)

    async def send(self, text: str) -> None:
        """Send a text frame; the mask is of zeros, which is a mask."""
        payload = text.encode()
        assert len(payload) < 126
        self.writer.write(bytes([0x80 | TEXT, 0x80 | len(payload)]) + bytes(4) + payload)
        await self.writer.drain()

    async def next(self) -> str | Closed:
        """Return the next text, or how the connection was closed; answers no ping."""
        try:
            while True:
                opcode, payload = await self._frame()
                if opcode == TEXT:
                    return payload.decode()
                if opcode == CLOSE:
                    code = struct.unpack(">H", payload[:2])[0] if payload else 1005
                    return Closed(code, payload[2:].decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            return Closed(1006)

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", await self.reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", await self.reader.readexactly(8))[0]
        return first & 0x0F, await self.reader.readexactly(size)


async def drop_all() -> None:
    """End every connection that was opened, without a word."""
    for writer in _opened:
        writer.transport.abort()
    _opened.clear()
    # Transports do it in the next round of the loop.
    await asyncio.sleep(0.01)


async def connect(port: int, path: str = "/", *, buffer: int = 2**16, **headers: str) -> Socket:
    """Shake hands with a server on this machine; headers are named with `_` for `-`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=buffer)
    _opened.append(writer)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    answered = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    status = int(head[0].split()[1])
    body = b"" if status == 101 else await reader.readexactly(int(answered.get("content-length", "0")))
    return Socket(reader, writer, status, answered, body)
