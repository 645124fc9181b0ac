"""Parity with fastapi-api-key (keyshield): what its users had is here, or its page says why not."""

from __future__ import annotations

import pytest

import asgi_apikey.errors
from asgi_apikey.cli.application import application
from tests.docs.pages import DOCS, code_words, rows, section
from tests.parity.conftest import World, missing

PAGE = "coming-from-fastapi-api-key.md"
THERE = {
    *("POST /", "GET /", "POST /search", "GET /{id}", "PATCH /{id}", "DELETE /{id}", "POST /{id}/activate"),
    *("POST /{id}/deactivate", "POST /verify", "POST /count", "api_key", "entity", "offset", "total", "clear_expires"),
    *("is_active", "expires_before", "created_after", "last_used_before", "never_used", "scopes_contain_all"),
    *("scopes_contain_any", "name_contains", "name_exact", "order_by", "order_desc", "required_scopes"),
    *("KeyNotProvided", "InvalidKey", "KeyNotFound", "KeyInactive", "KeyExpired", "InvalidScopes"),
    *("ConfigurationError", "ApiKeyService", "CachedApiKeyService", "get_by_id", "get_by_key_id", "create", "update"),
    *("delete_by_id", "list", "find", "count", "verify_key", "touch", "load_dotenv", "Argon2ApiKeyHasher"),
    *("BcryptApiKeyHasher", "MockApiKeyHasher", "create_depends_api_key", "create_api_keys_router"),
    *("create_api_keys_blueprint", "create_api_keys_urlpatterns", "activate", "deactivate", "search", "get"),
    "keyshield pepper",
}

pytestmark = pytest.mark.anyio


async def test_the_page_names_all_that_was_there() -> None:
    """Each endpoint, filter, error, method and command."""
    assert missing(PAGE, THERE) == set()


async def test_the_commands_and_errors_that_it_names_exist() -> None:
    """On our side of the tables."""
    page = DOCS / "howto" / PAGE
    ours = {word.split()[0] for row in rows(section(page, "Commands")) for word in code_words(row[1])}
    errors = {word for row in rows(section(page, "Errors")) for word in code_words(row[1]) if word.isalpha()}

    assert ours <= set(application.commands)
    assert all(hasattr(asgi_apikey.errors, name) for name in errors)


async def test_the_life_of_a_key_over_http(world: World) -> None:
    """Create, read, change, switch off and on, delete: each verb of its router."""
    key, record = await world.make(scopes=["orders:read"])
    path = f"/{record['key_id']}"
    read = await world.ask("GET", path)
    changed = await world.ask("PATCH", path, {"name": "new", "expires_at": "2040-01-01T00:00:00Z"})
    emptied = await world.ask("PATCH", path, {"expires_at": None})
    off = [(await world.ask("POST", f"{path}/disable")).json()["record"]["status"] for _ in range(2)]
    on = [(await world.ask("POST", f"{path}/enable")).json()["record"]["status"] for _ in range(2)]
    accepted = await world.http.get("/verify", headers={"X-API-Key": key})
    deleted = [(await world.ask("DELETE", path)).status_code for _ in range(2)]

    assert read.json() == record
    assert changed.json()["record"]["name"] == "new"
    assert emptied.json()["record"]["expires_at"] is None
    assert (off, on) == (["disabled"] * 2, ["active"] * 2)
    assert accepted.status_code == 200
    assert deleted == [200, 404]


@pytest.mark.parametrize("end", ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00", "never", 7])
async def test_an_end_that_cannot_be_is_422_on_create_and_patch(world: World, end: object) -> None:
    """There 500, or taken."""
    _, record = await world.make()
    created = await world.ask("POST", "/", {"name": "x", "owner": "acme", "expires_at": end})
    patched = await world.ask("PATCH", f"/{record['key_id']}", {"expires_at": end})

    assert (created.status_code, patched.status_code) == (422, 422)


async def test_verify_takes_any_text(world: World) -> None:
    """A blank key was 500; scopes are asked for beside the key."""
    key, _ = await world.make(scopes=["orders:read"])
    asked = [
        await world.ask("POST", "/verify", body)
        for body in (
            {"key": "  "},
            {"key": ""},
            {"key": key, "scopes": ["orders:read"]},
            {"key": key, "scopes": ["bills:read"]},
        )
    ]

    assert [each.status_code for each in asked] == [200] * 4
    assert [each.json()["active"] for each in asked] == [False, False, True, False]


async def test_filters_hold_before_the_page_is_cut(world: World) -> None:
    """A page of one that matches, however many do not; the total is asked for by itself."""
    wanted = [(await world.make(scopes=["orders:read"], name=f"match {n}"))[1]["key_id"] for n in range(2)]
    for _ in range(5):
        await world.make(scopes=["bills:read"])
    where = {"scopes": ["orders:read"], "name_contains": "MATCH"}
    pages = [(await world.ask("POST", "/search", {"where": where, "limit": 1})).json()]
    while pages[-1]["next_cursor"]:
        body = {"where": where, "limit": 1, "cursor": pages[-1]["next_cursor"]}
        pages.append((await world.ask("POST", "/search", body)).json())
    count = (await world.ask("POST", "/count", {"where": where})).json()

    assert {each["key_id"] for page in pages for each in page["keys"]} == set(wanted)
    assert count == {"count": 2}
    assert (await world.ask("GET", "/?limit=101")).status_code == 422


async def test_using_a_key_never_brings_it_back(world: World) -> None:
    """Its cached entity was written back with every use, over a revocation made meanwhile."""
    key, record = await world.make(scopes=["orders:read"])
    for _ in range(3):
        await world.http.get("/verify", headers={"X-API-Key": key})
    await world.ask("PATCH", f"/{record['key_id']}", {"scopes": []})
    await world.ask("POST", f"/{record['key_id']}/revoke")
    await world.http.get("/verify", headers={"X-API-Key": key})
    await world.keys.flush()
    found = (await world.ask("GET", f"/{record['key_id']}")).json()

    assert (found["status"], found["scopes"], found["uses"]) == ("revoked", [], 3)


async def test_nobody_manages_without_a_credential(world: World) -> None:
    """Its router asked nobody."""
    statuses = {
        (await world.ask(method, path, key="")).status_code
        for method, path in (("GET", "/"), ("POST", "/"), ("POST", "/search"), ("DELETE", "/EKjzlXrUIG06"))
    }

    assert statuses == {401}
