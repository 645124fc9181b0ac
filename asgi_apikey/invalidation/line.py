"""What a server must be able to do to carry a bus: pass short texts on, at once, to whoever listens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from asgi_apikey.models import Seconds


class LineLost(Exception):
    """The connection is of no use any more, or was never made; the message says why, without any secret."""


class LineUseless(LineLost):
    """It never will be of any use; the message says what to do about it."""


class Line(Protocol):
    """A connection that listens to what is sent to all and to what is sent to one inbox.

    asyncio only. Used by one reader, and by any number of senders at once.
    """

    async def receive(self, quiet: Seconds) -> str | None:
        """Return the next text, whoever sent it; None when there was none for `quiet` seconds.

        Raises:
            LineLost: The connection ended, or was remade behind our back and may have missed something.
        """
        ...

    async def probe(self) -> None:
        """Make sure that the server is still there, and still passes on what is sent.

        Raises:
            LineLost: It did not say so in time.
        """
        ...

    async def send(self, text: str, inbox: bytes | None) -> None:
        """Send to one inbox, or to all (None).

        Raises:
            LineLost: The server did not take it in time.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection, without waiting for the server."""
        ...


Connect: TypeAlias = Callable[[bytes], Awaitable[Line]]
"""Opens a line that listens, when it is returned, to everything sent to all or to this inbox. Raises LineLost."""
