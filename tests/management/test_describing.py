"""The two routes at which the API describes itself."""

from __future__ import annotations

import json

import httpx
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.management.authorisers import KeyAuthoriser
from asgi_apikey.management.docspage import POLICY, docs_page
from asgi_apikey.management.openapi import openapi_document
from asgi_apikey.management.schemes import key_schemes

pytestmark = pytest.mark.anyio

PATHS = ["/openapi.json", "/docs"]


async def inner(scope: object, receive: object, send: object) -> None:
    """Is not reached here."""
    raise AssertionError


def client(app: ASGIApp) -> httpx.AsyncClient:
    """Somebody without any credential."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def keys() -> APIKeys:
    """Of a store that nobody asks."""
    return APIKeys("memory:", pepper=None)


async def test_the_document_is_that_of_this_api_in_this_place(keys: APIKeys) -> None:
    """With its own schemes, and where it is mounted."""
    api = keys.management(KeyAuthoriser(keys, header="X-Key", bearer=False))
    schemes = key_schemes("X-Key", bearer=False)

    async with client(api) as alone, client(keys.protect(inner, mount={"/api-keys": api})) as mounted:
        by_itself = await alone.get("/openapi.json")
        below = await mounted.get("/api-keys/openapi.json")
        page = await mounted.get("/api-keys/docs")

    assert by_itself.json() == json.loads(json.dumps(openapi_document(schemes=schemes)))
    assert below.json() == json.loads(json.dumps(openapi_document(schemes=schemes, server="/api-keys")))
    assert page.text == docs_page(openapi_document(schemes=schemes, server="/api-keys"))


@pytest.mark.parametrize("path", PATHS)
async def test_a_description_needs_no_credential_and_takes_none(keys: APIKeys, path: str) -> None:
    """The store is not asked, whoever comes."""
    async with client(keys.management(KeyAuthoriser(keys))) as nobody:
        answer = await nobody.get(path)
        with_key = await nobody.get(path, headers={"X-API-Key": "ak_live_nonsense"})

    assert answer.status_code == with_key.status_code == 200
    assert keys.stats.reads == 0
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_only_read(keys: APIKeys, path: str) -> None:
    """Every other method is answered as those of the API are."""
    async with client(keys.management(KeyAuthoriser(keys))) as nobody:
        head = await nobody.head(path)
        options = await nobody.options(path)
        posted = await nobody.post(path)

    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1_000
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (posted.status_code, posted.headers["content-type"]) == (405, "application/problem+json")
    assert posted.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_key_with_the_name_of_a_page_is_not_in_its_way(keys: APIKeys) -> None:
    """Key ids are longer; the page comes first anyway."""
    async with client(keys.management(KeyAuthoriser(keys))) as nobody:
        assert (await nobody.get("/docs")).status_code == 200
        assert (await nobody.get("/docs/usage")).status_code == 401
