"""The reference repository: a dict in this process, gone with it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from asgi_apikey.audit import genesis
from asgi_apikey.errors import KeyExists, KeyLimitReached, KeyNotFound, StaleRecord
from asgi_apikey.metering import MemoryMeters
from asgi_apikey.models import (
    FLUSH_ALL_FROM,
    Action,
    At,
    AuditAnchor,
    AuditEntry,
    Ceiling,
    Change,
    Committed,
    CommittedMany,
    HourlyUsage,
    Imported,
    Instant,
    KeyPage,
    KeyQuery,
    KeyRecord,
    Note,
    RecordPatch,
    Revocation,
    Seconds,
    Usage,
)
from asgi_apikey.repositories.archive import sorted_out
from asgi_apikey.repositories.audit import NOTHING_NOTED, Noted, check_note, continued
from asgi_apikey.repositories.deadletters import MemoryDeadLetters
from asgi_apikey.repositories.notices import MemoryNotices
from asgi_apikey.repositories.paging import Cursors, Position, limit_of, position_of
from asgi_apikey.repositories.records import (
    COLUMNS,
    MICROSECONDS,
    REVOKED,
    Value,
    from_row,
    patch_values,
    revocation_values,
    rounded,
    stored,
    to_micros,
    to_row,
)
from asgi_apikey.repositories.search import sort_value, wanted_of
from asgi_apikey.repositories.usage import checked, hour_of, hourly, outcomes_of


class MemoryRepository:
    """Keeps records in a dict: for tests, for demonstrations, and as the plainest statement of the contract.

    Nothing in it awaits, so every method is atomic on asyncio and on trio alike. It serves one event loop at a
    time. Closing it forgets nothing: there is nowhere else to read the records from.

    Args:
        cursor_key: Signs the cursors of searches; None: a random one.

    Attributes:
        archive: The `KeyArchive` of the same records.
        audit: Their `AuditLog`.
        history: Their `UsageHistory`.
        meters: Their `Meters`.
        dead_letters: The `DeadLetters` of the same store.
        notices: Its `Notices`.
    """

    def __init__(self, *, cursor_key: bytes | None = None) -> None:
        self._cursors = Cursors(secrets.token_bytes(32) if cursor_key is None else cursor_key)
        self._records: dict[str, KeyRecord] = {}
        # The change feed and, folded out of it, the highest version each id has ever had, deleted ones too:
        # a key that is added again must not look older than its own tombstone.
        self._feed: list[Change] = []
        self._highest: dict[str, int] = {}
        self.audit = MemoryAuditLog(self._records, self._feed)
        self.history = MemoryUsageHistory()
        self.meters = MemoryMeters()
        self.dead_letters = MemoryDeadLetters()
        self.notices = MemoryNotices()
        self.archive = MemoryKeyArchive(self)

    async def open(self, *, create: bool) -> None:
        """Do nothing: the store exists as long as this object."""

    async def close(self) -> None:
        """Do nothing: the records stay."""

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the record, or None when there is none."""
        return self._records.get(key_id)

    async def add(
        self, record: KeyRecord, *, note: Note = NOTHING_NOTED, ceilings: Sequence[Ceiling] = ()
    ) -> Committed:
        """Insert a new record, at a version above every earlier one of the same id.

        Raises:
            KeyExists: The id is taken.
            KeyLimitReached: It would be one too many.
            InvalidRequest: A value cannot be stored.
        """
        added, checked = self._addable(from_row(to_row(record))), check_note(note)
        self._check_ceilings(ceilings, added)
        change = self._put(added)
        self.audit.append(checked, [Noted(change.seq, added, Action.ISSUE)])
        return Committed(added, (change,))

    async def update(
        self,
        key_id: str,
        patch: RecordPatch,
        *,
        version: int,
        note: Note = NOTHING_NOTED,
        ceilings: Sequence[Ceiling] = (),
    ) -> Committed:
        """Set the patch's columns and raise the version by one.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
            KeyLimitReached: It would be one live key too many.
            InvalidRequest: A value cannot be stored.
        """
        values, checked = patch_values(patch), check_note(note)
        changed = self._changed(key_id, values, version)
        self._check_ceilings(ceilings, changed)
        change = self._put(changed)
        self.audit.append(checked, [Noted(change.seq, changed, Action.AMEND, values)])
        return Committed(changed, (change,))

    async def replace(
        self,
        key_id: str,
        patch: RecordPatch,
        successor: KeyRecord,
        *,
        version: int,
        note: Note = NOTHING_NOTED,
        ceilings: Sequence[Ceiling] = (),
        retired: Sequence[At] = (),
        retirement: Revocation | None = None,
    ) -> Committed:
        """Update the record, revoke the unused ones, and add the successor: all or nothing.

        Raises:
            KeyNotFound: No record `key_id`, or none of a retired id.
            StaleRecord: One is at another version, or one to be retired has been used.
            KeyExists: The successor's id is taken.
            KeyLimitReached: There would be too many live keys.
            InvalidRequest: A value cannot be stored.
        """
        revoking = {} if retirement is None else dict(zip(REVOKED, revocation_values(retirement), strict=True))
        values, complete, checked = patch_values(patch), from_row(to_row(successor)), check_note(note)
        changed = self._changed(key_id, values, version)
        gone = [self._retired(each, revoking) for each in retired]
        added = self._addable(complete)
        self._check_ceilings(ceilings, changed, *gone, added)
        changes = tuple(self._put(each) for each in (changed, *gone, added))
        fields: list[Collection[str]] = [values, *(REVOKED for _ in gone), ()]
        noted = [
            Noted(change.seq, each, Action.ROTATE, names)
            for change, each, names in zip(changes, (changed, *gone, added), fields, strict=True)
        ]
        self.audit.append(checked, noted)
        return Committed(added, changes)

    async def delete(self, key_id: str, *, version: int, note: Note = NOTHING_NOTED) -> Committed:
        """Remove the record; its tombstone carries the next version.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """
        checked = check_note(note)
        gone = self._at_version(key_id, version)
        gone = replace(gone, version=gone.version + 1)
        del self._records[key_id]
        self.history.forget(key_id)
        change = self._announced(gone)
        self.audit.append(checked, [Noted(change.seq, gone, Action.DELETE)])
        return Committed(gone, (change,))

    async def revoke_all(
        self,
        query: KeyQuery,
        revocation: Revocation,
        *,
        now: Instant,
        guard: At | None = None,
        note: Note = NOTHING_NOTED,
    ) -> CommittedMany:
        """Revoke every record that the query matches and that is not revoked yet.

        Raises:
            KeyNotFound: No record of the guard's id.
            StaleRecord: It is at another version.
            InvalidRequest: A value cannot be stored.
        """
        wanted, values, checked = wanted_of(query, now), revocation_values(revocation), check_note(note)
        if guard is not None:
            self._at_version(guard.key_id, guard.version)
        found = [] if wanted is None else [each for each in self._records.values() if wanted.admits(each)]
        patch = dict(zip(REVOKED, values, strict=True))
        live = sorted((each for each in found if each.revoked_at is None), key=lambda each: each.key_id)
        revoked = [self._changed(each.key_id, patch, each.version) for each in live]
        if len(revoked) <= FLUSH_ALL_FROM:
            changes = [self._put(each) for each in revoked]
        else:
            self._records |= {each.key_id: each for each in revoked}
            self._highest |= {each.key_id: each.version for each in revoked}
            changes = [self._announced(None)]
        return self._told(revoked, changes, checked, Action.REVOKE, REVOKED)

    async def prune(self, dead_since: Instant, *, limit: int, note: Note = NOTHING_NOTED) -> CommittedMany:
        """Delete at most `limit` records of keys that were revoked, or had ended, by then; tombstones stay.

        Raises:
            InvalidRequest: A value cannot be stored.
        """
        at, checked = rounded(dead_since), check_note(note)
        dead = [
            each
            for _, each in sorted(self._records.items())
            if any(end is not None and end <= at for end in (each.revoked_at, each.expires_at))
        ]
        gone = [replace(each, version=each.version + 1) for each in dead[:limit]]
        for each in gone:
            del self._records[each.key_id]
            self.history.forget(each.key_id)
        return self._told(gone, [self._announced(each) for each in gone], checked, Action.PRUNE, ())

    async def replace_digest(self, key_id: str, *, old: str, new: str) -> bool:
        """Swap the digest if it is still `old` and the key is not revoked.

        Raises:
            InvalidRequest: The new digest cannot be stored.
        """
        stored("digest", new)
        record = self._records.get(key_id)
        if record is None or record.digest != old or record.revoked_at is not None:
            return False
        self._records[key_id] = replace(record, digest=new)
        return True

    async def record_usage(self, batch: Sequence[Usage], *, resolution: Seconds = 0.0) -> Collection[str]:
        """Count; unknown ids are skipped, and nobody holds a key locked. See `UsageSink.record_usage`.

        Raises:
            InvalidRequest: An instant cannot be stored; nothing of the batch was counted.
        """
        for usage in checked(batch):
            record = self._records.get(usage.key_id)
            if record is None:
                continue
            self.history.add(usage)
            if usage.uses:
                last = _later(record.last_used_at, rounded(usage.last_used_at), resolution)
                self._records[usage.key_id] = replace(record, uses=record.uses + usage.uses, last_used_at=last)
        return frozenset()

    async def find(self, query: KeyQuery, *, now: Instant) -> KeyPage:
        """Return one page in the order asked for, ties by key id.

        Raises:
            InvalidRequest: A part of the query is not a possible one, or the cursor is not of this search.
        """
        limit, wanted, start = limit_of(query), wanted_of(query, now), self._cursors.start_of(query)
        if wanted is None:
            return KeyPage((), None)
        found = sorted(filter(wanted.admits, self._records.values()), key=lambda record: record.key_id)
        # Two stable sorts: ties stay by key id, ascending, in either direction.
        found.sort(key=lambda record: sort_value(record, query.sort), reverse=not query.ascending)
        if start is not None:
            found = [record for record in found if _is_after(position_of(record, query.sort), start, query)]
        return self._cursors.page_of(query, found[: limit + 1])

    async def count(self, query: KeyQuery, *, now: Instant) -> int:
        """Return how many records the query matches, on all pages.

        Raises:
            InvalidRequest: A part of the query is not a possible one.
        """
        wanted = wanted_of(query, now)
        return 0 if wanted is None else sum(map(wanted.admits, self._records.values()))

    def _check_ceilings(self, ceilings: Sequence[Ceiling], *changed: KeyRecord) -> None:
        """Count what there would be with these records, before anything is changed."""
        after = self._records | {each.key_id: each for each in changed}
        for ceiling in ceilings:
            wanted, now = wanted_of(ceiling.within, ceiling.now), rounded(ceiling.now)
            live = [
                each
                for each in after.values()
                if wanted is not None
                and wanted.admits(each)
                and each.revoked_at is None
                and (each.expires_at is None or each.expires_at > now)
            ]
            if (len({each.lineage for each in live}) if ceiling.lineages else len(live)) > ceiling.most:
                raise KeyLimitReached(ceiling.message, ceiling.most)

    def _retired(self, at: At, revoking: dict[str, Value]) -> KeyRecord:
        record = self._at_version(at.key_id, at.version)
        if record.uses or record.last_used_at is not None or record.revoked_at is not None:
            raise StaleRecord(at.key_id, at.version)
        return self._changed(at.key_id, revoking, at.version)

    def _told(
        self,
        records: Sequence[KeyRecord],
        changes: Sequence[Change],
        note: Note,
        action: Action,
        fields: Collection[str],
    ) -> CommittedMany:
        seqs = [each.seq for each in changes] if len(changes) == len(records) else [changes[0].seq] * len(records)
        if records:
            noted = [Noted(seq, each, action, fields) for seq, each in zip(seqs, records, strict=True)]
            self.audit.append(note, noted)
        return CommittedMany(tuple(records), tuple(changes))

    def _at_version(self, key_id: str, version: int) -> KeyRecord:
        record = self._records.get(key_id)
        if record is None:
            raise KeyNotFound(key_id)
        if record.version != version:
            raise StaleRecord(key_id, version)
        return record

    def _changed(self, key_id: str, values: dict[str, Value], version: int) -> KeyRecord:
        record = self._at_version(key_id, version)
        columns = dict(zip(COLUMNS, to_row(record), strict=True)) | values | {"version": version + 1}
        return from_row(tuple(columns.values()))

    def _addable(self, record: KeyRecord) -> KeyRecord:
        if record.key_id in self._records:
            raise KeyExists(record.key_id)
        return replace(record, version=max(record.version, self._highest.get(record.key_id, 0) + 1))

    def _put(self, record: KeyRecord) -> Change:
        self._records[record.key_id] = record
        return self._announced(record)

    def _announced(self, record: KeyRecord | None) -> Change:
        """Append a change of this record, or of all, to the feed."""
        key_id, version = ("", 0) if record is None else (record.key_id, record.version)
        change = Change(len(self._feed) + 1, key_id, version)
        self._feed.append(change)
        if record is not None:
            self._highest[key_id] = version
        return change


class MemoryKeyArchive:
    """The `KeyArchive` of a `MemoryRepository`."""

    def __init__(self, repository: MemoryRepository) -> None:
        self._repository = repository

    async def records(self, after: str, *, limit: int) -> Sequence[KeyRecord]:
        """See `KeyArchive.records`."""
        ids = sorted(key_id for key_id in self._repository._records if key_id > after)
        return [self._repository._records[key_id] for key_id in ids[:limit]]

    async def put(self, records: Sequence[KeyRecord], *, note: Note = NOTHING_NOTED) -> Imported:
        """See `KeyArchive.put`."""
        store, noted = self._repository, check_note(note)
        complete = [from_row(to_row(record)) for record in records]
        digests = {key_id: each.digest for key_id, each in store._records.items()}
        new, present, conflicting = sorted_out(complete, digests)
        added = [store._addable(each) for each in sorted(new, key=lambda each: each.key_id)]
        changes = [store._put(each) for each in added]
        store.audit.append(
            noted, [Noted(change.seq, each, Action.IMPORT) for change, each in zip(changes, added, strict=True)]
        )
        return Imported(tuple(changes), present, conflicting)


class MemoryUsageHistory:
    """The `UsageHistory` of a `MemoryRepository`."""

    def __init__(self) -> None:
        self._hours: dict[str, Counter[tuple[int, str]]] = {}

    def add(self, usage: Usage) -> None:
        """Count the outcomes of a known key."""
        hours, hour = self._hours.setdefault(usage.key_id, Counter()), hour_of(usage.last_used_at)
        for outcome, number in outcomes_of(usage):
            hours[hour, outcome] += number

    def forget(self, key_id: str) -> None:
        """Remove the hours of a key that is gone."""
        self._hours.pop(key_id, None)

    async def hours(self, key_id: str, *, since: Instant, until: Instant) -> Sequence[HourlyUsage]:
        """See `UsageHistory.hours`."""
        first, found = hour_of(since), self._hours.get(key_id, Counter())
        rows = ((hour, outcome, number) for (hour, outcome), number in sorted(found.items()))
        return hourly(row for row in rows if first <= row[0] < to_micros(until) / MICROSECONDS)

    async def prune(self, before: Instant) -> None:
        """See `UsageHistory.prune`."""
        end = hour_of(before)
        for hours in self._hours.values():
            for entry in [each for each in hours if each[0] < end]:
                del hours[entry]


def _later(last: Instant | None, at: Instant, resolution: Seconds) -> Instant:
    """Return the instant of the last use, which is left to lag behind by less than the resolution."""
    return at if last is None or to_micros(last) < to_micros(at) - round(resolution * MICROSECONDS) else last


class MemoryAuditLog:
    """The `AuditLog` of a `MemoryRepository`.

    Args:
        records: The repository's own.
        feed: The same.
    """

    def __init__(self, records: Mapping[str, KeyRecord], feed: Sequence[Change]) -> None:
        self._records = records
        self._feed = feed
        self._entries: list[AuditEntry] = []
        self._database_id = secrets.token_hex(16)

    def append(self, note: Note, changes: Sequence[Noted]) -> None:
        """Write the entries of changes that were just made."""
        last = self._entries[-1] if self._entries else None
        number, previous = (0, genesis(self._anchor())) if last is None else (last.number, last.mac)
        self._entries += continued(number, previous, note, changes)

    async def anchor(self) -> AuditAnchor:
        """See `AuditLog.anchor`."""
        return self._anchor()

    async def entries(self, after: int, *, limit: int) -> Sequence[AuditEntry]:
        """See `AuditLog.entries`."""
        return [entry for entry in self._entries[max(after, 0) :] if entry.number > after][:limit]

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """See `AuditLog.changes`."""
        start = max(since - 1, 0)
        return self._feed[start : start + limit]

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """See `AuditLog.unannounced`: records here are changed together with the feed, or not at all."""
        told = {(change.key_id, change.version) for change in self._feed}
        told |= {(entry.key_id, entry.version) for entry in self._entries}
        return sorted(each.key_id for each in self._records.values() if (each.key_id, each.version) not in told)[:limit]

    def _anchor(self) -> AuditAnchor:
        newest = self._entries[-1].number if self._entries else 0
        return AuditAnchor(database_id=self._database_id, after=0, entries=newest, position=len(self._feed))


def _is_after(position: Position, start: Position, query: KeyQuery) -> bool:
    """Whether a record comes after the cursor's."""
    if position.value == start.value:
        return position.key_id > start.key_id
    # Both are of one type, as the query says which.
    return (position.value > start.value) is query.ascending  # type: ignore[operator]
