"""The audit of a repository: entries are made here, in the transaction of the change that they tell of."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, cast

from asgi_apikey.audit import AuditChain, canonical, genesis
from asgi_apikey.errors import InvalidRequest, StoreUnavailable
from asgi_apikey.models import Action, AuditAnchor, AuditEntry, Change, KeyRecord, Note
from asgi_apikey.repositories.driver import BROWSE, BULK, Driver, Transaction
from asgi_apikey.repositories.feed import CHANGES
from asgi_apikey.repositories.records import Row, Value, from_micros, storable, to_micros

_COLUMNS: Final = (
    "number, seq, at, actor, action, key_id, tenant, version, fields, reason, correlation_id, mac"  # as in `_row`
)

# Each is one statement, so it is one snapshot, also where a transaction would need more round trips.
ANCHOR: Final = """
    SELECT name, value, (SELECT max(number) FROM api_key_audit), (SELECT max(seq) FROM api_key_changes)
    FROM api_key_meta WHERE name IN ('database_id', 'audit_after')
"""
ENTRIES: Final = f"SELECT {_COLUMNS} FROM api_key_audit WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608
LAST: Final = "SELECT number, mac FROM api_key_audit ORDER BY number DESC LIMIT 1"
APPEND: Final = f"INSERT INTO api_key_audit ({_COLUMNS}) VALUES ({', '.join('?' * 12)})"  # noqa: S608
UNANNOUNCED: Final = """
    SELECT key_id FROM api_keys AS k
    WHERE NOT EXISTS (SELECT 1 FROM api_key_changes AS c WHERE c.key_id = k.key_id AND c.version = k.version)
      AND NOT EXISTS (SELECT 1 FROM api_key_audit AS a WHERE a.key_id = k.key_id AND a.version = k.version)
    ORDER BY key_id LIMIT ?
"""

NOTHING_NOTED: Final = Note()
_PLAIN: Final = AuditChain()
_STRETCH: Final = 500


@dataclass(frozen=True, slots=True)
class Noted:
    """A changed key and what the audit says of the change.

    Attributes:
        seq: The feed position of the change.
        record: After the change.
        action: What was done, unless the note says otherwise.
        fields: Names of the columns that were set.
    """

    seq: int
    record: KeyRecord
    action: Action
    fields: Collection[str] = ()


def check_note(note: Note) -> Note:
    """Return the note, its instant as it will be stored.

    Raises:
        InvalidRequest: A part of it cannot be stored; the message names it.
    """
    for name, text in (
        ("actor", note.actor.name),
        ("correlation_id", note.actor.correlation_id),
        ("reason", note.reason),
    ):
        if not storable(text):
            raise InvalidRequest(f"{name}: must be text without NUL and lone surrogates")
    try:
        return replace(note, at=from_micros(to_micros(time.time() if note.at is None else note.at)))
    except (InvalidRequest, TypeError) as error:
        raise InvalidRequest("at: must be a finite instant that fits into 64 bits of microseconds") from error


def continued(number: int, previous: str, note: Note, changes: Sequence[Noted]) -> list[AuditEntry]:
    """Return the entries of these changes, sealed one after the other.

    Args:
        number: Of the entry before; 0 when there is none.
        previous: Its seal, or the genesis.
        note: Checked.
        changes: In the order of their feed positions.
    """
    entries = []
    for noted in changes:
        number += 1
        entry = AuditEntry(
            number=number,
            seq=noted.seq,
            at=0.0 if note.at is None else note.at,
            actor=note.actor.name,
            action=(note.action or noted.action).value,
            key_id=noted.record.key_id,
            tenant=noted.record.tenant,
            version=noted.record.version,
            fields=tuple(sorted(noted.fields)),
            reason=note.reason,
            correlation_id=note.actor.correlation_id,
            mac="",
        )
        previous = (note.seal or _PLAIN.seal)(previous, canonical(entry))
        entries.append(replace(entry, mac=previous))
    return entries


async def append(transaction: Transaction, note: Note, changes: Iterable[Noted]) -> None:
    """Write the entries of these changes at the end of the audit, in a transaction that holds the change lock.

    Args:
        transaction: In which the changes were made.
        note: Checked.
        changes: In the order of their feed positions.
    """
    last = await transaction.fetch(LAST)
    if last:
        number, previous = cast("tuple[int, str]", last[0])
    else:
        number, previous = 0, genesis(_anchor(await transaction.fetch(ANCHOR)))
    remaining = iter(changes)
    # A stretch at a time, so that a change of 100,000 keys does not stop the event loop for a second.
    while stretch := list(islice(remaining, _STRETCH)):
        entries = continued(number, previous, note, stretch)
        await transaction.run_many(APPEND, [_row(entry) for entry in entries])
        number, previous = entries[-1].number, entries[-1].mac


class SQLAuditLog:
    """An `AuditLog` over the driver of an `SQLRepository`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def anchor(self) -> AuditAnchor:
        """See `AuditLog.anchor`."""
        return _anchor(await self._driver.fetch(ANCHOR))

    async def entries(self, after: int, *, limit: int) -> Sequence[AuditEntry]:
        """See `AuditLog.entries`."""
        return [_entry(row) for row in await self._driver.fetch(ENTRIES, (after, limit), deadline=BROWSE)]

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """See `AuditLog.changes`."""
        rows = await self._driver.fetch(CHANGES, (since, limit), deadline=BROWSE)
        return [Change(*cast("tuple[int, str, int]", tuple(row))) for row in rows]

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """See `AuditLog.unannounced`."""
        rows = await self._driver.fetch(UNANNOUNCED, (limit,), deadline=BULK)
        return [str(key_id) for [key_id] in rows]


def _anchor(rows: Sequence[Row]) -> AuditAnchor:
    meta = {str(name): str(value) for name, value, *_ in rows}
    try:
        _, _, entries, position = rows[0]
        return AuditAnchor(
            database_id=meta["database_id"],
            after=int(meta["audit_after"]),
            entries=cast(int, entries or 0),
            position=cast(int, position or 0),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise StoreUnavailable("the key store does not say where its audit begins; it is damaged") from error


def _row(entry: AuditEntry) -> tuple[Value, ...]:
    return (
        entry.number,
        entry.seq,
        to_micros(entry.at),
        entry.actor,
        entry.action,
        entry.key_id,
        entry.tenant,
        entry.version,
        " ".join(entry.fields),
        entry.reason,
        entry.correlation_id,
        entry.mac,
    )


def _entry(row: Row) -> AuditEntry:
    number, seq, at, actor, action, key_id, tenant, version, fields, reason, correlation_id, mac = cast(
        "tuple[int, int, int, str, str, str, str, int, str, str, str, str]", tuple(row)
    )
    return AuditEntry(
        number=number,
        seq=seq,
        at=from_micros(at),
        actor=actor,
        action=action,
        key_id=key_id,
        tenant=tenant,
        version=version,
        fields=tuple(fields.split()),
        reason=reason,
        correlation_id=correlation_id,
        mac=mac,
    )
