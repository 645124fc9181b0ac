"""A BlackSheep application, wrapped."""

from __future__ import annotations

from blacksheep import Application, Request, WebSocket
from blacksheep.server.authorization import auth
from blacksheep.server.routing import Router

from asgi_apikey import APIKeyMiddleware, get_api_key
from asgi_apikey.contrib.blacksheep import use_api_keys
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.part import part
from tests.integration.apps.settings import keys_from_environment


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    app = Application(router=Router())
    use_api_keys(app, "orders:read")

    @app.router.get("/")
    async def whoami(request: Request) -> dict[str, str]:
        return {"owner": request.scope["state"]["api_key"].owner, "name": get_api_key(request).name}

    @app.router.get(OPEN_PATH)
    def health(request: Request) -> dict[str, bool]:
        return {"anonymous": get_api_key(request) is None}

    @app.router.get("/orders")
    @auth("orders:read")
    async def orders() -> dict[str, list[str]]:
        return {"orders": []}

    @app.router.ws("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"owner": get_api_key(websocket).owner})
        await websocket.close()

    @app.router.ws("/orders/ws")
    @auth("orders:read")
    async def orders_socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"owner": get_api_key(websocket).owner})
        await websocket.close()

    app.mount("/part", part)
    return APIKeyMiddleware(CallCounter(app), keys=keys_from_environment(), exempt=(OPEN_PATH,))
