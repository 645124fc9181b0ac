"""SQLite behind `databases`: a file and a thread are opened for every unit of work.

`databases` has no pool for SQLite. So nothing that is set on a connection lasts, and nothing but ourselves limits how
many there are: 400 reads at once made 373 threads.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

from databases import Database
from databases.core import Connection

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.databases.loans import Lines, Loan, enter, lines
from asgi_apikey.repositories.databases.units import Unit, nothing
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.migrations import Migration, migrations, pending
from asgi_apikey.repositories.owned import Progress
from asgi_apikey.repositories.records import Row, Value
from asgi_apikey.repositories.sqlite.connection import SQLiteConnection
from asgi_apikey.repositories.sqlite.file import FileIdentity, create_file, find_file
from asgi_apikey.repositories.sqlite.schema import apply

T = TypeVar("T")

_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables; RETURNING came with 3.35
_PART_FOR_LOCKS: Final = 0.9  # of what is left of the deadline: SQLite's own "busy" comes before ours, and says more


class SQLiteDialect:
    """A file, reached through the `Database` itself: its connections belong to no event loop.

    Args:
        database: The application's.
        deadline: Seconds that the locks of others are waited for at most.

    Raises:
        ConfigurationError: The database is not a file, or SQLite is too old.
    """

    def __init__(self, database: Database, *, deadline: Seconds) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite 3.37 or newer is needed; this Python has {sqlite3.sqlite_version}")
        self.steps = migrations("sqlite")
        self.skip_locked = ""
        self._database = database
        self._path = _path_of(database)
        self._deadline = deadline

    def lines(self, connections: int) -> Lines:
        """SQLite has one write lock, so there is one line for all writes.

        Its waiters poll it, each time later; in our own line, whoever is next goes at once.
        """
        turn = asyncio.Lock()
        return lines(connections, turn, turn)

    async def take(self, unit: Unit, *, create: bool) -> Loan:
        """Open the file.

        Raises:
            StoreUnavailable: It is not there, cannot be opened, or was replaced meanwhile.
        """
        if create:
            create_file(self._path)
        # SQLite would make a missing file, and an empty store would call every key unknown.
        file = find_file(self._path).identity
        connection = self._database.connection()
        # Not to be interrupted: aiosqlite, cancelled here, forgets the file that its thread is about to open.
        unit.end = nothing
        try:
            await enter(connection)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise StoreUnavailable(f"the SQLite file at {self._path} cannot be opened") from error
        loan = _SQLiteLoan(connection, unit, path=self._path, file=file, steps=self.steps)
        try:
            await loan.prepare(self._deadline)
        except BaseException:
            await loan.give_back()
            raise
        return loan

    async def close(self, *, patience: Seconds) -> None:
        """Nothing here is ours: each connection was closed with its unit of work."""


class _SQLiteLoan:
    """One opened file. Its methods say what `Loan` says."""

    def __init__(
        self,
        connection: Connection,
        unit: Unit,
        *,
        path: Path,
        file: FileIdentity,
        steps: tuple[Migration, ...],
    ) -> None:
        self._connection = connection
        self._raw = connection.raw_connection
        self._sqlite = SQLiteConnection(self._raw)
        self._unit = unit
        self._path = path
        self._file = file
        self._steps = steps
        self._interruption: asyncio.Task[None] | None = None

    async def prepare(self, patience: Seconds) -> None:
        """Make sure of the file, and that no statement waits for longer than the unit has time.

        Args:
            patience: Seconds that the locks of others are waited for at most, however much time the unit has.

        Raises:
            StoreUnavailable: Another file has this name now, or the unit's time was up meanwhile.
        """
        self._unit.check_time()
        self._unit.end = self._interrupt
        self._check_in_place()
        left = min(patience, max(0.0, self._unit.ends_at - asyncio.get_running_loop().time()))
        await self._wait_for_locks(_PART_FOR_LOCKS * left)

    @property
    def checked(self) -> bool:
        # Each loan opens the file anew, and nothing else holds on to it in between, so not even its inode proves
        # that it is the one of the last loan.
        return False

    def mark_checked(self) -> None:
        """This loan ends with its unit of work."""

    async def store(self) -> tuple[int, str | None]:
        return await _store_of(self._sqlite.run)

    async def migrate(self, *, patience: Seconds) -> None:
        async def work(transaction: Transaction) -> None:
            # Read again under the lock: of several processes that start at once, the first one has done it all.
            version, _ = await _store_of(transaction.fetch)
            await apply(transaction, pending(self._steps, version))

        await self._wait_for_locks(patience)
        await self.write(work)

    async def fetch(self, sql: str, args: Sequence[Value]) -> list[Row]:
        return await self._sqlite.run(sql, args)

    async def change(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.write(work)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        # FULL: a commit that was acknowledged is on the disk. It is the usual default, but a build may have another.
        await self._sqlite.run("PRAGMA synchronous = FULL")
        result = await self._sqlite.transact(work, Progress())
        try:
            self._check_in_place()
        except StoreUnavailable as error:
            # Committed, but perhaps into a file that had lost its name: what was acknowledged must be found again.
            error.outcome_unknown = True
            raise
        return result

    def was_dead(self, error: StoreUnavailable) -> bool:
        return False

    async def give_back(self) -> None:
        self._unit.end = nothing
        if self._interruption is not None:
            await asyncio.wait({self._interruption})
        with suppress(sqlite3.Error, ValueError, AssertionError):
            await self._connection.__aexit__()

    def _check_in_place(self) -> None:
        if find_file(self._path).identity != self._file:
            raise StoreUnavailable(f"another file has taken the place of the key store at {self._path}")

    async def _wait_for_locks(self, seconds: Seconds) -> None:
        await self._sqlite.run(f"PRAGMA busy_timeout = {max(1, round(seconds * 1000))}")

    def _interrupt(self) -> None:
        self._interruption = asyncio.ensure_future(self._interrupted())

    async def _interrupted(self) -> None:
        with suppress(sqlite3.Error, ValueError):
            await self._raw.interrupt()


async def _store_of(fetch: Callable[[str], Awaitable[list[Row]]]) -> tuple[int, str | None]:
    try:
        rows = await fetch("SELECT name, value FROM api_key_meta")
    except StoreUnavailable as error:
        if getattr(error.__cause__, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
            raise
        # SQLite's way to say "no such table", and other things.
        if await fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'api_key_meta'"):
            raise
        return 0, None
    entries = {str(name): str(value) for name, value in rows}
    try:
        return int(entries["schema_version"]), entries["database_id"]
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("the key store does not say which schema it has; it is damaged") from error


def _path_of(database: Database) -> Path:
    """Return the file that `databases` will open: the URL's path with its query, which is a name unless `uri` is set.

    Raises:
        ConfigurationError: There is no file.
    """
    query = database.url.options
    name = database.url.database + (f"?{urlencode(query)}" if query else "")
    if database.options.get("uri"):
        parts = urlsplit(name)
        name = "" if query.get("mode") == "memory" else unquote(parts.path)
    elif name.startswith("file:"):
        raise ConfigurationError("a 'file:' name of SQLite needs Database(..., uri=True)")
    if name in ("", ":memory:"):
        raise ConfigurationError(
            "SQLite in memory has one database per connection: name a file, or use APIKeys('memory:')"
        )
    return Path(name)
