"""A FastAPI application, guarded by `add_middleware`."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket

from asgi_apikey import APIKeyMiddleware, Principal, get_api_key
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


def caller(request: Request) -> Principal | None:
    """Return the principal, for handlers that ask for it."""
    return get_api_key(request)


Caller = Annotated[Principal, Depends(caller)]


def orders_reader(principal: Caller) -> Principal:
    """Return the principal if it may read orders."""
    if "orders:read" not in principal.scopes:
        raise HTTPException(403, "orders:read is needed")
    return principal


def create() -> FastAPI:
    """Return the application as it is served."""
    app = FastAPI()
    # The one added last stands outermost.
    app.add_middleware(CallCounter)
    app.add_middleware(APIKeyMiddleware, keys=keys_from_environment(), exempt=(OPEN_PATH,))

    @app.get("/")
    async def whoami(principal: Caller) -> dict[str, str]:
        return {"owner": principal.owner, "name": principal.name}

    @app.get(OPEN_PATH)
    def health(request: Request) -> dict[str, bool]:
        return {"anonymous": request.state.api_key is None}

    @app.post("/body")
    async def body(request: Request) -> dict[str, str | int]:
        received = await request.body()
        lines = [name for name, _ in request.scope["headers"] if name == b"x-api-key"]
        return {"owner": request.state.api_key.owner, "body": received.decode(), "key_lines": len(lines)}

    @app.get("/orders")
    async def orders(principal: Annotated[Principal, Depends(orders_reader)]) -> dict[str, list[str]]:
        return {"orders": []}

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"owner": websocket.state.api_key.owner})
        await websocket.close()

    return app
