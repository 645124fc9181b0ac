"""A Litestar application, wrapped."""

from typing import Any

from litestar import Litestar, Request, WebSocket, asgi, get, post, websocket

from asgi_apikey import APIKeyMiddleware
from asgi_apikey.contrib.litestar import Refused, Requires, answer_refusal
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.part import part
from tests.integration.apps.settings import keys_from_environment


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


@get("/orders", guards=[Requires("orders:read")])
async def orders() -> dict[str, list[str]]:
    """Answer those who may read orders."""
    return {"orders": []}


@websocket("/ws")
async def socket(socket: WebSocket[Any, Any, Any]) -> None:
    """Say who has connected."""
    await socket.accept()
    await socket.send_json({"owner": socket.state.api_key.owner})
    await socket.close()


@websocket("/orders/ws", guards=[Requires("orders:read")])
async def orders_socket(socket: WebSocket[Any, Any, Any]) -> None:
    """Say who has connected to the part that asks."""
    await socket.accept()
    await socket.send_json({"owner": socket.state.api_key.owner})
    await socket.close()


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    mounted = asgi("/part", is_mount=True, copy_scope=True)(part)
    handlers = [whoami, health, body, orders, socket, orders_socket, mounted]
    app = Litestar(handlers, openapi_config=None, exception_handlers={Refused: answer_refusal})
    counted = CallCounter(app)  # type: ignore[arg-type]  # Litestar types each kind of ASGI scope by itself
    return APIKeyMiddleware(counted, keys=keys_from_environment(), exempt=(OPEN_PATH,))
