"""Django under ASGI: `request.api_key`, and scopes for views."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Protocol, TypeVar, cast

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpResponse
from django.utils.decorators import sync_and_async_middleware

from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.problems import Answer
from asgi_apikey.asgi.types import Scope
from asgi_apikey.contrib.admitted import admitted, answer_to, caller, merged
from asgi_apikey.errors import APIKeyError
from asgi_apikey.models import Principal

View = TypeVar("View", bound=Callable[..., object])


class Request(Protocol):
    """Of Django's request, what is used here."""

    api_key: Principal | None


@sync_and_async_middleware  # type: ignore[untyped-decorator]  # Django has no types
def api_key(get_response: Callable[..., object]) -> Callable[..., object]:
    """Set `request.api_key` to the principal, None for an anonymous request.

    `MIDDLEWARE = [..., "asgi_apikey.contrib.django.api_key"]`. Keys are verified by the `APIKeyMiddleware` around
    `get_asgi_application()`; where there is none, under WSGI for example, every request is answered 503.
    """
    return _telling(caller, get_response)


def requires(*scopes: str) -> Callable[[View], View]:
    """Let those reach a view who have all of these scopes, or any key at all if none is named.

    Others get the answer of the `APIKeyMiddleware` around the application. For async and sync views; for a class, by
    `@method_decorator(requires("orders:read"), name="dispatch")`.

    Args:
        scopes: All of them are needed; a granted `orders:*` is as good as each below `orders:`.

    Raises:
        ConfigurationError: A name is not one of a scope.
    """
    needed = required_scopes(scopes)

    def decorated(view: View) -> View:
        return cast(View, wraps(view)(_telling(lambda scope: admitted(scope, needed), view)))

    return decorated


def _telling(find: Callable[[Scope], Principal | None], get_response: Callable[..., object]) -> Callable[..., object]:
    """Call with `request.api_key` set to what is found, or refuse: async if what is called is."""
    if iscoroutinefunction(get_response):

        async def told(request: Request, *args: object, **kwargs: object) -> object:
            try:
                request.api_key = find(_scope_of(request))
            except APIKeyError as error:
                return _response(await answer_to(error, _scope_of(request)))
            return await get_response(request, *args, **kwargs)

        return told

    def told_in_a_thread(request: Request, *args: object, **kwargs: object) -> object:
        try:
            request.api_key = find(_scope_of(request))
        except APIKeyError as error:
            return _response(async_to_sync(answer_to)(error, _scope_of(request)))
        return get_response(request, *args, **kwargs)

    return told_in_a_thread


def _scope_of(request: object) -> Scope:
    """The ASGI scope of a request; one of WSGI has none, and so nobody in it."""
    return getattr(request, "scope", None) or {"type": "http"}


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=merged(answer.headers))
