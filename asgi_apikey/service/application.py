"""What is served where, made of a configuration: the composition root of the service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.asgi.lifespan import run_lifespan
from asgi_apikey.asgi.switch import Switch
from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import MissingExtra
from asgi_apikey.logs import REQUEST_ID
from asgi_apikey.management.authorisers import AnyOf, JWTAuthoriser, KeyAuthoriser
from asgi_apikey.management.callers import Authoriser, Caller
from asgi_apikey.management.schemes import schemes_of
from asgi_apikey.paths import is_plain, is_plainly_escaped
from asgi_apikey.service.health import Liveness, Readiness
from asgi_apikey.service.requests import RequestLog, note
from asgi_apikey.service.sidecar import Sidecar
from asgi_apikey.settings import PREFIX, ServiceSettings

API: Final = "/api/v1/api-keys"
"""Below it is the management API."""

_DESCRIPTIONS: Final = ("/docs", "/openapi.json")
_READABLE: Final = ("ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID")
_SENDABLE: Final = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-API-Key", "X-Request-ID")
_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")


def application(keys: APIKeys, settings: ServiceSettings, *, environment: str = "live") -> ASGIApp:
    """Return the whole service.

    Args:
        keys: Opened and closed with the application's lifespan.
        settings: What is served.
        environment: Of what people make with tokens.

    Raises:
        ConfigurationError: The settings cannot be used.
        MissingExtra: A library that they need is not installed.
    """
    management = keys.management(authorise=_Noted(authoriser_of(keys, settings, environment=environment)))
    routes = [*_routes(keys, settings), *(Route(path, _Within(management, path)) for path in _DESCRIPTIONS)]
    router = Router(routes=routes, default=_nowhere, redirect_slashes=False)
    app: ASGIApp = Switch(_PlainPaths(router), mount={API: management})
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_SENDABLE,
            expose_headers=_READABLE,
            # Keys and tokens are sent by scripts, in headers; cookies are read by nobody here.
            allow_credentials=False,
        )
    return RequestLog(_Lifespan(app, keys), clock=SystemClock())


def authoriser_of(keys: APIKeys, settings: ServiceSettings, *, environment: str) -> Authoriser:
    """Return who says who manages: API keys with scopes for it, and people with tokens where those are configured.

    Raises:
        ConfigurationError: The settings of tokens cannot be used.
        MissingExtra: The library for tokens is not installed.
    """
    by_key = KeyAuthoriser(keys)
    if not settings.accepts_tokens:
        return by_key
    from asgi_apikey.service.tokens import token_verifier

    verifier = token_verifier(settings, environment=environment)
    assert verifier is not None, "tokens are configured"
    return AnyOf(keys=by_key, tokens=JWTAuthoriser(verifier, scopes=settings.jwt_scopes))


def _routes(keys: APIKeys, settings: ServiceSettings) -> Iterator[BaseRoute]:
    yield Route("/health", Liveness())
    yield Route("/ready", Readiness(keys.repository))
    yield Route("/verify", Sidecar(keys))
    if settings.metrics:
        yield Route("/metrics", _Metrics(keys))


class _Metrics:
    """Answers with the metrics of this process."""

    def __init__(self, keys: APIKeys) -> None:
        self._keys = keys
        try:
            from asgi_apikey.metrics import prometheus
        except ModuleNotFoundError as error:
            raise MissingExtra("prometheus", f"{PREFIX}METRICS") from error
        self._prometheus = prometheus

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._prometheus.exposition(self._keys)
        headers = {"content-type": self._prometheus.CONTENT_TYPE, "cache-control": "no-store"}
        await Response(body, headers=headers)(scope, receive, send)


class _PlainPaths:
    """Lets only paths in their plain spelling pass, so what a proxy refuses by its path has no other name here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        odd = scope["type"] == "http" and not (is_plain(scope["path"]) and is_plainly_escaped(scope.get("raw_path")))
        await (_nowhere if odd else self._app)(scope, receive, send)


class _Within:
    """Answers with what stands below the management API at the same path."""

    def __init__(self, management: ASGIApp, path: str) -> None:
        self._management = management
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root_path = (scope.get("root_path") or "") + API
        path = root_path + self._path
        await self._management({**scope, "root_path": root_path, "path": path, "raw_path": None}, receive, send)


class _Noted:
    """Has the log and the audit tell who called, under the id of the request."""

    def __init__(self, authoriser: Authoriser) -> None:
        self._authoriser = authoriser
        self.schemes = schemes_of(authoriser)

    async def authorise(self, scope: Scope) -> Caller:
        caller = await self._authoriser.authorise(scope)
        note(scope, key_id=caller.key_id, caller=None if caller.key_id else caller.actor.name)
        if caller.actor.correlation_id or not REQUEST_ID.get():
            return caller
        return replace(caller, actor=replace(caller.actor, correlation_id=REQUEST_ID.get()))


class _Lifespan:
    """Opens and closes the keys with the application inside."""

    def __init__(self, app: ASGIApp, keys: APIKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(self._app, self._keys, scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is nobody's path; a WebSocket's handshake is refused."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    problem = {"type": "about:blank", "title": "Not found", "status": 404}
    headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
    await JSONResponse(problem, 404, headers)(scope, receive, send)
