"""A Sanic application, wrapped."""

from __future__ import annotations

import json

from sanic import HTTPResponse, Request, Sanic, Websocket
from sanic import json as answer
from sanic.exceptions import Forbidden

from asgi_apikey import APIKeyMiddleware, Principal, get_api_key
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


def reader(request: Request) -> Principal:
    """Return the principal if it may read orders."""
    principal = get_api_key(request.scope)
    if principal is None or "orders:read" not in principal.scopes:
        raise Forbidden
    return principal


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    app = Sanic("shop", configure_logging=False)

    @app.get("/")
    async def whoami(request: Request) -> HTTPResponse:
        principal = request.scope["state"]["api_key"]
        return answer({"owner": principal.owner, "name": principal.name})

    @app.get(OPEN_PATH)
    async def health(request: Request) -> HTTPResponse:
        return answer({"anonymous": get_api_key() is None})

    @app.get("/orders")
    async def orders(request: Request) -> HTTPResponse:
        reader(request)
        return answer({"orders": []})

    @app.websocket("/ws")
    async def socket(request: Request, websocket: Websocket) -> None:
        await websocket.send(json.dumps({"owner": get_api_key(request.scope).owner}))

    @app.websocket("/orders/ws")
    async def orders_socket(request: Request, websocket: Websocket) -> None:
        await websocket.send(json.dumps({"owner": reader(request).owner}))

    return APIKeyMiddleware(CallCounter(app), keys=keys_from_environment(), exempt=(OPEN_PATH,))
