"""SQLite as a `Driver`: two connections for each event loop, and a close eye on the file."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.driver import MIGRATE, MIGRATE_AFTER, Transaction, allowed
from asgi_apikey.repositories.migrations import migrations, pending
from asgi_apikey.repositories.owned import OwnedTasks, Progress
from asgi_apikey.repositories.records import Row, Value
from asgi_apikey.repositories.sqlite.connection import SQLiteConnection, connect
from asgi_apikey.repositories.sqlite.file import FileIdentity, FoundFile, create_file, find_file, is_at
from asgi_apikey.repositories.sqlite.schema import meta_of, migrate_file

T = TypeVar("T")
_log = logging.getLogger("asgi_apikey")

_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables; RETURNING came with 3.35


class _Connections:
    """What one event loop has open.

    Attributes:
        file: The file, as it was opened.
        reader: For reads of requests.
        writer: For everything that writes.
        browser: For reads of many rows, which no request is to wait for; None until there is the first of them.
        opening: Held while the browser is opened.
        closed: Whether nothing may be opened any more.
    """

    __slots__ = ("browser", "closed", "file", "opening", "reader", "writer")

    def __init__(self, file: FileIdentity, reader: SQLiteConnection, writer: SQLiteConnection) -> None:
        self.file = file
        self.reader = reader
        self.writer = writer
        self.browser: SQLiteConnection | None = None
        self.opening = asyncio.Lock()
        self.closed = False

    @property
    def healthy(self) -> bool:
        return self.reader.healthy and self.writer.healthy

    async def close(self) -> None:
        async with self.opening:
            self.closed = True
            if self.browser is not None:
                await self.browser.close()
        # The writer last: the last connection to leave a file merges its log, and the others may not write.
        await self.reader.close()
        await self.writer.close()

    def discard(self) -> None:
        self.closed = True
        for each in (self.reader, self.browser, self.writer):
            if each is not None:
                each.discard()


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

    Each event loop has connections of its own, made on first use, remade after a fork: one reads for requests, one
    writes, and a third one searches and exports. asyncio only.

    When the file is unlinked, or another takes its place, every call raises StoreUnavailable rather than go on
    answering from a file that nobody else sees. A copy or backup of the same store is then opened by the next call;
    a different store is refused until this object is made anew. Not noticed: a file
    overwritten in place, or `-wal` and `-shm` removed from beside it.

    Args:
        path: The file; a relative one is resolved now.
        busy_timeout: Seconds for which a write waits for another process's write.
        deadline: Seconds that a read may take; a write may take `busy_timeout` more. What works on many rows has a
            longer one, see `driver`.

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
        self._behind = False
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
        """Close the connections of every event loop; waits at most twice `deadline` for this one's."""
        here = self._here()
        for place in _emptied(self._places):
            if place is not here:
                _discard(place)
        connections, here.connections = here.connections, None
        if connections is not None:
            with suppress(StoreUnavailable):
                await self._owned.run(partial(_close, connections), patience=self._deadline, what="closing")
        # Writes whose callers have left, and connections that were given up: the loop may be closed next.
        await self._owned.finish(patience=self._deadline)

    async def fetch(self, sql: str, args: Sequence[Value] = (), *, deadline: Seconds | None = None) -> list[Row]:
        """Run one statement on the reading connection; on another one, if it asks for a longer deadline.

        Raises:
            StoreUnavailable: No answer within the deadline, or the file is not what it was.
        """
        connections = self._open_now() or await self._usable()
        if deadline is None:
            return await connections.reader.fetch(sql, args, deadline=self._deadline)
        browser = await self._browser(connections)
        return await browser.fetch(sql, args, deadline=allowed(self._deadline, deadline))

    async def change(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` in a write transaction. SQLite has one write lock, so it is the change lock too.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        return await self.write(work, deadline=deadline)

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` in a write transaction.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        connections = await self._usable()
        return await self._owned.run(
            lambda progress: self._transact(connections, work, progress),
            patience=self._busy_timeout + allowed(self._deadline, deadline),
            what="the write",
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

    def _open_now(self) -> _Connections | None:
        """Return this loop's connections, if there is nothing to be done or said about them."""
        try:
            connections = self._here().connections
        except ConfigurationError:
            return None
        usable = connections is not None and connections.healthy and is_at(self._path, connections.file)
        return connections if usable else None

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
            return await self._opened(here, may_create)
        except StoreUnavailable as error:
            # Whatever became of the opening, what the caller wants to be done has not begun.
            error.outcome_unknown = False
            raise

    async def _opened(self, here: _Place, create: bool) -> _Connections:
        """Open the file; where it lacks steps of the schema and may be changed, take these first."""
        if create:
            create_file(self._path)
        opening = partial(
            self._owned.run,
            partial(self._open_here, here),
            patience=self._patience,
            what="opening the SQLite file",
        )
        try:
            return await opening()
        except StoreUnavailable:
            if not (create and self._behind):
                raise
        await self._owned.run(
            lambda progress: migrate_file(self._path, self._steps, progress, patience=MIGRATE_AFTER),
            patience=MIGRATE,
            what="migrating the SQLite file",
        )
        return await opening()

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

    async def _open_here(self, here: _Place, progress: Progress) -> _Connections:
        async with here.opening:
            progress.begun = True
            if here.connections is None or not here.connections.healthy:
                here.connections = await self._open_file()
            return here.connections

    async def _open_file(self) -> _Connections:
        found = find_file(self._path)
        writer = await connect(self._path, busy_timeout=self._busy_timeout)
        try:
            await writer.fetch("PRAGMA synchronous = FULL", deadline=self._deadline)
            await self._check_store(writer, found)
            reader = await self._open_reader(found.identity)
        except BaseException:
            writer.discard()
            raise
        return _Connections(found.identity, reader, writer)

    async def _open_reader(self, file: FileIdentity) -> SQLiteConnection:
        reader = await connect(self._path, busy_timeout=min(self._busy_timeout, self._deadline))
        try:
            await reader.fetch("PRAGMA query_only = ON", deadline=self._deadline)
            # Looked at before and after: whichever file all our connections have opened, it was this one.
            if find_file(self._path).identity != file:
                raise StoreUnavailable(f"the key store at {self._path} was replaced while it was opened")
        except BaseException:
            reader.discard()
            raise
        return reader

    async def _browser(self, connections: _Connections) -> SQLiteConnection:
        if connections.browser is not None and connections.browser.healthy:
            return connections.browser
        return await self._owned.run(
            partial(self._open_browser, connections), patience=self._patience, what="opening the SQLite file"
        )

    async def _open_browser(self, connections: _Connections, progress: Progress) -> SQLiteConnection:
        async with connections.opening:
            progress.begun = True
            if connections.closed:
                raise StoreUnavailable("the SQLite file is being closed")
            if connections.browser is None or not connections.browser.healthy:
                broken, connections.browser = connections.browser, None
                if broken is not None:
                    self._owned.spawn(broken.close())
                connections.browser = await self._open_reader(connections.file)
            return connections.browser

    async def _check_store(self, writer: SQLiteConnection, found: FoundFile) -> None:
        version, database_id = await meta_of(partial(writer.fetch, deadline=self._patience))
        if self._database_id not in (None, database_id):
            self._refuse_foreign(found)
        self._behind = bool(pending(self._steps, version))
        if self._behind:
            raise StoreUnavailable(
                f"{self._path} has key store schema {version}, {len(self._steps)} is needed: `asgi-apikey init`"
            )
        self._database_id = database_id

    def _refuse_foreign(self, found: FoundFile) -> None:
        """Remember the file, so that it is not opened again for every request."""
        if self._foreign is None:
            _log.error(
                "the file at %s is not the key store that this process has opened before",
                self._path,
                extra={"event": "other_store"},
            )
        self._foreign = found
        self._check_not_foreign(found)

    def _check_not_foreign(self, found: FoundFile) -> None:
        if found == self._foreign:
            raise StoreUnavailable(
                f"{self._path} is another key store than before: put the right one back, or restart to use this one"
            )


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
