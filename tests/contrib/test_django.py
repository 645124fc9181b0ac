"""Django and REST framework: `request.api_key`, views in threads, permissions."""

from __future__ import annotations

import pytest
from httpx import ASGITransport, AsyncClient, Response

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import GOOD, OTHER, FakeKeys
from tests.contrib.apps.django_app import create
from tests.contrib.conftest import WIDE

# Django wants its settings before anything of REST framework is imported.
from asgi_apikey.contrib.django import requires  # isort: skip
from asgi_apikey.contrib.djangorestframework import has_scopes  # isort: skip
from django.test import RequestFactory  # isort: skip

pytestmark = pytest.mark.anyio


async def get(keys: FakeKeys, path: str, key: bytes | None = None, **options: object) -> Response:
    """Send one request to the guarded application."""
    transport = ASGITransport(APIKeyMiddleware(create(), keys=keys, **options))
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers={} if key is None else {"X-API-Key": key.decode()})


async def test_every_request_has_an_entry(keys: FakeKeys) -> None:
    """The principal, or None for anonymous requests."""
    assert (await get(keys, "/seen", GOOD)).text == "alice"
    assert (await get(keys, "/seen", exempt=("/seen",))).text == "nobody"


def test_under_wsgi_nobody_gets_in() -> None:
    """A request without an ASGI scope cannot have passed the middleware."""
    view = requires("orders:read")(lambda request: pytest.fail("called"))

    reply = view(RequestFactory().get("/orders"))

    assert reply.status_code == 503


async def test_rest_framework_knows_the_principal(keys: FakeKeys) -> None:
    """As its user, with what was granted as its auth."""
    assert (await get(keys, "/rest/orders", GOOD)).json() == ["alice", True, True]
    assert (await get(keys, "/rest/orders", WIDE)).json() == ["wanda", True, True]
    assert (await get(keys, "/rest/open", exempt=("/rest/open",))).json() is False


async def test_rest_framework_refuses_in_its_own_words(keys: FakeKeys) -> None:
    """403 who lacks a scope, 401 with a challenge who is anonymous."""
    lacking = await get(keys, "/rest/orders", OTHER)
    anonymous = await get(keys, "/rest/orders", exempt=("/rest/orders",))

    assert (lacking.status_code, lacking.json()) == (403, {"detail": "The API key lacks a scope that this needs."})
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"] == 'ApiKey realm="api"'


async def test_permissions_can_be_combined(keys: FakeKeys) -> None:
    """By `|`, like REST framework's own."""
    assert (await get(keys, "/rest/either", GOOD)).json() == "alice"
    assert (await get(keys, "/rest/either", OTHER)).status_code == 403


def test_rest_framework_cannot_decide_without_a_middleware() -> None:
    """503 with `Retry-After`, whether the user or a permission is asked for first."""
    from tests.contrib.apps.django_urls import rest_open, rest_orders

    replies = [view(RequestFactory().get("/")) for view in (rest_open, rest_orders)]

    assert [reply.status_code for reply in replies] == [503, 503]
    assert replies[0]["retry-after"] == "1"


def test_names_that_are_no_scopes_are_refused() -> None:
    """When the views are defined."""
    for asking in (requires, has_scopes):
        with pytest.raises(ConfigurationError):
            asking("orders read")
