"""A Quart application, guarded from inside, so that the object stays a Quart."""

from __future__ import annotations

from quart import Quart, request, websocket

from asgi_apikey import APIKeyMiddleware, Principal, get_api_key
from asgi_apikey.asgi.admission import HasScope
from asgi_apikey.contrib.quart import requires
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


def caller(source: HasScope) -> Principal:
    """Return the principal of a guarded request or websocket."""
    principal = get_api_key(source)
    assert principal is not None
    return principal


def create() -> Quart:
    """Return the application as it is served."""
    app = Quart(__name__)
    counted = CallCounter(app.asgi_app)  # type: ignore[arg-type]  # Quart types each kind of ASGI scope by itself
    guarded = APIKeyMiddleware(counted, keys=keys_from_environment(), exempt=(OPEN_PATH,))
    app.asgi_app = guarded  # type: ignore[method-assign, assignment]  # the hook that Quart documents for this

    @app.get("/")
    async def whoami() -> dict[str, str]:
        principal = request.scope["state"]["api_key"]
        return {"owner": principal.owner, "name": principal.name}

    @app.get(OPEN_PATH)
    def health() -> dict[str, bool]:
        # In a thread of its own: the principal comes along there.
        return {"anonymous": get_api_key() is None}

    @app.post("/body")
    async def body() -> dict[str, str | int]:
        received = str(await request.get_data(as_text=True))
        lines = [name for name, _ in request.scope["headers"] if name == b"x-api-key"]
        return {"owner": caller(request).owner, "body": received, "key_lines": len(lines)}

    @app.get("/orders")
    @requires("orders:read")
    async def orders() -> dict[str, list[str]]:
        return {"orders": []}

    @app.websocket("/ws")
    async def socket() -> None:
        await websocket.send_json({"owner": caller(websocket).owner})

    @app.websocket("/orders/ws")
    @requires("orders:read")
    async def orders_socket() -> None:
        await websocket.send_json({"owner": caller(websocket).owner})

    return app
