"""Quart: several challenges, and what quart-schema makes of the places."""

from __future__ import annotations

import pytest
from quart import Blueprint, Quart, websocket
from quart.testing.connections import WebsocketResponseError
from quart_schema import QuartSchema, security_scheme

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.quart import check, quart_schema_schemes, requires
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import GOOD, OTHER, FakeKeys

pytestmark = pytest.mark.anyio


async def test_a_blueprint_asks_for_its_websockets(keys: FakeKeys) -> None:
    """Refused with a response, before they open."""
    app = Quart("shop")
    shop = Blueprint("shop", "shop")
    shop.before_websocket(check("orders:read"))

    @shop.websocket("/updates")
    async def updates() -> None:
        await websocket.send("hello")

    app.register_blueprint(shop)
    app.asgi_app = APIKeyMiddleware(app.asgi_app, keys=keys)
    client = app.test_client()

    async with client.websocket("/updates", headers={"X-API-Key": GOOD.decode()}) as socket:
        assert await socket.receive() == "hello"
    with pytest.raises(WebsocketResponseError) as refused:
        async with client.websocket("/updates", headers={"X-API-Key": OTHER.decode()}) as socket:
            await socket.receive()
    assert refused.value.response.status_code == 403


async def test_every_challenge_is_sent(keys: FakeKeys) -> None:
    """Each on a line of its own, as the middleware does."""
    app = Quart("shop")
    app.get("/")(requires()(lambda: "hello"))
    app.asgi_app = APIKeyMiddleware(app.asgi_app, keys=keys, bearer=True, exempt=("/",))

    reply = await app.test_client().get("/")

    assert reply.status_code == 401
    assert reply.headers.getlist("www-authenticate") == ['ApiKey realm="api"', 'Bearer realm="api"']


def test_names_that_are_no_scopes_are_refused() -> None:
    """When the application is put together."""
    for asking in (requires, check):
        with pytest.raises(ConfigurationError):
            asking("orders read")


async def test_quart_schema_tells_of_the_keys(keys: FakeKeys) -> None:
    """The schemes for the document, and the scopes beside the route."""
    app = Quart("shop")
    QuartSchema(app, security_schemes=quart_schema_schemes(bearer=True), security=[{"APIKey": []}])

    @app.get("/orders")
    @requires("orders:read")
    @security_scheme([{"APIKey": ["orders:read"]}])
    async def orders() -> str:
        return "orders"

    app.asgi_app = APIKeyMiddleware(app.asgi_app, keys=keys, bearer=True, exempt=("/openapi.json",))
    client = app.test_client()

    told = await (await client.get("/openapi.json")).json
    assert told["components"]["securitySchemes"] == {
        "APIKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "APIKeyBearer": {"type": "http", "scheme": "bearer"},
    }
    assert told["security"] == [{"APIKey": []}]
    assert told["paths"]["/orders"]["get"]["security"] == [{"APIKey": ["orders:read"]}]
    assert (await client.get("/orders", headers={"X-API-Key": OTHER.decode()})).status_code == 403
