"""Starlette: its own `@requires`, `request.user` and `request.auth`."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.starlette import UserMiddleware
from tests.asgi.driver import GOOD, OTHER, FakeKeys
from tests.contrib.conftest import WIDE


async def show(request: Request) -> JSONResponse:
    """Who is asking."""
    return JSONResponse([request.user.is_authenticated, request.user.display_name, sorted(request.auth.scopes)])


@requires("orders:read")
async def orders(request: Request) -> JSONResponse:
    """Answer those who may read orders."""
    return JSONResponse(request.user.identity)


@requires("authenticated", status_code=401)
def anybody(request: Request) -> JSONResponse:
    """Answer those with a key."""
    return JSONResponse(request.user.owner)


@requires("orders:read")
async def updates(websocket: WebSocket) -> None:
    """Say who is there."""
    await websocket.accept()
    await websocket.send_json(websocket.user.owner)
    await websocket.close()


ROUTES = [
    Route("/show", show),
    Route("/orders", orders),
    Route("/anybody", anybody),
    WebSocketRoute("/updates", updates),
]


@pytest.fixture
def client(keys: FakeKeys) -> TestClient:
    """Of an application in which both layers are registered, the outer one first."""
    layers = [
        Middleware(APIKeyMiddleware, keys=keys, exempt=["/show", "/anybody", "/part/show"]),
        Middleware(UserMiddleware),
    ]
    return TestClient(Starlette(routes=[*ROUTES, Mount("/part", routes=ROUTES)], middleware=layers))


def sent(key: bytes) -> dict[str, str]:
    """Headers with a key."""
    return {"X-API-Key": key.decode()}


def test_requires_knows_the_scopes_of_a_key(client: TestClient) -> None:
    """By name or by a wildcard above it; in mounted parts too."""
    assert client.get("/orders", headers=sent(GOOD)).json() == "alice"
    assert client.get("/orders", headers=sent(WIDE)).json() == "wanda"
    assert client.get("/orders", headers=sent(OTHER)).status_code == 403
    assert client.get("/part/orders", headers=sent(GOOD)).json() == "alice"


def test_anonymous_requests_have_nobody(client: TestClient) -> None:
    """Starlette's own unauthenticated user, without any scope, `authenticated` included."""
    assert client.get("/show").json() == [False, "", []]
    assert client.get("/anybody").status_code == 401


def test_a_principal_is_a_user(keys: FakeKeys) -> None:
    """With everything that Starlette's documentation says of one."""
    client = TestClient(APIKeyMiddleware(UserMiddleware(Starlette(routes=ROUTES)), keys=keys))

    assert client.get("/show", headers=sent(GOOD)).json() == [True, "alice", ["authenticated", "orders:read"]]
    assert client.get("/anybody", headers=sent(OTHER)).json() == "bob"


def test_websockets_have_users(client: TestClient) -> None:
    """`@requires` closes the others before they open."""
    with client.websocket_connect("/updates", headers=sent(GOOD)) as websocket:
        assert websocket.receive_json() == "alice"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/updates", headers=sent(OTHER)):
        pass


def test_without_a_middleware_nobody_is_a_user() -> None:
    """Nobody has verified anything: 503, on WebSockets too; lifespans pass."""
    with TestClient(UserMiddleware(Starlette(routes=ROUTES))) as client:
        reply = client.get("/show", headers=sent(GOOD))
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/updates"):
            pass

    assert reply.status_code == denied.value.status_code == 503
