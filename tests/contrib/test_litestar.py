"""Litestar: the plugin."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Controller, Litestar, Request, Response, WebSocket, asgi, get, post, websocket
from litestar.config.cors import CORSConfig
from litestar.exceptions import WebSocketDisconnect
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.testing import TestClient
from litestar.types import Receive, Scope, Send

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.litestar import APIKeyPlugin, Caller, Refused, Requires
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Principal
from asgi_apikey.policy import restrictions_of
from tests.asgi.driver import COLD, GOOD, OTHER, FakeKeys
from tests.contrib.conftest import WIDE

PUBLIC = {"exclude_from_auth": True}


@get("/orders", guards=[Requires("orders:read")])
async def orders(principal: Caller) -> str:
    """Answer those who may read orders."""
    return principal.owner


@get("/any")
async def anybody(request: Request[Any, Any, Any]) -> list[str]:
    """Answer those with a key."""
    return [request.user.owner, *sorted(request.auth)]


@get("/public", opt=PUBLIC)
async def public(request: Request[Any, Any, Any]) -> str:
    """Answer everybody."""
    return "nobody" if request.user is None else request.user.owner


@get("/asking", opt=PUBLIC)
async def asking(principal: Caller) -> str:
    """Public, and asks for a principal all the same."""
    return principal.owner


@websocket("/updates", guards=[Requires("orders:read")])
async def updates(socket: WebSocket[Any, Any, Any], principal: Caller) -> None:
    """Say who has connected."""
    await socket.accept()
    await socket.send_text(principal.owner)
    await socket.close()


@asgi("/mounted", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    """An application of another kind."""
    await Response(scope["state"]["api_key"].owner).to_asgi_response(None, Request(scope))(scope, receive, send)


HANDLERS = [orders, anybody, public, asking, updates, mounted]


def client(keys: FakeKeys, *handlers: object, config: dict[str, Any] | None = None, **options: Any) -> TestClient:
    """A client of an application with the plugin."""
    plugin = APIKeyPlugin(keys, **options)
    return TestClient(Litestar(list(handlers or HANDLERS), plugins=[plugin], **(config or {})))


def sent(key: bytes) -> dict[str, str]:
    """Headers with a key."""
    return {"X-API-Key": key.decode()}


def test_every_handler_needs_a_key(keys: FakeKeys) -> None:
    """HTTP, WebSocket and mounted applications; the answers are the middleware's."""
    with client(keys) as app:
        refused = [app.get(path) for path in ("/orders", "/any", "/mounted")]

        assert [reply.status_code for reply in refused] == [401] * 3
        assert {reply.json()["code"] for reply in refused} == {"missing_credential"}
        assert app.get("/orders", headers=sent(GOOD)).text == "alice"
        assert app.get("/any", headers=sent(COLD)).json() == ["carol", "orders:read"]
        assert app.get("/mounted", headers=sent(GOOD)).text == "alice"


def test_a_guard_asks_for_scopes(keys: FakeKeys) -> None:
    """By name or by a wildcard above it; who lacks them gets the problem of the middleware."""
    with client(keys) as app:
        assert app.get("/orders", headers=sent(WIDE)).text == "wanda"
        refused = app.get("/orders", headers=sent(OTHER))

    assert refused.status_code == 403
    assert refused.json()["code"] == "missing_scope"
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/mounted/health", "/mounted//health", "/health/", "/%68ealth"])
def test_exempt_paths_are_those_that_clients_ask_for(keys: FakeKeys, path: str) -> None:
    """Not what Litestar's router makes of them, which takes mounts off and makes odd spellings plain."""

    @get("/health")
    async def health() -> str:
        return "open"

    with client(keys, health, mounted, exempt=("/health",)) as app:
        assert app.get("/health").text == "open"
        assert app.get(path).status_code == 401


def test_routes_of_a_key_are_those_that_clients_ask_for(keys: FakeKeys) -> None:
    """A key for `/any` opens nothing else that is called so inside a mount, below a `root_path` or not."""
    restricted = Principal(
        key_id="r",
        owner="rita",
        restrictions=restrictions_of(frozenset(), frozenset({"/any", "/shop/any"}), frozenset()),
    )
    keys.cached[b"ak_live_routes"] = restricted
    sending = {"X-API-Key": "ak_live_routes"}
    with client(keys) as app:
        assert app.get("/any", headers=sending).json() == ["rita"]
        assert app.get("/mounted/any", headers=sending).json()["code"] == "route_not_allowed"
    inside = Litestar(HANDLERS, plugins=[APIKeyPlugin(keys)])

    async def without_raw_path(scope, receive, send) -> None:
        scope.pop("raw_path", None)
        await inside(scope, receive, send)

    with TestClient(without_raw_path) as app:
        assert app.get("/any", headers=sending).status_code == 403
        assert app.get("/any", headers=sent(OTHER)).json() == ["bob"]
    with TestClient(inside, root_path="/shop") as app:
        assert app.get("/shop/any", headers=sending).json() == ["rita"]


def test_websockets(keys: FakeKeys) -> None:
    """Open for those who have the scope; a guard closes the others with 1008 before they open."""
    with client(keys) as app:
        with app.websocket_connect("/updates", headers=sent(GOOD)) as socket:
            assert socket.receive_text() == "alice"
        with pytest.raises(WebSocketDisconnect) as closed, app.websocket_connect("/updates", headers=sent(OTHER)):
            pass

    assert closed.value.code == 1008


def test_a_public_handler_needs_no_key(keys: FakeKeys) -> None:
    """Who has one is known there, a bad one is refused, and a handler that asks for a principal gets one or refuses."""
    with client(keys) as app:
        assert app.get("/public").text == "nobody"
        assert app.get("/public", headers=sent(GOOD)).text == "alice"
        assert app.get("/public", headers={"X-API-Key": "bad"}).status_code == 401
        assert app.get("/asking").json()["code"] == "missing_credential"
        assert app.get("/asking", headers=sent(OTHER)).text == "bob"


@pytest.mark.parametrize("opt", [{"exclude_from_auth": "yes"}, {"exclude_from_auth": 1}, {"open": True}])
def test_nothing_but_true_opens_a_handler(keys: FakeKeys, opt: dict[str, object]) -> None:
    """A slip of the pen leaves it guarded."""

    @get("/", opt=opt)
    async def handler() -> str:
        return ""

    with client(keys, handler) as app:
        assert app.get("/").status_code == 401


def test_a_whole_controller_may_be_public(keys: FakeKeys) -> None:
    """`opt` of a layer holds for all below; its name can be chosen."""

    class Shop(Controller):
        path = "/shop"
        opt = {"open": True}  # noqa: RUF012

        @get()
        async def show(self) -> str:
            return "shop"

    with client(keys, Shop, public_opt="open") as app:
        assert app.get("/shop").text == "shop"


def test_paths_without_a_handler_are_litestars(keys: FakeKeys) -> None:
    """404 and 405 for anybody; wrapped with the same keys, strangers get 401, and the inner layer takes the verdict."""
    plain = Litestar(HANDLERS, plugins=[APIKeyPlugin(keys)])
    with TestClient(plain) as app:
        assert [app.get("/nowhere").status_code, app.post("/any").status_code] == [404, 405]
    with TestClient(APIKeyMiddleware(plain, keys=keys)) as app:
        assert [app.get("/nowhere").status_code, app.post("/any").status_code] == [401, 401]
        assert app.get("/orders", headers=sent(COLD)).text == "carol"

    assert [presented for presented, _ in keys.asked] == [COLD]


def test_cors_of_litestar_stands_outside(keys: FakeKeys) -> None:
    """So browsers can read refusals, and preflights pass."""
    origin = {"Origin": "https://a.example"}
    with client(keys, config={"cors_config": CORSConfig(allow_origins=["https://a.example"])}) as app:
        refused = app.get("/any", headers=origin)
        preflight = app.options("/any", headers={**origin, "Access-Control-Request-Method": "GET"})

    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://a.example")
    assert preflight.status_code == 204


def test_openapi_says_which_handlers_need_a_key(keys: FakeKeys) -> None:
    """With the scopes of their guards and of the middleware; public and exempt ones need none."""
    with client(
        keys, orders, anybody, public, scopes=("shop",), bearer=True, exempt=("/schema", "/schema/*", "/any")
    ) as app:
        told = app.get("/schema/openapi.json").json()

    assert told["components"]["securitySchemes"] == {
        "APIKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "APIKeyBearer": {"type": "http", "scheme": "bearer"},
    }
    assert told["paths"]["/orders"]["get"]["security"] == [
        {"APIKey": ["orders:read", "shop"]},
        {"APIKeyBearer": ["orders:read", "shop"]},
    ]
    assert "security" not in told["paths"]["/public"]["get"]
    assert "security" not in told["paths"]["/any"]["get"]


def test_openapi_of_the_application_stays(keys: FakeKeys) -> None:
    """Its own schemes and requirements are beside ours, and its configuration is not written into."""

    @post("/", security=[{"Basic": []}])
    async def both() -> None:
        """Need both."""

    mine = Components(security_schemes={"Basic": SecurityScheme(type="http", scheme="basic")})
    config = OpenAPIConfig("Shop", "1", components=mine)
    with client(keys, both, config={"openapi_config": config}, exempt=("/schema/*",)) as app:
        told = app.get("/schema/openapi.json").json()

    assert set(told["components"]["securitySchemes"]) == {"APIKey", "Basic"}
    assert told["paths"]["/"]["post"]["security"] == [{"APIKey": [], "Basic": []}]
    assert config.components is mine


def test_without_openapi(keys: FakeKeys) -> None:
    """There is nothing to say."""
    with client(keys, orders, config={"openapi_config": None}) as app:
        assert app.get("/orders").status_code == 401


def test_keys_open_and_close_with_the_application(keys: FakeKeys) -> None:
    """Though Litestar does not show lifespans to its middleware."""
    with client(keys):
        assert keys.log == ["open"]

    assert keys.log == ["open", "close"]


def test_a_store_that_is_away_does_not_keep_it_from_starting(keys: FakeKeys) -> None:
    """Requests are answered 503 until it is there; wrong wiring is another matter."""
    keys.opening = StoreUnavailable()
    with client(keys) as app:
        assert app.get("/public").status_code == 200
    keys.opening = ConfigurationError("wrong")
    with pytest.raises(ExceptionGroup) as failed, client(keys):
        pass

    assert failed.value.subgroup(ConfigurationError) is not None


@pytest.mark.parametrize("wrong", [{"header": None}, {"exempt": ("health",)}, {"scopes": "a"}, {"unknown": 1}])
def test_a_plugin_that_makes_no_sense_is_refused(keys: FakeKeys, wrong: dict[str, Any]) -> None:
    """When it is made, not at the first request."""
    with pytest.raises((ConfigurationError, TypeError)):
        APIKeyPlugin(keys, **wrong)


def test_a_name_that_is_taken_is_refused(keys: FakeKeys) -> None:
    """Handlers must not get somebody else's `principal`."""
    config = {"dependencies": {"principal": lambda: 1}}
    with pytest.raises(ConfigurationError, match="provide_as"):
        client(keys, config=config)


def test_a_guard_without_the_plugin_refuses_in_litestars_words(keys: FakeKeys) -> None:
    """Inside a wrapped application; handlers of its exceptions see why."""
    reasons = []

    def noted(_: object, refused: Refused) -> Response[str]:
        reasons.append(refused.error.code)
        return Response("no", status_code=refused.status_code)

    @get("/", guards=[Requires("orders:read")])
    async def handler() -> str:
        return ""

    for handlers, body in (({}, "lacks a scope"), ({Refused: noted}, "no")):
        app = APIKeyMiddleware(Litestar([handler], exception_handlers=handlers), keys=keys)
        with TestClient(app) as asking:
            refused = asking.get("/", headers=sent(OTHER))
            assert refused.status_code == 403
            assert body in refused.text

    assert reasons == ["missing_scope"]
