"""Faults of the store: PostgreSQL frozen, restarted, full, locked; SQLite locked, gone, damaged."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped] # it ships no types
import psutil

from tests.faults.fleet import Refused
from tests.faults.oracle import Ground, Oracle
from tests.faults.rows import Fault, Row, Run, Scale, Seen, amid, good_statuses, tests
from tests.servers import PostgresServer

_OURS: Final = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
_END_OURS: Final = f"SELECT pg_terminate_backend(pid) FROM ({_OURS}) AS ours"
_FAULTY = "tests/repositories/test_postgres_faults.py::"
_DAMAGED = "tests/repositories/test_sqlite_faults.py::"


def on_postgres(
    fault: Callable[[Oracle, PostgresServer, str], AbstractAsyncContextManager[object]],
    *,
    plug: str = "poll-postgres",
    slowest: float = 5.0,
    grace: float = 0.0,
    check: Callable[[Oracle], Sequence[str]] = lambda oracle: (),
) -> Run:
    """Return a run with a fault of the server, which is given with the database's name."""

    async def run(ground: Ground, scale: Scale) -> Seen:
        def with_server(oracle: Oracle) -> AbstractAsyncContextManager[object]:
            return fault(oracle, ground.postgres, urlsplit(oracle.fleet.site.url).path[1:])

        return await amid(plug, with_server, slowest=slowest, slots=20, grace=grace, check=check)(ground, scale)

    return run


@asynccontextmanager
async def frozen(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """SIGSTOP the postmaster and all its children."""
    server.freeze()
    await asyncio.sleep(oracle.scale_seconds)
    server.thaw()
    yield


@asynccontextmanager
async def restarted(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Restart it, in good order and then by `kill -9`."""
    await asyncio.to_thread(server.restart)
    await asyncio.sleep(oracle.scale_seconds / 3)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    yield


@asynccontextmanager
async def hanging_up(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Terminate every session of the database again and again."""
    for _ in range(int(oracle.scale_seconds / 0.3)):
        await asyncio.to_thread(server.execute, _END_OURS, database)
        await asyncio.sleep(0.3)
    yield


@asynccontextmanager
async def deaf_sessions(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """SIGSTOP the server's processes of all present sessions; new ones are served."""
    rows = await asyncio.to_thread(server.execute, _OURS, database)
    processes = [psutil.Process(row["pid"]) for row in rows]
    for process in processes:
        process.suspend()
    await asyncio.sleep(oracle.scale_seconds)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    yield


@asynccontextmanager
async def no_slots(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Take every connection there is, after hanging up on the workers."""
    [[limit]] = await asyncio.to_thread(server.execute, "SELECT current_setting('max_connections')::int")
    # Ended while we fill up, so that the workers' next connections find none left.
    held = [await asyncpg.connect(server.url_of("postgres"), ssl=False)]
    with suppress(asyncpg.PostgresError):
        while len(held) < limit:
            await held[0].execute(_END_OURS, database)
            held.append(await asyncpg.connect(server.url_of("postgres"), ssl=False))
    await held[0].execute(_END_OURS, database)
    await asyncio.sleep(oracle.scale_seconds)
    for connection in held:
        await connection.close()
    yield


@asynccontextmanager
async def read_only(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Make the database read-only for all new sessions, and end the old ones."""
    await asyncio.to_thread(server.execute, f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    await asyncio.to_thread(server.execute, _END_OURS, database)
    await asyncio.sleep(oracle.scale_seconds)
    # In one session that may write, whatever the database says.
    await asyncio.to_thread(server.execute, f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
    await asyncio.to_thread(server.execute, _END_OURS, database)
    yield


@asynccontextmanager
async def locked_table(oracle: Oracle, server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Hold an ACCESS EXCLUSIVE lock on the keys and the feed, as a migration by hand would."""
    connection = await asyncpg.connect(server.url_of(database), ssl=False)
    async with connection.transaction():
        await connection.execute("LOCK TABLE api_keys, api_key_changes IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(oracle.scale_seconds)
    await connection.close()
    yield


@asynccontextmanager
async def another_writer(oracle: Oracle) -> AsyncIterator[None]:
    """Hold SQLite's write lock in another process."""
    path = oracle.fleet.site.url.removeprefix("sqlite:///")
    script = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA busy_timeout = 5000'); c.execute('BEGIN EXCLUSIVE'); print(flush=True);"
        "time.sleep(float(sys.argv[2])); c.execute('ROLLBACK')"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, path, str(oracle.scale_seconds), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    worker = oracle.fleet.workers[0]
    with suppress(Refused):
        # One attempt, not repeated, so that the row has seen what a write is answered.
        await worker.call("issue")
    await process.wait()
    yield


@asynccontextmanager
async def moved_away(oracle: Oracle) -> AsyncIterator[None]:
    """Rename the database and the files beside it; then rename them back."""
    path = oracle.fleet.site.url.removeprefix("sqlite:///")
    sides = [f"{path}{suffix}" for suffix in ("", "-wal", "-shm")]
    for side in sides:
        with suppress(FileNotFoundError):
            os.rename(side, f"{side}.away")
    await asyncio.sleep(oracle.scale_seconds)
    for side in sides:
        with suppress(FileNotFoundError):
            os.rename(f"{side}.away", side)
    yield


def never_unknown(oracle: Oracle) -> Sequence[str]:
    """A store that cannot be asked is never an unknown key."""
    refused = good_statuses(oracle)[401]
    return [f"{refused} x 401 for a good key"] if refused else []


def never_undecided(oracle: Oracle) -> Sequence[str]:
    """A key that is remembered needs no store."""
    undecided = good_statuses(oracle)[503]
    return [f"{undecided} x 503 for a good key"] if undecided else []


def _sqlite(fault: Fault, plug: str) -> Run:
    return amid(plug, fault, check=never_unknown)


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "F10",
        "PostgreSQL frozen",
        "SIGSTOP of the postmaster and all its children",
        "503 with Retry-After within a second, on a machine that is not overloaded; what is cached is served until the "
        "lease ends",
        on_postgres(frozen, slowest=1.5),
    ),
    Row(
        "F10c",
        "PostgreSQL frozen, with a grace for outages",
        "as F10, with `outage_grace=15`",
        "a remembered key is accepted all the time",
        on_postgres(frozen, plug="postgres", slowest=1.5, grace=15.0, check=never_undecided),
    ),
    Row(
        "F11a",
        "PostgreSQL restarted, and killed",
        "fast shutdown and start; then `kill -9` of every process and start",
        "no acknowledged change is lost; new sessions without a restart of ours",
        on_postgres(restarted),
    ),
    Row(
        "F11b",
        "All sessions terminated, over and over",
        "`pg_terminate_backend` of all every 0.3 s",
        "sessions are replaced; a change is whole or not there",
        on_postgres(hanging_up),
    ),
    Row(
        "F12a",
        "No connection left (53300)",
        "all `max_connections` taken by others, ours terminated",
        "503 meanwhile",
        on_postgres(no_slots),
    ),
    Row(
        "F12b",
        "Read-only database (25006)",
        "`default_transaction_read_only`, sessions terminated",
        "changes are refused with 503; keys are read, without a lease once the beat is due",
        on_postgres(read_only),
    ),
    Row(
        "F12c",
        "Tables locked",
        "`LOCK TABLE … ACCESS EXCLUSIVE`",
        "503 within the deadline, no pile of waiting sessions",
        on_postgres(locked_table, slowest=1.5),
    ),
    Row(
        "F12d",
        "Deadlock, serialization failure (40P01, 40001)",
        "raised by the server within a change",
        "tried again at most twice; any other error is not",
        tests(
            f"{_FAULTY}test_a_conflict_is_tried_again_twice",
            f"{_FAULTY}test_other_errors_are_not_tried_again",
        ),
    ),
    Row(
        "F13a",
        "Cancel storm, per driver",
        "calls cancelled at random points, natively and by anyio",
        "sessions, tasks, threads and descriptors as before; none idle in transaction",
        tests(
            "tests/faults/test_cancel_storm.py",
            f"{_FAULTY}test_a_storm_of_cancelled_calls_leaks_nothing",
            f"{_FAULTY}test_a_cancelled_change_that_has_begun_is_finished",
            "tests/repositories/test_databases.py::test_cancelled_calls_cost_no_connection",
            "tests/repositories/test_databases.py::test_a_task_whose_call_was_cancelled_can_call_again",
        ),
    ),
    Row(
        "F14a",
        "Sessions deaf, the server well",
        "SIGSTOP of the backends of all present sessions",
        "each is given up at its deadline and replaced; leases end meanwhile",
        on_postgres(deaf_sessions, slowest=1.5),
    ),
    Row(
        "F15",
        "Pooler of transactions",
        "a pooler that gives each transaction another session",
        "works when announced; found at the first use when not",
        tests("tests/repositories/test_postgres_pooler.py"),
    ),
    Row(
        "F16a",
        "SQLite locked by another writer (bus)",
        "`BEGIN EXCLUSIVE` in another process",
        "reads go on; a change waits, then 503; the loop is not blocked",
        _sqlite(another_writer, "host"),
    ),
    Row(
        "F16b",
        "SQLite locked by another writer (poll)",
        "`BEGIN EXCLUSIVE` in another process",
        "as F16a; a worker whose beat is due has no lease, and reads the store for each request",
        _sqlite(another_writer, "poll-sqlite"),
    ),
    Row(
        "F17a",
        "SQLite file gone",
        "database, log and index renamed away, and back",
        "503, never 401; no empty store in its place",
        _sqlite(moved_away, "host"),
    ),
    Row(
        "F17b",
        "SQLite disk full, file read-only, pages damaged, another file in its place",
        "RLIMIT_FSIZE, modes, flipped bytes, rename",
        "503 and a loud message; never an unknown key",
        tests(
            f"{_DAMAGED}test_a_full_disk_refuses_writes_only",
            f"{_DAMAGED}test_a_read_only_file_is_read",
            f"{_DAMAGED}test_a_damaged_database_never_loses_a_key_silently",
            f"{_DAMAGED}test_a_foreign_store_is_refused",
            f"{_DAMAGED}test_an_empty_file_in_its_place_is_not_filled",
        ),
    ),
)
