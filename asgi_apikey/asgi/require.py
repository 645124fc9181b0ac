"""Scopes for a part of the application: `require(app, *scopes)` around anything that is mounted."""

from __future__ import annotations

import logging

from asgi_apikey.asgi.admission import admission_of
from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.problems import Answers
from asgi_apikey.asgi.refusals import Refusals
from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, ConfigurationError, MissingCredential, MissingScope, Undecidable
from asgi_apikey.models import Principal
from asgi_apikey.policy import missing_scopes

_logger = logging.getLogger("asgi_apikey")


def require(app: ASGIApp, *scopes: str) -> ASGIApp:
    """Wrap a part of the application so that only principals with all of these scopes reach it.

    Without scopes, any principal does, and anonymous requests do not. It relies on an `APIKeyMiddleware` further out,
    whose challenge and `on_refusal` it uses; where there is none nobody gets in: the answer is 503, and the log says
    why. Lifespans pass.

    Args:
        app: Any ASGI application.
        scopes: All of them are needed.

    Returns:
        An ASGI application.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """
    needed = required_scopes(scopes)
    stranded = Refusals(Answers(realm="api", bearer=False, api_key=True))

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        guardable(scope)
        admission = admission_of(scope)
        if admission is None:
            _logger.error("require() stands where no APIKeyMiddleware is around it; wrap the whole application in one")
            await stranded.refuse(Undecidable(), scope, receive, send)
            return
        _, principal, _, refusals = admission
        refusal = refusal_of(principal, needed)
        if refusal is not None:
            await refusals.refuse(refusal, scope, receive, send)
            return
        await app(scope, receive, send)

    return guarded


def refusal_of(principal: Principal | None, needed: frozenset[str]) -> APIKeyError | None:
    """Return why a principal with these scopes, or nobody, does not get in; None if it does."""
    if principal is None:
        return MissingCredential()
    return MissingScope(needed) if missing_scopes(principal.scopes, needed) else None


def guardable(scope: Scope) -> None:
    """Let only those kinds of connection pass whose guarding we know.

    Raises:
        ConfigurationError: It is another one. ASGI asks applications to raise for scopes they do not know, and
            one that went through unguarded would be a hole of the size of whatever the server invents next.
    """
    kind = scope.get("type")
    if kind not in ("http", "websocket"):
        raise ConfigurationError(
            f"connections of type {kind!r} cannot be guarded; serve them by an application outside the middleware"
        )
