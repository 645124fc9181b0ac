"""A FastAPI application, guarded by `add_middleware`."""

from typing import Annotated

from fastapi import FastAPI, Request, Security, WebSocket

from asgi_apikey import APIKeyMiddleware, Principal
from asgi_apikey.contrib.fastapi import APIKeySecurity, answer_refusals
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.part import part
from tests.integration.apps.settings import keys_from_environment

api_key = APIKeySecurity()
Caller = Annotated[Principal, Security(api_key)]
Reader = Annotated[Principal, Security(api_key, scopes=["orders:read"])]


def create() -> FastAPI:
    """Return the application as it is served."""
    app = FastAPI()
    # The one added last stands outermost.
    app.add_middleware(CallCounter)
    app.add_middleware(APIKeyMiddleware, keys=keys_from_environment(), exempt=(OPEN_PATH,))
    answer_refusals(app)
    app.mount("/part", part)

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
    async def orders(principal: Reader) -> dict[str, list[str]]:
        return {"orders": []}

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"owner": websocket.state.api_key.owner})
        await websocket.close()

    @app.websocket("/orders/ws")
    async def orders_socket(websocket: WebSocket, principal: Reader) -> None:
        await websocket.accept()
        await websocket.send_json({"owner": principal.owner})
        await websocket.close()

    return app
