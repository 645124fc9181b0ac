"""A Falcon application, wrapped."""

from __future__ import annotations

from falcon import HTTPForbidden
from falcon.asgi import App, Request, Response, WebSocket

from asgi_apikey import APIKeyMiddleware, get_api_key
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


def ask_for_orders(req: Request) -> None:
    """Let those pass who may read orders."""
    if "orders:read" not in get_api_key(req).scopes:
        raise HTTPForbidden


class WhoAmI:
    """Who is calling, and who has connected."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Say who is calling."""
        principal = req.scope["state"]["api_key"]
        resp.media = {"owner": principal.owner, "name": principal.name}

    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        """Say who has connected."""
        await ws.accept()
        await ws.send_media({"owner": get_api_key(req).owner})
        await ws.close()


class Health:
    """For anybody."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer."""
        resp.media = {"anonymous": get_api_key(req) is None}


class Orders:
    """For those who may read orders."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer."""
        ask_for_orders(req)
        resp.media = {"orders": []}

    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        """Say who has connected."""
        ask_for_orders(req)
        await WhoAmI().on_websocket(req, ws)


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    app = App()
    app.add_route("/", WhoAmI())
    app.add_route("/ws", WhoAmI())
    app.add_route(OPEN_PATH, Health())
    app.add_route("/orders", Orders())
    app.add_route("/orders/ws", Orders())
    return APIKeyMiddleware(CallCounter(app), keys=keys_from_environment(), exempt=(OPEN_PATH,))
