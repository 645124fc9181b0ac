"""Takes the rows of another system over: says first what would become of them, and then does it, as often as wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from asgi_apikey.adopted.rows import Row, adopter_of
from asgi_apikey.adopted.systems import ForeignTable, Terms
from asgi_apikey.adopted.tables import RowSource
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import Imported, KeyRecord, Status
from asgi_apikey.protocols import KeyReader
from asgi_apikey.verification import status_of

SHOWN: Final = 20
"""Rows of each reason, and keys, that are named; all of them are counted."""

_OVER: Final = frozenset({Status.REVOKED, Status.EXPIRED, Status.DISABLED})

Put: TypeAlias = Callable[[Sequence[KeyRecord]], Awaitable[Imported]]
Follow: TypeAlias = Callable[[KeyRecord], Awaitable[None]]


@dataclass(slots=True)
class LeftOut:
    """Rows that cannot be taken for one reason.

    Attributes:
        count: How many.
        rows: What tells the first of them apart there.
    """

    count: int = 0
    rows: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """How far it has come.

    Attributes:
        rows: Rows read.
        statuses: Of what can be taken.
        left_out: What cannot, by reason.
        added: Keys that were added.
        present: Keys that were here already.
        conflicting: Ids that another key has here, as far as they are shown.
        conflicts: How many these are.
        ended: Keys that work here, and no more there, as far as they are shown.
        ends: How many these are.
    """

    rows: int = 0
    statuses: Counter[Status] = field(default_factory=Counter)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    added: int = 0
    present: int = 0
    conflicting: list[str] = field(default_factory=list)
    conflicts: int = 0
    ended: list[str] = field(default_factory=list)
    ends: int = 0

    @property
    def takeable(self) -> int:
        """Rows that can be taken."""
        return sum(self.statuses.values())


class Taking:
    """Reads a source, page by page.

    Args:
        source: Where the rows are.
        table: What they are.
        terms: What they do not say.
        select: Only rows for which this is true; None: all.
    """

    def __init__(
        self,
        source: RowSource,
        table: ForeignTable,
        *,
        terms: Terms,
        select: Callable[[Row], bool] | None = None,
    ) -> None:
        self._source = source
        self._table = table
        self._terms = terms
        self._select = select

    async def plan(self) -> AsyncIterator[Tally]:
        """Yield, after each page, what would be taken and what would not; nothing is written.

        Raises:
            StoreUnavailable: Their database does not answer.
            InvalidRequest: It has no such table, or the file cannot be read.
        """
        tally = Tally()
        async for _ in self._records(tally):
            yield tally

    async def take(self, put: Put, reader: KeyReader, *, follow: Follow | None = None) -> AsyncIterator[Tally]:
        """Yield, after each page, how far it has come; all of it is committed.

        Doing it again adds what has come there since, and changes nothing else.

        Args:
            put: Adds the records that are not there.
            reader: Tells what is there.
            follow: Ends a key here that has ended there since it was taken over; None: those are only counted.

        Raises:
            StoreUnavailable: Either database does not answer; what was yielded is committed.
            InvalidRequest: Theirs has no such table, or the file cannot be read.
        """
        tally = Tally()
        async for records in self._records(tally):
            if records:
                imported = await put(records)
                tally.added += len(records) - len(imported.present) - len(imported.conflicting)
                tally.present += len(imported.present)
                await self._compare(records, imported, reader, tally, follow)
            yield tally

    async def _records(self, tally: Tally) -> AsyncIterator[list[KeyRecord]]:
        async for page in self._source.pages():
            records: list[KeyRecord] = []
            for row in page:
                if self._select is not None and not self._select(row):
                    continue
                tally.rows += 1
                try:
                    record = self._table.take(row, self._terms)
                except InvalidRequest as error:
                    left = tally.left_out.setdefault(str(error), LeftOut())
                    left.count += 1
                    if len(left.rows) < SHOWN:
                        left.rows.append(row.text(self._table.order)[:64])
                    continue
                tally.statuses[status_of(record, self._terms.now)] += 1
                records.append(record)
            yield records

    async def _compare(
        self, records: Sequence[KeyRecord], imported: Imported, reader: KeyReader, tally: Tally, follow: Follow | None
    ) -> None:
        """Look at those that are here already: is it the same key, and has it ended there meanwhile?"""
        differing, present = set(imported.conflicting), set(imported.present)
        for record in records:
            ended = status_of(record, self._terms.now) in _OVER
            if record.key_id not in differing and not (ended and record.key_id in present):
                continue
            here = await reader.get(record.key_id)
            if record.key_id in differing:
                # Its digest has become one of ours when it was used; or another system's key has the same id.
                if here is None or here.created_by != adopter_of(self._table.system):
                    tally.conflicts += 1
                    _show(tally.conflicting, record.key_id)
                    continue
                tally.present += 1
            if ended and here is not None and status_of(here, self._terms.now) is Status.ACTIVE:
                tally.ends += 1
                _show(tally.ended, record.key_id)
                if follow is not None:
                    await follow(record)


def _show(shown: list[str], key_id: str) -> None:
    if len(shown) < SHOWN:
        shown.append(key_id)
