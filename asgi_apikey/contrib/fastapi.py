"""FastAPI: a security dependency, its entry in OpenAPI, and refusals in the words of the middleware.

The middleware verifies keys, for every request. A dependency of this module says which scopes a route needs, and tells
OpenAPI: hence the Authorize button, and the lock beside each route.
"""

# No `from __future__ import annotations` here: FastAPI 0.115 cannot resolve the texts of annotations on an instance.

from collections.abc import Collection
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, HTTPException, WebSocketException
from fastapi.openapi.models import APIKey, HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from asgi_apikey.arguments import check_flags
from asgi_apikey.asgi.closing import POLICY_VIOLATION
from asgi_apikey.asgi.problems import Answer, problem_of
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.contrib.admitted import admitted, caller, merged, refuse, standard_answer_to
from asgi_apikey.contrib.openapi import documented, security_schemes
from asgi_apikey.errors import APIKeyError, ConfigurationError
from asgi_apikey.models import Principal

_OF_THE_BODY: Final = frozenset({b"content-type", b"content-length"})


class Refused(HTTPException):
    """A request that a dependency refuses, as FastAPI's own exception.

    Its document is FastAPI's, `{"detail": ...}`; after `answer_refusals(app)`, the one that the middleware sends.

    Attributes:
        error: Why.
    """

    def __init__(self, error: APIKeyError, answer: Answer) -> None:
        kept = [(name, value) for name, value in answer.headers if name not in _OF_THE_BODY]
        super().__init__(answer.status, detail=problem_of(error).detail, headers=merged(kept))
        self.error = error


class RefusedWebSocket(WebSocketException):
    """A handshake that a dependency refuses: closed with 1008, which becomes a 403; see `Refused`.

    Attributes:
        error: Why.
    """

    def __init__(self, error: APIKeyError) -> None:
        super().__init__(POLICY_VIOLATION)
        self.error = error


class APIKeySecurity(SecurityBase):
    """Who is calling, as a dependency that OpenAPI knows.

    `Annotated[Principal, Security(APIKeySecurity(), scopes=["orders:read"])]` is the principal, who has these scopes,
    as has whoever was granted `orders:*`. In `dependencies=[...]` of a route, a router or the application it only
    lets through or not. One instance serves all routes. It needs an `APIKeyMiddleware` around the application, and
    names the one place that the documentation's Authorize button shall fill.

    Args:
        header: As given to the middleware; of these four, one.
        query_param: The query parameter.
        bearer: Whether it is `Authorization: Bearer`.
        cookie: The cookie.
        required: Whether anonymous requests, which the middleware lets through on exempt paths or with
            `required=False`, are refused. If not, they get None in place of a principal; a route that names scopes
            refuses them all the same.
        description: For the documentation, beside the Authorize button.

    Raises:
        ConfigurationError: No place is named, or several are.
    """

    def __init__(
        self,
        *,
        header: str | None = None,
        query_param: str | None = None,
        bearer: bool = False,
        cookie: str | None = None,
        required: bool = True,
        description: str | None = None,
    ) -> None:
        check_flags(bearer=bearer, required=required)
        if header is None and query_param is None and cookie is None and not bearer:
            header = "X-API-Key"
        schemes = security_schemes(header=header, query_param=query_param, bearer=bearer, cookie=cookie)
        if len(schemes) != 1:
            raise ConfigurationError("APIKeySecurity names one place; for all of the middleware's use document(app, …)")
        [(self.scheme_name, scheme)] = schemes.items()
        kind = HTTPBearer if bearer else APIKey
        self.model = kind.model_validate({**scheme, "description": description})
        self._required = required

    async def __call__(self, connection: HTTPConnection, asked: SecurityScopes) -> Principal | None:
        """Return the principal; FastAPI calls this.

        Raises:
            Refused: Nobody gets in here, or not with these scopes.
            RefusedWebSocket: The same, for a handshake.
        """
        try:
            if self._required or asked.scopes:
                return admitted(connection.scope, frozenset(asked.scopes))
            return caller(connection.scope)
        except APIKeyError as error:
            raise _as_fastapi_has_it(error, connection) from error


def answer_refusals(app: FastAPI) -> None:
    """Let the middleware answer what dependencies refuse: one document for all refusals, `on_refusal` included."""
    # An application that refuses is to Starlette what a response is: something to call with the ASGI scope.
    app.add_exception_handler(Refused, _answered)  # type: ignore[arg-type]
    app.add_exception_handler(RefusedWebSocket, _answered)  # type: ignore[arg-type]


def document(
    app: FastAPI,
    *,
    header: str | None = "X-API-Key",
    query_param: str | None = None,
    bearer: bool = False,
    cookie: str | None = None,
    exempt: Collection[str] = (),
    required: bool = True,
    scopes: Collection[str] = (),
) -> None:
    """Let the application's OpenAPI document tell of the middleware: its places, exempt paths, scopes and refusals.

    Routes need no dependency for it; those that have one keep what it says.

    Args:
        app: The application that the middleware is around.
        header: As given to the middleware, like all the others.
        query_param: The query parameter.
        bearer: Whether `Authorization: Bearer` is read.
        cookie: The cookie.
        exempt: Paths that need no key.
        required: Whether a request must carry a key.
        scopes: What a key must be granted.

    Raises:
        ConfigurationError: A middleware would refuse these arguments.
    """
    told = partial(
        documented,
        header=header,
        query_param=query_param,
        bearer=bearer,
        cookie=cookie,
        exempt=tuple(exempt),
        required=required,
        scopes=tuple(scopes),
    )
    told({})
    write = app.openapi
    written: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def openapi() -> dict[str, Any]:
        # FastAPI writes its document once and then returns the same object: so do we.
        theirs = write()
        if not written or written[0][0] is not theirs:
            written[:] = [(theirs, told(theirs))]
        return written[0][1]

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def _as_fastapi_has_it(error: APIKeyError, connection: HTTPConnection) -> Refused | RefusedWebSocket:
    if connection.scope["type"] == "websocket":
        return RefusedWebSocket(error)
    return Refused(error, standard_answer_to(error, connection.scope))


async def _answered(connection: HTTPConnection, refused: Exception) -> ASGIApp:
    assert isinstance(refused, Refused | RefusedWebSocket)
    return partial(refuse, refused.error)
