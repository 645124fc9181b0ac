"""One connection to SQLite: the thread it lives in, whose turn it is, and what its errors mean.

aiosqlite gives each connection a thread and a queue. What it leaves open is closed here:

* A cancelled call leaves its statement running in the thread. The next one would stand in the queue behind it with
  its deadline running, and a loop that is closed meanwhile kills the thread with an exception. So whoever is
  cancelled passes his turn to a task that waits for the thread.
* Its thread is not a daemon: a program that ends without closing would never exit.
* Stopping it from a loop other than its own makes the thread report to that other loop, open or closed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, cast

import aiosqlite

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.deadlines import Deadlines
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.owned import OwnedTasks, Progress
from asgi_apikey.repositories.records import Row, Value

T = TypeVar("T")

# aiosqlite says "closed" by ValueError; a parameter that SQLite cannot hold is an OverflowError.
_ERRORS: Final = (sqlite3.Error, ValueError, OverflowError)

_MEANINGS: Final = {
    sqlite3.SQLITE_BUSY: "another process is writing to the SQLite file",
    sqlite3.SQLITE_LOCKED: "another connection is writing to the SQLite file",
    sqlite3.SQLITE_READONLY: "the SQLite file is read-only",
    sqlite3.SQLITE_FULL: "the disk of the SQLite file is full",
    sqlite3.SQLITE_IOERR: "the SQLite file cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "the SQLite file, or one beside it, cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the SQLite file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
}

# After these the connection is as good as before; after any other, a new one is made.
_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
    }
)


class SQLiteConnection:
    """A connection that one caller uses at a time, on one event loop.

    Attributes:
        healthy: False once an error said that a new connection is needed.
    """

    def __init__(self, raw: aiosqlite.Connection) -> None:
        self.healthy = True
        self._raw = raw
        self._turn = asyncio.Lock()
        self._owned = OwnedTasks()
        self._deadlines = Deadlines()
        self._transaction: Transaction = _OpenTransaction(self)

    async def fetch(self, sql: str, args: Sequence[Value] = (), *, deadline: Seconds) -> list[Row]:
        """Run one statement by itself and return its rows.

        Raises:
            StoreUnavailable: It failed, or did not end within `deadline` seconds.
        """
        try:
            with self._deadlines.within(deadline):
                await self._turn.acquire()
                return await self._fetch_in_turn(sql, args)
        except TimeoutError as error:
            raise StoreUnavailable("the SQLite file did not answer in time") from error

    async def transact(self, work: Callable[[Transaction], Awaitable[T]], progress: Progress) -> T:
        """Run `work` in a write transaction; all of it is committed, or nothing.

        For a task that nobody else cancels: only the end of the loop does, and is made to wait for the rollback.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        async with self._turn:
            progress.begun = True
            try:
                # IMMEDIATE takes the write lock now: a transaction that reads first and locks later fails at once,
                # whatever its busy timeout, when another has written in between.
                await self.run("BEGIN IMMEDIATE")
                result = await work(self._transaction)
                await self._commit()
            except BaseException:
                await self._roll_back()
                raise
            return result

    async def run(self, sql: str, args: Sequence[Value] = ()) -> list[Row]:
        """Run one statement for whoever has the turn."""
        try:
            # It is a list, whatever its type says.
            return cast("list[Row]", await self._raw.execute_fetchall(sql, args))
        except _ERRORS as error:
            raise self._translated(error) from error

    async def run_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement for each row of parameters, for whoever has the turn."""
        try:
            cursor = await self._raw.executemany(sql, rows)
            await cursor.close()
        except _ERRORS as error:
            raise self._translated(error) from error

    async def close(self) -> None:
        """Close, once whoever has the turn is through."""
        async with self._turn:
            self.healthy = False
            with suppress(*_ERRORS):
                await self._raw.close()

    def discard(self) -> None:
        """Have it closed by its own thread, from anywhere, waiting for nothing."""
        self.healthy = False
        _in_daemon_thread(self._raw.stop)

    async def _fetch_in_turn(self, sql: str, args: Sequence[Value]) -> list[Row]:
        try:
            rows = await self.run(sql, args)
        except asyncio.CancelledError:
            self._owned.spawn(self._give_back_when_idle())
            raise
        except BaseException:
            self._turn.release()
            raise
        self._turn.release()
        return rows

    async def _give_back_when_idle(self) -> None:
        """End the statement that its caller has left, and give the turn back when the thread is through with it."""
        try:
            with suppress(*_ERRORS):
                await self._raw.interrupt()
                await self._idle()
        finally:
            self._turn.release()

    async def _idle(self) -> None:
        try:
            await self._raw.execute_fetchall("SELECT 1")
        except asyncio.CancelledError:
            # The loop is being shut down. The thread must find it open when it answers.
            await self._raw.execute_fetchall("SELECT 1")
            raise

    async def _commit(self) -> None:
        try:
            await self.run("COMMIT")
        except StoreUnavailable as error:
            # Busy means that nothing was written; after an I/O error the log may hold the commit all the same.
            error.outcome_unknown = not is_busy(error)
            raise

    async def _roll_back(self) -> None:
        """Roll back if there is something to; it also waits for a statement that was cancelled under way."""
        with suppress(*_ERRORS):
            await self._raw.execute_fetchall("ROLLBACK")
        with suppress(*_ERRORS):
            self.healthy = self.healthy and not self._raw.in_transaction

    def _translated(self, error: Exception) -> StoreUnavailable:
        """Return what an error of the driver means to our callers; after most, the connection is not healthy."""
        code = _code_of(error)
        self.healthy = self.healthy and code in _HARMLESS
        return StoreUnavailable(
            _MEANINGS.get(code, "SQLite refused the statement") if code else "the SQLite connection was lost"
        )


class _OpenTransaction:
    """The `Transaction` of the caller whose turn it is."""

    def __init__(self, connection: SQLiteConnection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, args: Sequence[Value] = ()) -> list[Row]:
        return await self._connection.run(sql, args)

    async def run_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._connection.run_many(sql, rows)


async def connect(path: Path, *, busy_timeout: Seconds) -> SQLiteConnection:
    """Open an existing file; never makes one.

    Args:
        path: Absolute.
        busy_timeout: Seconds for which a statement waits for another process's lock.

    Raises:
        StoreUnavailable: It cannot be opened.
    """
    location = f"{path.as_uri()}?mode=rw"
    # A thread is a daemon if the one that makes it is. No parameter of aiosqlite says so, and a program that ended
    # without closing would hang in the interpreter's wait for its threads.
    raw = _in_daemon_thread(
        lambda: aiosqlite.connect(location, uri=True, timeout=busy_timeout, isolation_level=None),
    )
    connection = SQLiteConnection(raw)
    try:
        await raw
    except _ERRORS as error:
        raise connection._translated(error) from error
    return connection


def is_busy(error: StoreUnavailable) -> bool:
    """Whether SQLite gave up waiting for another's lock."""
    return _code_of(error.__cause__) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code_of(error: BaseException | None) -> int:
    """Return SQLite's primary result code (the low byte of the extended one); 0 when there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _in_daemon_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns in a thread that is a daemon and has no event loop."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join()
    return results[0]
