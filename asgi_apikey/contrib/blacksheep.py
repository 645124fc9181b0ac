"""BlackSheep: the principal as a guardpost identity, policies for scopes, and refusals in the middleware's words."""

from __future__ import annotations

from typing import Final, cast

from blacksheep import Application, Content, Request, Response
from guardpost import (
    AuthenticationHandler,
    AuthorizationContext,
    ForbiddenError,
    Identity,
    Policy,
    Requirement,
    UnauthorizedError,
)

from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.types import Scope
from asgi_apikey.contrib.admitted import answer_to, caller
from asgi_apikey.errors import APIKeyError, ConfigurationError, MissingCredential, MissingScope, Undecidable
from asgi_apikey.models import Principal
from asgi_apikey.policy import missing_scopes

SCHEME: Final = "APIKey"
"""For `@auth(authentication_schemes=...)` where there are others beside it."""


class APIKeyIdentity(Identity):
    """A principal as guardpost knows people: `sub` is the owner.

    Attributes:
        principal: Who the request speaks for.
    """

    def __init__(self, principal: Principal) -> None:
        claims = {"sub": principal.owner, "key_id": principal.key_id, "scopes": sorted(principal.scopes)}
        super().__init__(claims, SCHEME)
        self.principal = principal


class APIKeyAuthentication(AuthenticationHandler):
    """Tells BlackSheep whom the middleware has let in: `request.user`, None where that is nobody."""

    @property
    def scheme(self) -> str:
        """The name of this way of authenticating."""
        return SCHEME

    def authenticate(self, context: Request) -> APIKeyIdentity | None:
        """Return the identity; BlackSheep calls this.

        Raises:
            Undecidable: No `APIKeyMiddleware` stands around the application.
        """
        principal = caller(_scope_of(context))
        return None if principal is None else APIKeyIdentity(principal)


class HasScopes(Requirement):
    """A requirement of policies: the request has a key with all of these scopes.

    Args:
        scopes: At least one; a granted `orders:*` is as good as each below `orders:`.

    Raises:
        ConfigurationError: There is none, or a name is not one of a scope.
    """

    def __init__(self, *scopes: str) -> None:
        if not scopes:
            raise ConfigurationError("HasScopes() asks for nothing; for any key write @auth(), without a policy")
        self.scopes = required_scopes(scopes)

    async def handle(self, context: AuthorizationContext) -> None:
        """Tell whether it is met; guardpost calls this."""
        identity = context.identity
        if isinstance(identity, APIKeyIdentity) and not missing_scopes(identity.principal.scopes, self.scopes):
            context.succeed(self)


def use_api_keys(app: Application, *scopes: str) -> None:
    """Let an application ask for scopes by `@auth("orders:read")`, and for any key by `@auth()`.

    An `APIKeyMiddleware` stands around the application, and around all that it mounts; `@auth` of a mounted
    application wants this call for that application, too. Call it before the application starts.

    Args:
        app: The application.
        scopes: For each, there is a policy of this name that asks for it.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """
    policies = [Policy(scope, HasScopes(scope)) for scope in scopes]
    app.use_authentication().add(APIKeyAuthentication())
    authorization = app.use_authorization()
    for policy in policies:
        authorization.add(policy)
    forbidden = app.exceptions_handlers[ForbiddenError]

    async def lacking(app: Application, request: Request, refused: ForbiddenError) -> Response:
        asked = [each.scopes for each in refused.failed_requirements if isinstance(each, HasScopes)]
        if not asked:
            response: Response = await forbidden(app, request, refused)
            return response
        return await _response(MissingScope(frozenset().union(*asked)), request)

    app.exceptions_handlers[ForbiddenError] = lacking
    app.exceptions_handlers[UnauthorizedError] = _unauthorized
    app.exceptions_handlers[Undecidable] = _undecided


async def _unauthorized(_: Application, request: Request, refused: UnauthorizedError) -> Response:
    return await _response(MissingCredential(), request)


async def _undecided(_: Application, request: Request, error: Undecidable) -> Response:
    return await _response(error, request)


async def _response(error: APIKeyError, request: Request) -> Response:
    answer = await answer_to(error, _scope_of(request))
    named = dict(answer.headers)
    headers = [(name, value) for name, value in answer.headers if name not in (b"content-type", b"content-length")]
    return Response(answer.status, headers, Content(named.get(b"content-type", b"text/plain"), answer.body))


def _scope_of(request: Request) -> Scope:
    return cast(Scope, request.scope)
