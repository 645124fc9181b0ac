"""Real frameworks inside, through their own test clients, in each documented way of registration."""

from __future__ import annotations

import pytest
from fastapi import Depends, FastAPI, Request
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import get as litestar_get
from litestar.testing import TestClient as LitestarClient
from quart import Quart, websocket
from quart import request as quart_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from asgi_apikey.asgi.admission import get_api_key
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.require import require
from asgi_apikey.models import Principal
from tests.asgi.driver import COLD, GOOD, OTHER, FakeKeys

SENT = {"X-API-Key": GOOD.decode()}


async def show(request: StarletteRequest) -> JSONResponse:
    """Who is asking, by every way of reading it."""
    return JSONResponse([request.state.api_key.owner, get_api_key(request).owner, get_api_key().owner])


def show_in_a_thread(request: StarletteRequest) -> JSONResponse:
    """The same from a worker thread."""
    return JSONResponse(get_api_key().owner)


async def talk(socket: WebSocket) -> None:
    """Say who is there."""
    await socket.accept()
    await socket.send_json([socket.state.api_key.owner, get_api_key(socket).owner])
    await socket.close()


ROUTES = [Route("/", show), Route("/thread", show_in_a_thread), WebSocketRoute("/talk", talk)]


@pytest.fixture(params=["wrapped", "native"])
def starlette_client(request, keys):
    """A Starlette application, guarded in both ways."""
    options = {"keys": keys, "exempt": ["/health"]}
    if request.param == "wrapped":
        return TestClient(APIKeyMiddleware(Starlette(routes=ROUTES), **options))
    return TestClient(Starlette(routes=ROUTES, middleware=[Middleware(APIKeyMiddleware, **options)]))


def test_starlette(starlette_client) -> None:
    """State, helper and context agree; unknown paths are guarded too."""
    assert starlette_client.get("/", headers=SENT).json() == ["alice"] * 3
    assert starlette_client.get("/", headers={"X-API-Key": COLD.decode()}).json() == ["carol"] * 3
    assert starlette_client.get("/thread", headers=SENT).json() == "alice"
    assert starlette_client.get("/").status_code == 401
    assert starlette_client.get("/nowhere").status_code == 401
    assert starlette_client.get("/health").status_code == 404


def test_starlette_websockets(starlette_client) -> None:
    """Let in, and denied with the same answer as HTTP."""
    with starlette_client.websocket_connect("/talk", headers=SENT) as socket:
        assert socket.receive_json() == ["alice", "alice"]
    with pytest.raises(WebSocketDenialResponse) as denied, starlette_client.websocket_connect("/talk"):
        pass

    assert denied.value.status_code == 401
    assert denied.value.json()["code"] == "missing_credential"


def test_require_around_a_mount(keys) -> None:
    """Only part of the application asks for a scope."""
    part = require(Starlette(routes=ROUTES), "orders:read")
    client = TestClient(APIKeyMiddleware(Starlette(routes=[Mount("/orders", part), *ROUTES]), keys=keys))

    assert client.get("/orders/", headers={"X-API-Key": OTHER.decode()}).status_code == 403
    assert client.get("/", headers={"X-API-Key": OTHER.decode()}).json() == ["bob"] * 3
    assert client.get("/orders/", headers=SENT).json() == ["alice"] * 3


def test_lifespan_and_state_of_starlette(keys) -> None:
    """`keys` opens and closes around it, and what it yields is there beside the principal."""

    async def pool(request: StarletteRequest) -> JSONResponse:
        return JSONResponse([request.state.pool, request.state.api_key.owner])

    class Life:
        def __init__(self, app: Starlette) -> None:
            """Nothing to keep."""

        async def __aenter__(self) -> dict[str, int]:
            keys.log.append("inside starts")
            return {"pool": 7}

        async def __aexit__(self, *exc: object) -> None:
            keys.log.append("inside stops")

    app = APIKeyMiddleware(Starlette(routes=[Route("/", pool)], lifespan=Life), keys=keys)
    with TestClient(app) as client:
        assert client.get("/", headers=SENT).json() == [7, "alice"]

    assert keys.log == ["open", "inside starts", "inside stops", "close"]


def test_handlers_state_reaches_a_middleware_outside(keys) -> None:
    """An outer `request.state` made before ours sees what is written later."""
    seen = []

    async def outer(request, call_next):
        _ = request.state
        response = await call_next(request)
        seen.append((request.state.note, request.state.api_key.owner))
        return response

    async def inside(request: StarletteRequest) -> JSONResponse:
        request.state.note = "written"
        return JSONResponse(None)

    stack = [Middleware(BaseHTTPMiddleware, dispatch=outer), Middleware(APIKeyMiddleware, keys=keys)]
    TestClient(Starlette(routes=[Route("/", inside)], middleware=stack)).get("/", headers=SENT)

    assert seen == [("written", "alice")]


def test_cors_outside_makes_refusals_readable(keys) -> None:
    """The documented order: preflights are answered outside, refusals carry the header."""
    app = CORSMiddleware(
        APIKeyMiddleware(Starlette(routes=ROUTES), keys=keys, allow_preflight=False),
        allow_origins=["https://a.example"],
    )
    client = TestClient(app)
    origin = {"Origin": "https://a.example"}

    assert client.options("/", headers={**origin, "Access-Control-Request-Method": "GET"}).status_code == 200
    assert client.get("/", headers=origin).headers["access-control-allow-origin"] == "https://a.example"


def test_starlettes_own_responses_answer_refusals(keys) -> None:
    """A response object is an ASGI application, for WebSockets too."""
    app = APIKeyMiddleware(
        Starlette(routes=ROUTES), keys=keys, on_refusal=lambda error: JSONResponse({"why": error.code}, status_code=401)
    )
    client = TestClient(app)
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/talk"):
        pass

    assert client.get("/").json() == {"why": "missing_credential"}
    assert denied.value.json() == {"why": "missing_credential"}


def test_fastapi(keys) -> None:
    """As a dependency and on the request; the documentation pages are guarded."""
    app = FastAPI()

    @app.get("/")
    async def read(request: Request, principal: Principal = Depends(get_api_key_of)) -> list[str]:  # noqa: B008
        return [request.state.api_key.owner, principal.owner]

    app.add_middleware(APIKeyMiddleware, keys=keys)
    client = TestClient(app)

    assert client.get("/", headers=SENT).json() == ["alice", "alice"]
    assert client.get("/openapi.json").status_code == 401


def get_api_key_of(request: Request) -> Principal | None:
    """A dependency of one line."""
    return get_api_key(request)


@pytest.mark.parametrize("way", ["wrapped", "native"])
def test_litestar(way) -> None:
    """Its own registration builds one middleware per route; nothing is kept in them."""
    keys = FakeKeys()

    @litestar_get("/")
    async def read(request: LitestarRequest) -> list[str]:
        return [request.state.api_key.owner, get_api_key(request).owner, get_api_key().owner]

    def native(app):
        return APIKeyMiddleware(app, keys=keys)

    inside = Litestar([read], middleware=[native] if way == "native" else [])
    with LitestarClient(inside if way == "native" else APIKeyMiddleware(inside, keys=keys)) as client:  # type: ignore[arg-type]
        assert client.get("/", headers=SENT).json() == ["alice"] * 3
        assert client.get("/").status_code == 401


@pytest.mark.anyio
async def test_quart(keys) -> None:
    """Which has no `request.state`; the helper reads its scope."""
    app = Quart(__name__)

    @app.get("/")
    async def read() -> list[str]:
        return [quart_request.scope["state"]["api_key"].owner, get_api_key(quart_request).owner, get_api_key().owner]

    @app.websocket("/talk")
    async def say() -> None:
        await websocket.send(get_api_key(websocket).owner)

    app.asgi_app = APIKeyMiddleware(app.asgi_app, keys=keys)
    client = app.test_client()

    assert await (await client.get("/", headers=SENT)).get_json() == ["alice"] * 3
    assert (await client.get("/")).status_code == 401
    async with client.websocket("/talk", headers=SENT) as socket:
        assert await socket.receive() == "alice"


@pytest.fixture
def anyio_backend() -> str:
    """Quart is asyncio's."""
    return "asyncio"
