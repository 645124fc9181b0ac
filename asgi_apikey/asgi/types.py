"""What the ASGI floor speaks about: the protocol's own shapes, and the two collaborators it needs.

Source: ASGI 3.0, https://asgi.readthedocs.io/en/latest/specs/main.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol, TypeAlias

from asgi_apikey.measures import Reading
from asgi_apikey.models import Principal

# ASGI defines scopes and messages as open dictionaries of mixed values, and `Any` is what every server, framework
# and type stub writes for them: with `object` no application of theirs would type-check here.
Scope: TypeAlias = MutableMapping[str, Any]
"""Everything known about one connection when it starts (the ASGI scope, not a permission)."""
Message: TypeAlias = MutableMapping[str, Any]
"""One event, to or from the application."""
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Header lines in the order they arrived; names as the server gave them, normally in lower case."""


class TokenVerifier(Protocol):
    """All that the middleware needs to know about tokens; `JWTVerifier` is one."""

    async def authenticate(self, presented: bytes) -> Principal:
        """Return the principal that a token speaks for.

        Its last act is the last look, so the caller must not await anything before it acts on the answer.

        Args:
            presented: The bytes the request carried: not verified, three parts with dots between them.

        Raises:
            AuthenticationError: The token authenticates nobody.
            Undecidable: That cannot be told now.
        """
        ...


class RequestLimiter(Protocol):
    """All that the middleware needs to know about limits."""

    async def take(self, principal: Principal, *, method: str, path: str | None) -> Sequence[Reading]:
        """Take what a request costs and return what is left.

        Args:
            principal: Who sends it.
            method: In capitals; `WEBSOCKET` for a handshake.
            path: Decoded; None if its spelling is odd.

        Raises:
            LimitExceeded: There was not enough, and nothing was taken.
            Undecidable: It could not be told.
        """
        ...


class Keys(Protocol):
    """All that the middleware needs to know about keys; `APIKeys` is one.

    Attributes:
        lifespan_states: The state dictionaries of the lifespans now running, by `id`. Kept here because some
            frameworks build one middleware per route, and only one of those sees the lifespan.
            The dictionary itself is never replaced.
    """

    @property
    def lifespan_states(self) -> dict[int, object]:
        """The state dictionaries of the lifespans now running, by `id`."""
        ...

    def authenticate_nowait(self, presented: bytes) -> Principal | None:
        """Return the principal if that can be told from memory, else None: ask `authenticate`."""
        ...

    async def authenticate(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Return the principal that the presented key speaks for, whether remembered or not.

        Its last act is the last look, so the caller must not await anything before it acts on the answer.

        Args:
            presented: The bytes the request carried.
            client: Address of the peer; None if there is none.

        Raises:
            AuthenticationError: The key authenticates nobody, or there were too many failures.
            Undecidable: That cannot be told now.
        """
        ...

    async def reaffirm(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Do what `authenticate` does, for a request that was let in and had to wait since; it is not counted again."""
        ...

    @property
    def limiter(self) -> RequestLimiter:
        """Who counts the requests of principals with limits."""
        ...

    async def open(self) -> None:
        """Warm up; idempotent. Whatever is not open is opened by its first use."""
        ...

    async def close(self) -> None:
        """Write what is pending and release everything; what is used again opens again."""
        ...
