"""The contract of moving keys: what goes out comes in again, once, and never over what is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asgi_apikey.audit import AuditChain
from asgi_apikey.auditor import Auditor
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyQuery, KeyRecord, RecordPatch
from tests.contracts.audit import Vault
from tests.contracts.repository import FULL, NOW, a_record


async def everything(vault: Vault, limit: int = 7) -> list[KeyRecord]:
    """Read all records, page by page."""
    records: list[KeyRecord] = []
    while page := await vault.repository.archive.records(records[-1].key_id if records else "", limit=limit):
        records += page
    return records


class ArchiveContract:
    """What every repository does with many records at a time."""

    pytestmark = pytest.mark.anyio

    async def test_all_records_come_out_in_order(self, vault: Vault) -> None:
        """By key id, whole, each once."""
        added = [(await vault.repository.add(a_record(f"key{number:02}"))).record for number in range(20)]
        added.append((await vault.repository.add(FULL)).record)

        assert await everything(vault) == sorted(added, key=lambda each: each.key_id)

    async def test_many_records_go_in_at_once(self, vault: Vault) -> None:
        """Each with its row of the feed and of the audit, and found by search."""
        records = [a_record(f"key{number:03}", scopes=frozenset({"s"})) for number in range(250)]
        imported = await vault.repository.archive.put(records)
        report = await Auditor(vault.repository.audit, AuditChain()).verify()
        found = await vault.repository.find(KeyQuery(scopes=frozenset({"s"}), limit=100), now=NOW)

        seqs = [each.seq for each in imported.changes]
        assert await everything(vault, 100) == records
        assert seqs == list(range(seqs[0], seqs[0] + 250))
        assert {(each.key_id, each.version) for each in imported.changes} == {(each.key_id, 1) for each in records}
        assert (report.sound, report.entries) == (True, 250)
        assert len(found.records) == 100

    async def test_every_column_is_kept(self, vault: Vault) -> None:
        """Usage and version too: it is the same key, somewhere else."""
        record = replace(FULL, version=41)
        await vault.repository.archive.put([record])
        kept = await vault.repository.get("full")

        assert kept is not None
        assert replace(kept, metadata=record.metadata) == record

    async def test_what_is_there_stays(self, vault: Vault) -> None:
        """The same key is present, however it was changed since; another one of the same id is a conflict."""
        await vault.repository.add(a_record("same"))
        await vault.repository.update("same", RecordPatch(revoked_at=NOW), version=1)
        await vault.repository.add(a_record("other"))
        before = await everything(vault)
        imported = await vault.repository.archive.put([a_record("same"), a_record("other", digest="sha256$else")])

        assert (imported.changes, imported.present, imported.conflicting) == ((), ("same",), ("other",))
        assert await everything(vault) == before
        assert (await vault.verify(chain=AuditChain())).entries == 3

    async def test_one_id_twice_is_one_key(self, vault: Vault) -> None:
        """The first one is it."""
        imported = await vault.repository.archive.put(
            [a_record("a", name="first"), a_record("a", name="second"), a_record("a", digest="sha256$else")]
        )

        assert (len(imported.changes), imported.present, imported.conflicting) == (1, ("a",), ("a",))
        assert await vault.repository.get("a") == a_record("a", name="first")

    async def test_a_deleted_key_comes_back_above_its_tombstone(self, vault: Vault) -> None:
        """Every verdict about its first life is older."""
        await vault.repository.add(a_record("a"))
        await vault.repository.delete("a", version=1)
        imported = await vault.repository.archive.put([a_record("a"), a_record("b", version=9)])

        assert [each.version for each in imported.changes] == [3, 9]
        assert await vault.repository.get("a") == a_record("a", version=3)

    async def test_one_bad_record_stops_the_batch(self, vault: Vault) -> None:
        """All of it, or nothing."""
        with pytest.raises(InvalidRequest, match=r"^owner: "):
            await vault.repository.archive.put([a_record("a"), a_record("b", owner="\0")])

        assert await everything(vault) == []

    async def test_nothing_is_imported_as_nothing(self, vault: Vault) -> None:
        """No row anywhere."""
        imported = await vault.repository.archive.put([])

        assert (imported.changes, imported.present, imported.conflicting) == ((), (), ())
        assert (await vault.verify(chain=AuditChain())).entries == 0
