"""Reading keys, usage, the audit and the change feed over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from asgi_apikey.management.decoding import parameters_of
from asgi_apikey.management.schemas import Search
from asgi_apikey.models import Criteria
from tests.management.desk import Desk, problem

pytestmark = pytest.mark.anyio

SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()
PAST = "2020-01-01T00:00:00Z"


def test_every_filter_of_a_search_is_a_parameter() -> None:
    """And every parameter one of it, or says where on the list one is."""
    assert set(parameters_of(Search)) == set(Criteria.__annotations__) | {"limit", "cursor"}


async def test_a_key_is_read_with_its_version(desk: Desk) -> None:
    """As the tag of the entity."""
    made = await desk.make(name="ci")

    answer = await desk.ask("GET", f"/{made['record']['key_id']}")

    assert answer.json() == made["record"]
    assert answer.headers["etag"] == '"1"'


async def test_a_key_is_read_from_the_store(desk: Desk) -> None:
    """What this process remembers of it is of no account."""
    made = await desk.make()
    await desk.keys.authenticate(made["key"].encode())
    key_id = made["record"]["key_id"]

    record = await desk.keys.repository.get(key_id)
    assert record is not None
    await desk.keys.repository.delete(key_id, version=1)

    assert problem(await desk.ask("GET", f"/{key_id}")) == (404, "key_not_found")


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, "abc"),
        ({"owner": "alice"}, "ab"),
        ({"tenant": ""}, "ab"),
        ({"tenant": "t1"}, "c"),
        ({"environment": "test"}, "c"),
        ({"status": "active"}, "ab"),
        ({"status": "disabled"}, "c"),
        ({"created_by": "root"}, "abc"),
        ({"name": "b"}, "b"),
        ({"name_contains": "B"}, "b"),
        ({"tags": ["x", "y"]}, "b"),
        ({"scopes": ["orders:read"]}, "ab"),
        ({"any_scopes": ["orders:write", "users"]}, "bc"),
        ({"created_after": PAST}, "abc"),
        ({"created_before": PAST}, ""),
        ({"expires_after": PAST, "expires_before": SOON}, "a"),
        ({"last_used_after": PAST}, "a"),
        ({"last_used_before": PAST}, ""),
        ({"revoked": False}, "abc"),
        ({"revoked": True}, ""),
        ({"endless": True}, "bc"),
        ({"endless": False}, "a"),
        ({"never_used": True}, "bc"),
        ({"idle_for": 0.0}, "abc"),
        ({"idle_for": 86400.5}, ""),
        ({"owner": "nobody"}, ""),
        ({"owner": ""}, ""),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else str(each),
)
async def test_every_filter_works_in_all_three_places(desk: Desk, where: dict[str, Any], found: str) -> None:
    """In the query string, in a body, and in a count."""
    a = await desk.make(name="a", scopes=["orders:read"], expires_in=3600)
    await desk.make(name="b", scopes=["orders:*"], tags=["x", "y"])
    c = await desk.made(name="c", owner="carol", tenant="t1", environment="test", scopes=["users"])
    await desk.ask("POST", f"/{c}/disable")
    await desk.keys.authenticate(a["key"].encode())
    await desk.keys.flush()

    words = {True: "true", False: "false"}
    pairs = [(name, each) for name, value in where.items() for each in (value if isinstance(value, list) else [value])]
    query = "&".join(
        f"{name}={quote(str(words.get(each, each) if isinstance(each, bool) else each))}" for name, each in pairs
    )  # type: ignore[arg-type]
    listed = await desk.ask("GET", f"/?{query}")
    searched = await desk.ask("POST", "/search", {"where": where})
    counted = await desk.ask("POST", "/count", {"where": where})

    assert sorted(key["name"] for key in listed.json()["keys"]) == list(found), listed.text
    assert searched.json() == listed.json()
    assert counted.json() == {"count": len(found)}


async def test_pages_follow_each_other_newest_first(desk: Desk) -> None:
    """By cursor, in either form, until there is none."""
    made = [await desk.made(name=f"k{number}") for number in range(5)]

    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        query = "/?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = (await desk.ask("GET", query)).json()
        searched = await desk.ask("POST", "/search", {"limit": 2} | ({"cursor": cursor} if cursor else {}))
        assert searched.json()["keys"] == page["keys"]
        seen += [key["key_id"] for key in page["keys"]]
        cursor = page["next_cursor"]

    # Those of the same millisecond follow by id.
    assert (sorted(seen), cursor) == (sorted(made), None)
    times = [key["created_at"] for key in (await desk.ask("GET", "/")).json()["keys"]]
    assert times == sorted(times, reverse=True)


async def test_another_order_can_be_asked_for(desk: Desk) -> None:
    """By name, say."""
    for name in "bca":
        await desk.made(name=name)

    up = await desk.ask("GET", "/?sort=name&ascending=true")
    down = await desk.ask("POST", "/search", {"sort": "name"})

    assert [key["name"] for key in up.json()["keys"]] == list("abc")
    assert [key["name"] for key in down.json()["keys"]] == list("cba")


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("colour=red", "colour"),
        ("limit=ten", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("revoked=yes", "revoked"),
        ("revoked=", "revoked"),
        ("status=dead", "status"),
        ("sort=owner", "sort"),
        ("created_after=yesterday", "created_after"),
        ("created_after=1700000000", "created_after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),
        ("idle_for=nan", "idle_for"),
        ("idle_for=inf", "idle_for"),
        ("where=x", "where"),
        ("Limit=5", "?"),
        (f"{'k' * 60}=1", "?"),
        ("limit=0", ""),
        ("limit=101", ""),
        ("cursor=abc", ""),
        ("idle_for=-1", ""),
        ("name=%ff", ""),
        ("a=1&" * 300, ""),
    ],
)
async def test_a_query_that_cannot_be_is_refused_with_the_parameter(quick: Desk, query: str, path: str) -> None:
    """Never ignored: who misspells a filter must not be shown everything."""
    answer = await quick.ask("GET", f"/?{query}")

    assert problem(answer) == (422, "invalid_request")
    assert [error["path"] for error in answer.json()["errors"]] == ([path] if path else [])


async def test_a_cursor_belongs_to_its_search(desk: Desk) -> None:
    """And to who sees the same."""
    for _ in range(2):
        await desk.made(owner="alice")
    cursor = (await desk.ask("GET", "/?limit=1")).json()["next_cursor"]

    assert problem(await desk.ask("GET", f"/?limit=1&owner=alice&cursor={cursor}")) == (422, "invalid_request")
    assert problem(await desk.of("bob").ask("GET", f"/?limit=1&cursor={cursor}")) == (422, "invalid_request")


async def test_everybody_sees_their_own(desk: Desk) -> None:
    """Whatever they filter by; an operator of one tenant sees that, of all tenants all."""
    for owner, tenant in (("alice", ""), ("bob", ""), ("carol", "t1"), ("alice", "t1")):
        await desk.made(name=f"{owner}-{tenant}", owner=owner, tenant=tenant)

    async def names(who: str, where: dict[str, object]) -> set[str]:
        page = (await desk.of(who).ask("POST", "/search", {"where": where})).json()
        count = (await desk.of(who).ask("POST", "/count", {"where": where})).json()["count"]
        assert count == len(page["keys"])
        return {key["name"] for key in page["keys"]}

    assert await names("root", {}) == {"alice-", "bob-", "carol-t1", "alice-t1"}
    assert await names("tenant-root", {}) == {"carol-t1", "alice-t1"}
    assert await names("tenant-root", {"tenant": ""}) == set()
    assert await names("tenant-root", {"owner": "alice"}) == {"alice-t1"}
    assert await names("alice", {}) == {"alice-"}
    assert await names("alice", {"tenant": "t1"}) == set()
    assert await names("alice", {"owner": "bob"}) == set()
    assert await names("alice", {"owner": "alice", "tenant": ""}) == {"alice-"}


async def test_usage_is_told_by_the_hour(desk: Desk) -> None:
    """As far as it has been written."""
    made = await desk.make()
    for _ in range(3):
        await desk.keys.authenticate(made["key"].encode())
    await desk.keys.flush()
    path = f"/{made['record']['key_id']}/usage"

    now = (await desk.ask("GET", path)).json()["hours"]
    before = (await desk.ask("GET", f"{path}?until={PAST}")).json()["hours"]
    since = (await desk.ask("GET", f"{path}?since={PAST}")).json()["hours"]

    assert [(hour["accepted"], hour["refused"]) for hour in now] == [(3, {})]
    assert since == now
    assert before == []


async def test_the_audit_tells_who_did_what_newest_first(desk: Desk) -> None:
    """With the occasion that the request named."""
    key_id = await desk.made()
    await desk.ask("PATCH", f"/{key_id}", {"name": "x"}, headers={"x-request-id": "req-1"})

    entries = (await desk.ask("GET", "/audit")).json()["entries"]

    assert [(each["action"], each["actor"], each["correlation_id"]) for each in entries] == [
        ("amend", "root", "req-1"),
        ("issue", "root", ""),
    ]
    assert entries[0]["fields"] == ["name"]
    assert entries[0]["version"] == 2


async def test_pages_of_the_audit_follow_each_other(desk: Desk) -> None:
    """Down to where the reader has been before."""
    for _ in range(7):
        await desk.made()

    numbers: list[list[int]] = []
    query = "?limit=3&after=1"
    while True:
        page = (await desk.ask("GET", f"/audit{query}")).json()
        numbers.append([each["number"] for each in page["entries"]])
        if page["next_before"] is None:
            break
        query = f"?limit=3&after=1&before={page['next_before']}"

    assert numbers == [[7, 6, 5], [4, 3, 2]]


async def test_owners_see_what_was_done_to_their_keys(desk: Desk) -> None:
    """Naming one; an operator of one tenant sees that tenant's."""
    mine, other = await desk.made(owner="alice"), await desk.made(owner="carol", tenant="t1")

    own = await desk.of("alice").ask("GET", f"/audit?key_id={mine}")
    foreign = await desk.of("alice").ask("GET", f"/audit?key_id={other}")
    every = await desk.of("alice").ask("GET", "/audit")
    tenants = await desk.of("tenant-root").ask("GET", "/audit")

    assert [each["key_id"] for each in own.json()["entries"]] == [mine]
    assert problem(foreign) == (404, "key_not_found")
    assert problem(every) == (403, "grant_exceeded")
    assert [each["key_id"] for each in tenants.json()["entries"]] == [other]


async def test_the_audit_of_a_deleted_key_is_there_for_operators(desk: Desk) -> None:
    """That is what it is for."""
    key_id = await desk.made()
    await desk.ask("DELETE", f"/{key_id}")

    entries = (await desk.ask("GET", f"/audit?key_id={key_id}")).json()["entries"]

    assert [each["action"] for each in entries] == ["delete", "issue"]


async def test_the_change_feed_can_be_followed(desk: Desk) -> None:
    """From a position on; by operators of all tenants alone, for its rows do not say whose the keys are."""
    key_id = await desk.made()
    await desk.ask("POST", f"/{key_id}/disable")

    first = (await desk.ask("GET", "/changes?limit=1")).json()
    second = (await desk.ask("GET", f"/changes?since={first['next_since']}")).json()
    third = (await desk.ask("GET", f"/changes?since={second['next_since']}")).json()

    assert first["changes"] == [{"seq": 1, "key_id": key_id, "version": 1}]
    assert second["changes"] == [{"seq": 2, "key_id": key_id, "version": 2}]
    assert third == {"changes": [], "next_since": 3}
    assert (await desk.of("alice").ask("GET", "/changes")).json()["exceeds"] == ["owners"]
    assert (await desk.of("tenant-root").ask("GET", "/changes")).json()["exceeds"] == ["tenants"]


@pytest.mark.parametrize(
    "path",
    [
        "/audit?limit=0",
        "/audit?limit=1001",
        "/audit?before=0",
        "/audit?after=-1",
        "/changes?since=-1",
        "/changes?since=99999999999999999999",
    ],
)
async def test_positions_have_bounds(quick: Desk, path: str) -> None:
    """As the stores have."""
    assert problem(await quick.ask("GET", path)) == (422, "invalid_request")
