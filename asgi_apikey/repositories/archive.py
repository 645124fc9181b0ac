"""All records, in and out, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from asgi_apikey.models import Action, Change, Imported, KeyRecord, Note
from asgi_apikey.repositories import audit, statements
from asgi_apikey.repositories.audit import NOTHING_NOTED, Noted
from asgi_apikey.repositories.driver import BROWSE, BULK, Driver, Transaction
from asgi_apikey.repositories.labels import labels_of
from asgi_apikey.repositories.records import COLUMNS, Row, Value, from_row, to_row

_CHUNK: Final = 100
_VERSION: Final = COLUMNS.index("version")
_IDS: Final = ", ".join("?" * _CHUNK)
_ALL: Final = ", ".join(COLUMNS)

# ruff: noqa: S608 - what is put into the texts below are the names of our own columns; every value is a parameter.
PAGE: Final = f"SELECT {_ALL} FROM api_keys WHERE key_id > ? ORDER BY key_id LIMIT ?"
DIGESTS: Final = f"SELECT key_id, digest FROM api_keys WHERE key_id IN ({_IDS})"
HIGHEST: Final = f"SELECT key_id, max(version) FROM api_key_changes WHERE key_id IN ({_IDS}) GROUP BY key_id"
_ROW: Final = f"({', '.join('?' * len(COLUMNS))})"
INSERT: Final = f"""
    INSERT INTO api_keys ({_ALL}) VALUES {", ".join([_ROW] * _CHUNK)} ON CONFLICT (key_id) DO NOTHING RETURNING key_id
"""
ANNOUNCE: Final = f"""
    INSERT INTO api_key_changes (key_id, version) VALUES {", ".join(["(?, ?)"] * _CHUNK)} RETURNING seq, key_id
"""


def sorted_out(
    records: Sequence[KeyRecord], digests: Mapping[str, str]
) -> tuple[list[KeyRecord], tuple[str, ...], tuple[str, ...]]:
    """Return the records to add, the ids of those that are there already, and those where another key is.

    Args:
        records: To be imported.
        digests: Of the ids that are taken.
    """
    added: dict[str, KeyRecord] = {}
    present: list[str] = []
    conflicting: list[str] = []
    for record in records:
        taken = added[record.key_id].digest if record.key_id in added else digests.get(record.key_id)
        if taken is None:
            added[record.key_id] = record
        else:
            (present if taken == record.digest else conflicting).append(record.key_id)
    return [*added.values()], tuple(present), tuple(conflicting)


class SQLKeyArchive:
    """A `KeyArchive` over the driver of an `SQLRepository`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def records(self, after: str, *, limit: int) -> Sequence[KeyRecord]:
        """See `KeyArchive.records`."""
        return [from_row(row) for row in await self._driver.fetch(PAGE, (after, limit), deadline=BROWSE)]

    async def put(self, records: Sequence[KeyRecord], *, note: Note = NOTHING_NOTED) -> Imported:
        """See `KeyArchive.put`."""
        rows, checked = {record.key_id: to_row(record) for record in reversed(records)}, audit.check_note(note)
        await self._driver.open(create=True)

        async def work(transaction: Transaction) -> Imported:
            return await _put(transaction, records, rows, checked)

        return await self._driver.change(work, deadline=BULK)


async def _put(transaction: Transaction, records: Sequence[KeyRecord], rows: Mapping[str, Row], note: Note) -> Imported:
    """Add what is not there.

    Args:
        transaction: That holds the change lock.
        records: All of them.
        rows: How each id is stored; the first record of an id counts.
        note: Checked.
    """
    highest = await _by_id(transaction, HIGHEST, sorted(rows))
    above = [_above(row, cast(int, highest.get(key_id, 0))) for key_id, row in sorted(rows.items())]
    # Tried, not asked for first: usually all of them are new.
    inserted = await _inserted(transaction, above)
    digests = await _by_id(transaction, DIGESTS, sorted(rows.keys() - inserted))
    new, present, conflicting = sorted_out(records, cast("dict[str, str]", digests))
    versions = {str(row[0]): cast(int, row[_VERSION]) for row in above if row[0] in inserted}
    added = [replace(each, version=versions[each.key_id]) for each in sorted(new, key=lambda each: each.key_id)]
    await transaction.run_many(statements.ADD_LABEL, [label for each in added for label in labels_of(each)])
    changes = await _announced(transaction, added)
    if added:
        by_id = {each.key_id: each for each in added}
        noted = (Noted(change.seq, by_id[change.key_id], Action.IMPORT) for change in changes)
        await audit.append(transaction, note, noted)
    return Imported(tuple(changes), present, conflicting)


def _above(row: Row, highest: int) -> Row:
    """Return the row at a version that no earlier key of its id has had."""
    version = max(cast(int, row[_VERSION]), highest + 1)
    return (*row[:_VERSION], version, *row[_VERSION + 1 :])


async def _inserted(transaction: Transaction, rows: Sequence[Row]) -> set[str]:
    """Insert the rows whose ids are free; return these ids."""
    found: set[str] = set()
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        # Always as many, so the statement is prepared once; the last one again is no new one.
        full = (*chunk, *[chunk[-1]] * (_CHUNK - len(chunk)))
        found.update(
            str(key_id) for [key_id] in await transaction.fetch(INSERT, [each for row in full for each in row])
        )
    return found


async def _announced(transaction: Transaction, records: Sequence[KeyRecord]) -> list[Change]:
    versions = {each.key_id: each.version for each in records}
    whole = len(records) // _CHUNK * _CHUNK
    found: list[tuple[int, str]] = []
    for start in range(0, whole, _CHUNK):
        args: list[Value] = [value for each in records[start : start + _CHUNK] for value in (each.key_id, each.version)]
        found += [cast("tuple[int, str]", tuple(row)) for row in await transaction.fetch(ANNOUNCE, args)]
    for each in records[whole:]:
        [[seq]] = await transaction.fetch(statements.APPEND_CHANGE, (each.key_id, each.version))
        found.append((cast(int, seq), each.key_id))
    # Which of several new rows comes back first is nowhere promised.
    return [Change(seq, key_id, versions[key_id]) for seq, key_id in sorted(found)]


async def _by_id(transaction: Transaction, statement: str, ids: Sequence[str]) -> dict[str, Value]:
    """Return the second column of what is found for these ids, by the first one."""
    found: dict[str, Value] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = list(ids[start : start + _CHUNK])
        rows = await transaction.fetch(statement, chunk + chunk[-1:] * (_CHUNK - len(chunk)))
        found.update((str(key_id), value) for key_id, value in rows)
    return found
