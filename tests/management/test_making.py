"""Issuing and rotating over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import InvalidKey
from tests.management.desk import Desk, by_header, client_of, memory_keys, problem

pytestmark = pytest.mark.anyio

FULL = {
    "name": "ci",
    "owner": "acme",
    "tenant": "t1",
    "environment": "live",
    "description": "of the\nbuild",
    "scopes": ["orders:read", "orders:*"],
    "not_before": "2027-01-01T00:00:00+02:00",
    "expires_at": "2031-01-01T00:00:00Z",
    "metadata": {"seats": 5, "of": {"who": None}},
    "tags": ["build"],
    "networks": ["10.0.0.0/8"],
    "routes": ["GET /orders/*"],
    "origins": ["https://app.example.com"],
}


async def test_a_key_is_made_as_asked_for_and_shown_once(desk: Desk) -> None:
    """All fields; instants come back in UTC, collections sorted."""
    answer = await desk.ask("POST", "/", FULL)

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"/{made['record']['key_id']}"
    assert answer.headers["etag"] == '"1"'
    assert made["key"].startswith("ak_live_")
    assert made["shown_before"] is False
    told = {name: made["record"][name] for name in FULL}
    assert told == FULL | {"scopes": ["orders:*", "orders:read"], "not_before": "2026-12-31T22:00:00Z"}
    assert made["record"]["created_by"] == "root"
    assert made["record"]["status"] == "not_yet_valid"


async def test_a_made_key_works(desk: Desk) -> None:
    """It is the same key that requests are let in with."""
    made = await desk.make(scopes=["orders:read"])

    principal = await desk.keys.authenticate(made["key"].encode())

    assert principal.key_id == made["record"]["key_id"]


@pytest.mark.parametrize(
    ("ends", "seconds"), [({"expires_in_days": 365}, 365 * 86_400), ({"expires_in": 90.5}, 90.5), ({}, None)]
)
async def test_an_end_may_be_told_as_a_span(quick: Desk, ends: dict[str, object], seconds: float | None) -> None:
    """In seconds, or in days."""
    record = (await quick.make(**ends))["record"]

    if seconds is None:
        assert record["expires_at"] is None
    else:
        lifetime = datetime.fromisoformat(record["expires_at"]) - datetime.fromisoformat(record["created_at"])
        assert lifetime == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": None}, "name"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 366}, "expires_in_days"),
        ({"expires_in_days": 1.5}, "expires_in_days"),
        ({"expires_at": "2031-01-01"}, "expires_at"),
        ({"expires_at": "2031-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": 1_900_000_000}, "expires_at"),
        ({"expires_in": 5, "expires_in_days": 5}, "expires_at"),
        ({"expires_in": 5, "expires_at": "2031-01-01T00:00:00Z"}, "expires_at"),
        ({"scopes": "orders:read"}, "scopes"),
        ({"scopes": [1]}, "scopes[0]"),
        ({"metadata": []}, "metadata"),
        ({"created_by": "somebody"}, "created_by"),
        ({"key_id": "AAAAAAAAAAAA"}, "key_id"),
        ({"digest": "sha256$00"}, "digest"),
        ({"A key would stand here: " + "x" * 60: 1}, "?"),
    ],
)
async def test_what_the_schema_does_not_allow_is_refused_with_its_place(
    quick: Desk, fields: dict[str, object], path: str
) -> None:
    """A field that is not in it included; its name is repeated only where it looks like one."""
    answer = await quick.ask("POST", "/", {"name": "a", "owner": "o"} | fields)

    assert problem(answer) == (422, "invalid_request")
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert (await quick.ask("POST", "/count", {})).json() == {"count": 0}


@pytest.mark.parametrize(
    "fields",
    [
        {"owner": " "},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_in": -1},
        {"expires_in": 1e300},
        {"scopes": ["a b"]},
        {"scopes": [f"s{n}" for n in range(101)]},
        {"environment": "LIVE"},
        {"networks": ["10.0.0.1/8"]},
        {"routes": ["orders"]},
        {"origins": ["https://example.com/"]},
        {"tags": ["a b"]},
        {"description": "\x00"},
        {"metadata": {"a": "x" * 9_000}},
        {"tenant": "t" * 256},
    ],
)
async def test_what_a_key_cannot_have_is_refused_in_our_words(quick: Desk, fields: dict[str, object]) -> None:
    """By the same rules as in Python."""
    answer = await quick.ask("POST", "/", {"name": "a", "owner": "o"} | fields)

    assert problem(answer) == (422, "invalid_request")
    assert len(answer.json()["detail"]) > 10


async def test_an_operator_says_whose_key_it_is(quick: Desk) -> None:
    """An owner needs not."""
    nobody = await quick.ask("POST", "/", {"name": "a"})
    own = await quick.of("alice").ask("POST", "/", {"name": "a"})

    assert problem(nobody) == (422, "invalid_request")
    assert own.json()["record"]["owner"] == "alice"
    assert own.json()["record"]["tenant"] == ""


@pytest.mark.parametrize(
    ("who", "fields", "exceeds"),
    [
        ("alice", {"owner": "bob"}, ["owners"]),
        ("alice", {"tenant": "t1"}, ["tenants"]),
        ("alice", {"environment": "test"}, ["environments"]),
        ("alice", {"scopes": ["apikeys:read"]}, ["scopes"]),
        ("little", {"scopes": ["orders:read", "orders:write"]}, ["scopes"]),
        ("little", {"scopes": ["*"], "owner": "bob"}, ["scopes", "owners"]),
    ],
)
async def test_nobody_hands_on_more_than_he_has(
    desk: Desk, who: str, fields: dict[str, object], exceeds: list[str]
) -> None:
    """And is told in which respects."""
    answer = await desk.of(who).ask("POST", "/", {"name": "a"} | fields)

    assert problem(answer) == (403, "grant_exceeded")
    assert answer.json()["exceeds"] == exceeds
    assert (await desk.ask("POST", "/count", {})).json() == {"count": 0}


async def test_a_limit_of_keys_is_told(anyio_backend: str) -> None:
    """With how many there may be."""
    keys = memory_keys(max_keys_per_owner=1)
    async with client_of(keys.management(by_header)) as client:
        desk = Desk(keys, client)
        await desk.make()
        answer = await desk.ask("POST", "/", {"name": "a", "owner": "alice"})

    assert problem(answer) == (409, "key_limit_reached")
    assert answer.json()["most"] == 1


async def test_rotating_makes_a_successor_and_tells_about_both(desk: Desk) -> None:
    """The replaced key has ended where no grace is given, and the receipt says that it holds."""
    made = await desk.make(scopes=["a"])

    answer = await desk.ask("POST", f"/{made['record']['key_id']}/rotate", {"grace": 0})

    rotated = answer.json()
    assert answer.status_code == 201
    assert rotated["record"]["replaces"] == made["record"]["key_id"]
    assert rotated["record"]["scopes"] == ["a"]
    assert rotated["receipt"]["confirmed"] is True
    assert (await desk.keys.authenticate(rotated["key"].encode())).key_id == rotated["record"]["key_id"]
    with pytest.raises(InvalidKey):
        await desk.keys.authenticate(made["key"].encode())


async def test_rotating_needs_no_body(desk: Desk) -> None:
    """Then the replaced key works for another day."""
    made = await desk.make()

    answer = await desk.ask("POST", f"/{made['record']['key_id']}/rotate")

    replaced = (await desk.ask("GET", f"/{made['record']['key_id']}")).json()
    assert answer.status_code == 201
    assert replaced["status"] == "active"
    assert datetime.fromisoformat(replaced["expires_at"]) > datetime.now(UTC) + timedelta(hours=23)


async def test_nobody_rotates_into_more_than_he_has(desk: Desk) -> None:
    """The successor of a key with more rights, or a longer life, than its manager would be such a key."""
    key_id = await desk.made(scopes=["orders:write"])

    answer = await desk.of("little").ask("POST", f"/{key_id}/rotate")

    assert problem(answer) == (403, "grant_exceeded")
    assert (await desk.ask("GET", f"/{key_id}")).json()["version"] == 1


async def test_only_an_active_key_can_be_rotated(quick: Desk) -> None:
    """A revoked one is answered with why."""
    key_id = await quick.made()
    await quick.ask("POST", f"/{key_id}/revoke")

    answer = await quick.ask("POST", f"/{key_id}/rotate")

    assert problem(answer) == (422, "invalid_request")
    assert "revoked" in answer.json()["detail"]


async def test_the_location_is_below_where_the_api_is_mounted(anyio_backend: str) -> None:
    """As the client knows it."""
    keys: APIKeys = memory_keys()

    async def app(scope: object, receive: object, send: object) -> None: ...

    async with client_of(keys.protect(app, mount={"/api-keys": keys.management(by_header)})) as client:
        desk = Desk(keys, client)
        made = await desk.ask("POST", "/api-keys", {"name": "a", "owner": "o"})
        found = await desk.ask("GET", made.headers["location"])

    assert made.headers["location"].startswith("/api-keys/")
    assert found.json()["name"] == "a"
