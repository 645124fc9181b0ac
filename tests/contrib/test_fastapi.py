"""FastAPI: the dependency, what OpenAPI says of it, and its refusals."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI, Security, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.fastapi import APIKeySecurity, answer_refusals, document
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Principal
from tests.asgi.driver import GOOD, OTHER, FakeKeys

api_key = APIKeySecurity()
optional = APIKeySecurity(required=False)

Reader = Annotated[Principal, Security(api_key, scopes=["orders:read"])]
Perhaps = Annotated[Principal | None, Security(optional)]


def application(**options: object) -> FastAPI:
    """One route that asks, one that does not, one for anybody, and a WebSocket that asks."""
    app = FastAPI(**options)

    @app.get("/orders")
    async def orders(principal: Reader) -> str:
        return principal.owner

    @app.get("/open")
    async def perhaps(principal: Perhaps) -> str:
        return "nobody" if principal is None else principal.owner

    @app.get("/asking")
    async def asking(principal: Annotated[Principal | None, Security(optional, scopes=["orders:read"])]) -> str:
        return "nobody" if principal is None else principal.owner

    @app.websocket("/updates")
    async def updates(websocket: WebSocket, principal: Reader) -> None:
        await websocket.accept()
        await websocket.close()

    return app


def client(app: FastAPI, keys: FakeKeys, **options: object) -> TestClient:
    """A client of the guarded application."""
    return TestClient(APIKeyMiddleware(app, keys=keys, **options))


def sent(key: bytes) -> dict[str, str]:
    """Headers with a key."""
    return {"X-API-Key": key.decode()}


def test_openapi_has_the_scheme_and_the_scopes() -> None:
    """Hence the Authorize button, and the lock beside each route."""
    told = application().openapi()

    assert told["components"]["securitySchemes"] == {"APIKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    assert told["paths"]["/orders"]["get"]["security"] == [{"APIKey": ["orders:read"]}]
    assert told["paths"]["/open"]["get"]["security"] == [{"APIKey": []}]


@pytest.mark.parametrize(
    ("options", "name", "scheme"),
    [
        ({"query_param": "key"}, "APIKeyQuery", {"type": "apiKey", "in": "query", "name": "key"}),
        ({"cookie": "key"}, "APIKeyCookie", {"type": "apiKey", "in": "cookie", "name": "key"}),
        ({"bearer": True}, "APIKeyBearer", {"type": "http", "scheme": "bearer"}),
        ({"description": "Yours"}, "APIKey", {"type": "apiKey", "in": "header", "name": "X-API-Key"}),
    ],
    ids=["query", "cookie", "bearer", "description"],
)
def test_the_scheme_is_the_place(options, name: str, scheme: dict[str, str]) -> None:
    """Any of the four; with words of its own beside the button."""
    app = FastAPI(dependencies=[Security(APIKeySecurity(**options))])
    app.get("/")(lambda: None)
    words = {"description": options["description"]} if "description" in options else {}

    assert app.openapi()["components"]["securitySchemes"] == {name: scheme | words}


@pytest.mark.parametrize(
    "wrong", [{"header": "X-Key", "bearer": True}, {"header": "X Key"}, {"required": "no"}, {"bearer": 1}]
)
def test_a_dependency_that_makes_no_sense_is_refused(wrong) -> None:
    """When it is made."""
    with pytest.raises(ConfigurationError):
        APIKeySecurity(**wrong)


def test_the_whole_application_and_a_router_can_ask(keys: FakeKeys) -> None:
    """Their scopes add up to those of the route."""
    router = APIRouter(dependencies=[Security(api_key, scopes=["orders:read"])])
    app = FastAPI(dependencies=[Security(api_key)])
    router.get("/part")(lambda: "part")
    app.get("/all")(lambda: "all")
    app.include_router(router)
    asking = client(app, keys, exempt=("/all",))

    assert asking.get("/part", headers=sent(GOOD)).status_code == 200
    assert asking.get("/part", headers=sent(OTHER)).status_code == 403
    assert asking.get("/all").status_code == 401
    assert app.openapi()["paths"]["/part"]["get"]["security"] == [{"APIKey": ["orders:read"]}]


def test_a_principal_may_be_optional(keys: FakeKeys) -> None:
    """None where the middleware lets anonymous requests through; whoever asks for scopes refuses them."""
    app = client(application(), keys, required=False)

    assert app.get("/open").json() == "nobody"
    assert app.get("/open", headers=sent(OTHER)).json() == "bob"
    assert app.get("/asking").status_code == 401
    assert app.get("/asking", headers=sent(GOOD)).json() == "alice"


def test_refusals_are_fastapis_own_by_default(keys: FakeKeys) -> None:
    """Its document, with the challenge of the middleware, which handlers of HTTPException see."""
    reply = client(application(), keys, bearer=True).get("/orders", headers=sent(OTHER))

    assert reply.status_code == 403
    assert reply.json() == {"detail": "The API key lacks a scope that this needs."}
    assert reply.headers["www-authenticate"].startswith("Bearer realm=")
    assert reply.headers["cache-control"] == "no-store"


def test_a_refused_websocket_is_closed_or_answered(keys: FakeKeys) -> None:
    """Closed by FastAPI; answered by the middleware, after it has been asked to."""
    app = application()
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client(app, keys).websocket_connect("/updates", headers=sent(OTHER)),
    ):
        pass
    answering = application()
    answer_refusals(answering)
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client(answering, keys).websocket_connect("/updates", headers=sent(OTHER)),
    ):
        pass

    assert closed.value.code == 1008
    assert denied.value.json()["code"] == "missing_scope"


def test_the_document_tells_of_the_middleware() -> None:
    """Routes without a dependency too; those with one keep their scopes. It is made once."""
    app = application()
    app.get("/plain")(lambda: None)
    app.get("/health")(lambda: None)
    document(app, exempt=("/health",), bearer=True)

    told = app.openapi()

    assert told["paths"]["/plain"]["get"]["security"] == [{"APIKey": []}, {"APIKeyBearer": []}]
    assert told["paths"]["/orders"]["get"]["security"] == [{"APIKey": ["orders:read"]}]
    assert told["paths"]["/health"]["get"]["security"] == []
    assert app.openapi() is told


def test_a_document_that_makes_no_sense_is_refused_at_once() -> None:
    """Not when somebody first looks at it."""
    with pytest.raises(ConfigurationError):
        document(application(), exempt=("health",))


def test_routes_that_join_later_are_told() -> None:
    """FastAPI forgets its document when it is told to, and so do we."""
    app = application()
    document(app)
    app.openapi()
    app.get("/late")(lambda: None)
    app.openapi_schema = None

    assert "/late" in app.openapi()["paths"]
