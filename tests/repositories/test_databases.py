"""The driver over an application's `Database`: what `databases` 0.9 does wrong, and what the application may do.

The contract is in `test_databases_contract`.
"""

# ruff: noqa: ASYNC240 - nothing else runs on these loops, so a test may look at a file.

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from databases import Database, DatabaseURL

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, StaleRecord, StoreUnavailable
from asgi_apikey.models import KeyQuery, RecordPatch, Usage
from asgi_apikey.repositories.databases import DatabasesDriver, keys_in
from asgi_apikey.repositories.databases.postgres import PostgresDialect
from asgi_apikey.repositories.databases.units import Unit
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.sql import SQLRepository
from tests.contracts.repository import NOW, a_record
from tests.servers import PostgresServer

pytestmark = pytest.mark.anyio

POOL = 4


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'app.db'}"


@pytest.fixture
def name(postgres: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url_of(request.getfixturevalue("name"))


@pytest.fixture
async def application(url: str, threads: None) -> AsyncIterator[Database]:
    """The application's own `Database`, connected, with a table of its own."""
    async with database_at(url) as database:
        await database.execute("CREATE TABLE orders (id INTEGER)")
        yield database


@pytest.fixture
async def repository(application: Database) -> AsyncIterator[SQLRepository]:
    """A key store in the application's database, with one record."""
    repository = keys_in(application, deadline=5)
    await repository.open(create=True)
    await repository.add(a_record())
    yield repository
    await repository.close()


def database_at(url: str) -> Database:
    """A `Database` with a small pool, not connected."""
    return Database(url, ssl=False, min_size=1, max_size=POOL) if url.startswith("postgres") else Database(url)


def idle_of(database: Database) -> int:
    """How many connections of the application's pool are free to be taken."""
    pool = database._backend._pool
    return int(pool._queue.qsize())


def stuck_in(server: PostgresServer, name: str) -> int:
    """How many sessions of a database have a transaction open."""
    [[count]] = server.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'", name
    )
    return int(count)


def sessions_in(server: PostgresServer, name: str) -> int:
    """How many sessions a database has."""
    [[count]] = server.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)
    return int(count)


async def eventually(fact: Callable[[], bool]) -> None:
    """Wait until a fact holds, for at most 5 s."""
    for _ in range(500):
        if fact():
            return
        await asyncio.sleep(0.01)
    assert fact()


def natively(call: Callable[[], Awaitable[object]]) -> Callable[[int], Awaitable[None]]:
    """Cancel a call after so many turns of the loop, as asyncio does it."""

    async def cancelled(turns: int) -> None:
        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()

    return cancelled


def by_scope(call: Callable[[], Awaitable[object]]) -> Callable[[int], Awaitable[None]]:
    """Cancel a call after so many turns of the loop, as anyio does it."""

    async def cancelled(turns: int) -> None:
        async def quietly() -> None:
            with suppress(StaleRecord):
                await call()

        async with anyio.create_task_group() as group:
            group.start_soon(quietly)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    return cancelled


# The traps of `databases`, in the order in which one falls into them.


@pytest.mark.parametrize("how", [natively, by_scope])
async def test_cancelled_calls_cost_no_connection(
    application: Database,
    repository: SQLRepository,
    url: str,
    request: pytest.FixtureRequest,
    how: Callable[[Callable[[], Awaitable[object]]], Callable[[int], Awaitable[None]]],
) -> None:
    """After hundreds of calls cancelled at every point, nothing is taken, open, or left running.

    The bare `databases` has lost all of four connections after 3 to 19 rounds.
    """
    calls = [
        how(lambda: repository.get("key1")),
        how(lambda: repository.update("key1", RecordPatch(), version=1)),
        how(lambda: repository.record_usage([Usage("key1", 1, NOW)])),
        how(lambda: repository.find(KeyQuery(), now=NOW)),
    ]
    await asyncio.gather(*(repository.get("key1") for _ in range(POOL)))
    await repository.close()
    tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))

    for turns in range(0, 120, 2):
        await asyncio.gather(*(call(turns + number) for number, call in enumerate(calls)))
    await repository.close()

    await eventually(lambda: len(asyncio.all_tasks()) == tasks)
    assert len(os.listdir("/proc/self/fd")) <= files + (0 if url.startswith("sqlite") else POOL)
    if url.startswith("postgres"):
        assert idle_of(application) == POOL
        assert stuck_in(request.getfixturevalue("postgres"), request.getfixturevalue("name")) == 0
    record = await repository.get("key1")
    assert record is not None
    assert (await repository.update("key1", RecordPatch(name="after"), version=record.version)).record.name == "after"


async def test_a_task_whose_call_was_cancelled_can_call_again(repository: SQLRepository) -> None:
    """No timeout poisons the task that it happened in ("Connection is already acquired")."""
    for turns in range(40):
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if turns < 20 else 0.0005):
                await repository.get("key1")

        assert await repository.get("key1") is not None


async def test_a_unit_of_work_is_not_part_of_the_applications_transaction(
    application: Database, repository: SQLRepository
) -> None:
    """What the application rolls back is not ours: keys that were read within keep being what they are."""
    async with application.transaction(force_rollback=True):
        await application.execute("SELECT 1")
        record = await repository.get("key1")
        changed = await repository.update("key1", RecordPatch(name="mine"), version=1)

    assert record == a_record()
    assert await repository.get("key1") == changed.record


async def test_a_change_within_an_open_write_of_sqlite_gives_up_in_time(sqlite_url: str, threads: None) -> None:
    """The one writer that the file can have is the caller himself: reads answer, changes are refused, known undone."""
    async with database_at(sqlite_url) as application:
        repository = keys_in(application, deadline=0.4)
        await repository.open(create=True)
        await repository.add(a_record())
        await application.execute("CREATE TABLE orders (id INTEGER)")
        async with application.transaction():
            await application.execute("INSERT INTO orders VALUES (1)")

            assert await repository.get("key1") == a_record()
            with pytest.raises(StoreUnavailable, match="another process is writing") as caught:
                await repository.update("key1", RecordPatch(name="x"), version=1)

        assert caught.value.outcome_unknown is False
        assert await application.fetch_val("SELECT count(*) FROM orders") == 1
        assert (await repository.update("key1", RecordPatch(name="x"), version=1)).record.version == 2


async def test_many_calls_at_once_take_few_threads(sqlite_url: str, threads: None) -> None:
    """Four hundred reads at once open four files at a time, where `databases` makes a thread for each."""
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, threading.active_count())
            await asyncio.sleep(0)

    repository = keys_in(Database(sqlite_url), deadline=30, connections=4)
    await repository.add(a_record())
    await repository.close()
    before = threading.active_count()
    watcher = asyncio.ensure_future(watch())
    await asyncio.gather(*(repository.get("key1") for _ in range(400)))
    watcher.cancel()

    # A thread ends a moment after it has said that its file is closed.
    assert peak - before <= 2 * 4
    await repository.close()


async def test_the_deadline_holds_where_pragmas_do_not_last(sqlite_url: str, tmp_path: Path, threads: None) -> None:
    """Waiting for another's lock ends with our deadline, not after the five seconds of every new connection."""
    repository = keys_in(Database(sqlite_url), deadline=0.3)
    patient = keys_in(Database(sqlite_url), deadline=30)
    await patient.add(a_record())
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    began = asyncio.get_running_loop().time()

    for attempt in (lambda: repository.get("key1"), lambda: repository.update("key1", RecordPatch(), version=1)):
        with pytest.raises(StoreUnavailable, match="another process is writing"):
            await attempt()
    elapsed = asyncio.get_running_loop().time() - began
    other.close()

    assert elapsed < 4
    assert await patient.get("key1") == a_record()


async def test_read_and_write_of_many_writers_never_deadlock(url: str, threads: None) -> None:
    """Transactions that read first and write later all succeed, also from several `Database` objects.

    With the plain BEGIN of `databases`, 19 of 20 fail at once on SQLite, whatever their timeout.
    """
    databases = [database_at(url) for _ in range(3)]
    drivers = [DatabasesDriver(database, deadline=30) for database in databases]
    repository = SQLRepository(drivers[0])
    await repository.add(a_record())

    async def one_more(transaction: Transaction) -> None:
        [[uses]] = await transaction.fetch("SELECT uses FROM api_keys WHERE key_id = ?", ("key1",))
        assert isinstance(uses, int)
        await transaction.fetch("UPDATE api_keys SET uses = ? WHERE key_id = ? RETURNING uses", (uses + 1, "key1"))

    await asyncio.gather(*(drivers[number % 3].change(one_more) for number in range(21)))

    assert await repository.get("key1") == a_record(uses=21)
    for driver in drivers:
        await driver.close()


async def test_a_write_says_what_it_hit(repository: SQLRepository) -> None:
    """Row counts differ between databases (a number here, None there), so every write tells by its rows."""
    assert await repository.replace_digest("key1", old="another", new="new") is False
    assert await repository.replace_digest("key1", old="sha256$key1", new="new") is True


async def test_signs_of_other_placeholders_are_plain_text(application: Database, repository: SQLRepository) -> None:
    """`%`, `:name` and `$1`, in a statement or in a value, reach the database as they are."""
    driver = DatabasesDriver(application)
    await repository.add(a_record("odd", owner="100% :name $1 %s %(x)s"))

    rows = await driver.fetch(
        "SELECT key_id, '%s :name %' FROM api_keys WHERE owner LIKE '1__% :name%' AND uses = ?", (0,)
    )

    assert [tuple(row) for row in rows] == [("odd", "%s :name %")]
    page = await repository.find(KeyQuery(owner="100% :name $1 %s %(x)s"), now=NOW)
    assert [record.key_id for record in page.records] == ["odd"]


async def test_only_text_and_integers_come_back(application: Database, repository: SQLRepository) -> None:
    """No database decodes JSON or instants in its own way: a column is text, an integer, or nothing."""
    await repository.update("key1", RecordPatch(expires_at=NOW, metadata={"a": [1]}), version=1)

    [row] = await DatabasesDriver(application).fetch("SELECT expires_at, metadata, scopes, revoked_at FROM api_keys")

    assert tuple(row) == (1_700_000_000_000_000, '{"a":[1]}', "", None)


async def test_a_connected_database_may_lead_nowhere(tmp_path: Path) -> None:
    """`connect()` checks nothing on SQLite; the first use does, and makes no file."""
    async with Database(f"sqlite:///{tmp_path / 'nowhere.db'}") as application:
        repository = keys_in(application)

        with pytest.raises(StoreUnavailable, match="there is no key store"):
            await repository.get("key1")
        with pytest.raises(StoreUnavailable, match="there is no key store"):
            await repository.open(create=False)
    assert list(tmp_path.iterdir()) == []


async def test_an_exhausted_pool_is_waited_for_no_longer_than_the_deadline(postgres: PostgresServer, name: str) -> None:
    """While the application uses all of its connections, calls end in time, undone, and nothing comes of them later."""
    async with database_at(postgres.url_of(name)) as application:
        repository = keys_in(application, deadline=0.3)
        await repository.open(create=True)
        await repository.add(a_record())
        pool = application._backend._pool
        taken = [await pool.acquire() for _ in range(POOL)]

        try:
            with pytest.raises(StoreUnavailable, match="did not answer within") as caught:
                await repository.update("key1", RecordPatch(name="never"), version=1)
        finally:
            for connection in taken:
                await pool.release(connection)

        assert caught.value.outcome_unknown is False
        assert (await repository.update("key1", RecordPatch(name="x"), version=1)).record.version == 2
        assert idle_of(application) == POOL


async def test_closing_is_bounded() -> None:
    """`close` ends while the server is frozen, where `disconnect()` would wait for it for ever."""
    with PostgresServer() as server:
        repository = keys_in(Database(server.url, ssl=False), deadline=0.3)
        await repository.open(create=True)
        began = asyncio.get_running_loop().time()
        with server.frozen():
            with pytest.raises(StoreUnavailable):
                await repository.get("key1")
            await repository.close()
            elapsed = asyncio.get_running_loop().time() - began

        assert elapsed < 3


async def test_a_frozen_server_costs_the_application_no_connection(threads: None) -> None:
    """Calls to a frozen PostgreSQL end in time; thawed, it answers, and the application's pool is whole."""
    with PostgresServer() as server:
        async with database_at(server.url) as application:
            repository = keys_in(application, deadline=0.4)
            await repository.open(create=True)
            await repository.add(a_record())
            with server.frozen():
                began = asyncio.get_running_loop().time()
                outcomes = await asyncio.gather(
                    *(repository.get("key1") for _ in range(3)),
                    repository.update("key1", RecordPatch(name="x"), version=1),
                    repository.record_usage([Usage("key1", 1, NOW)]),
                    return_exceptions=True,
                )
                elapsed = asyncio.get_running_loop().time() - began
            record = await repository.get("key1")
            # A unit that was ended gives its connection back when it finds out, perhaps after its caller was told.
            await eventually(lambda: idle_of(application) == POOL)

            assert [type(each) for each in outcomes] == [StoreUnavailable] * 5
            # None of them had come as far as its COMMIT.
            assert not any(each.outcome_unknown for each in outcomes if isinstance(each, StoreUnavailable))
            assert elapsed < 2
            assert record == a_record()


async def test_no_value_reaches_the_log(repository: SQLRepository, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, `databases` prints the values of every statement that goes through it; ours do not."""
    with caplog.at_level(logging.DEBUG, logger="databases"):
        await repository.add(a_record("key2", digest="canary"))
        await repository.replace_digest("key2", old="canary", new="canary2")
        await repository.find(KeyQuery(owner="canary"), now=NOW)

    assert "canary" not in caplog.text


async def test_no_presented_key_is_ever_bound(application: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A whole key passes through issuing and verifying without being part of any statement, whoever logs those."""
    keys = APIKeys(repository=keys_in(application, deadline=5), pepper=None)
    with caplog.at_level(logging.DEBUG):
        issued = await keys.issue(owner="acme")
        principal = await keys.authenticate(issued.key.encode())
        await keys.close()

    secret = issued.key.removeprefix(f"ak_live_{issued.record.key_id}_")
    assert principal.owner == "acme"
    assert len(secret) > 20
    assert secret not in caplog.text


def test_asserts_are_not_relied_on(tmp_path: Path, postgres: PostgresServer, name: str) -> None:
    """Under `python -O`, where `databases` has lost its guards, errors are still ours, and everything still works."""
    script = """
import asyncio, sys
from databases import Database
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories.databases import keys_in

assert False, "only under -O does this go on"

async def main(url):
    database = Database(url)
    await database.connect()
    repository = keys_in(database, deadline=5)
    await repository.add(KeyRecord(key_id="key1", digest="d", owner="acme", created_at=0.0))
    for turns in range(30):
        task = asyncio.ensure_future(repository.get("key1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    ending = asyncio.ensure_future(database.disconnect())
    while not ending.done():
        try:
            await repository.get("key1")
        except StoreUnavailable:
            pass
    record = await repository.get("key1")
    await repository.close()
    print(record.owner)

for url in sys.argv[1:]:
    asyncio.run(main(url))
"""
    ended = subprocess.run(
        [sys.executable, "-O", "-W", "error", "-c", script, f"sqlite:///{tmp_path / 'app.db'}", postgres.url_of(name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.stdout, ended.stderr, ended.returncode) == ("acme\nacme\n", "", 0)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_refused_with_the_way_out(anyio_backend: str, sqlite_url: str) -> None:
    """`databases` runs on asyncio only; the message says what to use instead."""
    with pytest.raises(ConfigurationError, match="asyncio"):
        await keys_in(Database(sqlite_url)).open(create=True)


# What the application may do with its `Database`.


async def test_the_application_connects_when_it_likes(application: Database, url: str, threads: None) -> None:
    """Before it has connected, and after it has disconnected, keys are there; and it is never disconnected by us."""
    repository = keys_in(application, deadline=5)
    await repository.add(a_record())
    await repository.close()

    assert application.is_connected
    assert await application.fetch_val("SELECT count(*) FROM api_keys") == 1
    late = database_at(url)
    repository = keys_in(late, deadline=5)
    assert await repository.get("key1") == a_record()
    assert not late.is_connected
    await late.connect()
    assert await repository.get("key1") == a_record()
    await late.disconnect()
    assert await repository.get("key1") == a_record()
    await repository.close()


async def test_its_pool_is_used_once_it_is_connected(postgres: PostgresServer, name: str) -> None:
    """Nothing is opened beside a connected `Database`; without it, what was opened is closed by `close`."""
    async with database_at(postgres.url_of(name)) as application:
        repository = keys_in(application, deadline=5)
        await repository.add(a_record())
        await asyncio.gather(*(repository.get("key1") for _ in range(20)))

        assert sessions_in(postgres, name) <= POOL
        await repository.close()
    await repository.get("key1")
    await repository.close()
    assert sessions_in(postgres, name) == 0


def test_every_event_loop_can_use_it(url: str) -> None:
    """The loop that connected it, others after it, and others beside it, all find the keys, and leave nothing open."""
    application = database_at(url)
    repository = keys_in(application, deadline=5)

    async def first() -> None:
        await application.connect()
        await repository.add(a_record())
        beside: list[object] = []
        thread = threading.Thread(target=lambda: beside.append(asyncio.run(read())))
        thread.start()
        while thread.is_alive():
            assert await repository.get("key1") == a_record()
        assert beside == [a_record()]
        await repository.close()
        await application.disconnect()

    async def read() -> object:
        return await repository.get("key1")

    asyncio.run(first())

    # Not closed on purpose: test clients start a loop for every request.
    assert [asyncio.run(read()) for _ in range(3)] == [a_record()] * 3
    asyncio.run(repository.close())
    gc.collect()


async def test_loops_that_ended_keep_no_session(postgres: PostgresServer, name: str) -> None:
    """Sessions of an event loop that ended without `close` end when the next one comes, or the store is dropped."""
    repository = keys_in(Database(postgres.url_of(name), ssl=False), deadline=5)

    def loops(repository: SQLRepository) -> None:
        asyncio.run(repository.add(a_record()))
        for _ in range(3):
            asyncio.run(_get(repository))

    await asyncio.to_thread(loops, repository)

    await eventually(lambda: sessions_in(postgres, name) <= 1)
    del repository
    gc.collect()
    await eventually(lambda: sessions_in(postgres, name) == 0)


async def _get(repository: SQLRepository) -> object:
    return await repository.get("key1")


async def test_lost_connections_are_replaced_unseen(postgres: PostgresServer, name: str) -> None:
    """After an administrator, or a restart, has ended every session of the pool, the next calls just work."""
    async with database_at(postgres.url_of(name)) as application:
        repository = keys_in(application, deadline=5)
        await repository.add(a_record())
        await asyncio.gather(*(repository.get("key1") for _ in range(20)))
        end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"

        postgres.execute(end_all, name)
        assert await repository.get("key1") == a_record()
        postgres.execute(end_all, name)
        assert (await repository.update("key1", RecordPatch(name="x"), version=1)).record.version == 2
        # One that was found broken may still be on its way out.
        await eventually(lambda: idle_of(application) == POOL)
        await repository.close()


async def test_behind_a_pooler_of_transactions(postgres: PostgresServer, name: str) -> None:
    """With `statement_cache_size=0`, as PgBouncer needs it, reads and writes work within transactions."""
    async with Database(postgres.url_of(name), ssl=False, min_size=1, statement_cache_size=0) as application:
        repository = keys_in(application, deadline=5)
        await repository.add(a_record())

        assert await repository.get("key1") == a_record()
        assert stuck_in(postgres, name) == 0
        await repository.close()


async def test_nothing_is_left_set_on_its_sessions(postgres: PostgresServer, name: str) -> None:
    """Limits that our transactions set end with them: the application's sessions keep its own."""
    settings = {"statement_timeout": "12345", "lock_timeout": "2345"}
    async with Database(
        postgres.url_of(name), ssl=False, min_size=1, max_size=1, server_settings=settings
    ) as application:
        repository = keys_in(application, deadline=5)
        await repository.add(a_record())

        assert await application.fetch_val("SHOW statement_timeout") == "12345ms"
        assert await application.fetch_val("SHOW lock_timeout") == "2345ms"
        await repository.close()


async def test_a_connection_that_was_given_back_is_not_ours_to_close(postgres: PostgresServer, name: str) -> None:
    """Time that is up a moment after a connection was given back does not end what its next user does with it."""
    async with Database(postgres.url_of(name), ssl=False, min_size=1, max_size=1) as application:
        dialect = PostgresDialect(application, connections=1, deadline=5)
        unit = Unit(5, asyncio.get_running_loop().time() + 5)
        loan = await dialect.take(unit, create=False)
        end = unit.end
        await loan.give_back()
        session = await application.fetch_val("SELECT pg_backend_pid()")

        end()
        unit.expire()

        assert await application.fetch_val("SELECT pg_backend_pid()") == session


async def test_work_that_takes_too_long_is_undone(repository: SQLRepository, application: Database) -> None:
    """Who is told that time is up, and not that the outcome is unknown, can rely on it: nothing is committed later."""
    driver = DatabasesDriver(application, deadline=0.2)
    ended = asyncio.Event()

    async def work(transaction: Transaction) -> None:
        await transaction.fetch("UPDATE api_keys SET uses = ? WHERE key_id = ? RETURNING uses", (99, "key1"))
        await asyncio.sleep(0.5)
        ended.set()

    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.2 s") as caught:
        await driver.change(work)
    await ended.wait()
    await driver.close()

    assert caught.value.outcome_unknown is False
    assert await repository.get("key1") == a_record()


async def test_racing_makers_make_one_store(url: str, threads: None) -> None:
    """Of eight that find no tables and make them at once, one does; the others find them made."""
    repositories = [keys_in(database_at(url), deadline=30) for _ in range(8)]
    await asyncio.gather(*(repository.open(create=True) for repository in repositories))

    await repositories[0].add(a_record())

    assert [await repository.get("key1") for repository in repositories] == [a_record()] * 8
    for repository in repositories:
        await repository.close()


async def test_only_create_makes_tables(application: Database) -> None:
    """A database without our tables is left alone, and the message names the way to make them."""
    repository = keys_in(application, deadline=5)

    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await repository.open(create=False)
    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await repository.get("key1")
    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await repository.update("key1", RecordPatch(), version=1)


async def test_a_newer_schema_is_refused(application: Database, repository: SQLRepository) -> None:
    """A store ahead of this version cannot be opened, and is unavailable to who cannot help it."""
    await application.execute("UPDATE api_key_meta SET value = '99' WHERE name = 'schema_version'")
    other = keys_in(application, deadline=5)

    with pytest.raises(ConfigurationError, match="upgrade asgi-apikey"):
        await other.open(create=True)
    with pytest.raises(StoreUnavailable, match="upgrade asgi-apikey"):
        await other.get("key1")


async def test_another_file_of_the_same_name_is_no_key_store(
    sqlite_url: str, tmp_path: Path, threads: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Unlinked, or replaced by another store, every key is undecidable, not unknown; the right one is taken back."""
    path, aside, other = tmp_path / "app.db", tmp_path / "aside.db", tmp_path / "other.db"
    repository = keys_in(Database(sqlite_url), deadline=5)
    await repository.add(a_record())
    await keys_in(Database(f"sqlite:///{other}"), deadline=5).open(create=True)

    path.rename(aside)
    with pytest.raises(StoreUnavailable, match="there is no key store"):
        await repository.get("key1")
    with pytest.raises(StoreUnavailable, match="there is no key store"):
        await repository.add(a_record("key2"))
    assert not path.exists()
    other.rename(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="another key store than before"):
            await repository.get("key1")
    aside.replace(path)

    assert await repository.get("key1") == a_record()
    assert len(caplog.records) == 1


async def test_a_replaced_postgres_store_is_noticed_on_new_connections(postgres: PostgresServer, name: str) -> None:
    """Where a name suddenly leads to another store (a restored dump), keys are undecidable, not unknown."""
    async with database_at(postgres.url_of(name)) as application:
        repository = keys_in(application, deadline=5)
        await repository.add(a_record())
        postgres.execute("UPDATE api_key_meta SET value = 'other' WHERE name = 'database_id'", database=name)
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

        with pytest.raises(StoreUnavailable, match="another key store than before"):
            await repository.get("key1")
        await repository.close()


async def test_a_file_that_is_no_database_is_unavailable(sqlite_url: str, tmp_path: Path, threads: None) -> None:
    """Garbage, a folder and a named pipe are unavailable, never empty."""
    repository = keys_in(Database(sqlite_url), deadline=5)
    (tmp_path / "app.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreUnavailable, match="not an SQLite database"):
        await repository.get("key1")
    (tmp_path / "app.db").unlink()
    (tmp_path / "app.db").mkdir()
    with pytest.raises(StoreUnavailable, match="not a regular file"):
        await repository.get("key1")


async def test_a_uri_names_its_file(tmp_path: Path, threads: None) -> None:
    """`file:` names with `uri=True` are read as SQLite reads them."""
    path = tmp_path / "a b.db"
    repository = keys_in(Database(f"sqlite:///file:{tmp_path}/a%2520b.db?mode=rw", uri=True), deadline=5)

    await repository.add(a_record())

    assert path.exists()
    assert await repository.get("key1") == a_record()


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("sqlite://", {}, "in memory"),
        ("sqlite:///:memory:", {}, "in memory"),
        ("sqlite:///file:keys?mode=memory&cache=shared", {"uri": True}, "in memory"),
        ("sqlite:///file:keys.db", {}, "uri=True"),
        ("sqlite:///keys.db", {"force_rollback": True}, "force_rollback"),
    ],
)
def test_a_database_that_cannot_keep_keys_is_refused(
    url: str, options: dict[str, bool], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would lose keys, or hide them from the next connection, raises at construction and says what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        keys_in(Database(url, **options))


@pytest.mark.parametrize(
    "url", ["mysql://localhost/x", "mysql+asyncmy://localhost/x", "postgresql+aiopg://localhost/x"]
)
def test_other_backends_are_refused(url: str, sqlite_url: str) -> None:
    """MySQL has no RETURNING, and aiopg no prepared statements: the message names what works."""
    database = Database(sqlite_url)
    # Its own backend would have to be installed to make it properly.
    database.url = DatabaseURL(url)

    with pytest.raises(ConfigurationError, match=r"SQLite \(aiosqlite\) or PostgreSQL \(asyncpg\)"):
        keys_in(database)


def test_wrong_arguments_are_refused(sqlite_url: str) -> None:
    """A URL instead of a `Database`, no time, or no connection, is an error at once."""
    with pytest.raises(ConfigurationError, match="APIKeys"):
        keys_in(sqlite_url)  # type: ignore[arg-type]
    for deadline in (0, -1, 1e9, float("nan")):
        with pytest.raises(ConfigurationError, match="deadline"):
            keys_in(Database(sqlite_url), deadline=deadline)
    with pytest.raises(ConfigurationError, match="connections"):
        keys_in(Database(sqlite_url), connections=0)


async def test_force_rollback_is_noticed_when_it_comes_later(sqlite_url: str, threads: None) -> None:
    """`database.force_rollback()` after the fact makes keys unavailable, instead of acknowledging what is undone."""
    application = Database(sqlite_url)
    repository = keys_in(application, deadline=5)
    await repository.add(a_record())
    with application.force_rollback():
        async with application:
            with pytest.raises(StoreUnavailable, match="never commits"):
                await repository.update("key1", RecordPatch(), version=1)

    assert await repository.get("key1") == a_record()
