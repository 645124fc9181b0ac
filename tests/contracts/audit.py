"""The contract of every audit: each change leaves its entry, and whatever is done to the entries is found.

The test class provides the fixture `vault`: a new, empty store whose tables the tests can also reach directly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest

from asgi_apikey.audit import AuditChain, AuditHead, AuditReport, canonical, genesis
from asgi_apikey.auditor import Auditor
from asgi_apikey.errors import InvalidRequest, KeyExists, KeyNotFound, StaleRecord
from asgi_apikey.hashers.peppers import PepperRing
from asgi_apikey.models import Action, Actor, AuditEntry, Note, RecordPatch, Seal, Usage
from asgi_apikey.protocols import KeyRepository
from tests.contracts.repository import NOW, a_record, together

AUDIT_KEY = "u9Rk3Vw0-Zs6Lp1Xc8Mb4Yh7Jd2Tg5Nf"
NEWER_KEY = "a1Gt7Qn4_Wx9Ev2Hk6Ds0Pb3Ru8Cj5Zy"

KEYED = AuditChain(PepperRing(AUDIT_KEY))
PLAIN = AuditChain()
ROTATED = AuditChain(PepperRing([AUDIT_KEY, NEWER_KEY]))


class Tables(Protocol):
    """The same tables, for somebody who can write to the database."""

    async def entries(self) -> list[AuditEntry]:
        """Every entry, by number."""
        ...

    async def write(self, entries: list[AuditEntry]) -> None:
        """Have these entries and no others."""
        ...

    async def cut_feed(self, seq: int) -> None:
        """Remove the rows of the change feed from this position on."""
        ...

    async def raise_version(self, key_id: str) -> None:
        """Change a key behind the library's back."""
        ...


@dataclass(frozen=True, slots=True)
class Vault:
    """A store, from both sides."""

    repository: KeyRepository
    tables: Tables

    async def fill(self, seal: Seal | None = KEYED.seal, *, first: int = 1, last: int = 4) -> None:
        """Make a few changes: each key is added and amended."""
        for number in range(first, last + 1):
            note = Note(actor=Actor("ops", f"request-{number}"), at=NOW + number, seal=seal)
            await self.repository.add(a_record(f"key{number}", tenant="north"), note=note)
            await self.repository.update(f"key{number}", RecordPatch(name="x"), version=1, note=note)

    async def verify(self, *heads: AuditHead, chain: AuditChain = KEYED) -> AuditReport:
        """Verify it."""
        return await Auditor(self.repository.audit, chain).verify(*heads)

    async def head(self, chain: AuditChain = KEYED) -> AuditHead:
        """Export a head."""
        return await Auditor(self.repository.audit, chain).head()

    async def tamper(self, change: Callable[[list[AuditEntry]], list[AuditEntry]]) -> None:
        """Rewrite the entries."""
        await self.tables.write(change(await self.tables.entries()))


def sealed_anew(entries: list[AuditEntry], beginning: str, chain: AuditChain) -> list[AuditEntry]:
    """What somebody would write who can compute seals."""
    previous, result = beginning, []
    for entry in entries:
        previous = chain.seal(previous, canonical(entry))
        result.append(replace(entry, mac=previous))
    return result


def findings(report: AuditReport) -> str:
    """All that was found, as one text."""
    return "\n".join(f"{each.number}: {each.what}" for each in report.findings)


class AuditContract:
    """What every audit does."""

    pytestmark = pytest.mark.anyio

    # what an entry holds

    async def test_a_new_store_has_a_sound_and_empty_audit(self, vault: Vault) -> None:
        """Nothing has happened, so nothing is missing."""
        report = await vault.verify()

        assert (report.sound, report.entries, report.head) == (True, 0, None)

    async def test_every_change_leaves_who_when_what_and_why(self, vault: Vault) -> None:
        """An entry names the fields that were set, never what they were set to."""
        note = Note(action=Action.REVOKE, actor=Actor("ada", "req-7"), reason="lost\nlaptop", at=NOW, seal=KEYED.seal)
        await vault.repository.add(a_record(tenant="north"), note=Note(seal=KEYED.seal, at=NOW))
        committed = await vault.repository.update(
            "key1", RecordPatch(revoked_at=NOW, revoked_by="ada", name="canary"), version=1, note=note
        )

        entry = (await vault.repository.audit.entries(1, limit=10))[0]

        assert entry == AuditEntry(
            number=2,
            seq=committed.changes[0].seq,
            at=NOW,
            actor="ada",
            action="revoke",
            key_id="key1",
            tenant="north",
            version=2,
            fields=("name", "revoked_at", "revoked_by"),
            reason="lost\nlaptop",
            correlation_id="req-7",
            mac=entry.mac,
        )
        assert "canary" not in repr(entry)

    async def test_each_verb_is_told_by_its_name(self, vault: Vault) -> None:
        """Where a note names no action, the repository's method does; a rotation is told of both keys."""
        await vault.repository.add(a_record())
        await vault.repository.update("key1", RecordPatch(name="x"), version=1)
        await vault.repository.replace("key1", RecordPatch(expires_at=NOW), a_record("key2"), version=2)
        await vault.repository.delete("key2", version=1)

        told = [
            (each.action, each.key_id, each.version, each.fields)
            for each in await vault.repository.audit.entries(0, limit=10)
        ]

        assert told == [
            ("issue", "key1", 1, ()),
            ("amend", "key1", 2, ("name",)),
            ("rotate", "key1", 3, ("expires_at",)),
            ("rotate", "key2", 1, ()),
            ("delete", "key2", 2, ()),
        ]

    async def test_without_a_time_the_machines_own_is_noted(self, vault: Vault) -> None:
        """No entry is without one."""
        await vault.repository.add(a_record())

        [entry] = await vault.repository.audit.entries(0, limit=10)
        assert entry.at > NOW

    async def test_a_refused_change_leaves_no_entry(self, vault: Vault) -> None:
        """What did not happen is not told."""
        await vault.repository.add(a_record())
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: vault.repository.add(a_record()),
            lambda: vault.repository.update("key1", RecordPatch(), version=9),
            lambda: vault.repository.replace("key1", RecordPatch(), a_record("key1"), version=1),
            lambda: vault.repository.delete("nobody", version=1),
        ]
        for attempt in attempts:
            with suppress(KeyExists, StaleRecord, KeyNotFound):
                await attempt()

        assert len(await vault.repository.audit.entries(0, limit=10)) == 1
        assert (await vault.verify(chain=PLAIN)).sound

    async def test_what_is_no_change_leaves_no_entry(self, vault: Vault) -> None:
        """A new digest of the same key, and usage, are not the business of the audit."""
        await vault.repository.add(a_record())
        await vault.repository.replace_digest("key1", old="sha256$key1", new="other")
        await vault.repository.record_usage([Usage("key1", 1, NOW)])

        assert len(await vault.repository.audit.entries(0, limit=10)) == 1

    @pytest.mark.parametrize(
        ("note", "part"),
        [
            (Note(actor=Actor("a\0")), "actor"),
            (Note(actor=Actor("", "\ud800")), "correlation_id"),
            (Note(reason="\0"), "reason"),
            (Note(at=float("nan")), "at"),
        ],
    )
    async def test_a_note_that_cannot_be_kept_stops_the_change(self, vault: Vault, note: Note, part: str) -> None:
        """No change without its entry: by name of the part, in all stores alike."""
        await vault.repository.add(a_record())
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: vault.repository.add(a_record("key2"), note=note),
            lambda: vault.repository.update("key1", RecordPatch(name="x"), version=1, note=note),
            lambda: vault.repository.replace("key1", RecordPatch(), a_record("key2"), version=1, note=note),
            lambda: vault.repository.delete("key1", version=1, note=note),
        ]

        for attempt in attempts:
            with pytest.raises(InvalidRequest, match=f"^{part}: "):
                await attempt()
        assert await vault.repository.get("key1") == a_record()
        assert await vault.repository.get("key2") is None

    async def test_odd_text_is_sealed_as_it_is_read(self, vault: Vault) -> None:
        """Every text that can be stored comes back as it was, so the seals fit."""
        note = Note(actor=Actor("☃ 'q\" \\", "\x7f\u2028"), reason="a\tb\n🔑", at=NOW + 1 / 3, seal=KEYED.seal)
        await vault.repository.add(a_record("é ☃", tenant="ümlaut"), note=note)

        assert (await vault.verify()).sound

    async def test_racing_changes_make_one_chain(self, vault: Vault) -> None:
        """Twenty changes at a time: numbers without gaps, in feed order, every seal on the one before."""

        async def change(number: int) -> None:
            await vault.fill(first=number, last=number)

        await together([lambda number=number: change(number) for number in range(20)])  # type: ignore[misc]
        report = await vault.verify()

        assert (report.sound, report.entries) == (True, 40)

    async def test_pages_of_the_audit_are_bounded_and_in_order(self, vault: Vault) -> None:
        """Oldest first, after the number that was asked for."""
        await vault.fill()

        numbers = [each.number for each in await vault.repository.audit.entries(3, limit=2)]
        tail = [each.number for each in await Auditor(vault.repository.audit, KEYED).tail(3)]
        about = [each.number for each in await Auditor(vault.repository.audit, KEYED).tail(3, key_id="key2")]

        assert (numbers, tail, about) == ([4, 5], [6, 7, 8], [3, 4])

    # what tampering looks like

    @pytest.mark.parametrize("chain", [KEYED, PLAIN], ids=["with a key", "without a key"])
    async def test_an_untouched_audit_is_sound(self, vault: Vault, chain: AuditChain) -> None:
        """Also beside heads that were exported earlier."""
        await vault.fill(chain.seal, last=2)
        early = await vault.head(chain)
        await vault.fill(chain.seal, first=3)
        report = await vault.verify(early, await vault.head(chain), chain=chain)

        assert report.sound, findings(report)
        assert (report.entries, report.keyed) == (8, chain.keyed)
        assert report.head == await vault.head(chain)

    @pytest.mark.parametrize("chain", [KEYED, PLAIN], ids=["with a key", "without a key"])
    @pytest.mark.parametrize(
        "fields",
        [
            {"actor": "eve"},
            {"at": NOW + 3.000001},
            {"action": "issue"},
            {"key_id": "key9"},
            {"tenant": ""},
            {"version": 3},
            {"fields": ("name", "scopes")},
            {"reason": "x"},
            {"correlation_id": "x"},
            {"mac": "sha256$" + 64 * "0"},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    async def test_an_edit_is_found(self, vault: Vault, chain: AuditChain, fields: dict[str, Any]) -> None:
        """Any column of any entry."""
        await vault.fill(chain.seal)
        await vault.tamper(lambda entries: [replace(each, **fields) if each.number == 4 else each for each in entries])
        report = await vault.verify(chain=chain)

        assert "4: the seal does not fit" in findings(report)

    @pytest.mark.parametrize("number", [1, 3, 7])
    async def test_a_deletion_is_found(self, vault: Vault, number: int) -> None:
        """At the beginning, too."""
        await vault.fill()
        await vault.tamper(lambda entries: [each for each in entries if each.number != number])
        report = await vault.verify()

        assert f"{number + 1}: missing before this one: {number}" in findings(report)
        assert "has no entry" in findings(report)

    async def test_a_deletion_that_renumbers_is_found(self, vault: Vault) -> None:
        """The number is sealed with the rest."""
        await vault.fill()
        await vault.tamper(
            lambda entries: [*entries[:3], *(replace(each, number=each.number - 1) for each in entries[4:])]
        )
        report = await vault.verify()

        assert "4: the seal does not fit" in findings(report)

    async def test_a_cut_tail_is_found(self, vault: Vault) -> None:
        """The change feed goes further than the audit."""
        await vault.fill()
        await vault.tamper(lambda entries: entries[:-2])
        report = await vault.verify()

        assert "its end was cut off" in findings(report)

    async def test_a_tail_cut_off_the_feed_too_is_found(self, vault: Vault) -> None:
        """By the keys, which are at versions that nothing has led to; and by a head that was exported before."""
        await vault.fill()
        head = await vault.head()
        await vault.tamper(lambda entries: entries[:-1])
        await vault.tables.cut_feed(head.seq)
        report = await vault.verify(head)

        assert "key key4 is at a version that no change has led to" in findings(report)
        assert f"entry {head.number}, which an exported head names, is not there" in findings(report)

    async def test_everything_removed_is_found(self, vault: Vault) -> None:
        """An empty audit is not a sound one where there are changes."""
        await vault.fill()
        await vault.tamper(lambda entries: [])
        report = await vault.verify()

        assert "of key key1 has no entry" in findings(report)

    async def test_a_reordering_is_found(self, vault: Vault) -> None:
        """Two entries that change places, with or without their numbers and positions."""
        await vault.fill()

        def swapped(entries: list[AuditEntry]) -> list[AuditEntry]:
            third, fifth = entries[2], entries[4]
            entries[2] = replace(fifth, number=third.number, seq=third.seq)
            entries[4] = replace(third, number=fifth.number, seq=fifth.seq)
            return entries

        await vault.tamper(swapped)
        report = await vault.verify()

        assert "3: the seal does not fit" in findings(report)
        assert "3: the change feed tells of another key" in findings(report)

    async def test_a_full_rewrite_without_the_key_is_found(self, vault: Vault) -> None:
        """Sealing everything anew needs the audit key: plain seals, or those of another key, are no substitute."""
        await vault.fill()
        beginning = genesis(await vault.repository.audit.anchor())
        other = AuditChain(PepperRing(NEWER_KEY))
        await vault.tamper(
            lambda entries: sealed_anew([replace(each, actor="eve") for each in entries], beginning, PLAIN)
        )
        plain = await vault.verify()
        await vault.tamper(lambda entries: sealed_anew(entries, beginning, other))
        keyed = await vault.verify()

        assert "8: not sealed with any audit key" in findings(plain)
        assert "1: the seal does not fit" in findings(keyed)

    async def test_a_full_rewrite_of_plain_seals_is_found_by_an_exported_head(self, vault: Vault) -> None:
        """Without a key everybody can compute seals; what was exported before cannot be changed any more."""
        await vault.fill(PLAIN.seal)
        head = await vault.head(PLAIN)
        beginning = genesis(await vault.repository.audit.anchor())
        await vault.tamper(
            lambda entries: sealed_anew([replace(each, actor="eve") for each in entries], beginning, PLAIN)
        )
        alone, beside = await vault.verify(chain=PLAIN), await vault.verify(head, chain=PLAIN)

        assert alone.sound
        assert "not the entry that an exported head names: the audit was rewritten" in findings(beside)

    async def test_a_rewrite_from_the_middle_with_plain_seals_is_found(self, vault: Vault) -> None:
        """Once a key has sealed, nothing may follow without one."""
        await vault.fill()

        def downgraded(entries: list[AuditEntry]) -> list[AuditEntry]:
            return entries[:4] + sealed_anew(entries[4:], entries[3].mac, PLAIN)

        await vault.tamper(downgraded)

        assert "5: sealed without the audit key that sealed the one before" in findings(await vault.verify())

    async def test_a_head_that_was_changed_is_found(self, vault: Vault) -> None:
        """Its signature does not fit any more; nor does that of another store's."""
        await vault.fill()
        head = await vault.head()
        forged = await vault.verify(replace(head, seq=head.seq + 1))
        foreign = await vault.verify(KEYED.signed(replace(head, database_id="another")))
        unsigned = await vault.verify(PLAIN.signed(head))

        assert "the exported head is not signed with this audit key" in findings(forged)
        assert "the exported head is of another store" in findings(foreign)
        assert "the exported head is not signed with this audit key" in findings(unsigned)

    async def test_a_key_changed_behind_the_back_is_found(self, vault: Vault) -> None:
        """Its version is one that neither feed nor audit knows."""
        await vault.fill()
        await vault.tables.raise_version("key3")

        assert "key key3 is at a version that no change has led to" in findings(await vault.verify())

    # keys of the audit

    async def test_an_audit_key_can_come_later_and_change(self, vault: Vault) -> None:
        """Plain first, then one key, then the next: as long as they only ever get newer."""
        await vault.fill(PLAIN.seal, last=1)
        await vault.fill(KEYED.seal, first=2, last=2)
        await vault.fill(ROTATED.seal, first=3, last=3)
        sound = await vault.verify(chain=ROTATED)
        await vault.fill(KEYED.seal, first=4, last=4)
        back = await vault.verify(chain=ROTATED)

        assert sound.sound, findings(sound)
        assert "7: sealed without the audit key that sealed the one before" in findings(back)

    async def test_without_the_key_nothing_is_called_sound(self, vault: Vault) -> None:
        """Who lacks the key cannot tell."""
        await vault.fill()

        assert not (await vault.verify(chain=PLAIN)).sound

    async def test_findings_are_bounded(self, vault: Vault) -> None:
        """However much was tampered with, a report stays readable."""
        await vault.fill(last=60)
        await vault.tamper(lambda entries: [replace(each, mac="x") for each in entries])

        assert len((await vault.verify()).findings) == 100
