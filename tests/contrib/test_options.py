"""The options that bridges pass on."""

from __future__ import annotations

import inspect

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.options import MiddlewareOptions, schemes_of


def test_every_option_is_one_of_the_middleware() -> None:
    """By its name; `app` and `keys` are the bridge's own."""
    taken = set(inspect.signature(APIKeyMiddleware).parameters) - {"app", "keys"}

    assert set(MiddlewareOptions.__annotations__) == taken


def test_the_places_have_the_defaults_of_the_middleware() -> None:
    """One header."""
    defaults = {name: each.default for name, each in inspect.signature(APIKeyMiddleware).parameters.items()}

    assert schemes_of({}) == schemes_of(
        {name: defaults[name] for name in ("header", "query_param", "bearer", "cookie")}  # type: ignore[typeddict-item]
    )
