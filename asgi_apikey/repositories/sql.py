"""The repository over any SQL database: each change is one guarded statement and its row of the feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from asgi_apikey.errors import KeyExists, KeyNotFound, StaleRecord
from asgi_apikey.models import Change, Committed, Instant, KeyPage, KeyQuery, KeyRecord, RecordPatch, Usage
from asgi_apikey.repositories import statements
from asgi_apikey.repositories.driver import Driver, Transaction
from asgi_apikey.repositories.paging import limit_of, page_of, start_of
from asgi_apikey.repositories.records import (
    Row,
    Value,
    from_row,
    patch_values,
    storable,
    storable_version,
    stored,
    to_micros,
    to_row,
)


class SQLRepository:
    """Keeps records in the tables `api_keys`, `api_key_changes` and `api_key_meta` of a database.

    Every method may raise StoreUnavailable; `outcome_unknown` is set on it when a change may have been committed.

    Args:
        driver: The database. Which dialect it speaks is its own affair.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

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

    async def add(self, record: KeyRecord) -> Committed:
        """Insert a new record, at a version above every earlier one of the same id.

        Raises:
            KeyExists: The id is taken.
            InvalidRequest: A value cannot be stored.
        """
        complete = from_row(to_row(record))
        await self._driver.open(create=True)

        async def work(transaction: Transaction) -> Committed:
            added, change = await _add(transaction, complete)
            return Committed(added, (change,))

        return await self._driver.change(work)

    async def update(self, key_id: str, patch: RecordPatch, *, version: int) -> Committed:
        """Set the patch's columns and raise the version by one.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
            InvalidRequest: A value cannot be stored.
        """
        values = patch_values(patch)

        async def work(transaction: Transaction) -> Committed:
            changed, change = await _update(transaction, key_id, values, version)
            return Committed(changed, (change,))

        return await self._driver.change(work)

    async def replace(self, key_id: str, patch: RecordPatch, successor: KeyRecord, *, version: int) -> Committed:
        """Update the record and add its successor, both or neither.

        Raises:
            KeyNotFound: No record `key_id`.
            StaleRecord: It is at another version.
            KeyExists: The successor's id is taken.
            InvalidRequest: A value cannot be stored.
        """
        values, complete = patch_values(patch), from_row(to_row(successor))

        async def work(transaction: Transaction) -> Committed:
            _, changed = await _update(transaction, key_id, values, version)
            added, change = await _add(transaction, complete)
            return Committed(added, (changed, change))

        return await self._driver.change(work)

    async def delete(self, key_id: str, *, version: int) -> Committed:
        """Remove the record; its tombstone carries the next version.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """

        async def work(transaction: Transaction) -> Committed:
            row = await _guarded(transaction, statements.DELETE, (), key_id, version)
            gone = replace(from_row(row), version=version + 1)
            return Committed(gone, (await _announce(transaction, gone),))

        return await self._driver.change(work)

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

    async def record_usage(self, batch: Sequence[Usage]) -> None:
        """Add `uses` and raise `last_used_at` of each named key, in one transaction; unknown ids are skipped.

        Raises:
            InvalidRequest: An instant cannot be stored; nothing of the batch was counted.
        """
        # In one order everywhere, so that two flushes never wait for each other's rows.
        rows = [row for row in sorted(map(_usage_row, batch), key=lambda row: row[-1]) if storable(row[-1])]

        async def work(transaction: Transaction) -> None:
            await transaction.run_many(statements.RECORD_USAGE, rows)

        if rows:
            await self._driver.write(work)

    async def find(self, query: KeyQuery, *, now: Instant) -> KeyPage:
        """Return one page, newest first, ties by key id.

        Raises:
            InvalidRequest: The cursor or the limit is not one of ours.
        """
        limit, start = limit_of(query), start_of(query)
        if not all(storable(each) for each in (query.owner, query.tenant, query.environment) if each is not None):
            return page_of((), limit)
        statement, args = statements.find(query, start=start, now=to_micros(now), limit=limit + 1)
        rows = await self._driver.fetch(statement, args)
        return page_of([from_row(row) for row in rows], limit)


async def _add(transaction: Transaction, record: KeyRecord) -> tuple[KeyRecord, Change]:
    [[highest]] = await transaction.fetch(statements.HIGHEST_VERSION, (record.key_id,))
    added = replace(record, version=max(record.version, cast(int, highest or 0) + 1))
    if not await transaction.fetch(statements.INSERT, to_row(added)):
        raise KeyExists(record.key_id)
    return added, await _announce(transaction, added)


async def _update(
    transaction: Transaction, key_id: str, values: dict[str, Value], version: int
) -> tuple[KeyRecord, Change]:
    row = await _guarded(transaction, statements.update(values), tuple(values.values()), key_id, version)
    changed = from_row(row)
    return changed, await _announce(transaction, changed)


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


async def _announce(transaction: Transaction, record: KeyRecord) -> Change:
    [[seq]] = await transaction.fetch(statements.APPEND_CHANGE, (record.key_id, record.version))
    return Change(cast(int, seq), record.key_id, record.version)


def _usage_row(usage: Usage) -> tuple[int, int, int, str]:
    at = to_micros(usage.last_used_at)
    return (usage.uses, at, at, usage.key_id)
