"""The options of `APIKeyMiddleware`, for bridges that build it themselves and pass them on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict

from asgi_apikey.asgi.refusals import OnRefusal
from asgi_apikey.asgi.types import TokenVerifier
from asgi_apikey.contrib.openapi import security_schemes


class MiddlewareOptions(TypedDict, total=False):
    """What `APIKeyMiddleware` takes beside `app` and `keys`, by the same names and with the same defaults."""

    header: str | None
    query_param: str | None
    bearer: bool
    jwt: TokenVerifier | None
    cookie: str | None
    exempt: Collection[str]
    required: bool
    scopes: Collection[str]
    strip: bool
    state_key: str
    on_refusal: OnRefusal | None
    allow_preflight: bool
    realm: str


def schemes_of(options: MiddlewareOptions) -> dict[str, dict[str, str]]:
    """Return the security schemes of a middleware with these options.

    Raises:
        ConfigurationError: A middleware would refuse its places.
    """
    return security_schemes(
        header=options.get("header", "X-API-Key"),
        query_param=options.get("query_param"),
        bearer=options.get("bearer", False),
        cookie=options.get("cookie"),
    )
