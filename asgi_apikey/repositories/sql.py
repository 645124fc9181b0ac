"""The repository over any SQL database: each change is one guarded statement and its row of the feed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, cast

from anyio.lowlevel import checkpoint

from asgi_apikey.errors import KeyExists, KeyLimitReached, KeyNotFound, StaleRecord, StoreUnavailable
from asgi_apikey.models import (
    FLUSH_ALL_FROM,
    Action,
    At,
    Ceiling,
    Change,
    Committed,
    CommittedMany,
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
from asgi_apikey.repositories import audit, statements, usage
from asgi_apikey.repositories.archive import SQLKeyArchive
from asgi_apikey.repositories.audit import NOTHING_NOTED, Noted, SQLAuditLog
from asgi_apikey.repositories.deadletters import SQLDeadLetters
from asgi_apikey.repositories.driver import BROWSE, BULK, Driver, Transaction
from asgi_apikey.repositories.feed import SQLChangeFeed
from asgi_apikey.repositories.labels import labels_of
from asgi_apikey.repositories.meters import SQLMeters
from asgi_apikey.repositories.notices import SQLNotices
from asgi_apikey.repositories.paging import Cursors, limit_of
from asgi_apikey.repositories.records import (
    REVOKED,
    Row,
    Value,
    from_row,
    patch_values,
    revocation_values,
    storable,
    storable_version,
    stored,
    to_micros,
    to_row,
)
from asgi_apikey.repositories.search import Labels, Wanted, wanted_of
from asgi_apikey.repositories.usage import SQLUsageHistory

_STRETCH: Final = 500
_FREQUENT: Final = 2_000
"""Keys with one label, from which on they are looked at in order; see `statements.where`."""

_SELECTIVE: Final = frozenset({"owner", "tenant", "lineage", "name"})
"""Columns with an index that leaves few keys to look at."""


class SQLRepository:
    """Keeps records in the tables `api_keys`, `api_key_changes` and `api_key_meta` of a database.

    Every method may raise StoreUnavailable; `outcome_unknown` is set on it when a change may have been committed.

    Args:
        driver: The database. Which dialect it speaks is its own affair.
        cursor_key: Signs the cursors of searches; None: the one that the database keeps.

    Attributes:
        feed: The `ChangeFeed` of the same database.
        archive: Its `KeyArchive`.
        audit: Its `AuditLog`.
        history: Its `UsageHistory`.
        meters: Its `Meters`.
        dead_letters: Its `DeadLetters`.
        notices: Its `Notices`.
    """

    def __init__(self, driver: Driver, *, cursor_key: bytes | None = None) -> None:
        self._driver = driver
        self._cursors = None if cursor_key is None else Cursors(cursor_key)
        self.feed = SQLChangeFeed(driver)
        self.archive = SQLKeyArchive(driver)
        self.audit = SQLAuditLog(driver)
        self.history = SQLUsageHistory(driver)
        self.meters = SQLMeters(driver)
        self.dead_letters = SQLDeadLetters(driver)
        self.notices = SQLNotices(driver)

    async def open(self, *, create: bool) -> None:
        """Connect and check the schema; with `create`, make or migrate the store first.

        Raises:
            StoreUnavailable: It cannot be reached, or is not a key store (yet).
            ConfigurationError: Its schema is newer than this version of the package.
        """
        await self._driver.open(create=create)

    async def close(self) -> None:
        """Release the connections; the next use opens new ones."""
        await self._driver.close()

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the record as it is now, or None when there is none."""
        if not storable(key_id):
            return None
        rows = await self._driver.fetch(statements.GET, (key_id,))
        return from_row(rows[0]) if rows else None

    async def add(
        self, record: KeyRecord, *, note: Note = NOTHING_NOTED, ceilings: Sequence[Ceiling] = ()
    ) -> Committed:
        """Insert a new record, at a version above every earlier one of the same id.

        Raises:
            KeyExists: The id is taken.
            KeyLimitReached: It would be one too many.
            InvalidRequest: A value cannot be stored.
        """
        complete, checked = from_row(to_row(record)), audit.check_note(note)
        await self._driver.open(create=True)

        async def work(transaction: Transaction) -> Committed:
            added, change = await _add(transaction, complete)
            await _check_ceilings(transaction, ceilings)
            await audit.append(transaction, checked, [Noted(change.seq, added, Action.ISSUE)])
            return Committed(added, (change,))

        return await self._driver.change(work)

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
        values, checked = patch_values(patch), audit.check_note(note)

        async def work(transaction: Transaction) -> Committed:
            changed, change = await _update(transaction, key_id, values, version)
            await _check_ceilings(transaction, ceilings)
            await audit.append(transaction, checked, [Noted(change.seq, changed, Action.AMEND, values)])
            return Committed(changed, (change,))

        return await self._driver.change(work)

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
        revoking = () if retirement is None else revocation_values(retirement)
        values, complete, checked = patch_values(patch), from_row(to_row(successor)), audit.check_note(note)

        async def work(transaction: Transaction) -> Committed:
            replaced, changed = await _update(transaction, key_id, values, version)
            noted, changes = [Noted(changed.seq, replaced, Action.ROTATE, values)], [changed]
            for each in retired:
                row = await _guarded(transaction, statements.RETIRE, revoking, each.key_id, each.version)
                gone = from_row(row)
                changes.append(await _announce(transaction, gone))
                noted.append(Noted(changes[-1].seq, gone, Action.ROTATE, REVOKED))
            added, change = await _add(transaction, complete)
            await _check_ceilings(transaction, ceilings)
            await audit.append(transaction, checked, [*noted, Noted(change.seq, added, Action.ROTATE)])
            return Committed(added, (*changes, change))

        return await self._driver.change(work)

    async def delete(self, key_id: str, *, version: int, note: Note = NOTHING_NOTED) -> Committed:
        """Remove the record; its tombstone carries the next version.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """
        checked = audit.check_note(note)

        async def work(transaction: Transaction) -> Committed:
            row = await _guarded(transaction, statements.DELETE, (), key_id, version)
            gone = replace(from_row(row), version=version + 1)
            await transaction.fetch(statements.DROP_LABELS, (key_id,))
            await transaction.fetch(usage.FORGET, (key_id,))
            change = await _announce(transaction, gone)
            await audit.append(transaction, checked, [Noted(change.seq, gone, Action.DELETE)])
            return Committed(gone, (change,))

        return await self._driver.change(work)

    async def revoke_all(
        self,
        query: KeyQuery,
        revocation: Revocation,
        *,
        now: Instant,
        guard: At | None = None,
        note: Note = NOTHING_NOTED,
    ) -> CommittedMany:
        """Revoke, in one transaction, every record that the query matches and that is not revoked yet.

        Raises:
            KeyNotFound: No record of the guard's id.
            StaleRecord: It is at another version.
            InvalidRequest: A value cannot be stored.
        """
        wanted, values, checked = wanted_of(query, now), revocation_values(revocation), audit.check_note(note)

        async def work(transaction: Transaction) -> CommittedMany:
            if guard is not None:
                await _check_version(transaction, guard)
            if wanted is None:
                return CommittedMany((), ())
            statement, args = statements.revoke_all(wanted, values)
            revoked = await _records(await transaction.fetch(statement, args))
            revoked.sort(key=lambda each: each.key_id)
            return await _told(transaction, revoked, checked, Action.REVOKE, REVOKED)

        return await self._driver.change(work, deadline=BULK)

    async def prune(self, dead_since: Instant, *, limit: int, note: Note = NOTHING_NOTED) -> CommittedMany:
        """Delete at most `limit` records of keys that were revoked, or had ended, by then; tombstones stay.

        Raises:
            InvalidRequest: A value cannot be stored.
        """
        at, checked = to_micros(dead_since), audit.check_note(note)

        async def work(transaction: Transaction) -> CommittedMany:
            gone = []
            for key_id, version in await transaction.fetch(statements.DEAD, (at, at, limit)):
                row = await _guarded(transaction, statements.DELETE, (), cast(str, key_id), cast(int, version))
                await transaction.fetch(statements.DROP_LABELS, (key_id,))
                await transaction.fetch(usage.FORGET, (key_id,))
                gone.append(replace(from_row(row), version=cast(int, version) + 1))
            # One by one, however many: each tombstone is what a key of the same id has to come after.
            return await _told(transaction, gone, checked, Action.PRUNE, (), flush_from=limit)

        return await self._driver.change(work, deadline=BULK)

    async def replace_digest(self, key_id: str, *, old: str, new: str) -> bool:
        """Swap the digest if it is still `old` and the key is not revoked.

        Raises:
            InvalidRequest: The new digest cannot be stored.
        """
        digest = stored("digest", new)
        if not (storable(key_id) and storable(old)):
            return False

        async def work(transaction: Transaction) -> bool:
            return bool(await transaction.fetch(statements.REPLACE_DIGEST, (digest, key_id, old)))

        return await self._driver.write(work)

    async def record_usage(self, batch: Sequence[Usage], *, resolution: Seconds = 0.0) -> Collection[str]:
        """Count, in one transaction; unknown ids are skipped. See `UsageSink.record_usage`.

        Raises:
            InvalidRequest: An instant cannot be stored; nothing of the batch was counted.
        """
        counted, skip_locked = usage.checked(batch), self._driver.skip_locked

        async def work(transaction: Transaction) -> Collection[str]:
            return await usage.record(transaction, counted, resolution=resolution, skip_locked=skip_locked)

        return await self._driver.write(work) if counted else frozenset()

    async def find(self, query: KeyQuery, *, now: Instant) -> KeyPage:
        """Return one page in the order asked for, ties by key id.

        Raises:
            InvalidRequest: A part of the query is not a possible one, or the cursor is not of this search.
        """
        limit, wanted = limit_of(query), wanted_of(query, now)
        cursors = await self._cursors_of_store()
        start = cursors.start_of(query)
        if wanted is None:
            return KeyPage((), None)
        frequent = [each for each in wanted.labels if await self._is_frequent(each, wanted)]
        among = await self._named(wanted)
        if among is not None and not among:
            return KeyPage((), None)
        statement, args = statements.find(
            query, wanted, start=start, limit=limit + 1, frequent=frequent, among=among or ()
        )
        rows = await self._driver.fetch(statement, args, deadline=BROWSE)
        return cursors.page_of(query, [from_row(row) for row in rows])

    async def count(self, query: KeyQuery, *, now: Instant) -> int:
        """Return how many records the query matches, on all pages.

        Raises:
            InvalidRequest: A part of the query is not a possible one.
        """
        wanted = wanted_of(query, now)
        if wanted is None:
            return 0
        [[number]] = await self._driver.fetch(*statements.count(wanted), deadline=BROWSE)
        return cast(int, number)

    async def _cursors_of_store(self) -> Cursors:
        if self._cursors is None:
            rows = await self._driver.fetch(statements.META, ("cursor_key",))
            if not rows:
                raise StoreUnavailable("the key store has lost the key of its cursors; it is damaged")
            self._cursors = Cursors(str(rows[0][0]).encode())
        return self._cursors

    async def _is_frequent(self, labels: Labels, wanted: Wanted) -> bool:
        if wanted.exact:
            # Few keys are left anyway, and another index has them.
            return True
        [[number]] = await self._driver.fetch(*statements.some_labelled(labels, _FREQUENT))
        return cast(int, number) >= _FREQUENT

    async def _named(self, wanted: Wanted) -> list[str] | None:
        """Return the keys that have the part in their names, if these are few; None if it is better to look in order.

        Rare parts are the slow ones: to fill a page, nearly every record would be read.
        """
        if wanted.part is None or wanted.labels or any(column in _SELECTIVE for column, _ in wanted.exact):
            return None
        found = await self._driver.fetch(*statements.named(wanted.part), deadline=BROWSE)
        return [str(key_id) for [key_id] in found] if len(found) < statements.FEW else None


async def _add(transaction: Transaction, record: KeyRecord) -> tuple[KeyRecord, Change]:
    [[highest]] = await transaction.fetch(statements.HIGHEST_VERSION, (record.key_id,))
    added = replace(record, version=max(record.version, cast(int, highest or 0) + 1))
    if not await transaction.fetch(statements.INSERT, to_row(added)):
        raise KeyExists(record.key_id)
    await _label(transaction, added)
    return added, await _announce(transaction, added)


async def _update(
    transaction: Transaction, key_id: str, values: dict[str, Value], version: int
) -> tuple[KeyRecord, Change]:
    row = await _guarded(transaction, statements.update(values), tuple(values.values()), key_id, version)
    changed = from_row(row)
    if "scopes" in values or "tags" in values:
        await transaction.fetch(statements.DROP_LABELS, (key_id,))
        await _label(transaction, changed)
    return changed, await _announce(transaction, changed)


async def _label(transaction: Transaction, record: KeyRecord) -> None:
    """Write the record's scopes and tags where searches find them."""
    labels = labels_of(record)
    if labels:
        await transaction.run_many(statements.ADD_LABEL, labels)


async def _check_ceilings(transaction: Transaction, ceilings: Sequence[Ceiling]) -> None:
    """Count what there is after the change; whatever is one too many rolls it back.

    Changes are made one after the other, so nobody else's key can slip in between the count and the commit.
    """
    for ceiling in ceilings:
        wanted = wanted_of(ceiling.within, ceiling.now)
        if wanted is None:
            continue
        [[live]] = await transaction.fetch(*statements.count(wanted, lineages=ceiling.lineages, live=True))
        if cast(int, live) > ceiling.most:
            raise KeyLimitReached(ceiling.message, ceiling.most)


async def _records(rows: Sequence[Row]) -> list[KeyRecord]:
    """Return the records of many rows, letting others run in between: 100,000 take half a second."""
    records: list[KeyRecord] = []
    for start in range(0, len(rows), _STRETCH):
        records += map(from_row, rows[start : start + _STRETCH])
        await checkpoint()
    return records


async def _check_version(transaction: Transaction, guard: At) -> None:
    rows = await transaction.fetch(statements.VERSION, (guard.key_id,)) if storable(guard.key_id) else []
    if not rows:
        raise KeyNotFound(guard.key_id)
    if rows[0][0] != guard.version:
        raise StaleRecord(guard.key_id, guard.version)


async def _told(
    transaction: Transaction,
    records: Sequence[KeyRecord],
    note: Note,
    action: Action,
    fields: Collection[str],
    *,
    flush_from: int = FLUSH_ALL_FROM,
) -> CommittedMany:
    """Announce and note the change of many records; more than `flush_from` are one row for all keys there are."""
    if len(records) <= flush_from:
        changes = [await _announce(transaction, each) for each in records]
    else:
        changes = [await _announce(transaction, None)]
    seqs = [each.seq for each in changes] if len(changes) == len(records) else [changes[0].seq] * len(records)
    if records:
        noted = (Noted(seq, each, action, fields) for seq, each in zip(seqs, records, strict=True))
        await audit.append(transaction, note, noted)
    return CommittedMany(tuple(records), tuple(changes))


async def _guarded(
    transaction: Transaction, statement: str, values: tuple[Value, ...], key_id: str, version: int
) -> Row:
    """Run a statement that ends in "key_id = ? AND version = ?"; return its row, or raise why there is none."""
    if not storable(key_id):
        raise KeyNotFound(key_id)
    rows = await transaction.fetch(statement, (*values, key_id, storable_version(version)))
    if rows:
        return rows[0]
    if await transaction.fetch(statements.VERSION, (key_id,)):
        raise StaleRecord(key_id, version)
    raise KeyNotFound(key_id)


async def _announce(transaction: Transaction, record: KeyRecord | None) -> Change:
    """Append a change of this record, or of all, to the feed."""
    key_id, version = ("", 0) if record is None else (record.key_id, record.version)
    [[seq]] = await transaction.fetch(statements.APPEND_CHANGE, (key_id, version))
    return Change(cast(int, seq), key_id, version)
