"""SQLite as a `Driver`: two connections for each event loop, and a close eye on the file."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.migrations import migrations, pending
from asgi_apikey.repositories.owned import OwnedTasks, Progress
from asgi_apikey.repositories.records import Row, Value
from asgi_apikey.repositories.sqlite.connection import SQLiteConnection, connect, is_busy
from asgi_apikey.repositories.sqlite.file import FileIdentity, FoundFile, create_file, find_file

T = TypeVar("T")
_log = logging.getLogger("asgi_apikey")

_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables; RETURNING came with 3.35
_WAL_RETRY: Final[Seconds] = 0.01


@dataclass(frozen=True, slots=True)
class _Connections:
    """What one event loop has open."""

    file: FileIdentity
    reader: SQLiteConnection
    writer: SQLiteConnection

    @property
    def healthy(self) -> bool:
        return self.reader.healthy and self.writer.healthy

    async def close(self) -> None:
        # The writer last: the last connection to leave a file merges its log, and the reader may not write.
        await self.reader.close()
        await self.writer.close()

    def discard(self) -> None:
        self.reader.discard()
        self.writer.discard()


class _Place:
    """One event loop's connections, and the lock under which they are opened."""

    __slots__ = ("connections", "opening")

    def __init__(self) -> None:
        self.connections: _Connections | None = None
        self.opening = asyncio.Lock()


_Places = dict[asyncio.AbstractEventLoop, _Place]


class SQLiteDriver:
    """An SQLite file, in WAL mode: readers never wait for the writer, of this process or another.

    A commit is on the disk when it is acknowledged (`synchronous=FULL`): it survives `kill -9`, and a power failure
    on a disk that keeps its promises. It costs one `fsync` a change, which WAL's usual NORMAL saves by letting a
    power failure undo the last commits: here that could bring a revoked key back.

    Each event loop has connections of its own, made on first use, remade after a fork. asyncio only.

    When the file is unlinked, or another takes its place, every call raises StoreUnavailable rather than go on
    answering from a file that nobody else sees. A copy or backup of the same store is then opened by the next call;
    a different store is refused until this object is made anew. Not noticed: a file
    overwritten in place, or `-wal` and `-shm` removed from beside it.

    Args:
        path: The file; a relative one is resolved now.
        busy_timeout: Seconds for which a write waits for another process's write.
        deadline: Seconds that a read may take; a write may take `busy_timeout` more.

    Raises:
        ConfigurationError: A duration is not positive, `path` is `:memory:`, or SQLite is older than 3.37.
    """

    skip_locked: Final = ""
    """See `Driver`: SQLite has one writer at a time."""

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: Seconds = 2.0, deadline: Seconds = 2.0) -> None:
        if busy_timeout <= 0 or deadline <= 0:
            raise ConfigurationError("busy_timeout and deadline must be positive seconds")
        if os.fspath(path) in ("", ":memory:"):
            raise ConfigurationError("SQLite in memory has one database per connection: write 'memory:' instead")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite 3.37 or newer is needed; this Python has {sqlite3.sqlite_version}")
        self._path = Path(path).absolute()
        self._busy_timeout = busy_timeout
        self._deadline = deadline
        self._steps = migrations("sqlite")
        self._database_id: str | None = None
        self._foreign: FoundFile | None = None
        self._inherited: list[_Places] = []
        self._start_in_this_process()

    async def open(self, *, create: bool) -> None:
        """Connect this event loop; with `create`, make the file (mode 0600) and its tables first.

        A store that this object has already used is never made a second time: an empty one in its place would turn
        every key into an unknown one.

        Raises:
            StoreUnavailable: No file, no folder for it, not a key store, another one, damaged, or locked.
            ConfigurationError: The store's schema is newer than this version of the package.
        """
        await self._connected(create=create)

    async def close(self) -> None:
        """Close the connections of every event loop; waits at most `deadline` for this one's."""
        here = self._here()
        for place in _emptied(self._places):
            if place is not here:
                _discard(place)
        connections, here.connections = here.connections, None
        if connections is not None:
            with suppress(StoreUnavailable):
                await self._owned.run(partial(_close, connections), patience=self._deadline, what="closing")

    async def fetch(self, sql: str, args: Sequence[Value] = ()) -> list[Row]:
        """Run one statement on the reading connection.

        Raises:
            StoreUnavailable: No answer within `deadline`, or the file is not what it was.
        """
        connections = await self._usable()
        return await connections.reader.fetch(sql, args, deadline=self._deadline)

    async def change(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a write transaction. SQLite has one write lock, so it is the change lock too.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        return await self.write(work)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a write transaction.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        connections = await self._usable()
        return await self._owned.run(
            lambda progress: self._transact(connections, work, progress), patience=self._patience, what="the write"
        )

    @property
    def _patience(self) -> Seconds:
        return self._busy_timeout + self._deadline

    async def _transact(
        self, connections: _Connections, work: Callable[[Transaction], Awaitable[T]], progress: Progress
    ) -> T:
        result = await connections.writer.transact(work, progress)
        try:
            self._check_in_place(connections)
        except StoreUnavailable as error:
            # Committed, but perhaps into a file that had lost its name: what was acknowledged must be found again.
            error.outcome_unknown = True
            raise
        return result

    def _start_in_this_process(self) -> None:
        """Begin with nothing open: at first, and in a forked child, where SQLite forbids the parent's connections."""
        self._pid = os.getpid()
        self._places: _Places = {}
        self._owned = OwnedTasks()
        # Without this, connections that nobody closed are found by the garbage collector, which warns about them.
        weakref.finalize(self, _discard_all, self._places, self._pid).atexit = False

    def _here(self) -> _Place:
        """Return the running loop's place; dead loops are cleared away when a new one comes."""
        if os.getpid() != self._pid:
            # Kept, not closed: closing them here would release locks and files that the parent relies on.
            self._inherited.append(self._places)
            self._start_in_this_process()
        loop = _running_loop()
        place = self._places.get(loop)
        if place is None:
            # Copied first: other threads' loops come and go meanwhile.
            for dead in [each for each in list(self._places) if each.is_closed()]:
                _discard(self._places.pop(dead, None))
            place = self._places.setdefault(loop, _Place())
        return place

    async def _usable(self) -> _Connections:
        """Return this loop's connections, for a caller who cannot do anything about a wrong configuration."""
        try:
            return await self._connected(create=False)
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error

    async def _connected(self, *, create: bool) -> _Connections:
        here = self._here()
        connections = here.connections
        if connections is not None:
            self._check_in_place(connections)
            if connections.healthy:
                return connections
            self._drop(here)
        may_create = create and self._database_id is None
        if not may_create:
            # Cheap, and the common way to fail: no task, no thread for a file that is not there.
            self._check_not_foreign(find_file(self._path))
        try:
            return await self._owned.run(
                partial(self._open_here, here, may_create), patience=self._patience, what="opening the SQLite file"
            )
        except StoreUnavailable as error:
            # Whatever became of the opening, what the caller wants to be done has not begun.
            error.outcome_unknown = False
            raise

    def _check_in_place(self, connections: _Connections) -> None:
        if find_file(self._path).identity != connections.file:
            here = self._here()
            if here.connections is connections:
                self._drop(here)
            raise StoreUnavailable(f"another file has taken the place of the key store at {self._path}")

    def _drop(self, place: _Place) -> None:
        """Close this loop's connections once their users are through; the next call opens new ones."""
        connections, place.connections = place.connections, None
        if connections is not None:
            self._owned.spawn(connections.close())

    async def _open_here(self, here: _Place, create: bool, progress: Progress) -> _Connections:
        async with here.opening:
            progress.begun = True
            if here.connections is None or not here.connections.healthy:
                here.connections = await self._open_file(create)
            return here.connections

    async def _open_file(self, create: bool) -> _Connections:
        if create:
            create_file(self._path)
        found = find_file(self._path)
        writer = await connect(self._path, busy_timeout=self._busy_timeout)
        try:
            await writer.fetch("PRAGMA synchronous = FULL", deadline=self._deadline)
            await self._check_store(writer, found, create)
            reader = await connect(self._path, busy_timeout=min(self._busy_timeout, self._deadline))
        except BaseException:
            writer.discard()
            raise
        connections = _Connections(found.identity, reader, writer)
        try:
            await reader.fetch("PRAGMA query_only = ON", deadline=self._deadline)
            # Looked at before and after: whichever file the two connections have opened, it was this one.
            if find_file(self._path).identity != found.identity:
                raise StoreUnavailable(f"the key store at {self._path} was replaced while it was opened")
        except BaseException:
            connections.discard()
            raise
        return connections

    async def _check_store(self, writer: SQLiteConnection, found: FoundFile, create: bool) -> None:
        version, database_id = await self._meta(writer)
        if self._database_id not in (None, database_id):
            self._refuse_foreign(found)
        if pending(self._steps, version):
            if not create:
                raise StoreUnavailable(
                    f"{self._path} has key store schema {version}, {len(self._steps)} is needed: `asgi-apikey init`"
                )
            await self._write_ahead(writer)
            await writer.transact(self._migrate, Progress())
            version, database_id = await self._meta(writer)
        self._database_id = database_id

    async def _meta(self, connection: SQLiteConnection) -> tuple[int, str | None]:
        """Return the schema's version and the store's id; 0 and None where there is no store."""
        return await _meta_of(partial(connection.fetch, deadline=self._patience))

    async def _migrate(self, transaction: Transaction) -> None:
        # Read again under the lock: of several processes that start at once, the first one has done it all.
        version, _ = await _meta_of(transaction.fetch)
        for step in pending(self._steps, version):
            for statement in step.statements:
                await transaction.fetch(statement)
            await transaction.fetch(
                "UPDATE api_key_meta SET value = ? WHERE name = 'schema_version'", (str(step.number),)
            )

    async def _write_ahead(self, writer: SQLiteConnection) -> None:
        """Switch the file to WAL, which it then stays in.

        This one statement ignores the busy timeout (it failed in 3 of 8 processes that started at once), and SQLite
        has nothing to wait on, so it is tried again.
        """
        attempts = max(1, round(self._busy_timeout / _WAL_RETRY))
        for attempt in range(attempts):
            try:
                [[mode]] = await writer.fetch("PRAGMA journal_mode = WAL", deadline=self._deadline)
            except StoreUnavailable as error:
                if not is_busy(error) or attempt == attempts - 1:
                    raise
                await asyncio.sleep(_WAL_RETRY)
            else:
                if mode != "wal":
                    _log.warning("%s cannot use write-ahead logging; readers will wait for writers", self._path)
                return

    def _refuse_foreign(self, found: FoundFile) -> None:
        """Remember the file, so that it is not opened again for every request."""
        if self._foreign is None:
            _log.error("the file at %s is not the key store that this process has opened before", self._path)
        self._foreign = found
        self._check_not_foreign(found)

    def _check_not_foreign(self, found: FoundFile) -> None:
        if found == self._foreign:
            raise StoreUnavailable(
                f"{self._path} is another key store than before: put the right one back, or restart to use this one"
            )


async def _meta_of(fetch: Callable[..., Awaitable[list[Row]]]) -> tuple[int, str | None]:
    if not await fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'api_key_meta'"):
        return 0, None
    rows = await fetch("SELECT name, value FROM api_key_meta")
    entries = {str(name): str(value) for name, value in rows}
    try:
        return int(entries["schema_version"]), entries["database_id"]
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("the key store does not say which schema it has; it is damaged") from error


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise ConfigurationError("SQLite needs asyncio: on trio use 'memory:' or a repository of your own") from error


async def _close(connections: _Connections, progress: Progress) -> None:
    # Begun at once: nobody will ask for it a second time.
    progress.begun = True
    await connections.close()


def _emptied(places: _Places) -> list[_Place]:
    """Take every place out, one at a time, because other threads may add theirs meanwhile."""
    taken = [places.pop(loop, None) for loop in list(places)]
    return [place for place in taken if place is not None]


def _discard(place: _Place | None) -> None:
    if place is None or place.connections is None:
        return
    connections, place.connections = place.connections, None
    connections.discard()


def _discard_all(places: _Places, pid: int) -> None:
    if os.getpid() == pid:
        for place in _emptied(places):
            _discard(place)
