"""A Starlette application, wrapped."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_apikey import APIKeyMiddleware, require
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.part import part
from tests.integration.apps.settings import keys_from_environment


async def whoami(request: Request) -> JSONResponse:
    """Say who is calling."""
    principal = request.state.api_key
    return JSONResponse({"owner": principal.owner, "name": principal.name})


async def health(request: Request) -> JSONResponse:
    """Answer anybody."""
    return JSONResponse({"anonymous": request.state.api_key is None})


async def body(request: Request) -> JSONResponse:
    """Read everything, then say what the headers hold by now."""
    received = await request.body()
    lines = [name for name, _ in request.scope["headers"] if name == b"x-api-key"]
    return JSONResponse({"owner": request.state.api_key.owner, "body": received.decode(), "key_lines": len(lines)})


async def orders(request: Request) -> JSONResponse:
    """Answer those who may read orders."""
    return JSONResponse({"orders": []})


async def socket(websocket: WebSocket) -> None:
    """Say who has connected."""
    await websocket.accept()
    await websocket.send_json({"owner": websocket.state.api_key.owner})
    await websocket.close()


def application() -> Starlette:
    """Return the application without a guard."""
    guarded_orders = require(Starlette(routes=[Route("/", orders), WebSocketRoute("/ws", socket)]), "orders:read")
    return Starlette(
        routes=[
            Route("/", whoami),
            Route(OPEN_PATH, health),
            Route("/body", body, methods=["POST"]),
            Mount("/orders", guarded_orders),
            Mount("/part", part),
            WebSocketRoute("/ws", socket),
        ]
    )


def create() -> APIKeyMiddleware:
    """Return it as it is served: keys in the header only."""
    return APIKeyMiddleware(CallCounter(application()), keys=keys_from_environment(), exempt=(OPEN_PATH,))


def create_with_every_place() -> APIKeyMiddleware:
    """Return it with keys read from all places there are."""
    return APIKeyMiddleware(
        CallCounter(application()),
        keys=keys_from_environment(),
        exempt=(OPEN_PATH,),
        query_param="api_key",
        bearer=True,
        cookie="api_key",
    )
