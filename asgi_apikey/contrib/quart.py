"""Quart: scopes for a handler, a blueprint or the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeVar, cast

from quart import Response, current_app, has_request_context, request, websocket

from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.problems import Answer
from asgi_apikey.asgi.types import Scope
from asgi_apikey.contrib.admitted import admitted, answer_to, texts
from asgi_apikey.contrib.openapi import security_schemes
from asgi_apikey.errors import APIKeyError

Handler = TypeVar("Handler", bound=Callable[..., object])


def requires(*scopes: str) -> Callable[[Handler], Handler]:
    """Let those reach a handler who have all of these scopes, or any key at all if none is named.

    It stands *below* the route: `@app.get("/orders")`, then `@requires("orders:read")`. Others get the answer of the
    `APIKeyMiddleware` around the application. For handlers of requests and of WebSockets, async and sync.

    Args:
        scopes: All of them are needed; a granted `orders:*` is as good as each below `orders:`.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """
    refusal = check(*scopes)

    def decorated(handler: Handler) -> Handler:
        @wraps(handler)
        async def checked(*args: object, **kwargs: object) -> object:
            refused = await refusal()
            return await current_app.ensure_async(handler)(*args, **kwargs) if refused is None else refused

        return cast(Handler, checked)

    return decorated


def check(*scopes: str) -> Callable[[], Awaitable[Response | None]]:
    """Ask for scopes of everything in a blueprint or application.

    `blueprint.before_request(check("orders:read"))`, and the same with `before_websocket`.

    Args:
        scopes: All of them are needed; without any, a key.

    Returns:
        A function that returns the refusal, or None.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """
    needed = required_scopes(scopes)

    async def refusal() -> Response | None:
        scope = cast(Scope, request.scope if has_request_context() else websocket.scope)
        try:
            admitted(scope, needed)
        except APIKeyError as error:
            return _response(await answer_to(error, scope))
        return None

    return refusal


def quart_schema_schemes(
    *,
    header: str | None = "X-API-Key",
    query_param: str | None = None,
    bearer: bool = False,
    cookie: str | None = None,
) -> dict[str, dict[str, str]]:
    """Return the places of a middleware as `QuartSchema(app, security_schemes=...)` takes them.

    Args:
        header: As given to the middleware, like the others.
        query_param: The query parameter.
        bearer: Whether `Authorization: Bearer` is read.
        cookie: The cookie.

    Raises:
        ConfigurationError: A middleware would refuse them.
    """
    schemes = security_schemes(header=header, query_param=query_param, bearer=bearer, cookie=cookie)
    # It makes dataclasses of them, and `in` cannot be the name of a field.
    return {
        name: {"in_" if field == "in" else field: value for field, value in scheme.items()}
        for name, scheme in schemes.items()
    }


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    # One by one: there may be several challenges.
    response.headers.clear()
    response.headers.extend(texts(answer.headers))
    return response
