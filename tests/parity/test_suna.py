"""Parity with suna's API-key service: what its users had is here, or its page says why not."""

from __future__ import annotations

import pytest

from asgi_apikey.authenticator import Limits
from asgi_apikey.errors import ConfigurationError, ExpiredKey, UnknownKey, WrongSecret
from asgi_apikey.models import DAY, MINUTE
from asgi_apikey.settings import Settings, configuration
from asgi_apikey.settings.given import from_environ
from tests.parity.conftest import World, missing

PAGE = "coming-from-suna.md"
THERE = {
    *("POST /api-keys", "GET /api-keys", "PATCH /api-keys/{id}/revoke", "DELETE /api-keys/{id}"),
    *("title", "expires_in_days", "secret_key", "public_key", "account_id", "status", "validate_api_key"),
    *("create_api_key", "list_api_keys", "revoke_api_key", "delete_api_key", "APIKeyValidationResult"),
    *("API_KEY_SECRET", "API_KEY_LAST_USED_THROTTLE_SECONDS", "KORTIX_ADMIN_API_KEY", "X-Admin-Api-Key"),
    "_clear_throttle",
}

pytestmark = pytest.mark.anyio


async def test_the_page_names_all_that_was_there() -> None:
    """Each endpoint, field, variable and method."""
    assert missing(PAGE, THERE) == set()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "x" * 255}, 201),
        ({"name": "x" * 256}, 422),
        ({"name": ""}, 422),
        ({"name": " \t"}, 422),
        ({"expires_in_days": 1}, 201),
        ({"expires_in_days": 365}, 201),
        ({"expires_in_days": 0}, 422),
        ({"expires_in_days": 366}, 422),
        ({"title": "x"}, 422),
    ],
    ids=str,
)
async def test_titles_and_lifetimes_have_its_bounds(world: World, fields: dict[str, object], status: int) -> None:
    """1 to 255 characters, not blank; 1 to 365 days."""
    answer = await world.ask("POST", "/", {"name": "x", "owner": "acme"} | fields)

    assert answer.status_code == status


async def test_days_are_counted_from_now(world: World) -> None:
    """As there."""
    _, record = await world.make(expires_in_days=30)
    found = await world.keys.get(record["key_id"])

    assert found.expires_at == world.clock.wall() + 30 * DAY


async def test_what_is_another_accounts_is_404(world: World) -> None:
    """For every verb, and left out of the list, which is newest first."""
    _, foreign = await world.make(owner="bolt")
    own = []
    for _ in range(3):
        world.clock.advance(MINUTE)
        own.append((await world.make(key=world.owner))[1]["key_id"])
    statuses = [
        (await world.ask(method, f"/{foreign['key_id']}{verb}", key=world.owner)).status_code
        for method, verb in (("GET", ""), ("POST", "/revoke"), ("DELETE", ""))
    ]
    listed = (await world.ask("GET", "/", key=world.owner)).json()["keys"]

    assert statuses == [404, 404, 404]
    assert [each["key_id"] for each in listed][:3] == own[::-1]
    assert {each["owner"] for each in listed} == {"acme"}


async def test_every_bad_key_looks_the_same(world: World) -> None:
    """Also a revoked one with the right secret, an expired one, and a pair of the old shape."""
    revoked, record = await world.make()
    await world.ask("POST", f"/{record['key_id']}/revoke")
    expired, _ = await world.make(expires_in=60.0)
    world.clock.advance(61.0)
    pair = f"pk_{'a' * 32}:sk_{'b' * 32}"
    answers = [
        await world.http.get("/verify", headers={"X-API-Key": key})
        for key in (revoked, expired, revoked[:-1] + "x", pair, "nonsense")
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}


async def test_its_times_can_be_set() -> None:
    """Four of them, one per outcome."""
    limits = Limits(cache_ttl=120, unknown_ttl=300, wrong_secret_ttl=300, ended_ttl=3600)

    assert [limits.ttl_of(each) for each in (UnknownKey(), WrongSecret(), ExpiredKey())] == [300, 300, 3600]


async def test_last_used_is_written_every_quarter_of_an_hour() -> None:
    """Its variable is understood, its value our own default."""
    read = configuration(from_environ({"API_KEY_LAST_USED_THROTTLE_SECONDS": "60"})).keys

    assert read.last_used_resolution == 60.0
    assert Settings().last_used_resolution is None  # which is 900


async def test_an_example_secret_is_refused() -> None:
    """Whoever read its source could make keys."""
    from asgi_apikey.service.wiring import keys_of

    given = configuration(from_environ({"API_KEY_SECRET": "default-secret-key-change-in-production"})).keys

    with pytest.raises(ConfigurationError):
        keys_of(given)
