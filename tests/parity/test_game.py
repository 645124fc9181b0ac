"""Parity with GAME's `app.services.apikey_service`: what its users had is here, or its page says why not."""

from __future__ import annotations

import httpx
import pytest

from asgi_apikey import APIKeyMiddleware, get_api_key
from asgi_apikey.settings import configuration
from asgi_apikey.settings.given import from_environ
from tests.parity.conftest import World, missing

PAGE = "coming-from-game.md"
THERE = {
    *("POST /create", "GET", "DELETE /{prefix}", "AdministratorGAME", "createdBy", "oauth_user_id"),
    *("APIKEY_CACHE_BACKEND", "REDIS_URL", "API_KEY_HEADER_CACHE_TTL_SECONDS", "APIKEY_CACHE_REDIS_KEY_PREFIX"),
    *("generate_api_key_service", "create_api_key", "get_all_api_keys", "revoke_api_key_by_prefix"),
    *("get_api_key_header", "clear_header_cache()", "ApiKeyCacheBackend", "AuditLogger", "E2E_API_KEY_GAME"),
}

pytestmark = pytest.mark.anyio


async def test_the_page_names_all_that_was_there() -> None:
    """Each endpoint, variable and method."""
    assert missing(PAGE, THERE) == set()


async def test_create_list_revoke(world: World) -> None:
    """The secret once; the record stays, and is revoked; an unknown id is 404."""
    key, record = await world.make(owner="client-1", name="x", description="of the client")
    listed = (await world.ask("GET", "")).json()["keys"]
    revoked = await world.ask("POST", f"/{record['key_id']}/revoke")
    again = await world.ask("GET", f"/{record['key_id']}")

    assert key not in str(listed)
    assert record["key_id"] in [each["key_id"] for each in listed]
    assert (revoked.status_code, revoked.json()["record"]["status"]) == (200, "revoked")
    assert again.json()["status"] == "revoked"
    assert (await world.ask("POST", "/EKjzlXrUIG06/revoke")).status_code == 404


async def test_who_is_not_known_is_401_whatever_the_reason(world: World) -> None:
    """There 403; absent keys get a challenge."""
    dead, ended = await world.make()
    await world.ask("POST", f"/{ended['key_id']}/disable")
    absent = await world.http.get("/verify")
    unknown = await world.http.get("/verify", headers={"X-API-Key": "gme_live_abcdefgh.secret"})
    inactive = await world.http.get("/verify", headers={"X-API-Key": dead})

    assert (absent.status_code, unknown.status_code, inactive.status_code) == (401, 401, 401)
    assert "Bearer" in absent.headers["www-authenticate"]
    assert unknown.content == inactive.content


async def test_an_absent_key_can_be_a_soft_miss(world: World) -> None:
    """Another method may follow; a principal carries no secret."""
    seen: list[object] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(get_api_key(scope))  # type: ignore[arg-type]
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    guarded = APIKeyMiddleware(app, keys=world.keys, required=False)
    key, record = await world.make()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://test") as client:
        statuses = [
            (await client.get("/")).status_code,
            (await client.get("/", headers={"X-API-Key": key})).status_code,
        ]

    assert statuses == [204, 204]
    assert seen[0] is None
    assert record["key_id"] in repr(seen[1])
    assert key[-39:] not in repr(seen[1])


async def test_a_revoke_drops_one_key_and_at_once(world: World) -> None:
    """The others stay remembered."""
    first, record = await world.make()
    second, _ = await world.make()
    for key in (first, second):
        await world.http.get("/verify", headers={"X-API-Key": key})
    await world.ask("POST", f"/{record['key_id']}/revoke")

    assert world.keys.authenticate_nowait(first.encode()) is None
    assert world.keys.authenticate_nowait(second.encode()) is not None
    assert (await world.http.get("/verify", headers={"X-API-Key": first})).status_code == 401


async def test_its_variables_are_understood() -> None:
    """Redis without a URL falls back to memory, with a warning; a TTL of 0 means that nothing is remembered."""
    fallen = configuration(from_environ({"APIKEY_CACHE_BACKEND": "redis"}))
    off = configuration(from_environ({"API_KEY_HEADER_CACHE_TTL_SECONDS": "0"}))
    five = configuration(from_environ({"API_KEY_HEADER_CACHE_TTL_SECONDS": "5"}))

    assert fallen.keys.redis == ""
    assert "no REDIS_URL" in fallen.notes[0]
    assert off.keys.consistency == "strict"
    assert five.keys.cache_ttl == 5.0


async def test_changes_are_audited_with_their_actor(world: World) -> None:
    """Who did it, by the key that he came with."""
    _, record = await world.make()
    entries = (await world.ask("GET", f"/audit?key_id={record['key_id']}")).json()["entries"]

    assert [each["action"] for each in entries] == ["issue"]
    assert entries[0]["actor"].startswith("key:")
