"""A TCP proxy on loopback that can do to a connection what networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

from tests.servers import LOOPBACK


class Fault(Enum):
    """What happens to bytes, in both directions."""

    PASS = auto()
    DELAY = auto()
    """Each piece comes late."""
    TRICKLE = auto()
    """They come one by one, slowly."""
    BLACKHOLE = auto()
    """They go nowhere, and nobody is told; new connections are accepted."""
    RESET = auto()
    """Every connection is reset, new ones too."""


class FaultProxy:
    """In front of one server.

    Attributes:
        port: Where to connect to.
        fault: What it does now, also to connections that are open.
        delay: Seconds, of a piece or of a byte.
        connections: How many have been made so far.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.fault = Fault.PASS
        self.delay = 0.2
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        """Reset everybody, and whoever comes."""
        self.fault = Fault.RESET
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until either side ends it."""
        self.connections += 1
        self._writers.add(writer)
        with suppress(ConnectionError):
            if self.fault is Fault.RESET:
                writer.transport.abort()
                return
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, self._target)
            self._writers.add(inner_writer)
            both = {
                asyncio.create_task(self._pump(reader, inner_writer)),
                asyncio.create_task(self._pump(inner_reader, writer)),
            }
            self._tasks |= both
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for each in both:
                each.cancel()
            inner_writer.close()
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                if self.fault is Fault.BLACKHOLE:
                    continue
                if self.fault is Fault.DELAY:
                    await asyncio.sleep(self.delay)
                pieces = [piece[i : i + 1] for i in range(len(piece))] if self.fault is Fault.TRICKLE else [piece]
                for each in pieces:
                    if self.fault is Fault.TRICKLE:
                        await asyncio.sleep(self.delay)
                    writer.write(each)
                    await writer.drain()

    def close(self) -> None:
        """Cut everything."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def faults_before(port: int) -> AsyncIterator[FaultProxy]:
    """A proxy in front of the server at this port."""
    proxy = FaultProxy(port)
    server = await asyncio.start_server(proxy.serve, LOOPBACK, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()


@asynccontextmanager
async def scripted(answer: bytes, *, greeting: bytes = b"+OK\r\n") -> AsyncIterator[int]:
    """A server that says the same to every command of RESP but those that open a connection; gives its port."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2].upper())
                writer.write(greeting if words[0] in (b"CLIENT", b"SELECT", b"HELLO") else answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
