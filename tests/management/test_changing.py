"""Changing keys over HTTP."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidKey
from asgi_apikey.management.changing import merged
from tests.management.desk import Desk, problem

pytestmark = pytest.mark.anyio

CHANGES = ["PATCH ", "DELETE ", "POST /rotate", "POST /revoke", "POST /disable", "POST /enable"]
OBJECTS = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


async def change(desk: Desk, verb: str, key_id: str, **options: Any) -> Any:
    """Ask for one of the changes."""
    method, _, suffix = verb.partition(" ")
    return await desk.ask(method, f"/{key_id}{suffix}", {} if method == "PATCH" else None, **options)


async def test_a_patch_changes_what_is_given_and_empties_what_is_null(desk: Desk) -> None:
    """RFC 7396: what is left out stays."""
    key_id = await desk.made(
        description="old", scopes=["a"], tags=["t"], routes=["/x"], expires_in=60, metadata={"a": {"b": 1, "c": 2}}
    )

    answer = await desk.ask(
        "PATCH",
        f"/{key_id}",
        {"name": "new", "description": None, "scopes": ["b"], "tags": None, "expires_at": None,
         "metadata": {"a": {"b": None, "d": [None]}, "e": "f"}},
    )  # fmt: skip

    record = answer.json()["record"]
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"2"'
    assert (record["name"], record["description"], record["scopes"], record["tags"]) == ("new", "", ["b"], [])
    assert (record["expires_at"], record["routes"]) == (None, ["/x"])
    assert record["metadata"] == {"a": {"c": 2, "d": [None]}, "e": "f"}
    assert (await desk.ask("GET", f"/{key_id}")).json() == record


async def test_null_empties_all_metadata(desk: Desk) -> None:
    """And a metadata object alone leaves all else as it is."""
    key_id = await desk.made(metadata={"a": 1})

    answer = await desk.ask("PATCH", f"/{key_id}", {"metadata": None})

    assert answer.json()["record"]["metadata"] == {}


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_as_its_rfc_defines_it(target: Any, patch: Any) -> None:
    """Against the pseudo code of RFC 7396 section 2, written down once more."""

    def merge_patch(target: Any, patch: Any) -> Any:
        if not isinstance(patch, dict):
            return patch
        target = dict(target) if isinstance(target, dict) else {}
        for name, value in patch.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = merge_patch(target.get(name), value)
        return target

    if isinstance(target, dict) and isinstance(patch, dict):
        assert merged(target, patch) == merge_patch(target, patch)


async def test_metadata_that_is_merged_at_the_same_time_is_not_lost(desk: Desk) -> None:
    """Each patch is applied to what the others have left."""
    key_id = await desk.made()

    async def add(name: str) -> None:
        assert (await desk.ask("PATCH", f"/{key_id}", {"metadata": {name: 1}})).status_code == 200

    async with anyio.create_task_group() as tasks:
        for name in "abcdef":
            tasks.start_soon(add, name)

    assert (await desk.ask("GET", f"/{key_id}")).json()["metadata"] == dict.fromkeys("abcdef", 1)


@pytest.mark.parametrize(
    "patch", [{"owner": "bob"}, {"tenant": "x"}, {"version": 3}, {"revoked_at": None}, {"name": None}]
)
async def test_what_no_patch_can_change_is_refused(quick: Desk, patch: dict[str, object]) -> None:
    """With the field's name."""
    key_id = await quick.made()

    answer = await quick.ask("PATCH", f"/{key_id}", patch)

    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["path"] == next(iter(patch))


@pytest.mark.parametrize(
    ("patch", "exceeds"),
    [
        ({"scopes": ["orders:read", "orders:write"]}, "scopes"),
        ({"scopes": ["*"]}, "scopes"),
    ],
)
async def test_nobody_amends_into_more_than_he_has(desk: Desk, patch: dict[str, object], exceeds: str) -> None:
    """The key as it would be is compared, not what the patch says."""
    key_id = await desk.made(scopes=["orders:read"])

    answer = await desk.of("little").ask("PATCH", f"/{key_id}", patch)

    assert problem(answer) == (403, "grant_exceeded")
    assert answer.json()["exceeds"] == [exceeds]
    assert (await desk.ask("GET", f"/{key_id}")).json()["scopes"] == ["orders:read"]


async def test_nobody_switches_on_what_can_do_more_than_he(desk: Desk) -> None:
    """Switching it off takes no grant."""
    key_id = await desk.made(scopes=["orders:write"])

    off = await desk.of("little").ask("POST", f"/{key_id}/disable")
    on = await desk.of("little").ask("POST", f"/{key_id}/enable")

    assert off.json()["record"]["status"] == "disabled"
    assert problem(on) == (403, "grant_exceeded")
    assert (await desk.ask("POST", f"/{key_id}/enable")).json()["record"]["status"] == "active"


async def test_every_change_has_a_receipt(desk: Desk) -> None:
    """That says whether it holds, and for whom."""
    for verb in CHANGES:
        answer = await change(desk, verb, await desk.made())

        receipt = answer.json()["receipt"]
        assert receipt["confirmed"] is True, verb
        assert receipt["workers"] == receipt["acknowledged"] == 1
        assert receipt["max_staleness"] == 0.0
        assert 0 <= receipt["elapsed"] < 60


async def test_a_change_need_not_be_waited_for(desk: Desk) -> None:
    """`wait=0` answers when it is committed: 202, not confirmed; it is announced all the same."""
    for verb in CHANGES:
        made = await desk.make()
        key_id = made["record"]["key_id"]
        await desk.keys.authenticate(made["key"].encode())

        answer = await change(desk, verb, key_id, params={"wait": "0"})

        assert answer.status_code == (201 if "rotate" in verb else 202), verb
        assert answer.json()["receipt"]["confirmed"] is False
        if "revoke" in verb:
            assert (await desk.ask("GET", f"/{key_id}")).json()["status"] == "revoked"
            with pytest.raises(InvalidKey):
                await desk.keys.authenticate(made["key"].encode())


async def test_a_bulk_change_need_not_be_waited_for(desk: Desk) -> None:
    """Nor does it have to be confirmed."""
    await desk.made()

    answer = await desk.ask("POST", "/revoke?wait=0", {"where": {"owner": "alice"}})

    assert answer.status_code == 202
    assert answer.json()["matched"] == 1
    assert answer.json()["receipt"]["confirmed"] is False


@pytest.mark.parametrize("verb", CHANGES)
async def test_a_change_of_another_version_is_not_made(quick: Desk, verb: str) -> None:
    """`If-Match` is honoured by every one of them; `*` is any version."""
    key_id = await quick.made()

    for other in ('"2"', 'W/"1"', "1", '"1", "2"', '"x"', '""', '"' + "9" * 40 + '"'):
        stale = await change(quick, verb, key_id, headers={"if-match": other})
        assert problem(stale) == (412, "stale_record"), other
    assert (await quick.ask("GET", f"/{key_id}")).headers["etag"] == '"1"'
    right = await change(quick, verb, key_id, headers={"if-match": '"1"'})
    assert right.status_code in (200, 201), right.text


async def test_any_version_is_a_version(quick: Desk) -> None:
    """RFC 9110: `*` matches whatever there is."""
    key_id = await quick.made()

    assert (await change(quick, "POST /disable", key_id, headers={"if-match": "*"})).status_code == 200
    assert problem(await change(quick, "POST /disable", "absent", headers={"if-match": "*"})) == (404, "key_not_found")


async def test_of_many_who_read_the_same_version_one_changes_it(desk: Desk) -> None:
    """The others are told that it has changed."""
    key_id = await desk.made()
    statuses = []

    async def rename(name: str) -> None:
        answer = await desk.ask("PATCH", f"/{key_id}", {"name": name}, headers={"if-match": '"1"'})
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(rename, f"name {number}")

    assert sorted(statuses) == [200, *[412] * 7]
    assert (await desk.ask("GET", f"/{key_id}")).json()["version"] == 2


@pytest.mark.parametrize("verb", [*CHANGES, "GET ", "GET /usage"])
async def test_what_is_foreign_is_as_absent(desk: Desk, verb: str) -> None:
    """The same bytes, for an owner and for an operator of another tenant; whatever version is named."""
    key_id = await desk.made(owner="alice")

    absent = await change(desk.of("bob"), verb, "AAAAAAAAAAAA")
    for who in ("bob", "tenant-root"):
        for headers in ({}, {"if-match": '"1"'}, {"if-match": '"2"'}):
            foreign = await change(desk.of(who), verb, key_id, headers=headers)
            assert problem(foreign) == (404, "key_not_found")
            assert foreign.content == absent.content
    assert (await desk.ask("GET", f"/{key_id}")).json()["version"] == 1


async def test_revoking_takes_the_lineage_unless_told_otherwise(desk: Desk) -> None:
    """Who and why are kept."""
    first = await desk.made()
    second = (await desk.ask("POST", f"/{first}/rotate")).json()["record"]["key_id"]

    alone = await desk.ask("POST", f"/{first}/revoke", {"reason": "leaked", "only": True})
    assert (await desk.ask("GET", f"/{second}")).json()["status"] == "active"
    both = await desk.ask("POST", f"/{first}/revoke", {"reason": "again"})

    assert (await desk.ask("GET", f"/{second}")).json()["status"] == "revoked"
    assert alone.json()["record"]["revoke_reason"] == both.json()["record"]["revoke_reason"] == "leaked"
    assert alone.json()["record"]["revoked_by"] == "root"


async def test_revoking_twice_is_confirmed_twice(desk: Desk) -> None:
    """The first answer may have been lost."""
    key_id = await desk.made()

    answers = [await desk.ask("POST", f"/{key_id}/revoke") for _ in range(2)]

    assert [answer.json()["receipt"]["confirmed"] for answer in answers] == [True, True]


async def test_deleting_leaves_nothing(desk: Desk) -> None:
    """But an answer that tells what it was."""
    key_id = await desk.made(name="gone")

    answer = await desk.ask("DELETE", f"/{key_id}")

    assert answer.json()["record"]["name"] == "gone"
    assert problem(await desk.ask("GET", f"/{key_id}")) == (404, "key_not_found")
    assert problem(await desk.ask("DELETE", f"/{key_id}")) == (404, "key_not_found")


async def test_many_are_revoked_at_once_after_a_rehearsal(desk: Desk) -> None:
    """A dry run counts and changes nothing."""
    mine = {await desk.made(tags=["old"]) for _ in range(3)}
    await desk.made()

    dry = await desk.ask("POST", "/revoke", {"where": {"tags": ["old"]}, "dry_run": True})
    wet = await desk.ask("POST", "/revoke", {"where": {"tags": ["old"]}, "reason": "spring cleaning"})

    assert (dry.json()["matched"], dry.json()["key_ids"], dry.json()["dry_run"]) == (3, [], True)
    assert dry.json()["receipt"]["confirmed"] is False
    assert (wet.json()["matched"], set(wet.json()["key_ids"])) == (3, mine)
    assert wet.json()["receipt"]["confirmed"] is True
    assert (await desk.ask("POST", "/count", {"where": {"revoked": False}})).json() == {"count": 1}


@pytest.mark.parametrize("who", ["root", "alice", "tenant-root"])
@pytest.mark.parametrize(
    "body",
    [{"where": {}}, {"where": {"tags": []}}, {}, {"where": {"owner": None}}, {"where": {"name_contains": ""}}],
)
async def test_nobody_revokes_everything_by_leaving_out_the_filters(desk: Desk, who: str, body: dict[str, Any]) -> None:
    """That one sees only one's own keys is not a filter: it was not said. A blank field of a form says nothing."""
    await desk.made()

    answer = await desk.of(who).ask("POST", "/revoke", body)

    assert problem(answer) == (422, "invalid_request")
    assert (await desk.ask("POST", "/count", {"where": {"revoked": True}})).json() == {"count": 0}


async def test_many_of_others_are_not_revoked(desk: Desk) -> None:
    """Filters of an owner, or of an operator of one tenant, reach no further than they see."""
    await desk.made(owner="alice", tags=["x"])
    await desk.made(owner="bob", tags=["x"])

    foreign = await desk.of("bob").ask("POST", "/revoke", {"where": {"owner": "alice"}})
    tenant = await desk.of("tenant-root").ask("POST", "/revoke", {"where": {"tags": ["x"]}})
    both = await desk.of("bob").ask("POST", "/revoke", {"where": {"tags": ["x"]}})

    assert [each.json()["matched"] for each in (foreign, tenant, both)] == [0, 0, 1]
    assert (await desk.ask("POST", "/count", {"where": {"revoked": True}})).json() == {"count": 1}
