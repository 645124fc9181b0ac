"""A Litestar application, wrapped."""

from typing import Any

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from asgi_apikey import APIKeyMiddleware, get_api_key
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


def orders_readers(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let those pass who may read orders."""
    principal = get_api_key(connection)
    if principal is None or "orders:read" not in principal.scopes:
        raise PermissionDeniedException("orders:read is needed")


@get("/")
async def whoami(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Say who is calling."""
    principal = request.state.api_key
    return {"owner": principal.owner, "name": principal.name}


@get(OPEN_PATH, sync_to_thread=True)
def health(request: Request[Any, Any, Any]) -> dict[str, bool]:
    """Answer anybody."""
    return {"anonymous": request.state.api_key is None}


@post("/body", status_code=200)
async def body(request: Request[Any, Any, Any]) -> dict[str, str | int]:
    """Read everything, then say what the headers hold by now."""
    received = await request.body()
    lines = [name for name, _ in request.scope["headers"] if name == b"x-api-key"]
    return {"owner": request.state.api_key.owner, "body": received.decode(), "key_lines": len(lines)}


@get("/orders", guards=[orders_readers])
async def orders() -> dict[str, list[str]]:
    """Answer those who may read orders."""
    return {"orders": []}


@websocket("/ws")
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    """Say who has connected."""
    await socket.accept()
    await socket.send_json({"owner": socket.state.api_key.owner})
    await socket.close()


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    app = Litestar([whoami, health, body, orders, socket], openapi_config=None)
    counted = CallCounter(app)  # type: ignore[arg-type]  # Litestar types each kind of ASGI scope by itself
    return APIKeyMiddleware(counted, keys=keys_from_environment(), exempt=(OPEN_PATH,))
