"""FastAPI, with its bridge."""

from typing import Annotated

from fastapi import APIRouter, FastAPI, Security, WebSocket

from asgi_apikey import Principal
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.contrib.fastapi import APIKeySecurity, answer_refusals

api_key = APIKeySecurity()
Reader = Annotated[Principal, Security(api_key, scopes=["orders:read"])]
Anybody = Annotated[Principal, Security(api_key)]

CLOSED = APIRouter(prefix="/closed", dependencies=[Security(api_key, scopes=["orders:read"])])


@CLOSED.get("/part")
async def part() -> str:
    """Answer behind a router that asks."""
    return "part"


def create() -> ASGIApp:
    """Return the application without a guard."""
    app = FastAPI()
    answer_refusals(app)
    app.include_router(CLOSED)

    @app.get("/orders")
    async def orders(principal: Reader) -> str:
        return principal.owner

    @app.get("/anybody")
    def anybody(principal: Anybody) -> str:
        return principal.owner

    @app.websocket("/updates")
    async def updates(websocket: WebSocket, principal: Reader) -> None:
        await websocket.accept()
        await websocket.send_text(principal.owner)
        await websocket.close()

    return app
