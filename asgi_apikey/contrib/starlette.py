"""Starlette: `request.user` and `request.auth`, so that its own `@requires` asks for the scopes of a key."""

from __future__ import annotations

from typing import Final

from starlette.authentication import AuthCredentials, UnauthenticatedUser

from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.contrib.admitted import caller, granted_to, refuse
from asgi_apikey.errors import Undecidable

AUTHENTICATED: Final = "authenticated"
"""The scope that Starlette's documentation gives to everybody who is not anonymous."""


class UserMiddleware:
    """Tells Starlette who is calling: `request.user` is the principal, `request.auth.scopes` what was granted to it.

    It stands inside an `APIKeyMiddleware`, which verifies the keys. `@requires("orders:read")` lets those through who
    were granted `orders:*`, too, and `@requires("authenticated")` everybody with a key. Anonymous requests have
    Starlette's `UnauthenticatedUser`.

    Args:
        app: The application inside, or what Starlette puts there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            try:
                principal = caller(scope)
            except Undecidable as error:
                await refuse(error, scope, receive, send)
                return
            scope["user"] = UnauthenticatedUser() if principal is None else principal
            scope["auth"] = credentials = AuthCredentials()
            # A sequence to Starlette, which only ever asks what is in it.
            credentials.scopes = granted_to(principal, AUTHENTICATED)  # type: ignore[assignment]
        await self.app(scope, receive, send)
