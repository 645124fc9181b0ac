"""What PostgreSQL can do to us: freeze, restart, hang up, run out of connections, be read-only, or be another one."""

# ruff: noqa: ASYNC110, ASYNC220 - other processes send us no events, and may block the loop for a moment.

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import asyncpg  # type: ignore[import-untyped] # it ships no types
import pytest

from asgi_apikey.errors import ConfigurationError, KeyExists, StaleRecord, StoreUnavailable
from asgi_apikey.models import KeyQuery, RecordPatch, Usage
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.migrations import migrations
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.postgres.schema import CHANGE_LOCK
from asgi_apikey.repositories.records import Row
from asgi_apikey.repositories.sql import SQLRepository
from tests.contracts.repository import NOW, a_record
from tests.servers import PostgresServer

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def template(postgres: PostgresServer) -> Iterator[str]:
    """A database with an empty store, to make others of; each of those is then the same store."""
    name = postgres.new_database()

    async def fill() -> None:
        driver = PostgresDriver(postgres.url_of(name), deadline=10.0)
        await driver.open(create=True)
        await driver.close()

    asyncio.run(fill())
    yield name
    postgres.drop_database(name)


@pytest.fixture
def database(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The name of a database with an empty store, for one test."""
    name = postgres.new_database(template=template)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    """The URL of that database."""
    return postgres.url_of(database)


@asynccontextmanager
async def driving(url: str, *, deadline: float = 5.0, pool_size: int = 5) -> AsyncIterator[PostgresDriver]:
    """A driver, closed afterwards."""
    driver = PostgresDriver(url, deadline=deadline, pool_size=pool_size)
    yield driver
    await driver.close()


def sessions(postgres: PostgresServer, database: str, state: str = "%") -> int:
    """How many clients are connected to the database, whoever they are, in a state like this one."""
    [[count]] = postgres.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state LIKE $2", database, state
    )
    return int(count)


def hang_up(postgres: PostgresServer, database: str) -> None:
    """End every session of the database."""
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)


async def until(true: Callable[[], bool], *, within: float = 5.0) -> None:
    """Wait for something that another process does."""
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.01)


async def answers_again(repository: SQLRepository) -> float:
    """Seconds until a read and a write both succeed."""
    began = time.monotonic()
    while True:
        try:
            record = await repository.get("key1")
            assert record is not None
            await repository.update("key1", RecordPatch(), version=record.version)
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return time.monotonic() - began


async def backend(driver: PostgresDriver) -> object:
    """The pid of the server process that answers a read."""
    [[pid]] = await driver.fetch("SELECT pg_backend_pid()")
    return pid


async def insert(transaction: Transaction, seq: int = 1) -> list[Row]:
    """Leave a trace in the feed."""
    return await transaction.fetch("INSERT INTO api_key_changes (seq, key_id, version) VALUES (?, 'trace', 1)", (seq,))


def traces(postgres: PostgresServer, database: str) -> int:
    """How many traces were committed."""
    [[count]] = postgres.execute("SELECT count(*) FROM api_key_changes WHERE key_id = 'trace'", database=database)
    return int(count)


# frozen


async def test_a_frozen_server_is_answered_for_within_the_deadline(postgres: PostgresServer, url: str) -> None:
    """Every method raises StoreUnavailable within 1 s, however many wait, and all is well within 3 s of the thaw."""
    async with driving(url, deadline=0.6) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: repository.get("key1"),
            lambda: repository.find(KeyQuery(), now=NOW),
            lambda: repository.update("key1", RecordPatch(name="x"), version=1),
            lambda: repository.add(a_record("key2")),
            lambda: repository.record_usage([Usage("key1", 1, NOW)]),
            lambda: repository.replace_digest("key1", old="sha256$key1", new="x"),
        ]

        async def attempt(call: Callable[[], Awaitable[object]]) -> tuple[bool, float]:
            began = time.monotonic()
            try:
                await call()
            except StoreUnavailable as error:
                return error.outcome_unknown, time.monotonic() - began
            raise AssertionError("a frozen server has answered")

        with postgres.frozen():
            for _ in range(2):
                outcomes = await asyncio.gather(*[attempt(call) for call in calls for _ in range(4)])
                assert max(elapsed for _, elapsed in outcomes) < 1.0
                assert not any(unknown for unknown, _ in outcomes)

        assert await answers_again(repository) < 3.0
        assert await repository.get("key2") is None


async def test_a_commit_without_an_answer_has_an_unknown_outcome(
    postgres: PostgresServer, url: str, database: str
) -> None:
    """Frozen before COMMIT: certainly not done. After it was sent: nobody knows, and the error says so."""
    async with driving(url, deadline=0.3) as driver:

        async def freeze_before_the_statement(transaction: Transaction) -> list[Row]:
            postgres.freeze()
            return await insert(transaction)

        async def freeze_before_the_commit(transaction: Transaction) -> None:
            await insert(transaction)
            postgres.freeze()

        try:
            with pytest.raises(StoreUnavailable) as before:
                await driver.change(freeze_before_the_statement)
        finally:
            postgres.thaw()
        await until(lambda: sessions(postgres, database, "%transaction%") == 0)
        left = traces(postgres, database)
        try:
            with pytest.raises(StoreUnavailable) as after:
                await driver.change(freeze_before_the_commit)
        finally:
            postgres.thaw()

        assert not before.value.outcome_unknown
        assert left == 0
        assert after.value.outcome_unknown


async def test_closing_does_not_wait_for_a_frozen_server(postgres: PostgresServer, url: str) -> None:
    """`close` ends within twice the deadline, and its connections are gone."""
    async with driving(url, deadline=0.3) as driver:
        await driver.fetch("SELECT 1")
        with postgres.frozen():
            began = time.monotonic()
            await driver.close()

            assert time.monotonic() - began < 1.0


# gone and back


async def test_a_restarted_server_costs_nobody_an_error(postgres: PostgresServer, url: str) -> None:
    """Reads and writes after a restart reconnect by themselves, though every idle connection is dead."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        await asyncio.gather(*[repository.get("key1") for _ in range(20)])
        await repository.record_usage([Usage("key1", 1, NOW)])

        postgres.restart()
        answers = await asyncio.gather(
            *[repository.get("key1") for _ in range(20)],
            repository.record_usage([Usage("key1", 1, NOW)]),
            repository.update("key1", RecordPatch(name="after"), version=1),
        )

        assert all(answer is not None for answer in answers[:20])
        record = await repository.get("key1")
        assert record is not None
        assert (record.name, record.uses) == ("after", 2)


async def test_a_stopped_server_is_told_at_once(postgres: PostgresServer, url: str) -> None:
    """A server that is not there is StoreUnavailable, for reads and writes, and back when it is."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        postgres.stop()
        try:
            for call in (repository.get("key1"), repository.update("key1", RecordPatch(), version=1)):
                with pytest.raises(StoreUnavailable, match=r"reached|lost|shut down") as caught:
                    await call
                assert not caught.value.outcome_unknown
        finally:
            postgres.start()

        assert await answers_again(repository) < 3.0


async def test_terminated_sessions_are_replaced(postgres: PostgresServer, url: str, database: str) -> None:
    """After `pg_terminate_backend` of all, the next read and the next write succeed at once."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        for version in range(1, 4):
            await asyncio.gather(*[repository.get("key1") for _ in range(10)])
            hang_up(postgres, database)
            await asyncio.gather(*[repository.get("key1") for _ in range(10)])
            hang_up(postgres, database)
            await repository.update("key1", RecordPatch(name="x"), version=version)


async def test_a_session_terminated_within_a_change_undoes_it(
    postgres: PostgresServer, url: str, database: str
) -> None:
    """A change whose session dies before COMMIT is not made, the error says so, and it is not tried again."""
    runs: list[int] = []
    async with driving(url) as driver:

        async def work(transaction: Transaction) -> list[Row]:
            runs.append(1)
            await insert(transaction, len(runs))
            hang_up(postgres, database)
            return await insert(transaction, len(runs) + 1)

        with pytest.raises(StoreUnavailable, match=r"shut down|lost") as caught:
            await driver.change(work)

    assert not caught.value.outcome_unknown
    assert len(runs) == 1
    assert traces(postgres, database) == 0


async def test_no_connection_left_is_unavailable(postgres: PostgresServer, database: str) -> None:
    """Exhausted slots (53300) answer at once, to all who wait; what is connected goes on; the next slot is used."""
    role = f"limited_{database}"
    postgres.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data", database=database)
    try:
        async with driving(postgres.url_of(database, user=role)) as first:
            await first.fetch("SELECT 1")
            async with driving(postgres.url_of(database, user=role)) as second:
                refusals = await asyncio.gather(*[second.fetch("SELECT 1") for _ in range(9)], return_exceptions=True)
                still = await first.fetch("SELECT 1")
                postgres.execute(f"ALTER ROLE {role} CONNECTION LIMIT 2")
                later = await second.fetch("SELECT 1")
    finally:
        postgres.execute(f"DROP ROLE {role}")

    assert {(type(each), str(each)) for each in refusals} == {
        (StoreUnavailable, "PostgreSQL has no connection left for us")
    }
    assert [*map(tuple, still)] == [*map(tuple, later)] == [(1,)]


async def test_a_read_only_database_is_read(postgres: PostgresServer, url: str, database: str) -> None:
    """Reads answer, writes raise StoreUnavailable and say why, and work again when the database takes writes."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        hang_up(postgres, database)

        for call in (
            repository.update("key1", RecordPatch(), version=1),
            repository.record_usage([Usage("key1", 1, NOW)]),
        ):
            with pytest.raises(StoreUnavailable, match="read-only"):
                await call
        read = await repository.get("key1")
        postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = off", database="postgres")

        assert read == a_record()
        # The sessions that were refused are not asked again: after a failover they lead to the wrong server.
        with suppress(StoreUnavailable):
            await repository.update("key1", RecordPatch(), version=1)
        assert await answers_again(repository) < 3.0


# locks and conflicts


async def test_another_process_that_changes_keys_is_waited_for_in_vain(url: str) -> None:
    """Held by somebody else, the change lock makes changes unavailable; reads and usage do not need it."""
    other = await asyncpg.connect(url)
    async with driving(url, deadline=0.4) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        await other.execute(f"SELECT pg_advisory_lock({CHANGE_LOCK})")

        with pytest.raises(StoreUnavailable, match="another process is changing keys") as caught:
            await repository.update("key1", RecordPatch(name="x"), version=1)
        await repository.record_usage([Usage("key1", 1, NOW)])
        held = await repository.get("key1")
        await other.close()
        await repository.update("key1", RecordPatch(name="x"), version=1)

    assert not caught.value.outcome_unknown
    assert held == a_record(uses=1, last_used_at=NOW)


async def test_a_stopped_process_keeps_its_lock_for_twice_the_deadline(url: str) -> None:
    """A transaction that does nothing is ended by the server, so one frozen worker does not end all changes."""
    async with driving(url, deadline=0.2) as frozen, driving(url, deadline=5.0) as driver:
        holding = asyncio.Event()

        async def work(transaction: Transaction) -> None:
            await insert(transaction)
            holding.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(frozen.change(work))
        await holding.wait()
        task.cancel()
        await driver.change(lambda transaction: insert(transaction, 2))


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_conflict_is_tried_again_twice(postgres: PostgresServer, url: str, database: str, state: str) -> None:
    """Serialization failures and deadlocks are tried again, from the start, at most twice."""
    runs: list[int] = []

    async def work(transaction: Transaction, *, conflicts: int) -> None:
        runs.append(1)
        await insert(transaction, 10 * conflicts + len(runs))
        if len(runs) <= conflicts:
            await transaction.fetch(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")

    async with driving(url) as driver:
        await driver.change(partial(work, conflicts=2))
        assert len(runs) == 3
        assert traces(postgres, database) == 1

        runs.clear()
        with pytest.raises(StoreUnavailable, match="other changes"):
            await driver.change(partial(work, conflicts=3))
        assert len(runs) == 3


async def test_other_errors_are_not_tried_again(url: str) -> None:
    """Neither a refused statement nor an error of ours is repeated; the connection stays good."""
    runs: list[int] = []

    async def work(transaction: Transaction) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise KeyExists("key1")
        await transaction.fetch("SELECT 1 / 0")

    async with driving(url) as driver:
        with pytest.raises(KeyExists):
            await driver.change(work)
        with pytest.raises(StoreUnavailable, match="refused the statement"):
            await driver.change(work)
        with pytest.raises(StoreUnavailable, match="refused the statement"):
            await driver.fetch("SELECT 1 / 0")

        assert [*map(tuple, await driver.fetch("SELECT count(*) FROM api_key_changes"))] == [(0,)]
    assert len(runs) == 2


async def test_a_swallowed_error_is_not_taken_for_a_commit(url: str, postgres: PostgresServer, database: str) -> None:
    """PostgreSQL answers COMMIT after a failed statement by rolling back, without an error: we say it failed."""

    async def work(transaction: Transaction) -> None:
        await insert(transaction)
        with suppress(StoreUnavailable):
            await transaction.fetch("SELECT 1 / 0")

    async with driving(url) as driver:
        with pytest.raises(StoreUnavailable, match="rolled back") as caught:
            await driver.change(work)

    assert not caught.value.outcome_unknown
    assert traces(postgres, database) == 0


async def test_a_migration_under_our_feet_is_survived(postgres: PostgresServer, url: str, database: str) -> None:
    """Prepared statements that a change of the tables made obsolete are prepared anew, inside transactions too."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        await repository.get("key1")
        await repository.update("key1", RecordPatch(name="x"), version=1)
        postgres.execute("ALTER TABLE api_keys ALTER COLUMN name TYPE varchar(500)", database=database)

        record = await repository.get("key1")
        committed = await repository.update("key1", RecordPatch(name="y"), version=2)

    assert record is not None
    assert record.name == "x"
    assert committed.record.name == "y"


async def test_reads_cannot_hold_up_a_change(url: str) -> None:
    """Changes have a connection of their own: a flood of slow reads takes all others."""
    async with driving(url, pool_size=4) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        reads = [asyncio.ensure_future(driver.fetch("SELECT 1 FROM pg_sleep(0.15)")) for _ in range(8)]
        await asyncio.sleep(0)

        await repository.update("key1", RecordPatch(name="x"), version=1)

        assert not all(read.done() for read in reads)
        await asyncio.gather(*reads)


async def test_a_change_is_on_the_disk_when_it_is_acknowledged(
    postgres: PostgresServer, url: str, database: str
) -> None:
    """Where `synchronous_commit` is off by default, it is on for changes."""
    postgres.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    async with driving(url) as driver:
        [[within]] = await driver.change(lambda change: change.fetch("SELECT current_setting('synchronous_commit')"))
        [[usual]] = await driver.write(lambda write: write.fetch("SELECT current_setting('synchronous_commit')"))

    assert (within, usual) == ("on", "off")


async def test_a_stale_snapshot_is_never_used(postgres: PostgresServer, url: str, database: str) -> None:
    """Changes see what was committed while they waited for the lock, whatever the database's default isolation."""
    postgres.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'")
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        other = await asyncpg.connect(url)
        async with other.transaction(isolation="read_committed"):
            await other.execute(f"SELECT pg_advisory_xact_lock({CHANGE_LOCK})")
            late = asyncio.ensure_future(repository.update("key1", RecordPatch(name="x"), version=1))
            await until(lambda: sessions(postgres, database, "active") == 1)
            await other.execute("UPDATE api_keys SET version = 2")
        await other.close()

        with pytest.raises(StaleRecord):
            await late


# callers that go away


@pytest.mark.parametrize("kind", ["native", "anyio"])
async def test_a_storm_of_cancelled_calls_leaks_nothing(
    postgres: PostgresServer, url: str, database: str, kind: str
) -> None:
    """Hundreds of operations cancelled at any point: no connection, transaction or task is left over."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        before = asyncio.all_tasks()
        calls: Sequence[Callable[[], Awaitable[object]]] = [
            lambda: repository.get("key1"),
            lambda: repository.find(KeyQuery(), now=NOW),
            lambda: repository.record_usage([Usage("key1", 1, NOW)]),
            lambda: repository.update("key1", RecordPatch(name="x"), version=99),
        ]

        async def swallow(call: Callable[[], Awaitable[object]]) -> None:
            with suppress(StaleRecord):
                await call()

        for turns in range(40):
            if kind == "native":
                tasks = [asyncio.ensure_future(swallow(call)) for call in calls for _ in range(3)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            else:
                async with anyio.create_task_group() as group:
                    for call in (*calls, *calls, *calls):
                        group.start_soon(swallow, call)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    group.cancel_scope.cancel()
        await asyncio.gather(*[repository.get("key1") for _ in range(20)])
        await until(lambda: asyncio.all_tasks() == before)

        assert sessions(postgres, database, "%transaction%") == 0
        assert sessions(postgres, database) <= 5
        assert await repository.get("key1") is not None
    await until(lambda: sessions(postgres, database) == 0)


async def test_a_cancelled_change_that_has_begun_is_finished(postgres: PostgresServer, url: str, database: str) -> None:
    """A caller who leaves in the middle does not undo what he asked for."""
    begun = asyncio.Event()

    async def work(transaction: Transaction) -> None:
        begun.set()
        await insert(transaction)

    async with driving(url) as driver:
        task = asyncio.ensure_future(driver.change(work))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        await driver.close()

    assert task.cancelled()
    assert traces(postgres, database) == 1


def test_loops_that_end_without_closing_leave_no_session(postgres: PostgresServer, url: str, database: str) -> None:
    """A new loop for each request, as test clients make them: dead loops' connections are closed without a warning."""
    driver = PostgresDriver(url, deadline=5.0)
    for _ in range(3):
        asyncio.run(driver.fetch("SELECT 1"))
    between = sessions(postgres, database)
    del driver
    gc.collect()

    assert between <= 1
    asyncio.run(until(lambda: sessions(postgres, database) == 0))


async def test_a_forked_child_has_connections_of_its_own(url: str) -> None:
    """The child never touches the parent's sockets, and the parent goes on with its own."""
    async with driving(url) as driver:
        parent = await backend(driver)
        pid = os.fork()
        if pid == 0:
            status = 1
            with suppress(BaseException):
                status = 0 if asyncio.run(backend(driver)) != parent else 2
            os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)

        assert os.waitstatus_to_exitcode(status) == 0
        assert await backend(driver) == parent


# which store it is


async def test_a_database_without_a_store_says_how_to_make_one(postgres: PostgresServer) -> None:
    """Without `create`, an empty database stays empty, and the message names the command."""
    empty = postgres.new_database()
    try:
        async with driving(postgres.url_of(empty)) as driver:
            with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
                await driver.open(create=False)
            with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
                await SQLRepository(driver).get("key1")
        tables = postgres.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'", database=empty)
    finally:
        postgres.drop_database(empty)

    assert tables == []


async def test_tables_that_vanish_are_not_unknown_keys(postgres: PostgresServer, url: str, database: str) -> None:
    """Dropped under a running process, the tables are missed, and not made anew by it."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        postgres.execute("DROP TABLE api_keys, api_key_meta CASCADE", database=database)

        for call in (repository.get("key1"), repository.add(a_record("key2"))):
            with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
                await call
        hang_up(postgres, database)
        for later in (repository.get("key1"), repository.add(a_record("key2"))):
            with pytest.raises(StoreUnavailable):
                await later


async def test_another_store_under_the_same_name_is_refused(
    postgres: PostgresServer, url: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When a name leads to another store, its keys are not called unknown: every call is StoreUnavailable."""
    async with driving(url) as driver:
        repository = SQLRepository(driver)
        await repository.add(a_record())
        hang_up(postgres, database)
        postgres.execute("UPDATE api_key_meta SET value = 'another' WHERE name = 'database_id'", database=database)

        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="another key store"):
                await repository.get("key1")
        with pytest.raises(StoreUnavailable, match="another key store"):
            await repository.add(a_record("key2"))

    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_newer_schema_is_refused(postgres: PostgresServer, url: str, database: str) -> None:
    """`open` says what to do; a request gets StoreUnavailable."""
    postgres.execute("UPDATE api_key_meta SET value = '99' WHERE name = 'schema_version'", database=database)
    async with driving(url) as driver:
        for create in (False, True):
            with pytest.raises(ConfigurationError, match="upgrade asgi-apikey"):
                await driver.open(create=create)
        with pytest.raises(StoreUnavailable, match="upgrade asgi-apikey"):
            await driver.fetch("SELECT 1")
        with pytest.raises(StoreUnavailable, match="upgrade asgi-apikey"):
            await driver.change(insert)


async def test_a_database_that_cannot_hold_all_text_is_refused(postgres: PostgresServer) -> None:
    """LATIN1 would lose names; the message says how to make a database that does not."""
    postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        async with driving(postgres.url_of("latin")) as driver:
            with pytest.raises(ConfigurationError, match="ENCODING 'UTF8'"):
                await driver.open(create=True)
    finally:
        postgres.drop_database("latin")


async def test_no_message_tells_the_password(postgres: PostgresServer, database: str) -> None:
    """Neither a refused login, nor a missing database, nor a closed port repeats the password, in the whole trace."""
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    try:
        for url in (
            postgres.url_of(database, user="guarded", password="hunter2"),
            postgres.url_of("nowhere", password="hunter2"),
            "postgresql://user:hunter2@127.0.0.1:1/keys",
        ):
            async with driving(url) as driver:
                with pytest.raises(StoreUnavailable) as caught:
                    await driver.open(create=True)
                assert "hunter2" not in "".join(traceback.format_exception(caught.value))
                assert "hunter2" not in repr(driver)
    finally:
        postgres.execute("DROP ROLE guarded")


# migrations

JOIN_THE_RACE = """
import asyncio, sys
from contextlib import suppress
from asgi_apikey.repositories import open_repository
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import KeyRecord

async def main():
    repository = open_repository(sys.argv[1])
    await repository.open(create=True)
    # Eight processes on a busy machine may keep each other waiting longer than the deadline of 1 s.
    for _ in range(50):
        with suppress(StoreUnavailable):
            await repository.add(KeyRecord(key_id=sys.argv[2], digest="x", owner="acme", created_at=0.0))
            break
    await repository.close()

asyncio.run(main())
"""


async def test_of_eight_racing_processes_each_step_is_applied_once(postgres: PostgresServer) -> None:
    """All eight wait for the lock at the same moment; all of them find a complete store afterwards."""
    empty = postgres.new_database()
    gate = await asyncpg.connect(postgres.url_of(empty))
    await gate.execute(f"SELECT pg_advisory_lock({CHANGE_LOCK})")
    racers = [
        subprocess.Popen([sys.executable, "-c", JOIN_THE_RACE, postgres.url_of(empty), f"key{number}"], cwd=ROOT)
        for number in range(8)
    ]
    try:
        await until(lambda: waiting(postgres, empty) == 8, within=60.0)
        await gate.close()
        codes = [await asyncio.to_thread(racer.wait, 60) for racer in racers]
        keys = postgres.execute("SELECT key_id FROM api_keys ORDER BY key_id", database=empty)
        meta = postgres.execute("SELECT name, value FROM api_key_meta", database=empty)
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
        postgres.drop_database(empty)

    assert codes == [0] * 8
    assert [key for (key,) in keys] == [f"key{number}" for number in range(8)]
    assert dict(map(tuple, meta))["schema_version"] == str(len(migrations("postgres")))


def waiting(postgres: PostgresServer, database: str) -> int:
    """How many sessions of the database wait for an advisory lock."""
    [[count]] = postgres.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'advisory'", database
    )
    return int(count)


async def test_a_failed_step_leaves_nothing(postgres: PostgresServer) -> None:
    """A migration that breaks half way has made no table."""
    half = postgres.new_database()
    postgres.execute("CREATE TABLE api_key_changes (mine text)", database=half)
    try:
        async with driving(postgres.url_of(half)) as driver:
            with pytest.raises(StoreUnavailable) as caught:
                await driver.open(create=True)
        tables = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=half)
    finally:
        postgres.drop_database(half)

    assert not caught.value.outcome_unknown
    assert [name for (name,) in tables] == ["api_key_changes"]


async def test_the_order_of_ids_does_not_depend_on_the_database(postgres: PostgresServer, database: str) -> None:
    """Every text column is compared by its bytes, whatever language the database was made for."""
    columns = postgres.execute(
        "SELECT table_name || '.' || column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text'",
        database=database,
    )

    assert {collation for _, collation in columns} == {"C"}
    assert len(columns) > 10
