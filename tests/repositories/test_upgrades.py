"""A store of any earlier version, with keys in it, becomes one of this version and goes on being used."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg  # type: ignore[import-untyped] # it ships no types
import pytest
from databases import Database

from asgi_apikey.audit import AuditChain
from asgi_apikey.auditor import Auditor
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import KeyQuery, KeyRecord, RecordPatch, Usage
from asgi_apikey.repositories.databases import keys_in
from asgi_apikey.repositories.migrations import migrations
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.records import COLUMNS, from_row, to_row
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import FULL, NOW, a_record
from tests.servers import PostgresServer

pytestmark = pytest.mark.anyio

STEPS = len(migrations("sqlite"))
Rows = list[tuple[str, tuple[object, ...]]]


def columns_of(table: str, version: int) -> list[str]:
    """The columns that a table had; none if it was not there yet."""
    connection = sqlite3.connect(":memory:")
    for step in migrations("sqlite")[:version]:
        for statement in step.statements:
            connection.execute(statement)
    columns = [str(row[1]) for row in connection.execute(f"PRAGMA table_info ({table})")]
    connection.close()
    return columns


def records(version: int) -> list[KeyRecord]:
    """Keys as that version could hold them: a bare one, its successor, and one with everything."""
    plain = a_record("key1", scopes=frozenset({"read", "ü:write"}))
    successor = a_record("key2", version=3, replaces="key1", lineage="key1")
    # What there was no column for, no key had; a lineage was found by who replaced whom.
    unknown = set(COLUMNS) - set(columns_of("api_keys", version))
    bare = replace(plain, lineage=FULL.replaces or "key3")
    full = replace(FULL, key_id="key3", **{name: getattr(bare, name) for name in unknown})
    # As they come back from any store.
    return [from_row(to_row(each)) for each in (plain, successor, full)]


def contents(version: int) -> Rows:
    """The statements that fill a store of that version with them, as that version did."""
    columns = columns_of("api_keys", version)
    rows: Rows = []
    for record in records(version):
        row = dict(zip(COLUMNS, to_row(record), strict=True))
        rows.append((_insert("api_keys", columns), tuple(row[name] for name in columns)))
        rows.append((_insert("api_key_changes", ["key_id", "version"]), (record.key_id, record.version)))
        if columns_of("api_key_labels", version):
            labels = [("scope", each) for each in record.scopes] + [("tag", each) for each in record.tags]
            statement = _insert("api_key_labels", ["kind", "label", "key_id"])
            rows += [(statement, (*label, record.key_id)) for label in labels]
    if columns_of("api_key_audit", version):
        # As in a store that was upgraded to it, with nothing changed since.
        rows.append(("UPDATE api_key_meta SET value = ? WHERE name = 'audit_after'", (str(len(records(version))),)))
    return rows


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})"


def make_sqlite(path: Path, version: int) -> None:
    """A file of an earlier version."""
    connection = sqlite3.connect(path)
    for step in migrations("sqlite")[:version]:
        for statement in step.statements:
            connection.execute(statement)
    for statement, args in contents(version):
        connection.execute(statement, args)
    connection.execute("UPDATE api_key_meta SET value = ? WHERE name = 'schema_version'", (str(version),))
    connection.commit()
    connection.close()


async def make_postgres(url: str, version: int) -> None:
    """A database of an earlier version."""
    connection = await asyncpg.connect(url, ssl=False)
    try:
        for step in migrations("postgres")[:version]:
            for statement in step.statements:
                await connection.execute(statement)
        for statement, args in contents(version):
            numbered = statement
            for number in range(1, len(args) + 1):
                numbered = numbered.replace("?", f"${number}", 1)
            await connection.execute(numbered, *args)
        await connection.execute("UPDATE api_key_meta SET value = $1 WHERE name = 'schema_version'", str(version))
    finally:
        await connection.close()


Opened = Callable[[int], Awaitable[SQLRepository]]


@pytest.fixture
def name(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres", "databases-sqlite", "databases-postgres"])
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer, name: str
) -> AsyncIterator[Opened]:
    """Makes a store of a version, and opens it with this version's driver."""
    path, url, to_close = tmp_path / "keys.db", postgres.url_of(name), []

    async def opened(version: int) -> SQLRepository:
        if request.param.endswith("sqlite"):
            make_sqlite(path, version)
        else:
            await make_postgres(url, version)
        repository = {
            "sqlite": lambda: SQLRepository(SQLiteDriver(path, deadline=10)),
            "postgres": lambda: SQLRepository(PostgresDriver(url, deadline=10)),
            "databases-sqlite": lambda: keys_in(Database(f"sqlite:///{path}"), deadline=10),
            "databases-postgres": lambda: keys_in(Database(url, ssl=False), deadline=10),
        }[request.param]()
        to_close.append(repository)
        return repository

    yield opened
    for repository in to_close:
        await repository.close()


@pytest.mark.parametrize("version", range(1, STEPS))
async def test_keys_of_every_earlier_version_live_on(opened: Opened, version: int) -> None:
    """They are read as they were, found by searches, changed and counted, and the audit begins after them."""
    repository = await opened(version)
    await repository.open(create=True)
    found = [await repository.get(each.key_id) for each in records(version)]
    by_scope = await repository.find(KeyQuery(scopes=frozenset({"ü:write"})), now=NOW)
    by_lineage = await repository.count(KeyQuery(lineage="key1"), now=NOW)
    await repository.update("key1", RecordPatch(name="renamed"), version=1)
    await repository.record_usage([Usage("key2", 2, NOW)])
    report = await Auditor(repository.audit, AuditChain()).verify()

    assert found == records(version)
    assert [each.key_id for each in by_scope.records] == ["key1"]
    assert by_lineage == 2
    assert report.findings == ()
    assert report.entries == 1
    assert await repository.feed.position() == len(records(version)) + 1
    assert [each.accepted for each in await repository.history.hours("key2", since=0.0, until=NOW * 2)] == [2]


@pytest.mark.parametrize("version", range(1, STEPS))
async def test_racing_upgrades_take_each_step_once(tmp_path: Path, version: int) -> None:
    """Eight that open an old file at once all succeed; a step that was taken twice would fail."""
    path = tmp_path / "keys.db"
    make_sqlite(path, version)
    repositories = [SQLRepository(SQLiteDriver(path, deadline=10)) for _ in range(8)]
    await asyncio.gather(*(each.open(create=True) for each in repositories))
    found = [await each.get("key1") for each in repositories]
    await asyncio.gather(*(each.close() for each in repositories))

    assert found == [records(version)[0]] * 8


async def test_an_upgrade_may_take_longer_than_a_request(tmp_path: Path) -> None:
    """A big store is upgraded although that takes longer than the driver's deadline."""
    path = tmp_path / "keys.db"
    make_sqlite(path, 1)
    connection = sqlite3.connect(path)
    # Makes the steps that write to each key slow.
    connection.execute(
        "CREATE TRIGGER slow BEFORE UPDATE ON api_keys BEGIN SELECT count(*) FROM"
        " (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000) SELECT i FROM n); END"
    )
    connection.close()
    repository = SQLRepository(SQLiteDriver(path, busy_timeout=0.05, deadline=0.05))
    for _ in range(20):
        # The machine may be too busy to look at a file in 0.1 s; it is the upgrade that takes long.
        with suppress(StoreUnavailable):
            await repository.open(create=True)
            break
    connection = sqlite3.connect(path)
    [[version]] = connection.execute("SELECT value FROM api_key_meta WHERE name = 'schema_version'")
    connection.close()
    await repository.close()

    assert version == str(STEPS)
