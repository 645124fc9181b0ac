"""A pooler of transactions, as PgBouncer is one in its transaction mode, at its most unhelpful.

Many clients share few server connections. One is a client's own only while a transaction is open; each time it is
another one, the one that rested longest. What a client leaves in a session (prepared statements, settings) is then
found by somebody else. Parameters of a session are refused when a client connects.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.servers import LOOPBACK

# PostgreSQL documentation, "Message Formats".
SSL_REQUEST = 80877103
PROTOCOL_3 = 196608
READY_AND_IDLE = b"Z\0\0\0\x05I"
ANSWERED_UP_TO: Mapping[bytes, tuple[bytes, ...]] = {
    b"Q": (b"Z",),  # Query and Sync: ReadyForQuery
    b"S": (b"Z",),
    b"H": (b"T", b"n", b"E"),  # Flush, which asyncpg sends after Describe: RowDescription, NoData, or an error
}
WELCOME_PARAMETERS = {b"user", b"database", b"application_name", b"client_encoding"}


@dataclass(frozen=True, slots=True)
class Link:
    """A connection to the server, past its greeting."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes


@asynccontextmanager
async def pooling(port: int, database: str, *, links: int) -> AsyncIterator[int]:
    """Listen in front of the server at `port`; gives the port to connect to."""
    resting: asyncio.Queue[Link] = asyncio.Queue()
    for _ in range(links):
        resting.put_nowait(await _link(port, database))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await _serve(reader, writer, resting)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for _ in range(links):
            link = await resting.get()
            link.writer.close()
            with suppress(ConnectionError):
                await link.writer.wait_closed()


async def _link(port: int, database: str) -> Link:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(_startup({b"user": b"postgres", b"database": database.encode(), b"client_encoding": b"utf-8"}))
    greeting = b""
    while not greeting.endswith(READY_AND_IDLE):
        greeting += await _message(reader)
    return Link(reader, writer, greeting)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, resting: asyncio.Queue[Link]) -> None:
    if not await _admit(reader, writer):
        return
    link = await resting.get()
    writer.write(link.greeting)
    resting.put_nowait(link)
    while True:
        message = await _message(reader)
        if message[:1] == b"X":
            return
        link = await resting.get()
        idle = False
        try:
            while not idle:
                link.writer.write(message)
                last = ANSWERED_UP_TO.get(message[:1], b"")
                answer = b""
                while last and answer[:1] not in last:
                    answer = await _message(link.reader)
                    writer.write(answer)
                    idle = answer == READY_AND_IDLE
                if not idle:
                    message = await _message(reader)
        finally:
            resting.put_nowait(link)


async def _admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    while True:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        (code,) = struct.unpack_from("!i", body)
        if code != SSL_REQUEST:
            break
        writer.write(b"N")
    words = body[4:].rstrip(b"\0").split(b"\0")
    unknown = set(words[::2]) - WELCOME_PARAMETERS
    if unknown:
        fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: %s\0\0" % b", ".join(sorted(unknown))
        writer.write(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
    return not unknown


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head + await reader.readexactly(length - 4)


def _startup(parameters: Mapping[bytes, bytes]) -> bytes:
    words = b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items()) + b"\0"
    return struct.pack("!ii", 8 + len(words), PROTOCOL_3) + words
