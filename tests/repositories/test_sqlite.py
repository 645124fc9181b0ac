"""The SQLite driver: files, event loops, processes, and the plans of its queries."""

# ruff: noqa: ASYNC220, ASYNC240 - nothing else runs on these loops, so a test may look at a file.

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import KeyQuery, RecordPatch, SortBy, Status
from asgi_apikey.repositories import statements
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.paging import Position
from asgi_apikey.repositories.search import wanted_of
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import NOW, a_record

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("threads")]


async def test_only_create_makes_a_file(path: Path) -> None:
    """Without `create`, a missing file stays missing, and the message names the command that makes one."""
    store = SQLRepository(SQLiteDriver(path))

    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await store.open(create=False)
    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await store.get("key1")
    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await store.update("key1", RecordPatch(), version=1)
    assert not path.exists()


async def test_add_makes_the_store(path: Path) -> None:
    """The first key that is added brings the file into being."""
    store = SQLRepository(SQLiteDriver(path))
    await store.add(a_record())

    assert await store.get("key1") == a_record()
    await store.close()


async def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    """A mistyped folder is an error, not a new folder."""
    store = SQLRepository(SQLiteDriver(tmp_path / "nowhere" / "keys.db"))

    with pytest.raises(StoreUnavailable, match="No such file"):
        await store.open(create=True)
    assert list(tmp_path.iterdir()) == []


async def test_only_the_owner_may_read_the_files(path: Path, store: SQLRepository) -> None:
    """The database and the files beside it have mode 0600, whatever the umask."""
    await store.add(a_record())

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"keys.db": 0o600, "keys.db-wal": 0o600, "keys.db-shm": 0o600}


async def test_an_empty_file_is_no_store_yet(path: Path) -> None:
    """A file that another process has just made, and not filled, is unavailable; `create` fills it."""
    path.touch()
    store = SQLRepository(SQLiteDriver(path))

    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await store.open(create=False)
    await store.open(create=True)

    assert await store.get("key1") is None
    await store.close()


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    """A database without our tables is not a store, and looking at it changes nothing in it."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await SQLRepository(SQLiteDriver(path)).open(create=False)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(path: Path, store: SQLRepository) -> None:
    """A store of a later version is a configuration error to `open` and unavailable to a request."""
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE api_key_meta SET value = '99' WHERE name = 'schema_version'")
    connection.close()

    for create in (False, True):
        with pytest.raises(ConfigurationError, match="schema 99"):
            await store.open(create=create)
    with pytest.raises(StoreUnavailable, match="schema 99"):
        await store.get("key1")


async def test_relative_paths_stay_where_they_were(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the folder of the moment the driver was made."""
    monkeypatch.chdir(path.parent)
    store = SQLRepository(SQLiteDriver("keys.db"))
    monkeypatch.chdir("/")
    await store.add(a_record())

    assert path.exists()
    await store.close()


async def test_odd_file_names(tmp_path: Path) -> None:
    """Characters that mean something in a URI mean nothing in a path."""
    path = tmp_path / "a?mode=memory#b %20 ☃.db"
    store = SQLRepository(SQLiteDriver(path))
    await store.add(a_record())
    await store.close()

    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"path": ":memory:"}, "'memory:'"),
        ({"path": ""}, "'memory:'"),
        ({"path": "x.db", "busy_timeout": 0.0}, "positive"),
        ({"path": "x.db", "deadline": -1.0}, "positive"),
    ],
)
def test_misuse_is_found_at_construction(arguments: dict[str, object], complaint: str) -> None:
    """What cannot work raises at once, with the fix."""
    with pytest.raises(ConfigurationError, match=complaint):
        SQLiteDriver(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_refused_clearly(path: Path, anyio_backend: str) -> None:
    """On an event loop that aiosqlite does not know, `open` says so, and a request is unavailable."""
    store = SQLRepository(SQLiteDriver(path))

    with pytest.raises(ConfigurationError, match="asyncio"):
        await store.open(create=True)
    with pytest.raises(StoreUnavailable, match="asyncio"):
        await store.get("key1")


async def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library without STRICT tables is named at construction."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 9))

    with pytest.raises(ConfigurationError, match=r"3\.37"):
        SQLiteDriver(path)


async def test_commits_are_synchronous(path: Path, store: SQLRepository) -> None:
    """The file is in WAL mode, and the writing connection waits for the disk (2 = FULL)."""
    driver = SQLiteDriver(path)

    async def synchronous(transaction: Transaction) -> object:
        [[value]] = await transaction.fetch("PRAGMA synchronous")
        return value

    assert await driver.fetch("PRAGMA journal_mode") == [("wal",)]
    assert await driver.write(synchronous) == 2
    await driver.close()


async def test_the_reader_cannot_write(store: SQLRepository, path: Path) -> None:
    """A statement that reaches the reading connection can change nothing."""
    driver = SQLiteDriver(path)

    with pytest.raises(StoreUnavailable, match="read-only"):
        await driver.fetch("DELETE FROM api_key_changes")
    assert await driver.fetch("SELECT 1") == [(1,)]
    await driver.close()


async def test_what_the_work_raises_rolls_back(path: Path, store: SQLRepository) -> None:
    """An exception inside a transaction undoes it and reaches the caller; the connection goes on working."""
    driver = SQLiteDriver(path)

    async def work(transaction: Transaction) -> None:
        await transaction.fetch(statements.APPEND_CHANGE, ("key1", 1))
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await driver.change(work)
    assert await driver.fetch("SELECT * FROM api_key_changes") == []
    await driver.close()


async def test_a_statement_that_fails_rolls_back(path: Path, store: SQLRepository) -> None:
    """A statement that the database refuses undoes the transaction, and the next one works."""
    driver = SQLiteDriver(path)

    async def work(transaction: Transaction) -> None:
        await transaction.fetch(statements.APPEND_CHANGE, ("key1", 1))
        await transaction.fetch("INSERT INTO api_key_changes (key_id, version) VALUES ('x', 'not a number')")

    with pytest.raises(StoreUnavailable) as caught:
        await driver.change(work)
    assert caught.value.outcome_unknown is False
    assert await driver.fetch("SELECT * FROM api_key_changes") == []
    await store.add(a_record())
    await driver.close()


async def test_a_write_out_of_time_goes_on_and_says_so(path: Path, store: SQLRepository) -> None:
    """Past its deadline a write that has begun is of unknown outcome; one that still waits was not made."""
    driver = SQLiteDriver(path, busy_timeout=0.01, deadline=0.1)
    await driver.open(create=False)
    release = asyncio.Event()

    async def slow(transaction: Transaction) -> None:
        await transaction.fetch(statements.APPEND_CHANGE, ("slow", 1))
        await release.wait()

    async def waiting(transaction: Transaction) -> None:
        await transaction.fetch(statements.APPEND_CHANGE, ("waiting", 1))

    outcomes = await asyncio.gather(driver.change(slow), driver.change(waiting), return_exceptions=True)
    release.set()

    assert [getattr(outcome, "outcome_unknown", None) for outcome in outcomes] == [True, False]
    await driver.change(waiting)
    assert await driver.fetch("SELECT key_id FROM api_key_changes") == [("slow",), ("waiting",)]
    await driver.close()


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


async def test_a_read_out_of_time_is_interrupted(path: Path, store: SQLRepository) -> None:
    """A read past its deadline is unavailable, and its statement does not hold up the next read."""
    driver = SQLiteDriver(path, deadline=0.1)
    await driver.open(create=False)

    with pytest.raises(StoreUnavailable, match="in time"):
        await driver.fetch(ENDLESS)
    assert await driver.fetch("SELECT 1") == [(1,)]
    await driver.close()


async def test_a_cancelled_read_is_interrupted(path: Path, store: SQLRepository) -> None:
    """Cancelling a read ends its statement in the thread too."""
    driver = SQLiteDriver(path)
    await driver.open(create=False)
    reading = asyncio.ensure_future(driver.fetch(ENDLESS))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait({reading})

    assert reading.cancelled()
    assert await driver.fetch("SELECT 1") == [(1,)]
    await driver.close()


def test_every_event_loop_has_its_own_connections(path: Path) -> None:
    """One repository serves loop after loop, as a test client makes them; those of dead loops are cleared away."""
    store = SQLRepository(SQLiteDriver(path))
    asyncio.run(_added(store))
    for _ in range(10):
        record = asyncio.run(store.get("key1"))
        assert record == a_record()
    asyncio.run(store.close())


def test_two_loops_at_once(path: Path) -> None:
    """Event loops in several threads share one repository; their changes are serialised."""
    store = SQLRepository(SQLiteDriver(path, busy_timeout=10.0))
    asyncio.run(_added(store))

    async def many(number: int) -> None:
        for turn in range(10):
            await store.add(a_record(f"key{number}x{turn}"))

    async def in_threads() -> None:
        runs = [asyncio.to_thread(asyncio.run, many(number)) for number in range(4)]
        await asyncio.gather(*runs)
        page = await store.find(KeyQuery(limit=100), now=NOW)
        assert len(page.records) == 41
        await store.close()

    asyncio.run(in_threads())


def test_a_forgotten_repository_warns_about_nothing(path: Path) -> None:
    """Connections that nobody closed are closed with the repository: no ResourceWarning, no thread."""
    store = SQLRepository(SQLiteDriver(path))
    asyncio.run(_added(store))
    del store

    gc.collect()


EXIT = """
import asyncio, sys
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories import open_repository
store = open_repository(f"sqlite:///{sys.argv[1]}")
async def main():
    await store.add(KeyRecord(key_id="key1", digest="d", owner="o", created_at=1.0))
    tasks = [asyncio.ensure_future(store.get("key1")) for _ in range(20)]
    tasks += [asyncio.ensure_future(store.add(KeyRecord(key_id=f"k{n}", digest="d", owner="o", created_at=1.0)))
              for n in range(20)]
    for _ in range(int(sys.argv[2])):
        await asyncio.sleep(0)
asyncio.run(main())
"""


@pytest.mark.parametrize("turns", [0, 5, 20])
def test_a_program_that_closes_nothing_ends(path: Path, turns: int) -> None:
    """A program that ends with calls under way exits at once, silently, even where warnings are errors."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", EXIT, str(path), str(turns)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_forked_child_leaves_the_parents_connections_alone(path: Path) -> None:
    """A child neither uses nor closes what it inherited, not even from a loop that has ended: SQLite forbids it."""
    store = SQLRepository(SQLiteDriver(path))
    asyncio.run(_added(store))
    child = os.fork()
    if child == 0:
        _in_child(store)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(store.get("child")) == a_record("child")
    asyncio.run(store.close())


def test_a_forked_child_opens_its_own(path: Path) -> None:
    """After a fork, parent and child read and write, each through connections of its own."""
    store = SQLRepository(SQLiteDriver(path, busy_timeout=10.0))

    async def main() -> None:
        await _added(store)
        child = os.fork()
        if child == 0:
            _in_child(store)
        await store.add(a_record("parent"))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await store.get("child") == a_record("child")
        assert await store.get("parent") == a_record("parent")
        await store.close()

    asyncio.run(main())


def _in_child(store: SQLRepository) -> None:
    """Use the inherited repository on a new loop, and end without the parent's clean-up."""
    code = 1
    try:
        asyncio.events._set_running_loop(None)
        loop = asyncio.new_event_loop()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.run_until_complete(store.add(a_record("child")))
            loop.run_until_complete(store.close())
            gc.collect()
        # aiosqlite warns of each connection that is dropped open: an inherited one that was not kept.
        code = len(caught)
    finally:
        os._exit(code)


async def _added(store: SQLRepository) -> None:
    await store.add(a_record())


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (KeyQuery(), "api_keys_by_age"),
        (KeyQuery(status=Status.ACTIVE), "api_keys_by_age"),
        (KeyQuery(owner="acme"), "api_keys_by_owner"),
        (KeyQuery(owner="acme", status=Status.EXPIRED), "api_keys_by_owner"),
        (KeyQuery(tenant="north"), "api_keys_by_tenant"),
        (KeyQuery(sort=SortBy.NAME, ascending=True), "api_keys_by_name"),
        (KeyQuery(sort=SortBy.EXPIRES_AT, ascending=True), "api_keys_by_end"),
        (KeyQuery(sort=SortBy.EXPIRES_AT, ascending=True, expires_before=2.0), "api_keys_by_end"),
    ],
)
@pytest.mark.parametrize("start", [None, Position(1, "a")], ids=["first", "next"])
async def test_a_page_is_one_range_of_an_index(
    path: Path, store: SQLRepository, query: KeyQuery, index: str, start: Position | None
) -> None:
    """No page sorts: each is read from an index that is already in its order."""
    driver = SQLiteDriver(path)
    wanted = wanted_of(query, 1.0)
    assert wanted is not None
    statement, args = statements.find(query, wanted, start=start, limit=50)
    plan = [str(row[3]) for row in await driver.fetch(f"EXPLAIN QUERY PLAN {statement}", args)]
    await driver.close()

    assert len(plan) == 1
    assert index in plan[0]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (KeyQuery(name="ci"), "api_keys_by_name"),
        (KeyQuery(lineage="first"), "api_keys_by_lineage"),
        (KeyQuery(tags=frozenset({"ci"})), "api_key_labels"),
        (KeyQuery(any_scopes=frozenset({"a.b", "c"})), "api_key_labels"),
        (KeyQuery(expires_before=2.0, status=Status.ACTIVE, sort=SortBy.EXPIRES_AT), "api_keys_by_end"),
    ],
)
async def test_what_few_keys_have_is_looked_up(path: Path, store: SQLRepository, query: KeyQuery, index: str) -> None:
    """No table is read from end to end for it; what was found is sorted then."""
    driver = SQLiteDriver(path)
    wanted = wanted_of(query, 1.0)
    assert wanted is not None
    statement, args = statements.find(query, wanted, start=None, limit=50)
    plan = [str(row[3]) for row in await driver.fetch(f"EXPLAIN QUERY PLAN {statement}", args)]
    await driver.close()

    assert any(index in step for step in plan)
    assert not any(step.startswith("SCAN") and "USING INDEX" not in step for step in plan)


async def test_a_row_changed_by_other_means_is_unavailable(path: Path, store: SQLRepository) -> None:
    """A row that we did not write is neither an unknown key nor a crash."""
    await store.add(a_record())
    for metadata in ("not json", "[]", "[" * 100_000):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE api_keys SET metadata = ?", (metadata,))
        connection.close()
        with pytest.raises(StoreUnavailable, match="other means"):
            await store.get("key1")


START = """
import asyncio, sys
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories import open_repository
async def main():
    store = open_repository(f"sqlite:///{sys.argv[1]}")
    print("ready", flush=True)
    sys.stdin.readline()
    await store.open(create=True)
    await store.add(KeyRecord(key_id=sys.argv[2], digest="d", owner="o", created_at=1.0))
    await store.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("round_", range(3))
async def test_eight_processes_make_one_store(path: Path, round_: int) -> None:
    """Processes that start at once on a missing file make one store together: each step is applied once."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(path), f"key{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    outcomes = [(child.communicate(timeout=60)[1], child.returncode) for child in children]

    assert outcomes == [("", 0)] * 8
    store = SQLRepository(SQLiteDriver(path))
    assert len((await store.find(KeyQuery(), now=NOW)).records) == 8
    await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT seq FROM api_key_changes ORDER BY seq").fetchall() == [
            (n,) for n in range(1, 9)
        ]
        assert connection.execute("SELECT count(*) FROM api_key_meta").fetchone() == (4,)
    connection.close()
