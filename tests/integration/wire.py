"""HTTP as bytes on a socket, because clients repair what they send."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response.

    Attributes:
        status: Its status; None when the connection was closed without a response.
        headers: Names in lower case.
        body: As it came; chunks are not joined.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the one header of this name."""
        [value] = [value for each, value in self.headers if each == name]
        return value

    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)


NOTHING: Final = Reply(None)


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Send one ordinary GET request."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n"
    return exchange(port, request.encode("latin-1"))[0]


def exchange(port: int, *chunks: bytes) -> list[Reply]:
    """Send bytes, each chunk after the one before has had its effect, and return all responses, at least one.

    Between two chunks the server's first bytes are waited for, so a later chunk is one that the server cannot have
    had when it answered. The last request has to say `Connection: close`, or be one that the server closes upon: our
    side stays open to the end, because asyncio drops the response to whoever closes his.
    """
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        try:
            for number, chunk in enumerate(chunks):
                if number:
                    received += connection.recv(65_536)
                connection.sendall(chunk)
            while more := connection.recv(65_536):
                received += more
        except (ConnectionResetError, BrokenPipeError):
            # A server that refuses need not read to the end.
            pass
    return replies(bytes(received)) or [NOTHING]


def replies(stream: bytes) -> list[Reply]:
    """Take a stream of HTTP/1 responses apart."""
    found = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = next((int(value) for name, value in headers if name == "content-length"), len(rest))
        status = int(start.split(" ")[1])
        if status == 100:
            length = 0
        found.append(Reply(status, tuple(headers), rest[:length]))
        stream = rest[length:]
    return found
