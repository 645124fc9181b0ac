"""Litestar, with its guards; the plugin has tests of its own."""

from litestar import Litestar, Router, WebSocket, get, websocket

from asgi_apikey.asgi.admission import get_api_key
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.contrib.litestar import Refused, Requires, answer_refusal


@get("/orders", guards=[Requires("orders:read")])
async def orders() -> str:
    """Answer those who may read orders."""
    return get_api_key().owner


@get("/anybody", guards=[Requires()], sync_to_thread=True)
def anybody() -> str:
    """Answer those with a key."""
    return get_api_key().owner


@get("/part")
async def part() -> str:
    """Answer behind a router that asks."""
    return "part"


@websocket("/updates", guards=[Requires("orders:read")])
async def updates(socket: WebSocket) -> None:
    """Say who has connected."""
    await socket.accept()
    await socket.send_text(get_api_key(socket).owner)
    await socket.close()


def create() -> ASGIApp:
    """Return the application without a guard."""
    closed = Router("/closed", guards=[Requires("orders:read")], route_handlers=[part])
    return Litestar(
        [orders, anybody, closed, updates], openapi_config=None, exception_handlers={Refused: answer_refusal}
    )
