"""Django REST framework: the principal as `request.user`, and scopes as permissions."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission

from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.problems import problem_of
from asgi_apikey.asgi.types import Scope
from asgi_apikey.contrib.admitted import Granted, admitted, caller, granted_to
from asgi_apikey.errors import AuthenticationError, MissingScope, Undecidable
from asgi_apikey.models import Principal


class CannotDecide(APIException):  # type: ignore[misc]  # REST framework has no types
    """A request that can neither be let in nor refused: 503, with `Retry-After`."""

    status_code = 503
    wait = 1

    def __init__(self) -> None:
        problem = problem_of(Undecidable())
        super().__init__(problem.detail, problem.code)


class APIKeyAuthentication(BaseAuthentication):  # type: ignore[misc]  # REST framework has no types
    """Tells REST framework whom the middleware has let in.

    `request.user` is the principal, and `request.auth` what was granted to it; `"orders:read" in request.auth` knows
    wildcards. Anonymous requests are left to the other classes of the list, if there are any.
    """

    def authenticate(self, request: object) -> tuple[Principal, Granted] | None:
        """Return the principal and its scopes, None for an anonymous request; REST framework calls this.

        Raises:
            CannotDecide: No `APIKeyMiddleware` stands around the application.
        """
        try:
            principal = caller(_scope_of(request))
        except Undecidable as error:
            raise CannotDecide from error
        return None if principal is None else (principal, granted_to(principal))

    def authenticate_header(self, request: object) -> str:
        """Return the challenge that makes an anonymous request a 401, not a 403."""
        return 'ApiKey realm="api"'


def has_scopes(*scopes: str) -> type[BasePermission]:
    """Return a permission class: `permission_classes = [has_scopes("orders:read")]`.

    It asks what the middleware has found, whatever `request.user` is. Like all of them, it can be combined with
    others by `&`, `|` and `~`.

    Args:
        scopes: All of them are needed, without any a key; a granted `orders:*` is as good as each below `orders:`.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """
    needed = required_scopes(scopes)

    class HasScopes(BasePermission):  # type: ignore[misc]  # REST framework has no types
        """The request has a key with all of these scopes."""

        message = problem_of(MissingScope(needed)).detail
        code = MissingScope.code

        def has_permission(self, request: object, view: object) -> bool:
            """Whether it has; REST framework calls this.

            Raises:
                CannotDecide: No `APIKeyMiddleware` stands around the application.
            """
            try:
                admitted(_scope_of(request), needed)
            except AuthenticationError:
                return False
            except Undecidable as error:
                raise CannotDecide from error
            return True

    return HasScopes


def _scope_of(request: object) -> Scope:
    """The ASGI scope of the request that REST framework has wrapped; one of WSGI has none, and so nobody in it."""
    return getattr(request, "scope", None) or {}
