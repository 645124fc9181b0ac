"""BlackSheep, with its bridge. It has no routers that ask for something in common: the policy stands on each."""

from blacksheep import Application, WebSocket
from blacksheep.server.authorization import auth
from blacksheep.server.routing import Router

from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.contrib.blacksheep import use_api_keys


def create() -> ASGIApp:
    """Return the application without a guard."""
    app = Application(router=Router())
    use_api_keys(app, "orders:read")

    @app.router.get("/orders")
    @auth("orders:read")
    async def orders(request) -> str:
        return request.user.sub

    @app.router.get("/anybody")
    @auth()
    async def anybody(request) -> str:
        return request.user.principal.owner

    @app.router.get("/closed/part")
    @auth("orders:read")
    async def part() -> str:
        return "part"

    @app.router.ws("/updates")
    @auth("orders:read")
    async def updates(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.user.sub)
        await websocket.close()

    return app
