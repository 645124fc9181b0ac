"""The contract of every repository: a plug is one when its test class derives from `RepositoryContract` and passes.

The test class provides the fixture `repository`: an open, empty repository, closed afterwards. Repositories that
only run on asyncio also derive from `CancellationContract`, which cancels natively.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest

from asgi_apikey.errors import InvalidRequest, KeyExists, KeyLimitReached, KeyNotFound, StaleRecord
from asgi_apikey.models import At, Ceiling, Change, KeyQuery, KeyRecord, RecordPatch, Revocation, SortBy, Status, Usage
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.verification import status_of

NOW = 1_700_000_000.0

FULL = KeyRecord(
    key_id="full",
    digest="hmac-sha256$0011aabb$c2VjcmV0",
    version=1,
    owner="acme",
    tenant="north",
    environment="test",
    name="Bücher ☃ 🔑",
    description="line one\nline two\t\x7f' \" ; -- % ? :name $1 {}",
    hint="x9Zq",
    scopes=frozenset({"orders:read", "orders:write", "ümlaut:☃"}),
    created_at=NOW + 0.123456,
    created_by="root",
    not_before=NOW - 0.000001,
    expires_at=NOW + 0.999999,
    disabled_at=0.0,
    revoked_at=-1.5,
    revoked_by="bob",
    revoke_reason="lost",
    replaces="older",
    last_used_at=NOW,
    uses=2**63 - 1,
    lineage="oldest",
    tags=frozenset({"ci", "Ünit"}),
    networks=frozenset({"10.0.0.0/8", "!10.1.0.0/16", "2001:db8::/32"}),
    routes=frozenset({"GET,POST /orders/*", "/a b"}),
    limits=frozenset({"100/15 minutes", "quota 2000/day", "credits 5"}),
    origins=frozenset({"https://app.example.com", "https://*.example.com:8443"}),
    metadata={"plan": "pro", "limits": [1, 2.5, None, True, {"深": "\x00\ud800"}], "big": 2**80},
)


def a_record(key_id: Any = "key1", **columns: Any) -> KeyRecord:
    """Return a plain record, with these columns."""
    return replace(KeyRecord(key_id=key_id, digest=f"sha256${key_id}", owner="acme", created_at=NOW), **columns)


def latest(changes: tuple[Change, ...]) -> int:
    """Return the feed position of the newest of these changes."""
    return changes[-1].seq


UNSTORABLE: list[tuple[str, object]] = [
    ("key_id", ""),
    ("key_id", "a\0b"),
    ("digest", ""),
    ("owner", "\ud800"),
    ("owner", "nul\0"),
    ("owner", None),
    ("name", b"bytes"),
    ("scopes", frozenset({"a b"})),
    ("scopes", frozenset({""})),
    ("scopes", "text"),
    ("version", 0),
    ("version", 2**63),
    ("uses", -1),
    ("uses", 1.5),
    ("created_at", float("nan")),
    ("created_at", None),
    ("expires_at", float("inf")),
    ("expires_at", 1e300),
    ("expires_at", "tomorrow"),
    ("replaces", ""),
    ("metadata", {"x": float("nan")}),
    ("metadata", {1: "x"}),
    ("metadata", {"x": object()}),
    ("metadata", ["x"]),
    ("tags", frozenset({"a b"})),
    ("tags", ["a"]),
    ("networks", frozenset({"10.0.0.1/8"})),
    ("networks", "10.0.0.0/8"),
    ("routes", frozenset({"get /x"})),
    ("routes", frozenset({"/x\n/y"})),
    ("limits", frozenset({"100/fortnight"})),
    ("limits", "100/minute"),
    ("origins", frozenset({"https://example.com/"})),
    ("origins", frozenset({"null"})),
    ("origins", "https://example.com"),
]


class RepositoryContract:
    """What every repository does."""

    pytestmark = pytest.mark.anyio

    # get and add

    async def test_an_unknown_id_has_no_record(self, repository: KeyRepository) -> None:
        """`get` of an id that nobody added answers None."""
        assert await repository.get("nobody") is None

    async def test_every_column_comes_back_as_it_was(self, repository: KeyRepository) -> None:
        """A record with a value in every column is read back equal, digest included."""
        committed = await repository.add(FULL)

        assert await repository.get("full") == committed.record
        assert committed.record.metadata == {
            "plan": "pro",
            "limits": (1, 2.5, None, True, {"深": "\x00\ud800"}),
            "big": 2**80,
        }
        assert replace(committed.record, metadata=FULL.metadata) == FULL

    async def test_defaults_come_back_as_they_were(self, repository: KeyRepository) -> None:
        """Absent values stay absent: None is not 0, and no scopes are not one empty scope."""
        await repository.add(a_record())

        assert await repository.get("key1") == a_record()

    async def test_metadata_read_is_immutable(self, repository: KeyRepository) -> None:
        """What is read can be shared: its mappings and lists cannot be changed."""
        await repository.add(a_record(metadata={"a": {"b": [1]}}))
        record = await repository.get("key1")

        assert record is not None
        with pytest.raises(TypeError):
            record.metadata["a"]["b"] = 2  # type: ignore[index]
        with pytest.raises(AttributeError):
            record.metadata["a"]["b"].append(2)  # type: ignore[index,union-attr,call-overload]

    async def test_later_changes_of_what_was_added_change_nothing(self, repository: KeyRepository) -> None:
        """The store keeps values, not references into the caller's objects."""
        metadata: dict[str, Any] = {"list": [1]}
        await repository.add(a_record(metadata=metadata))
        metadata["list"].append(2)

        record = await repository.get("key1")

        assert record is not None
        assert record.metadata == {"list": (1,)}

    async def test_instants_are_rounded_alike_on_the_way_in_and_out(self, repository: KeyRepository) -> None:
        """`add` returns the record as it will be read: instants are rounded to microseconds at once."""
        committed = await repository.add(a_record(created_at=NOW + 1 / 3, expires_at=NOW + 2 / 3))

        assert committed.record.created_at == NOW + 0.333333
        assert committed.record.expires_at == NOW + 0.666667
        assert await repository.get("key1") == committed.record

    async def test_a_taken_id_is_refused(self, repository: KeyRepository) -> None:
        """`add` of an existing id raises KeyExists and leaves the record alone."""
        await repository.add(a_record(name="first"))

        with pytest.raises(KeyExists) as caught:
            await repository.add(a_record(name="second"))

        assert caught.value.key_id == "key1"
        assert await repository.get("key1") == a_record(name="first")

    @pytest.mark.parametrize(("column", "value"), UNSTORABLE)
    async def test_what_cannot_be_stored_is_refused(
        self, repository: KeyRepository, column: str, value: object
    ) -> None:
        """A value that some database cannot hold is refused by all, by name of its column, and nothing is kept."""
        with pytest.raises(InvalidRequest, match=f"^{column}: "):
            await repository.add(a_record(**{column: value}))

        assert (await repository.find(KeyQuery(), now=NOW)).records == ()

    async def test_endless_metadata_is_refused(self, repository: KeyRepository) -> None:
        """Metadata that contains itself, or is nested beyond what can be written, is refused."""
        loop: dict[str, Any] = {}
        loop["loop"] = loop

        with pytest.raises(InvalidRequest, match=r"^metadata: "):
            await repository.add(a_record(metadata=loop))

    async def test_huge_text_comes_back_as_it_was(self, repository: KeyRepository) -> None:
        """A megabyte of text is stored and read like any other."""
        await repository.add(a_record(description="☃" * 350_000, metadata={"x": "y" * 1_000_000}))

        record = await repository.get("key1")

        assert record is not None
        assert record.description == "☃" * 350_000
        assert record.metadata == {"x": "y" * 1_000_000}

    @pytest.mark.parametrize("key_id", ["", "\0", "key1\0", "\ud800", "KEY1", "key1 ", "' OR 1=1 --", "%", "k_y1"])
    async def test_odd_ids_find_nothing(self, repository: KeyRepository, key_id: str) -> None:
        """An id is compared exactly, and one that cannot be stored is simply unknown, to every method."""
        await repository.add(a_record())

        assert await repository.get(key_id) is None
        with pytest.raises(KeyNotFound):
            await repository.update(key_id, RecordPatch(name="x"), version=1)
        with pytest.raises(KeyNotFound):
            await repository.delete(key_id, version=1)
        assert await repository.replace_digest(key_id, old="sha256$key1", new="x") is False
        await repository.record_usage([Usage(key_id, 1, NOW)])
        assert await repository.get("key1") == a_record()

    # versions and the feed

    async def test_every_change_is_the_next_version_and_the_next_position(self, repository: KeyRepository) -> None:
        """add, update, replace and delete each raise the version by one and append their rows to the feed."""
        added = await repository.add(a_record())
        updated = await repository.update("key1", RecordPatch(name="x"), version=1)
        replaced = await repository.replace("key1", RecordPatch(name="y"), a_record("key2"), version=2)
        deleted = await repository.delete("key1", version=3)

        seq = latest(added.changes)
        assert added.changes == (Change(seq, "key1", 1),)
        assert updated.changes == (Change(seq + 1, "key1", 2),)
        assert replaced.changes == (Change(seq + 2, "key1", 3), Change(seq + 3, "key2", 1))
        assert deleted.changes == (Change(seq + 4, "key1", 4),)

    async def test_a_refused_change_leaves_no_trace_in_the_feed(self, repository: KeyRepository) -> None:
        """Changes that were refused take no feed position."""
        seq = latest((await repository.add(a_record())).changes)
        with pytest.raises(KeyExists):
            await repository.add(a_record())
        with pytest.raises(StaleRecord):
            await repository.update("key1", RecordPatch(name="x"), version=7)
        with pytest.raises(KeyNotFound):
            await repository.delete("key2", version=1)
        with pytest.raises(KeyExists):
            await repository.replace("key1", RecordPatch(name="x"), a_record("key1"), version=1)

        assert latest((await repository.update("key1", RecordPatch(name="x"), version=1)).changes) == seq + 1

    async def test_an_id_that_comes_back_is_above_its_tombstone(self, repository: KeyRepository) -> None:
        """A key added again after its deletion is newer than every verdict about its first life."""
        await repository.add(a_record())
        tombstone = await repository.delete("key1", version=1)

        again = await repository.add(a_record())

        assert tombstone.record.version == 2
        assert again.record.version == 3
        assert again.changes[0].version == 3
        assert await repository.get("key1") == a_record(version=3)

    async def test_a_successor_with_an_old_id_is_above_its_tombstone(self, repository: KeyRepository) -> None:
        """`replace` guards the version of its successor as `add` does."""
        await repository.add(a_record("old"))
        await repository.delete("old", version=1)
        await repository.add(a_record())

        replaced = await repository.replace("key1", RecordPatch(name="x"), a_record("old"), version=1)

        assert replaced.record.version == 3

    async def test_a_higher_version_is_kept(self, repository: KeyRepository) -> None:
        """A record that is added at a version (a restored one) keeps it."""
        committed = await repository.add(a_record(version=41))

        assert committed.record.version == 41
        assert committed.changes[0].version == 41

    # update

    async def test_update_sets_its_columns_and_no_other(self, repository: KeyRepository) -> None:
        """What is in the patch changes, what is not stays, and the answer is the record as it is now."""
        await repository.add(FULL)
        patch = RecordPatch(name="new", scopes=frozenset({"z", "a"}), expires_at=None, metadata={"k": [1]})

        committed = await repository.update("full", patch, version=1)

        expected = replace(
            (await repository.get("full")) or FULL,
            version=2,
            name="new",
            scopes=frozenset({"z", "a"}),
            expires_at=None,
            metadata={"k": (1,)},
        )
        assert committed.record == expected
        assert await repository.get("full") == expected
        assert replace(
            committed.record, version=1, name=FULL.name, scopes=FULL.scopes, expires_at=FULL.expires_at,
            metadata=FULL.metadata,
        ) == FULL  # fmt: skip

    async def test_update_can_set_every_column_of_a_patch(self, repository: KeyRepository) -> None:
        """All columns of RecordPatch reach the store."""
        await repository.add(a_record())
        columns = {
            "name": "n",
            "description": "d",
            "scopes": frozenset({"s"}),
            "not_before": 1.5,
            "expires_at": 2.5,
            "disabled_at": 3.5,
            "revoked_at": 4.5,
            "revoked_by": "b",
            "revoke_reason": "r",
            "metadata": {"m": 1},
            "tags": frozenset({"t"}),
            "networks": frozenset({"10.0.0.0/8"}),
            "routes": frozenset({"GET /x"}),
            "limits": frozenset({"1/second"}),
            "origins": frozenset({"https://a.example"}),
        }

        await repository.update("key1", RecordPatch(**columns), version=1)  # type: ignore[arg-type]

        assert await repository.get("key1") == a_record(version=2, **columns)

    async def test_an_empty_patch_announces(self, repository: KeyRepository) -> None:
        """A patch of nothing still raises the version: whoever holds the record must read it again."""
        await repository.add(a_record())

        assert (await repository.update("key1", RecordPatch(), version=1)).record == a_record(version=2)

    async def test_update_of_nothing_is_not_found(self, repository: KeyRepository) -> None:
        """An unknown id raises KeyNotFound, with the id."""
        with pytest.raises(KeyNotFound) as caught:
            await repository.update("nobody", RecordPatch(name="x"), version=1)

        assert caught.value.key_id == "nobody"

    @pytest.mark.parametrize("version", [-1, 0, 2, 2**63, 2**70, -(2**70)])
    async def test_another_version_is_stale(self, repository: KeyRepository, version: int) -> None:
        """update, replace and delete at any other version raise StaleRecord and change nothing."""
        await repository.add(a_record())
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: repository.update("key1", RecordPatch(name="x"), version=version),
            lambda: repository.replace("key1", RecordPatch(name="x"), a_record("key2"), version=version),
            lambda: repository.delete("key1", version=version),
        ]

        for attempt in attempts:
            with pytest.raises(StaleRecord) as caught:
                await attempt()
            assert caught.value.expected == version

        assert await repository.get("key1") == a_record()
        assert await repository.get("key2") is None

    async def test_an_unstorable_patch_is_refused(self, repository: KeyRepository) -> None:
        """A patch is checked like a record, and changes nothing when it is refused."""
        await repository.add(a_record())
        for patch in (
            RecordPatch(name="a\0"),
            RecordPatch(scopes=frozenset({"a b"})),
            RecordPatch(expires_at=float("nan")),
            RecordPatch(metadata={"x": float("inf")}),
        ):
            with pytest.raises(InvalidRequest):
                await repository.update("key1", patch, version=1)
            with pytest.raises(InvalidRequest):
                await repository.replace("key1", patch, a_record("key2"), version=1)

        assert await repository.get("key1") == a_record()

    async def test_a_revocation_is_for_good(self, repository: KeyRepository) -> None:
        """No patch takes `revoked_at` back, even one that breaks its types."""
        await repository.add(a_record(revoked_at=NOW))

        with pytest.raises(InvalidRequest, match="revoked_at"):
            await repository.update("key1", RecordPatch(revoked_at=None), version=1)  # type: ignore[arg-type]

        assert await repository.get("key1") == a_record(revoked_at=NOW)

    # replace

    async def test_replace_is_both_or_neither(self, repository: KeyRepository) -> None:
        """A successor whose id is taken leaves the record as it was."""
        await repository.add(a_record())
        await repository.add(a_record("taken", name="mine"))

        with pytest.raises(KeyExists) as caught:
            await repository.replace("key1", RecordPatch(revoked_at=NOW), a_record("taken"), version=1)

        assert caught.value.key_id == "taken"
        assert await repository.get("key1") == a_record()
        assert await repository.get("taken") == a_record("taken", name="mine")

    async def test_replace_returns_the_successor(self, repository: KeyRepository) -> None:
        """The answer's record is the successor; the replaced record has the patch."""
        await repository.add(a_record())

        committed = await repository.replace(
            "key1", RecordPatch(expires_at=NOW), a_record("key2", replaces="key1"), version=1
        )

        assert committed.record == a_record("key2", replaces="key1")
        assert await repository.get("key2") == committed.record
        assert await repository.get("key1") == a_record(version=2, expires_at=NOW)

    async def test_replace_of_nothing_adds_no_successor(self, repository: KeyRepository) -> None:
        """An unknown id raises KeyNotFound, and the successor is not kept."""
        with pytest.raises(KeyNotFound):
            await repository.replace("nobody", RecordPatch(), a_record("key2"), version=1)

        assert await repository.get("key2") is None

    # delete

    async def test_delete_returns_what_it_removed(self, repository: KeyRepository) -> None:
        """The answer is the record as it was, at the version of its tombstone."""
        await repository.add(a_record(name="gone"))

        committed = await repository.delete("key1", version=1)

        assert committed.record == a_record(name="gone", version=2)
        assert await repository.get("key1") is None

    async def test_delete_twice_is_not_found(self, repository: KeyRepository) -> None:
        """A record can be deleted once."""
        await repository.add(a_record())
        await repository.delete("key1", version=1)

        with pytest.raises(KeyNotFound):
            await repository.delete("key1", version=2)

    # replace_digest

    async def test_replace_digest_swaps_only_what_it_expects(self, repository: KeyRepository) -> None:
        """The digest changes if it is still the old one; version and feed do not."""
        seq = latest((await repository.add(a_record())).changes)

        assert await repository.replace_digest("key1", old="another", new="new") is False
        assert await repository.replace_digest("key1", old="sha256$key1", new="new") is True
        assert await repository.replace_digest("key1", old="sha256$key1", new="newer") is False
        assert await repository.get("key1") == a_record(digest="new")
        assert latest((await repository.update("key1", RecordPatch(), version=1)).changes) == seq + 1

    async def test_replace_digest_leaves_revoked_keys_alone(self, repository: KeyRepository) -> None:
        """A re-hash that was decided before a revocation does not touch the revoked record."""
        await repository.add(a_record(revoked_at=NOW))

        assert await repository.replace_digest("key1", old="sha256$key1", new="new") is False
        assert await repository.get("key1") == a_record(revoked_at=NOW)

    @pytest.mark.parametrize("new", ["", "a\0", "\ud800"])
    async def test_replace_digest_refuses_what_cannot_be_stored(self, repository: KeyRepository, new: str) -> None:
        """A digest is checked before it is stored, known key or not."""
        with pytest.raises(InvalidRequest, match=r"^digest: "):
            await repository.replace_digest("key1", old="sha256$key1", new=new)

    # record_usage

    async def test_usage_adds_and_never_goes_back(self, repository: KeyRepository) -> None:
        """Uses add up; `last_used_at` is the latest ever reported, in whatever order."""
        await repository.add(a_record("key1"))
        await repository.add(a_record("key2"))

        await repository.record_usage([Usage("key2", 1, NOW + 5), Usage("key1", 2, NOW + 9), Usage("gone", 1, NOW)])
        await repository.record_usage([Usage("key1", 3, NOW + 1.25), Usage("key1", 1, NOW + 2)])

        assert await repository.get("key1") == a_record("key1", uses=6, last_used_at=NOW + 9)
        assert await repository.get("key2") == a_record("key2", uses=1, last_used_at=NOW + 5)
        assert await repository.get("gone") is None

    async def test_usage_takes_no_feed_position(self, repository: KeyRepository) -> None:
        """Usage is not a change of the key: version and feed stay."""
        seq = latest((await repository.add(a_record())).changes)
        await repository.record_usage([Usage("key1", 1, NOW)])

        committed = await repository.update("key1", RecordPatch(), version=1)

        assert committed.changes == (Change(seq + 1, "key1", 2),)

    async def test_empty_usage_is_nothing(self, repository: KeyRepository) -> None:
        """An empty batch is accepted."""
        await repository.record_usage([])

    async def test_usage_is_all_or_nothing(self, repository: KeyRepository) -> None:
        """A batch with an instant that cannot be stored is refused whole."""
        await repository.add(a_record())

        with pytest.raises(InvalidRequest):
            await repository.record_usage([Usage("key1", 1, NOW), Usage("key1", 1, float("nan"))])

        assert await repository.get("key1") == a_record()

    async def test_late_usage_cannot_undo_a_revocation(self, repository: KeyRepository) -> None:
        """Usage counted by a reader of the old record, written after a revoke, changes neither status nor grants.

        A store that writes the whole record back with its usage un-revokes the key here.
        """
        await repository.add(a_record(scopes=frozenset({"a", "b"})))
        stale = await repository.get("key1")
        revoked = await repository.update("key1", RecordPatch(revoked_at=NOW, scopes=frozenset({"a"})), version=1)

        assert stale is not None
        await repository.record_usage([Usage(stale.key_id, 5, NOW + 1)])

        assert await repository.get("key1") == replace(revoked.record, uses=5, last_used_at=NOW + 1)

    # find

    async def test_newest_first_ties_by_id(self, repository: KeyRepository) -> None:
        """Records come newest first; those of one instant in the order of their ids, by code point."""
        for key_id, age in (("b", 5), ("a", 5), ("é", 5), ("Z", 5), ("old", 9), ("new", 1)):
            await repository.add(a_record(key_id, created_at=NOW - age))

        page = await repository.find(KeyQuery(), now=NOW)

        assert [record.key_id for record in page.records] == ["new", "Z", "a", "b", "é", "old"]
        assert page.next_cursor is None

    async def test_found_records_are_whole(self, repository: KeyRepository) -> None:
        """`find` gives the same records as `get`."""
        await repository.add(FULL)

        assert (await repository.find(KeyQuery(), now=NOW)).records == (await repository.get("full"),)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    async def test_pages_are_the_whole_list_cut(self, repository: KeyRepository, limit: int) -> None:
        """Page after page gives every record once, in order, and the last page has no cursor."""
        for number in range(7):
            await repository.add(a_record(f"key{number}", created_at=NOW + number // 3))
        whole = (await repository.find(KeyQuery(limit=100), now=NOW)).records

        pages = await all_pages(repository, KeyQuery(limit=limit))

        assert sum(pages, ()) == whole
        assert all(len(page) == limit for page in pages[:-1])

    async def test_pages_hold_still_while_keys_come_and_go(self, repository: KeyRepository) -> None:
        """Inserts and deletions between two pages neither repeat nor skip a record that was there all along."""
        for number in range(6):
            await repository.add(a_record(f"key{number}", created_at=NOW + number))
        first = await repository.find(KeyQuery(limit=3), now=NOW)
        await repository.add(a_record("newest", created_at=NOW + 99))
        await repository.delete(first.records[-1].key_id, version=1)

        second = await repository.find(KeyQuery(limit=3, cursor=first.next_cursor), now=NOW)

        assert [record.key_id for record in first.records] == ["key5", "key4", "key3"]
        assert [record.key_id for record in second.records] == ["key2", "key1", "key0"]

    async def test_filters_combine(self, repository: KeyRepository) -> None:
        """Owner, tenant and environment select together, exactly; "" is a tenant, not "any"."""
        await repository.add(a_record("a", owner="x"))
        await repository.add(a_record("b", owner="x", tenant="t"))
        await repository.add(a_record("c", owner="x", tenant="t", environment="test"))
        await repository.add(a_record("d", owner="X", tenant="t"))

        async def ids(**filters: Any) -> list[str]:
            page = await repository.find(KeyQuery(**filters), now=NOW)
            return [record.key_id for record in page.records]

        assert await ids(owner="x") == ["a", "b", "c"]
        assert await ids(tenant="t") == ["b", "c", "d"]
        assert await ids(tenant="") == ["a"]
        assert await ids(owner="x", tenant="t", environment="test") == ["c"]
        assert await ids(owner="x%") == []
        assert await ids(owner="\0") == []
        assert await ids(owner="\ud800") == []

    @pytest.mark.parametrize("status", list(Status))
    async def test_status_is_filtered_as_the_rule_says(self, repository: KeyRepository, status: Status) -> None:
        """For every combination of facts, the filter agrees with `status_of`, to the microsecond."""
        moments = (None, NOW - 0.000001, NOW, NOW + 0.000001)
        combinations = [
            a_record(
                f"key{revoked}{disabled}{begins}{ends}",
                revoked_at=NOW if revoked else None,
                disabled_at=NOW if disabled else None,
                not_before=moments[begins],
                expires_at=moments[ends],
            )
            for revoked in (0, 1)
            for disabled in (0, 1)
            for begins in range(4)
            for ends in range(4)
        ]
        for record in combinations:
            await repository.add(record)
        expected = {record.key_id for record in combinations if status_of(record, NOW) is status}

        pages = await all_pages(repository, KeyQuery(status=status, limit=7))

        assert {record.key_id for page in pages for record in page} == expected
        assert expected

    @pytest.mark.parametrize("limit", [0, -1, 101, 2**70])
    async def test_only_sensible_limits(self, repository: KeyRepository, limit: int) -> None:
        """A page has 1 to 100 records; anything else is refused."""
        with pytest.raises(InvalidRequest, match="limit"):
            await repository.find(KeyQuery(limit=limit), now=NOW)

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "!!", "MSxh=", "MSxh\n", "MSxhé", "\0", "LTEsYQ==", "MSw", "A" * 22, "A" * 100, "A" * 10_000],
    )
    async def test_only_our_own_cursors(self, repository: KeyRepository, cursor: str) -> None:
        """A cursor is taken in our own spelling or not at all."""
        with pytest.raises(InvalidRequest, match="cursor"):
            await repository.find(KeyQuery(cursor=cursor), now=NOW)

    # search

    async def test_a_search_gives_what_was_asked_for(self, repository: KeyRepository) -> None:
        """Each filter selects by itself; those of one instant come by id."""
        await repository.add(
            a_record("a", name="100% Sure", tags=frozenset({"ci", "eu"}), scopes=frozenset({"orders:read"}),
                     expires_at=NOW + 5, created_by="ada")
        )  # fmt: skip
        await repository.add(
            a_record("b", name="100_Ways", tags=frozenset({"ci"}), scopes=frozenset({"orders:*", "x"}),
                     revoked_at=NOW, lineage="a")
        )  # fmt: skip
        await repository.add(a_record("c", name="other!", scopes=frozenset({"*"}), last_used_at=NOW - 50))

        async def ids(**filters: Any) -> str:
            page = await repository.find(KeyQuery(**filters), now=NOW)
            found = "".join(record.key_id for record in page.records)
            assert await repository.count(KeyQuery(**filters), now=NOW) == len(found)
            return found

        assert await ids(name="100% Sure") == await ids(name_contains="% s") == await ids(created_by="ada") == "a"
        assert await ids(name_contains="_") == await ids(name_contains="0_w") == await ids(revoked=True) == "b"
        assert await ids(name_contains="!") == await ids(never_used=False) == "c"
        assert await ids(name_contains="100") == await ids(lineage="a") == await ids(tags={"ci"}) == "ab"
        assert await ids(tags={"ci", "eu"}) == await ids(endless=False) == await ids(expires_before=NOW + 9) == "a"
        assert await ids(tags={"CI"}) == await ids(name="sure") == await ids(tags={"c"}) == ""
        assert await ids(scopes={"orders:read"}) == "abc"
        assert await ids(scopes={"orders:read", "x"}) == await ids(any_scopes={"x", "y"}) == "bc"
        assert await ids(scopes={"orders:*"}) == await ids(scopes={"orders:write"}) == "bc"
        assert await ids(any_scopes={"z"}) == await ids(last_used_before=NOW) == "c"
        assert await ids(expires_after=NOW + 5) == "a"
        assert await ids(expires_before=NOW + 5) == await ids(last_used_after=NOW) == ""
        assert await ids(created_after=NOW) == await ids(created_before=NOW + 1) == "abc"
        assert await ids(created_before=NOW) == await ids(name_contains="\0") == await ids(tags={"\ud800"}) == ""

    async def test_idle_is_since_the_last_use_or_the_creation(self, repository: KeyRepository) -> None:
        """A key that was never used has been idle since it was made."""
        await repository.add(a_record("new", created_at=NOW - 10))
        await repository.add(a_record("old", created_at=NOW - 100))
        await repository.add(a_record("used", created_at=NOW - 100, last_used_at=NOW - 10))

        page = await repository.find(KeyQuery(idle_for=100.0), now=NOW)

        assert [record.key_id for record in page.records] == ["old"]
        assert await repository.count(KeyQuery(idle_for=10.0), now=NOW) == 3

    @pytest.mark.parametrize("ascending", [True, False])
    @pytest.mark.parametrize("sort", list(SortBy))
    async def test_every_order_pages_without_gaps(
        self, repository: KeyRepository, sort: SortBy, ascending: bool
    ) -> None:
        """By value, then by id, ascending; never is last as an end and first as a use; pages are the whole list cut."""
        values = [None, NOW - 1, NOW, None, NOW]
        for number, value in enumerate(values):
            await repository.add(
                a_record(f"k{number}", created_at=NOW if value is None else value, expires_at=value, last_used_at=value,
                         name="" if value is None else f"é{value}")
            )  # fmt: skip
        order = {
            SortBy.CREATED_AT: "k1 k0 k2 k3 k4" if ascending else "k0 k2 k3 k4 k1",
            SortBy.EXPIRES_AT: "k1 k2 k4 k0 k3" if ascending else "k0 k3 k2 k4 k1",
            SortBy.LAST_USED_AT: "k0 k3 k1 k2 k4" if ascending else "k2 k4 k1 k0 k3",
            SortBy.NAME: "k0 k3 k1 k2 k4" if ascending else "k2 k4 k1 k0 k3",
        }

        for limit in (1, 2, 100):
            pages = await all_pages(repository, KeyQuery(sort=sort, ascending=ascending, limit=limit))
            assert " ".join(record.key_id for page in pages for record in page) == order[sort]

    async def test_a_search_follows_every_change_of_scopes_and_tags(self, repository: KeyRepository) -> None:
        """What is looked up elsewhere is kept in step: by add, update, replace, delete and a second life."""
        query = KeyQuery(tags=frozenset({"t"}), scopes=frozenset({"s"}))

        async def found() -> list[str]:
            return [record.key_id for record in (await repository.find(query, now=NOW)).records]

        both = {"tags": frozenset({"t"}), "scopes": frozenset({"s"})}
        await repository.add(a_record(**both))
        assert await found() == ["key1"]
        await repository.update("key1", RecordPatch(scopes=frozenset({"other"})), version=1)
        assert await found() == []
        await repository.update("key1", RecordPatch(scopes=frozenset({"s"}), tags=frozenset({"t", "u"})), version=2)
        assert await found() == ["key1"]
        await repository.replace("key1", RecordPatch(tags=frozenset()), a_record("key2", **both), version=3)
        assert await found() == ["key2"]
        await repository.delete("key2", version=1)
        assert await found() == []
        await repository.add(a_record("key2", **both))
        assert await found() == ["key2"]

    @pytest.mark.parametrize(
        "criteria",
        [
            {"tags": "ci"},
            {"scopes": ["a"]},
            {"any_scopes": frozenset({1})},
            {"tags": frozenset(str(number) for number in range(101))},
            {"name_contains": "x" * 256},
            {"owner": 7},
            {"revoked": "no"},
            {"status": "active"},
            {"sort": "digest"},
            {"idle_for": -1.0},
            {"idle_for": float("nan")},
            {"created_after": float("inf")},
            {"created_before": "yesterday"},
        ],
    )
    async def test_what_cannot_be_asked_is_refused(self, repository: KeyRepository, criteria: dict[str, Any]) -> None:
        """With InvalidRequest by all, for a page, a count and a change of many."""
        for ask in (
            lambda: repository.find(KeyQuery(**criteria), now=NOW),
            lambda: repository.count(KeyQuery(**criteria), now=NOW),
            lambda: repository.revoke_all(KeyQuery(**criteria), Revocation(NOW), now=NOW),
        ):
            with pytest.raises(InvalidRequest):
                await ask()  # type: ignore[no-untyped-call]

    # ceilings

    async def test_a_ceiling_counts_what_is_live_after_the_change(self, repository: KeyRepository) -> None:
        """Revoked and expired keys do not count, disabled ones do; one too many changes nothing."""
        ceiling = Ceiling(within=KeyQuery(owner="acme"), most=2, now=NOW)
        await repository.add(a_record("dead", revoked_at=NOW))
        await repository.add(a_record("over", expires_at=NOW))
        await repository.add(a_record("off", disabled_at=NOW))
        await repository.add(a_record("else", owner="other"))
        seq = latest((await repository.add(a_record("one"), ceilings=[ceiling])).changes)

        with pytest.raises(KeyLimitReached) as caught:
            await repository.add(a_record("two"), ceilings=[ceiling])
        with pytest.raises(KeyLimitReached):
            await repository.update("over", RecordPatch(expires_at=None), version=1, ceilings=[ceiling])
        with pytest.raises(KeyLimitReached):
            await repository.replace("one", RecordPatch(), a_record("two"), version=1, ceilings=[ceiling])

        assert caught.value.most == 2
        assert await repository.get("two") is None
        assert await repository.get("over") == a_record("over", expires_at=NOW)
        assert await repository.get("one") == a_record("one")
        done = await repository.replace(
            "one", RecordPatch(expires_at=NOW), a_record("two"), version=1, ceilings=[ceiling]
        )
        assert done.changes[0].seq == seq + 1

    async def test_a_ceiling_of_lineages_counts_a_rotated_key_once(self, repository: KeyRepository) -> None:
        """A key and its successors are one."""
        ceiling = Ceiling(within=KeyQuery(owner="acme"), most=1, now=NOW, lineages=True)
        await repository.add(a_record("one"), ceilings=[ceiling])

        await repository.add(a_record("two", lineage="one"), ceilings=[ceiling])
        with pytest.raises(KeyLimitReached):
            await repository.add(a_record("three"), ceilings=[ceiling])

    async def test_racing_changes_never_exceed_a_ceiling(self, repository: KeyRepository) -> None:
        """Of twenty keys added at once under a ceiling of five, five are there."""
        ceiling = Ceiling(within=KeyQuery(owner="acme"), most=5, now=NOW)

        async def attempt(key_id: str) -> None:
            with suppress(KeyLimitReached):
                await repository.add(a_record(key_id), ceilings=[ceiling])

        await together([partial(attempt, f"key{number}") for number in range(20)])

        assert await repository.count(KeyQuery(), now=NOW) == 5

    # retiring, revoking and pruning many

    async def test_replace_retires_what_nobody_has_used(self, repository: KeyRepository) -> None:
        """In the same transaction, in this order of the feed: the record, the retired one, the successor."""
        await repository.add(a_record())
        await repository.add(a_record("unused"))

        done = await repository.replace(
            "key1", RecordPatch(), a_record("new"), version=1, retired=[At("unused", 1)],
            retirement=Revocation(NOW, "ada", "why"),
        )  # fmt: skip

        assert [(change.key_id, change.version) for change in done.changes] == [("key1", 2), ("unused", 2), ("new", 1)]
        assert await repository.get("unused") == a_record(
            "unused", version=2, revoked_at=NOW, revoked_by="ada", revoke_reason="why"
        )

    async def test_what_was_used_is_not_retired(self, repository: KeyRepository) -> None:
        """Not even at its version, which usage leaves alone; then nothing else is done either."""
        await repository.add(a_record())
        await repository.add(a_record("used"))
        await repository.record_usage([Usage("used", 1, NOW)])

        for at, expected in ((At("used", 1), StaleRecord), (At("used", 2), StaleRecord), (At("none", 1), KeyNotFound)):
            with pytest.raises(expected):
                await repository.replace(
                    "key1", RecordPatch(), a_record("new"), version=1, retired=[at], retirement=Revocation(NOW)
                )

        assert await repository.get("key1") == a_record()
        assert await repository.get("new") is None

    async def test_revoke_all_revokes_what_matches_and_is_not_revoked(self, repository: KeyRepository) -> None:
        """By id, on all pages, each with its change; the first reason of a revoked one stays."""
        for number in range(120):
            await repository.add(a_record(f"key{number:03}", tags=frozenset({"leak"}), owner=f"o{number % 2}"))
        await repository.update("key000", RecordPatch(revoked_at=NOW - 9, revoke_reason="first"), version=1)
        query = KeyQuery(tags=frozenset({"leak"}), owner="o0", limit=1)

        done = await repository.revoke_all(query, Revocation(NOW, "ada", "why"), now=NOW)
        again = await repository.revoke_all(query, Revocation(NOW, "bob", "other"), now=NOW)

        assert [record.key_id for record in done.records] == [f"key{number:03}" for number in range(2, 120, 2)]
        assert [(change.key_id, change.version) for change in done.changes] == [
            (record.key_id, 2) for record in done.records
        ]
        assert {(record.revoked_at, record.revoked_by, record.revoke_reason) for record in done.records} == {
            (NOW, "ada", "why")
        }
        assert await repository.get("key002") == done.records[0]
        assert (again.records, again.changes) == ((), ())
        first = await repository.get("key000")
        assert first is not None
        assert first.revoke_reason == "first"

    async def test_a_guard_stops_a_change_of_many(self, repository: KeyRepository) -> None:
        """What was decided on an older record is not done."""
        await repository.add(a_record(lineage="l"))
        await repository.add(a_record("key2", lineage="l"))
        query = KeyQuery(lineage="l")

        with pytest.raises(StaleRecord):
            await repository.revoke_all(query, Revocation(NOW), now=NOW, guard=At("key1", 2))
        with pytest.raises(KeyNotFound):
            await repository.revoke_all(query, Revocation(NOW), now=NOW, guard=At("\0", 1))

        assert await repository.count(KeyQuery(revoked=True), now=NOW) == 0
        assert len((await repository.revoke_all(query, Revocation(NOW), now=NOW, guard=At("key2", 1))).records) == 2

    async def test_a_change_of_very_many_is_told_as_one(self, repository: KeyRepository) -> None:
        """More than a thousand keys are one row of the feed, for all keys; each has its next version all the same."""
        for number in range(1_001):
            await repository.add(a_record(f"key{number:04}"))

        done = await repository.revoke_all(KeyQuery(owner="acme"), Revocation(NOW), now=NOW)

        assert len(done.records) == 1_001
        assert [(change.key_id, change.version) for change in done.changes] == [("", 0)]
        assert {record.version for record in done.records} == {2}
        gone = await repository.delete("key0000", version=2)
        assert gone.changes[0].seq == done.changes[0].seq + 1
        assert (await repository.add(a_record("key0000"))).record.version == 4

    async def test_prune_deletes_what_is_long_dead(self, repository: KeyRepository) -> None:
        """Revoked or ended by then; a bounded number at a time; a pruned id comes back above its tombstone."""
        await repository.add(a_record("revoked", revoked_at=NOW - 10))
        await repository.add(a_record("ended", expires_at=NOW - 10, tags=frozenset({"t"})))
        await repository.add(a_record("lately", revoked_at=NOW - 9))
        await repository.add(a_record("alive", expires_at=NOW + 10, disabled_at=NOW - 99))

        first = await repository.prune(NOW - 10, limit=1)
        second = await repository.prune(NOW - 10, limit=5)
        third = await repository.prune(NOW - 10, limit=5)

        assert [record.key_id for record in (*first.records, *second.records)] == ["ended", "revoked"]
        assert first.changes[0].version == 2
        assert (third.records, third.changes) == ((), ())
        assert await repository.count(KeyQuery(), now=NOW) == 2
        assert await repository.count(KeyQuery(tags=frozenset({"t"})), now=NOW) == 0
        assert (await repository.add(a_record("ended"))).record.version == 3

    # together

    async def test_of_racing_updates_one_wins(self, repository: KeyRepository) -> None:
        """Fifty updates of the same version: one is made, the others are stale."""
        await repository.add(a_record())
        won: list[str] = []
        stale: list[str] = []

        async def attempt(name: str) -> None:
            try:
                committed = await repository.update("key1", RecordPatch(name=name), version=1)
            except StaleRecord:
                stale.append(name)
            else:
                won.append(committed.record.name)

        await together([partial(attempt, str(number)) for number in range(50)])

        assert len(won) == 1
        assert len(stale) == 49
        assert await repository.get("key1") == a_record(version=2, name=won[0])

    async def test_of_racing_adds_one_wins(self, repository: KeyRepository) -> None:
        """Twenty adds of one id: one is made, the others find it taken."""
        outcomes: list[str] = []

        async def attempt(name: str) -> None:
            try:
                outcomes.append((await repository.add(a_record(name=name))).record.name)
            except KeyExists:
                outcomes.append("taken")

        await together([partial(attempt, str(number)) for number in range(20)])

        assert outcomes.count("taken") == 19

    async def test_racing_changes_never_share_a_feed_position(self, repository: KeyRepository) -> None:
        """Concurrent changes of different keys have different, gapless feed positions."""
        seqs: list[int] = []

        async def attempt(key_id: str) -> None:
            seqs.append(latest((await repository.add(a_record(key_id))).changes))
            seqs.append(latest((await repository.update(key_id, RecordPatch(name="x"), version=1)).changes))

        await together([partial(attempt, f"key{number}") for number in range(20)])

        assert sorted(seqs) == list(range(min(seqs), min(seqs) + 40))

    async def test_concurrent_usage_is_not_lost(self, repository: KeyRepository) -> None:
        """Usage written at the same time adds up, whatever else happens to the key meanwhile."""
        await repository.add(a_record())

        async def change() -> None:
            for version in range(1, 11):
                await repository.update("key1", RecordPatch(name=str(version)), version=version)

        async def count() -> None:
            # A key that somebody else holds is passed over, and said to be.
            while await repository.record_usage([Usage("key1", 2, NOW)]):
                await anyio.lowlevel.checkpoint()

        await together([change, *[count] * 20])

        assert await repository.get("key1") == a_record(version=11, name="10", uses=40, last_used_at=NOW)

    async def test_a_change_is_read_at_once(self, repository: KeyRepository) -> None:
        """A read that begins after a change was acknowledged sees it."""
        await repository.add(a_record())
        for version in range(1, 30):
            await repository.update("key1", RecordPatch(name=str(version)), version=version)
            record = await repository.get("key1")

            assert record is not None
            assert record.name == str(version)

    # open and close

    async def test_open_again_is_nothing(self, repository: KeyRepository) -> None:
        """Opening what is open, with or without `create`, keeps what is there."""
        await repository.add(a_record())
        await repository.open(create=False)
        await repository.open(create=True)

        assert await repository.get("key1") == a_record()

    async def test_closed_opens_again_on_use(self, repository: KeyRepository) -> None:
        """After `close`, even twice, every method works again."""
        await repository.add(a_record())
        await repository.close()
        await repository.close()

        assert await repository.get("key1") == a_record()
        await repository.close()
        assert (await repository.update("key1", RecordPatch(name="x"), version=1)).record.name == "x"

    async def test_no_error_tells_a_digest(self, repository: KeyRepository) -> None:
        """Neither the message nor the attributes of an error contain a digest."""
        await repository.add(a_record(digest="canary"))
        for attempt in (
            lambda: repository.add(a_record(digest="canary")),
            lambda: repository.add(a_record("key2", digest="canary\0")),
            lambda: repository.replace_digest("key1", old="canary", new="canary\0"),
            lambda: repository.update("key1", RecordPatch(), version=9),
        ):
            with pytest.raises((KeyExists, InvalidRequest, StaleRecord)) as caught:
                await attempt()
            assert "canary" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"

    async def test_scope_cancellation_leaves_nothing_half_done(self, repository: KeyRepository) -> None:
        """Changes whose cancel scope is cancelled at any point are made whole or not at all."""
        await repository.add(a_record())
        made = 0
        for patience in range(30):
            record = await repository.get("key1")
            assert record is not None
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(partial(_replace_quietly, repository, record, f"next{patience}"))
                    for _ in range(patience):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
        made = await settled(repository)

        await assert_whole(repository, made)


class CancellationContract:
    """What a repository on asyncio does when its callers are cancelled natively."""

    pytestmark = pytest.mark.anyio

    async def test_a_cancelled_change_is_whole_or_not_at_all(self, repository: KeyRepository) -> None:
        """Cancelled after any number of turns of the loop, a change leaves both of its rows or neither."""
        await repository.add(a_record())
        for turns in range(60):
            record = await repository.get("key1")
            assert record is not None
            task = asyncio.ensure_future(_replace_quietly(repository, record, f"next{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        made = await settled(repository)

        await assert_whole(repository, made)

    async def test_a_storm_of_cancelled_calls_does_no_harm(self, repository: KeyRepository) -> None:
        """Hundreds of reads and writes cancelled all over the place: the repository works as before."""
        await repository.add(a_record())
        for round_ in range(20):
            tasks = [
                asyncio.ensure_future(call)
                for _ in range(5)
                for call in (
                    repository.get("key1"),
                    repository.find(KeyQuery(), now=NOW),
                    repository.record_usage([Usage("key1", 1, NOW)]),
                )
            ]
            for turn, task in enumerate(tasks):
                if turn % 4 == round_ % 4:
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait(tasks)

        record = await repository.get("key1")
        committed = await repository.update("key1", RecordPatch(name="after"), version=1)

        assert record is not None
        assert replace(record, uses=0, last_used_at=None) == a_record()
        assert committed.record.name == "after"


async def all_pages(repository: KeyRepository, query: KeyQuery) -> list[tuple[KeyRecord, ...]]:
    """Follow the cursors from the first page to the last."""
    pages: list[tuple[KeyRecord, ...]] = []
    while True:
        page = await repository.find(query, now=NOW)
        pages.append(page.records)
        if page.next_cursor is None:
            return pages
        query = replace(query, cursor=page.next_cursor)


async def together(calls: list[Callable[[], Coroutine[Any, Any, object]]]) -> None:
    """Run the calls at the same time and wait for all of them."""
    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(call)


async def settled(repository: KeyRepository) -> int:
    """Wait until every change begun so far has ended; return the version of `key1`."""
    for _ in range(100):
        record = await repository.get("key1")
        assert record is not None
        try:
            await repository.update("key1", RecordPatch(), version=record.version)
        except StaleRecord:
            continue
        return record.version + 1
    raise AssertionError("changes never came to an end")


async def assert_whole(repository: KeyRepository, version: int) -> None:
    """Each change of `key1` but the last one, which `settled` made, came with one successor."""
    pages = await all_pages(repository, KeyQuery(limit=100))
    successors = [record for page in pages for record in page if record.key_id != "key1"]

    assert len(successors) == version - 2


async def _replace_quietly(repository: KeyRepository, record: KeyRecord, successor: str) -> None:
    with suppress(StaleRecord):
        await repository.replace(
            record.key_id, RecordPatch(name=successor), a_record(successor), version=record.version
        )
