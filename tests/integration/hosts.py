"""Applications served by uvicorn in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.wire import Reply, exchange, get

ROOT: Final = Path(__file__).parents[2]

PARSERS: Final = ("h11", "httptools")
FRAMEWORKS: Final = ("starlette", "fastapi", "litestar", "quart")

_STOPPING = 20.0


@dataclass(frozen=True, slots=True)
class Host:
    """One uvicorn process with one worker.

    Attributes:
        name: For test ids: framework and parser.
        port: On 127.0.0.1.
        log: What the process has written, access log included.
        process: The process itself.
    """

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def calls(self) -> int:
        """Return how often the application inside has been called; asking does not count."""
        reply = get(self.port, "/health")
        assert reply.status == 200, self.log.read_text()
        return int(reply.header("x-app-calls"))

    def status(self, key: str | None = None, path: str = "/") -> int:
        """Return the status that a GET request with this key gets."""
        reply = get(self.port, path, {} if key is None else {"X-API-Key": key})
        assert reply.status is not None, f"{self.name} has closed the connection: {self.log.read_text()}"
        return reply.status

    def exchange(self, *chunks: bytes) -> list[Reply]:
        """Send these bytes as they are and return every response to them."""
        return exchange(self.port, *chunks)


def start(factory: str, folder: Path, environ: Mapping[str, str], *, name: str, options: tuple[str, ...] = ()) -> Host:
    """Start a process that serves what `tests.integration.apps.<factory>` returns, and do not wait for it.

    The socket listens before the process exists: no free port can be lost to somebody else, and whoever connects
    early waits in the socket's queue.
    """
    log = folder / f"{name}.log"
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening, log.open("wb") as output:
        command = [sys.executable, "-m", "tests.integration.serve", "--factory", f"tests.integration.apps.{factory}"]
        process = subprocess.Popen(
            [*command, "--fd", str(listening.fileno()), "--no-use-colors", *options],
            cwd=ROOT,
            env={**os.environ, **environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
        )
        return Host(name, listening.getsockname()[1], log, process)


def stop(host: Host) -> None:
    """Ask the process to end, and see to it that it does."""
    host.process.terminate()
    try:
        host.process.communicate(timeout=_STOPPING)
    except subprocess.TimeoutExpired:
        host.process.kill()
        host.process.communicate()
        raise AssertionError(f"{host.name} did not stop when asked to: {host.log.read_text()}") from None


@contextmanager
def serving(
    factory: str, folder: Path, environ: Mapping[str, str], *, name: str, options: tuple[str, ...] = ()
) -> Iterator[Host]:
    """Serve for the body of the `with`."""
    host = start(factory, folder, environ, name=name, options=options)
    try:
        host.calls()
        yield host
    finally:
        stop(host)


def parser(name: str) -> tuple[str, ...]:
    """Return uvicorn's options for one of its HTTP parsers, each with another WebSocket implementation."""
    return ("--http", name, "--ws", "websockets" if name == "h11" else "websockets-sansio")
