"""Moving keys between stores: every record out as a line, and lines in again. Digests, never keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Protocol

from asgi_apikey import lifecycle
from asgi_apikey.background import Background
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import Action, Actor, Committed, Imported, KeyRecord, Note, Seal
from asgi_apikey.protocols import Clock, Invalidation, KeyArchive

_PAGE = 1_000
_BATCH = 500
_SHOWN = 100
_NOBODY = Actor()


class Lines(Protocol):
    """How a record is written on one line."""

    def header(self) -> str:
        """Return the first line."""
        ...

    def footer(self, keys: int) -> str:
        """Return the last line of a file with so many keys."""
        ...

    def line_of(self, record: KeyRecord) -> str:
        """Return the line of a record."""
        ...

    def read(self, line: str) -> KeyRecord | int | None:
        """Return the record on a line, the number on the last one, or None for the first one.

        Raises:
            InvalidRequest: It is none of these.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come; all of it is committed.

    Attributes:
        lines: Lines done, from the beginning of the file.
        added: Keys that were added.
        present: Keys that were there already.
        conflicts: Keys whose id another key has; what is there was left.
        conflicting: Ids of these, at most 100.
        unusable: Keys whose digest cannot be compared with the peppers and schemes given here.
        complete: Whether the last line was met, and the file has as many keys as it says.
    """

    lines: int = 0
    added: int = 0
    present: int = 0
    conflicts: int = 0
    conflicting: tuple[str, ...] = ()
    unusable: int = 0
    complete: bool = False


class Transfer:
    """Exports and imports.

    Args:
        archive: All records of a repository.
        lines: How they are written.
        accepts: Whether a digest can be compared here.
        invalidation: Told about every new key.
        clock: Tells when.
        background: Where changes run.
        seal: Chains the entries of the audit; None: with plain SHA-256.
    """

    def __init__(
        self,
        archive: KeyArchive,
        lines: Lines,
        *,
        accepts: Callable[[str], bool],
        invalidation: Invalidation,
        clock: Clock,
        background: Background,
        seal: Seal | None = None,
    ) -> None:
        self._archive = archive
        self._lines = lines
        self._accepts = accepts
        self._invalidation = invalidation
        self._clock = clock
        self._background = background
        self._seal = seal

    async def export(self, *, after: str | None = None, exported: int = 0) -> AsyncIterator[str]:
        """Yield one line for each key, by key id, without line ends; a first and a last line around them.

        Keys that come and go meanwhile may or may not be there; each line is true at some time during the export.

        Args:
            after: Go on behind the key with this id, without a first line.
            exported: Keys that were exported up to there.

        Raises:
            StoreUnavailable: The repository did not answer.
        """
        if after is None:
            yield self._lines.header()
        last = after or ""
        while page := await self._archive.records(last, limit=_PAGE):
            for record in page:
                yield self._lines.line_of(record)
            last, exported = page[-1].key_id, exported + len(page)
        yield self._lines.footer(exported)

    async def load(
        self, lines: Iterable[str], *, actor: Actor = _NOBODY, start: ImportProgress | None = None
    ) -> AsyncIterator[ImportProgress]:
        """Add the keys that are not there, 500 in a transaction, and yield after each how far it has come.

        Doing it again changes nothing. A key that was deleted here comes back above its tombstone. What is there is
        left as it is, whatever the line says.

        Args:
            lines: Of an export; iterated once.
            actor: Who imports, for the audit.
            start: Where an earlier import has ended: its `lines` are passed over.

        Raises:
            InvalidRequest: A line that cannot be one of an export, by number; everything before its batch is added.
            StoreUnavailable: The repository did not answer; what was yielded is committed.
        """
        progress = start or ImportProgress()
        # Once for the passed over lines too: a wrong file is noticed before anything of it is added.
        remaining = islice(enumerate(lines, 1), progress.lines, None)
        while batch := list(islice(remaining, _BATCH)):
            records, promised = self._read(batch)
            imported = await self._background.run(partial(self._put, records, actor))
            progress = self._advanced(progress, batch[-1][0], records, imported)
            if promised is not None:
                done = progress.added + progress.present + progress.conflicts
                progress = replace(progress, complete=done == promised)
            yield progress

    async def add(self, records: Sequence[KeyRecord], *, actor: Actor = _NOBODY) -> Imported:
        """Add those records that are not there, in one transaction; a few hundred of them.

        Args:
            records: With digests that were made elsewhere.
            actor: Who imports, for the audit.

        Raises:
            InvalidRequest: A value cannot be stored; nothing was added.
            StoreUnavailable: The repository did not answer.
        """
        return await self._background.run(partial(self._put, records, actor))

    def _read(self, batch: list[tuple[int, str]]) -> tuple[list[KeyRecord], int | None]:
        records: list[KeyRecord] = []
        promised: int | None = None
        for number, line in batch:
            if not line.strip():
                continue
            try:
                found = self._lines.read(line)
            except InvalidRequest as error:
                raise InvalidRequest(f"line {number}: {error}") from error
            if promised is not None:
                raise InvalidRequest(f"line {number}: more after the last line")
            if isinstance(found, KeyRecord):
                records.append(found)
            elif found is not None:
                promised = found
            elif number != 1:
                raise InvalidRequest(f"line {number}: another export begins here")
        return records, promised

    async def _put(self, records: Sequence[KeyRecord], actor: Actor) -> Imported:
        if not records:
            return Imported((), (), ())
        name = lifecycle.line(actor.name, "actor", most=lifecycle.MAX_NAME)
        occasion = lifecycle.line(actor.correlation_id, "correlation_id", most=lifecycle.MAX_NAME)
        note = Note(action=Action.IMPORT, actor=Actor(name, occasion), at=self._clock.wall(), seal=self._seal)
        imported = await self._archive.put(records, note=note)
        if imported.changes:
            await self._invalidation.tell(Committed(records[-1], imported.changes))
        return imported

    def _advanced(
        self, progress: ImportProgress, line: int, records: list[KeyRecord], imported: Imported
    ) -> ImportProgress:
        return replace(
            progress,
            lines=line,
            added=progress.added + len(imported.changes),
            present=progress.present + len(imported.present),
            conflicts=progress.conflicts + len(imported.conflicting),
            conflicting=(*progress.conflicting, *imported.conflicting)[:_SHOWN],
            unusable=progress.unusable + sum(not self._accepts(each.digest) for each in records),
        )
