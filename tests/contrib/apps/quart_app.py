"""Quart, with its bridge."""

from quart import Blueprint, Quart, websocket

from asgi_apikey import get_api_key
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.contrib.quart import check, requires


def create() -> ASGIApp:
    """Return the application without a guard."""
    app = Quart(__name__)

    @app.get("/orders")
    @requires("orders:read")
    async def orders() -> str:
        return get_api_key().owner

    @app.get("/anybody")
    @requires()
    def anybody() -> str:
        return get_api_key().owner

    @app.websocket("/updates")
    @requires("orders:read")
    async def updates() -> None:
        await websocket.send(get_api_key().owner)

    closed = Blueprint("closed", __name__, url_prefix="/closed")
    closed.before_request(check("orders:read"))

    @closed.get("/part")
    async def part() -> str:
        return "part"

    app.register_blueprint(closed)
    return app
