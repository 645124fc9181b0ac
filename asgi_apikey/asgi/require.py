"""Scopes for a part of the application: `require(app, *scopes)` around anything that is mounted.

A granted `orders:*` is as good as each scope below `orders:`; `policy` has the rules.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from asgi_apikey.asgi.admission import admission_of
from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.connection import demand
from asgi_apikey.asgi.problems import Answers
from asgi_apikey.asgi.refusals import Refusals
from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, ConfigurationError, MissingCredential, MissingScope, Undecidable
from asgi_apikey.models import Principal
from asgi_apikey.policy import has_any, missing_scopes

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
    return _guarded(app, partial(refusal_of, needed=required_scopes(scopes)))


def require_any(app: ASGIApp, *scopes: str) -> ASGIApp:
    """Wrap a part of the application so that only principals with at least one of these scopes reach it.

    As `require` otherwise. One inside the other say "a, and b or c": `require(require_any(app, "b", "c"), "a")`.

    Args:
        app: Any ASGI application.
        scopes: One of them is needed.

    Returns:
        An ASGI application.

    Raises:
        ConfigurationError: A name is not one of a scope, or there is none, and nobody could get in.
    """
    if not scopes:
        raise ConfigurationError("require_any() without scopes would let nobody in; write require(app) for any key")
    return _guarded(app, partial(_refusal_of_any, wanted=required_scopes(scopes)))


def _guarded(app: ASGIApp, refusal_to: Callable[[Principal | None], APIKeyError | None]) -> ASGIApp:
    stranded = Refusals(Answers(realm="api", bearer=False, api_key=True))

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        guardable(scope)
        admission = admission_of(scope)
        if admission is None:
            _logger.error(
                "require() or require_any() stands where no APIKeyMiddleware is around it; "
                "wrap the whole application in one",
                extra={"event": "no_middleware"},
            )
            await stranded.refuse(Undecidable(), scope, receive, send)
            return
        _, principal, _, refusals = admission
        refusal = refusal_to(principal)
        if refusal is not None:
            await refusals.refuse(refusal, scope, receive, send)
            return
        demand(scope, principal, refusal_to)
        await app(scope, receive, send)

    return guarded


def refusal_of(principal: Principal | None, needed: frozenset[str]) -> APIKeyError | None:
    """Return why a principal with these scopes, or nobody, does not get in; None if it does."""
    if principal is None:
        return MissingCredential()
    return MissingScope(needed) if missing_scopes(principal.scopes, needed) else None


def _refusal_of_any(principal: Principal | None, wanted: frozenset[str]) -> APIKeyError | None:
    if principal is None:
        return MissingCredential()
    return None if has_any(principal.scopes, wanted) else MissingScope(wanted)


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
