"""Litestar: one plugin with the middleware, the injected principal, and OpenAPI; guards for scopes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import Any, Final, TypeAlias, Unpack, cast
from urllib.parse import unquote

from litestar import Litestar, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, WebSocketException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import SkipValidation
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import Scope as LitestarScope

from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.closing import POLICY_VIOLATION
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.options import MiddlewareOptions
from asgi_apikey.asgi.problems import problem_of
from asgi_apikey.asgi.types import ASGIApp, Keys, Receive, Scope, Send
from asgi_apikey.contrib.admitted import admitted, caller, granted_to, refuse
from asgi_apikey.contrib.openapi import joined, schemes_of
from asgi_apikey.errors import APIKeyError, ConfigurationError, Undecidable
from asgi_apikey.models import Principal
from asgi_apikey.paths import matches

_ROUTED: Final = "asgi_apikey.routed_path"
"""What Litestar's router has made of the path, in the ASGI scope, while the middleware decides."""

PUBLIC: Final = "exclude_from_auth"
"""Litestar's own name for the `opt` of a handler that needs no authentication."""

Caller: TypeAlias = SkipValidation[NamedDependency[Principal]]
"""The type of a handler's `principal`. Litestar need not validate what this package has made."""

_logger = logging.getLogger("asgi_apikey")


class Refused(HTTPException):
    """A request that a guard refuses, as Litestar's own exception; the plugin lets the middleware answer it.

    Attributes:
        error: Why.
    """

    def __init__(self, error: APIKeyError) -> None:
        problem = problem_of(error)
        super().__init__(detail=problem.detail, status_code=problem.status)
        self.error = error


class Requires:
    """A guard: lets those through who have all of these scopes, or any key at all if it names none.

    For handlers, controllers, routers and applications: `guards=[Requires("orders:read")]`. The plugin tells OpenAPI.

    Args:
        scopes: All of them are needed; a granted `orders:*` is as good as each below `orders:`.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """

    def __init__(self, *scopes: str) -> None:
        self.scopes = required_scopes(scopes)

    # `Any` is Litestar's: its connections are generic in what it knows of users.
    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Refuse, or return; Litestar calls this.

        Raises:
            Refused: The request does not get in here.
            WebSocketException: The same, for a handshake.
        """
        _principal(cast(Scope, connection.scope), self.scopes)


class APIKeyPlugin(InitPlugin, ReceiveRoutePlugin):
    """Guards a Litestar application: `Litestar([...], plugins=[APIKeyPlugin(keys)])`.

    Every handler needs a key, but for those with `opt={"exclude_from_auth": True}`: there a request without one is
    anonymous, and a bad key is refused all the same. `request.user` is the principal, `request.auth` what was granted
    to it, and a handler that asks for `principal: Caller` gets it. The OpenAPI document says which handlers need a
    key, and which scopes `Requires` asks for.

    Litestar's routing comes first: paths and methods that no handler serves are answered 404 and 405 to anybody. Wrap
    the application in an `APIKeyMiddleware` with the same keys where strangers must not learn which paths there are.

    Args:
        keys: An `APIKeys`; it opens and closes with the application.
        public_opt: The `opt` of a public handler.
        provide_as: The name under which handlers get the principal.
        options: Of `APIKeyMiddleware`.

    Raises:
        ConfigurationError: The middleware refuses the options.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        public_opt: str = PUBLIC,
        provide_as: str = "principal",
        **options: Unpack[MiddlewareOptions],
    ) -> None:
        self._keys = keys
        self._options = options
        self._public_opt = public_opt
        self._provide_as = provide_as
        self._schemes = schemes_of(options)
        self._guarded(_nobody, options)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Put everything into the application's configuration; Litestar calls this.

        Raises:
            ConfigurationError: The name of the injected principal is taken.
        """
        if self._provide_as in app_config.dependencies:
            raise ConfigurationError(f"the dependency {self._provide_as!r} exists; name ours by provide_as=")
        # Litestar types each kind of ASGI scope by itself, here and below.
        app_config.middleware.insert(0, self._guarding)  # type: ignore[arg-type]
        app_config.dependencies[self._provide_as] = Provide(_injected, sync_to_thread=False)
        app_config.exception_handlers.setdefault(Refused, answer_refusal)
        app_config.lifespan.append(self._opened)
        self._declare_schemes(app_config)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Say in OpenAPI what a new route needs; Litestar calls this."""
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                self._declare_needs(handler, route.path)

    def _guarding(self, app: ASGIApp) -> ASGIApp:
        """The one middleware. Litestar builds it for each route, and keeps nothing in it."""
        inside = partial(_identified, app)
        guarded = self._guarded(inside, self._options)
        public = self._guarded(inside, {**self._options, "required": False})

        async def guarding(scope: Scope, receive: Receive, send: Send) -> None:
            is_public = scope["route_handler"].opt.get(self._public_opt) is True
            scope[_ROUTED], scope["path"] = scope["path"], _asked_path(scope)
            await (public if is_public else guarded)(scope, receive, send)

        return guarding

    def _guarded(self, app: ASGIApp, options: MiddlewareOptions) -> APIKeyMiddleware:
        return APIKeyMiddleware(app, keys=self._keys, **options)

    @asynccontextmanager
    async def _opened(self, _: Litestar) -> AsyncIterator[None]:
        try:
            await self._keys.open()
        except Undecidable as error:
            _logger.warning(
                "starting without the key store, requests are answered 503 until it is there: %s",
                error,
                extra={"event": "starting_without_store"},
            )
        try:
            yield
        finally:
            await self._keys.close()

    def _declare_schemes(self, app_config: AppConfig) -> None:
        if app_config.openapi_config is None:
            return
        # The default one is shared by all applications of the process.
        openapi = app_config.openapi_config = copy(app_config.openapi_config)
        schemes = Components(security_schemes={name: _scheme(each) for name, each in self._schemes.items()})
        theirs = openapi.components if isinstance(openapi.components, list) else [openapi.components]
        openapi.components = [schemes, *theirs]

    def _declare_needs(self, handler: HTTPRouteHandler, path: str) -> None:
        asked = [guard.scopes for guard in handler.resolve_guards() if isinstance(guard, Requires)]
        needed = frozenset(self._options.get("scopes", ())).union(*asked)
        is_open = handler.opt.get(self._public_opt) is True or not self._options.get("required", True)
        if any(matches(pattern, path) for pattern in self._options.get("exempt", ())) or (is_open and not asked):
            return
        ours = [{name: sorted(needed)} for name in self._schemes]
        # The list that Litestar has added up from all layers and keeps: alternatives, and ours is needed beside each.
        resolved = handler.resolve_security()
        resolved[:] = joined(resolved, ours)


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for an application where only the options are looked at."""


async def _identified(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a request of whom Litestar is told, inside the middleware."""
    scope["path"] = scope.pop(_ROUTED)
    scope["user"] = principal = caller(scope)
    scope["auth"] = granted_to(principal)
    await app(scope, receive, send)


def _asked_path(scope: Scope) -> str:
    """The path that the client has asked for, which exempt paths and the routes of keys are about.

    Litestar has taken `root_path` and mounts off the other one, and made odd spellings plain: `/mounted/health` would
    be `/health`. Where the server does not tell the path as it was sent, no rule is about it.
    """
    raw_path = scope.get("raw_path")
    return unquote(raw_path.partition(b"?")[0].decode("ascii", "replace")) if isinstance(raw_path, bytes) else ""


# Litestar wants its own name for the type of what it hands in.
def _injected(scope: LitestarScope) -> Principal:
    return _principal(cast(Scope, scope))


def _principal(scope: Scope, needed: frozenset[str] = frozenset()) -> Principal:
    try:
        return admitted(scope, needed)
    except APIKeyError as error:
        if scope["type"] == "websocket":
            raise WebSocketException(detail="", code=POLICY_VIOLATION) from error
        raise Refused(error) from error


def answer_refusal(_: object, refused: Refused) -> Response[None]:
    """Let the middleware answer what a guard refuses: the exception handler of `Refused` that the plugin registers."""
    return _Refusal(refused.error)


class _Refusal(Response[None]):
    """To Litestar a response, of which it wants the ASGI application; ours refuses as the middleware does."""

    def __init__(self, error: APIKeyError) -> None:
        super().__init__(None)
        self._error = error

    def to_asgi_response(self, *_: object, **__: object) -> ASGIApp:  # type: ignore[override]
        return partial(refuse, self._error)


def _scheme(told: dict[str, str]) -> SecurityScheme:
    if told["type"] == "http":
        return SecurityScheme(type="http", scheme=told["scheme"])
    return SecurityScheme(type="apiKey", name=told["name"], security_scheme_in=told["in"])  # type: ignore[arg-type]
