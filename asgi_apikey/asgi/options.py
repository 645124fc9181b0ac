"""The options of the middleware, for whoever passes them on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict

from asgi_apikey.asgi.connections import Live
from asgi_apikey.asgi.refusals import OnRefusal
from asgi_apikey.asgi.types import TokenVerifier
from asgi_apikey.asgi.websockets import WebSockets


class MiddlewareOptions(TypedDict, total=False):
    """The keyword arguments of `APIKeyMiddleware` beside `keys`; its docstring explains them."""

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
    websockets: WebSockets
    live: Live | None
    trusted_proxies: Collection[str]
    forwarded_header: str
    report_only: Collection[str]
