"""BlackSheep: identities, policies of one's own, mounted applications."""

from __future__ import annotations

import pytest
from blacksheep import Application, Response, TextContent
from blacksheep.server.authorization import auth
from blacksheep.server.routing import Router
from guardpost import Policy, UnauthorizedError
from httpx import ASGITransport, AsyncClient

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.blacksheep import HasScopes, use_api_keys
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import GOOD, OTHER, FakeKeys

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> Application:
    """An application whose routes are its own."""
    return Application(router=Router())


async def status(app: Application, keys: FakeKeys, path: str, key: bytes) -> tuple[int, str]:
    """Send one request to the guarded application."""
    transport = ASGITransport(APIKeyMiddleware(app, keys=keys))
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        reply = await client.get(path, headers={"X-API-Key": key.decode()})
    return reply.status_code, reply.text


async def test_an_identity_has_claims(app: Application, keys: FakeKeys) -> None:
    """What guardpost's own requirements can ask for."""
    use_api_keys(app)

    @app.router.get("/")
    async def show(request) -> str:
        return f"{request.user.sub} {request.user['key_id']} {request.user['scopes']}"

    assert await status(app, keys, "/", GOOD) == (200, "alice alice-key ['orders:read']")


async def test_a_policy_may_ask_for_several_scopes(app: Application, keys: FakeKeys) -> None:
    """All of them are needed."""
    use_api_keys(app)
    app.use_authorization().add(Policy("both", HasScopes("orders:read", "orders:write")))

    @app.router.get("/")
    @auth("both")
    async def both() -> str:
        return "both"

    assert (await status(app, keys, "/", GOOD))[0] == 403


async def test_what_other_policies_refuse_is_answered_by_others(app: Application, keys: FakeKeys) -> None:
    """By BlackSheep, or by whoever has registered a handler before."""

    async def theirs(app, request, refused: UnauthorizedError) -> Response:
        return Response(403, content=TextContent("by role"))

    from guardpost import ForbiddenError

    app.exceptions_handlers[ForbiddenError] = theirs
    use_api_keys(app, "orders:read")

    @app.router.get("/")
    @auth(roles=["admin"])
    async def admin() -> str:
        return "admin"

    @app.router.get("/orders")
    @auth("orders:read")
    async def orders() -> str:
        return "orders"

    assert await status(app, keys, "/", GOOD) == (403, "by role")
    assert '"missing_scope"' in (await status(app, keys, "/orders", OTHER))[1]


async def test_mounted_applications_ask_for_themselves(app: Application, keys: FakeKeys) -> None:
    """The middleware guards them; their policies need the call for them, too."""
    child = Application(router=Router())
    use_api_keys(child, "orders:read")

    @child.router.get("/orders")
    @auth("orders:read")
    async def orders(request) -> str:
        return request.user.sub

    app.mount("/part", child)

    assert await status(app, keys, "/part/orders", GOOD) == (200, "alice")
    assert (await status(app, keys, "/part/orders", OTHER))[0] == 403
    assert (await status(app, keys, "/part/orders", b"bad"))[0] == 401


def test_requirements_that_make_no_sense_are_refused(app: Application) -> None:
    """When they are made."""
    for wrong in ((), ("orders read",)):
        with pytest.raises(ConfigurationError):
            HasScopes(*wrong)
    with pytest.raises(ConfigurationError):
        use_api_keys(app, "orders read")
