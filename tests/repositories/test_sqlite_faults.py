"""What the SQLite driver does when its file is taken away, swapped, locked, damaged or full: 503, never "unknown"."""

# ruff: noqa: ASYNC220, ASYNC221, ASYNC240 - nothing else runs on these loops, so a test may look at a file.

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import KeyQuery, RecordPatch, Usage
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import NOW, a_record

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("threads")]


async def assert_unavailable(store: SQLRepository) -> None:
    """Every method raises StoreUnavailable, with a message."""
    for attempt in (
        lambda: store.get("key1"),
        lambda: store.find(KeyQuery(), now=NOW),
        lambda: store.add(a_record("key2")),
        lambda: store.update("key1", RecordPatch(name="x"), version=1),
        lambda: store.replace("key1", RecordPatch(name="x"), a_record("key3"), version=1),
        lambda: store.delete("key1", version=1),
        lambda: store.replace_digest("key1", old="sha256$key1", new="x"),
        lambda: store.record_usage([Usage("key1", 1, NOW)]),
    ):
        with pytest.raises(StoreUnavailable, match=r"\w") as caught:
            await attempt()
        assert caught.value.outcome_unknown is False


def copy_store(path: Path, to: Path) -> None:
    """Make a consistent copy of an open store."""
    source = sqlite3.connect(path)
    source.execute("VACUUM INTO ?", (str(to),))
    source.close()


def move_store(path: Path, to: Path) -> None:
    """Rename a database with the files beside it."""
    for suffix in ("", "-wal", "-shm"):
        side = Path(f"{path}{suffix}")
        if side.exists():
            side.rename(f"{to}{suffix}")


# unlinked and replaced


async def test_an_unlinked_file_is_noticed(path: Path, store: SQLRepository) -> None:
    """After `rm`, nothing is answered from the file that only we still see, and no new one is made in its place."""
    await store.add(a_record())
    for suffix in ("", "-wal", "-shm"):
        os.unlink(f"{path}{suffix}")

    await assert_unavailable(store)
    with pytest.raises(StoreUnavailable):
        await store.open(create=True)
    assert not path.exists()


async def test_a_store_that_was_known_is_not_made_anew(path: Path, store: SQLRepository) -> None:
    """Closed and then unlinked, a store is missing: `add` makes no empty one, in which every key would be unknown."""
    await store.add(a_record())
    await store.close()
    path.unlink()

    with pytest.raises(StoreUnavailable, match="asgi-apikey init"):
        await store.add(a_record("key2"))
    assert not path.exists()


async def test_a_file_moved_away_and_back_works_again(path: Path, store: SQLRepository) -> None:
    """While the file has another name the store is unavailable; when it is back, so is the store."""
    await store.add(a_record())
    move_store(path, path.with_name("away.db"))
    await assert_unavailable(store)
    move_store(path.with_name("away.db"), path)

    assert await store.get("key1") == a_record()


async def test_a_restored_copy_is_opened(path: Path, store: SQLRepository) -> None:
    """A copy of the same store in its place costs one call, which is unavailable; the next one reads the copy."""
    await store.add(a_record())
    copy_store(path, path.with_name("copy.db"))
    await store.update("key1", RecordPatch(name="later"), version=1)
    move_store(path, path.with_name("old.db"))
    path.with_name("copy.db").rename(path)

    with pytest.raises(StoreUnavailable, match="taken the place"):
        await store.get("key1")
    assert await store.get("key1") == a_record()
    await store.update("key1", RecordPatch(name="x"), version=1)


async def test_a_foreign_store_is_refused(path: Path, store: SQLRepository, caplog: pytest.LogCaptureFixture) -> None:
    """Another store in its place is never answered from, is logged once, and the right one is taken back."""
    await store.add(a_record())
    other = SQLRepository(SQLiteDriver(path.with_name("other.db")))
    await other.add(a_record("theirs"))
    await other.close()
    move_store(path, path.with_name("mine.db"))
    path.with_name("other.db").rename(path)

    with caplog.at_level(logging.ERROR, "asgi_apikey"):
        await assert_unavailable(store)
        await assert_unavailable(store)
    with pytest.raises(StoreUnavailable, match="another key store"):
        await store.get("theirs")
    assert len(caplog.records) == 1

    move_store(path, path.with_name("other.db"))
    move_store(path.with_name("mine.db"), path)
    assert await store.get("key1") == a_record()


async def test_closing_waits_for_connections_that_were_given_up(path: Path, store: SQLRepository) -> None:
    """Those to a file that is not there any more are closed, too, before the loop is."""
    before = asyncio.all_tasks()
    await store.add(a_record())
    await store.find(KeyQuery(), now=NOW)
    path.unlink()
    await assert_unavailable(store)
    await store.close()

    assert asyncio.all_tasks() <= before


async def test_an_empty_file_in_its_place_is_not_filled(path: Path, store: SQLRepository) -> None:
    """A new empty file is not made into a store in which every key would be unknown."""
    await store.add(a_record())
    move_store(path, path.with_name("mine.db"))
    path.touch()

    await assert_unavailable(store)
    await assert_unavailable(store)
    assert path.stat().st_size == 0


async def test_a_commit_into_a_lost_file_is_of_unknown_outcome(path: Path, store: SQLRepository) -> None:
    """A file that loses its name while a change is made: the change is not acknowledged."""
    driver = SQLiteDriver(path)
    await driver.open(create=False)

    async def work(transaction: Transaction) -> None:
        await transaction.fetch("INSERT INTO api_key_changes (key_id, version) VALUES ('x', 1) RETURNING seq")
        path.rename(path.with_name("away.db"))

    with pytest.raises(StoreUnavailable) as caught:
        await driver.change(work)
    path.with_name("away.db").rename(path)

    assert caught.value.outcome_unknown is True
    await driver.close()


# other things than a database


async def test_a_folder_is_no_store(path: Path) -> None:
    """A directory at the path is unavailable, with `create` too."""
    path.mkdir()
    store = SQLRepository(SQLiteDriver(path))

    await assert_unavailable(store)


async def test_a_named_pipe_is_no_store(path: Path) -> None:
    """A pipe, which would be waited for when opened, is refused without opening it."""
    os.mkfifo(path)
    store = SQLRepository(SQLiteDriver(path))

    await assert_unavailable(store)


async def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """Text, with or without SQLite's first bytes, is unavailable and stays as it is."""
    for content in (b"hello world, not a database at all\n" * 100, b"SQLite format 3\0" + b"\xff" * 4096):
        path.write_bytes(content)
        store = SQLRepository(SQLiteDriver(path))

        await assert_unavailable(store)
        assert path.read_bytes() == content
        await store.close()


@pytest.mark.parametrize("seed", range(8))
async def test_a_damaged_database_never_loses_a_key_silently(path: Path, store: SQLRepository, seed: int) -> None:
    """With any page overwritten, a read gives the record as it was or StoreUnavailable: never "no such key"."""
    for number in range(60):
        await store.add(a_record(f"key{number}", description="x" * 300))
    await store.close()
    size = path.stat().st_size
    page = (seed * size // 8) // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(page)
        file.write(b"\xa5" * 4096)

    for number in range(60):
        try:
            record = await store.get(f"key{number}")
        except StoreUnavailable:
            continue
        assert record == a_record(f"key{number}", description="x" * 300)


# locks


@pytest.fixture
def lock(path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that holds the write lock until it is killed."""
    held: list[subprocess.Popen[str]] = []
    script = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )

    def hold() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        held.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        return process

    yield hold
    for process in held:
        process.kill()
        process.communicate()


async def test_another_writer_stops_writes_only(
    path: Path, store: SQLRepository, lock: Callable[[], subprocess.Popen[str]]
) -> None:
    """Under another process's write lock reads answer, writes give up after the busy timeout, the loop runs on."""
    await store.add(a_record())
    other = lock()
    writing = asyncio.ensure_future(store.update("key1", RecordPatch(name="x"), version=1))
    reads = 0
    while not writing.done():
        assert await store.get("key1") == a_record()
        reads += 1

    with pytest.raises(StoreUnavailable, match="another process") as caught:
        await writing
    assert caught.value.outcome_unknown is False
    assert reads > 10

    other.kill()
    other.wait()
    assert (await store.update("key1", RecordPatch(name="x"), version=1)).record.version == 2


async def test_a_writer_that_ends_in_time_is_waited_for(
    path: Path, store: SQLRepository, lock: Callable[[], subprocess.Popen[str]]
) -> None:
    """Within the busy timeout a write waits for its turn."""
    await store.add(a_record())
    patient = SQLRepository(SQLiteDriver(path, busy_timeout=30.0))
    await patient.open(create=False)
    other = lock()
    writing = asyncio.ensure_future(patient.update("key1", RecordPatch(name="x"), version=1))
    await asyncio.sleep(0.05)
    assert not writing.done()
    other.kill()

    assert (await writing).record.version == 2
    await patient.close()


# read-only, full


READ_ONLY = """
import asyncio, json, os, sys
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import RecordPatch
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
async def main():
    store = SQLRepository(SQLiteDriver(sys.argv[1], busy_timeout=0.2))
    if os.geteuid() == 0:
        # Only now: the interpreter itself may live where nobody else can read it.
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    said = {}
    for name, call in {
        "read": lambda: store.get("key1"),
        "write": lambda: store.update("key1", RecordPatch(name="x"), version=1),
        "read again": lambda: store.get("key1"),
    }.items():
        try:
            await call()
            said[name] = "ok"
        except StoreUnavailable as error:
            said[name] = f"{error} {error.outcome_unknown}"
    await store.close()
    print(json.dumps(said))
asyncio.run(main())
"""


def as_unprivileged(script: str, path: Path) -> dict[str, str]:
    """Run a script as a user whom file modes concern (root may write to anything) and return what it says."""
    command = [sys.executable, "-c", script, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, str] = json.loads(ended.stdout)
    return said


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches; pytest's own belong to one."""
    made = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip()
    os.chmod(made, 0o777)
    yield Path(made)
    shutil.rmtree(made)


async def test_a_read_only_file_is_read(open_folder: Path) -> None:
    """Without permission to write to the file, reads answer and writes are unavailable."""
    path = open_folder / "keys.db"
    store = SQLRepository(SQLiteDriver(path))
    await store.add(a_record())
    await store.close()
    path.chmod(0o444)

    said = as_unprivileged(READ_ONLY, path)

    assert said == {"read": "ok", "write": "the SQLite file is read-only False", "read again": "ok"}


async def test_an_unreadable_file_is_unavailable(open_folder: Path) -> None:
    """Without permission to read the file, every call is unavailable."""
    path = open_folder / "keys.db"
    store = SQLRepository(SQLiteDriver(path))
    await store.add(a_record())
    await store.close()
    path.chmod(0o000)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)

    said = as_unprivileged(READ_ONLY, path)

    assert all(word.endswith("cannot be opened False") for word in said.values())


FULL_DISK = """
import asyncio, json, resource, signal, sys
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
async def main():
    store = SQLRepository(SQLiteDriver(sys.argv[1], busy_timeout=0.2))
    await store.open(create=True)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    acknowledged = 0
    try:
        while True:
            record = KeyRecord(key_id=f"key{acknowledged}", digest="d", owner="o", created_at=1.0, name="x" * 500)
            await store.add(record)
            acknowledged += 1
    except StoreUnavailable as error:
        pass
    said = {"reads": 0, "acknowledged": acknowledged}
    for number in range(acknowledged):
        said["reads"] += (await store.get(f"key{number}")) is not None
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.add(KeyRecord(key_id="after", digest="d", owner="o", created_at=1.0))
    said["after"] = (await store.get("after")).owner
    await store.close()
    print(json.dumps(said))
asyncio.run(main())
"""


async def test_a_full_disk_refuses_writes_only(path: Path) -> None:
    """When the file cannot grow, changes are unavailable, all that was acknowledged is read, and space heals it."""
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["acknowledged"] > 5
    assert said == {"acknowledged": said["acknowledged"], "reads": said["acknowledged"], "after": "o"}


# kill -9


KILLED = """
import asyncio, sys
from asgi_apikey.models import KeyRecord, RecordPatch
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
async def main():
    store = SQLRepository(SQLiteDriver(sys.argv[1], busy_timeout=10.0))
    run, number, version = sys.argv[2], 0, 1
    await store.add(KeyRecord(key_id=f"{run}-0", digest="d", owner="o", created_at=1.0))
    print("added", f"{run}-0", flush=True)
    while True:
        number += 1
        old, new = f"{run}-{number - 1}", f"{run}-{number}"
        successor = KeyRecord(key_id=new, digest="d", owner="o", created_at=1.0, replaces=old)
        await store.replace(old, RecordPatch(revoked_at=2.0), successor, version=1)
        print("replaced", old, new, flush=True)
asyncio.run(main())
"""


async def test_kill_nine_leaves_nothing_half_done(path: Path, store: SQLRepository) -> None:
    """Killed at twenty-four random moments: each rotation is whole, and whatever was acknowledged is there.

    The moments come from how many lines were read before the kill, so they fall all over the transaction.
    """
    acknowledged: list[list[str]] = []
    for first in range(0, 24, 3):
        children = [
            subprocess.Popen([sys.executable, "-c", KILLED, str(path), f"run{run}"], stdout=subprocess.PIPE, text=True)
            for run in range(first, first + 3)
        ]
        for child, lines in zip(children, (1, 2, 3 + first // 3), strict=True):
            assert child.stdout is not None
            acknowledged.extend(child.stdout.readline().split() for _ in range(lines))
        for child in children:
            child.kill()
        for child in children:
            acknowledged.extend(
                line.split() for line in child.communicate()[0].splitlines(keepends=True) if line[-1:] == "\n"
            )

    connection = sqlite3.connect(path)
    keys = dict(connection.execute("SELECT key_id, revoked_at IS NOT NULL FROM api_keys"))
    replaced = dict(connection.execute("SELECT replaces, key_id FROM api_keys WHERE replaces IS NOT NULL"))
    versions = dict(connection.execute("SELECT key_id, version FROM api_keys"))
    feed = connection.execute("SELECT key_id, max(version), count(*) FROM api_key_changes GROUP BY key_id").fetchall()
    check = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()

    assert check == [("ok",)]
    assert {key_id for key_id, revoked in keys.items() if revoked} == set(replaced)
    assert {key_id: version for key_id, version, _ in feed} == versions
    assert all(count == version for _, version, count in feed)
    for line in acknowledged:
        if line[0] == "added":
            assert line[1] in keys
        else:
            assert replaced[line[1]] == line[2]
