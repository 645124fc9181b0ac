"""Through a real PgBouncer in transaction mode the store is made, migrated and used like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg  # type: ignore[import-untyped] # it ships no types
import pytest
from databases import Database

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.invalidation.postgres import PostgresBus
from asgi_apikey.models import RecordPatch, Usage
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.databases import keys_in
from asgi_apikey.repositories.migrations import migrations
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from tests.contracts.repository import NOW, CancellationContract, RepositoryContract, a_record
from tests.pgbouncer import bouncing
from tests.repositories.test_databases_contract import CONTENTS
from tests.repositories.test_postgres_contract import empty_store
from tests.servers import LOOPBACK, PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.hosts]


@pytest.fixture(scope="module")
def bouncer(postgres: PostgresServer) -> Iterator[int]:
    """The port of a PgBouncer with two connections for each database."""
    with bouncing(postgres.port) as port:
        yield port


@pytest.fixture(scope="module")
def lasting(postgres: PostgresServer, bouncer: int) -> Iterator[str]:
    """The URL, by way of PgBouncer, of one database for all contract tests."""
    name = postgres.new_database()
    yield url_of(bouncer, name)
    postgres.drop_database(name)


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def url(bouncer: int, database: str) -> str:
    """Its URL by way of PgBouncer."""
    return url_of(bouncer, database)


def url_of(port: int, database: str) -> str:
    """The URL of a database."""
    return f"postgresql://postgres@{LOOPBACK}:{port}/{database}?sslmode=disable"


class OverAsyncpg:
    """Our own pool, told of the pooler."""

    @pytest.fixture
    async def repository(self, lasting: str) -> AsyncIterator[KeyRepository]:
        """An empty store."""
        async with empty_store(f"{lasting}&statement_cache_size=0") as repository:
            yield repository


class OverDatabases:
    """The application's pool, told of the pooler."""

    @pytest.fixture
    async def repository(self, lasting: str) -> AsyncIterator[KeyRepository]:
        """An empty store."""
        plain = lasting.partition("?")[0]
        async with Database(plain, min_size=1, max_size=5, ssl=False, statement_cache_size=0) as database:
            repository = keys_in(database, deadline=10)
            await repository.open(create=True)
            await database.execute(f"TRUNCATE {await database.fetch_val(CONTENTS)}")
            yield repository
            await repository.close()


class TestAsyncpg(OverAsyncpg, RepositoryContract):
    """The whole contract."""


class TestAsyncpgCancelled(OverAsyncpg, CancellationContract):
    """With callers that go away."""


class TestDatabases(OverDatabases, RepositoryContract):
    """The whole contract."""


class TestDatabasesCancelled(OverDatabases, CancellationContract):
    """With callers that go away."""


async def test_a_store_is_upgraded_from_every_earlier_version(
    postgres: PostgresServer, bouncer: int, database: str
) -> None:
    """Whichever steps a database has, the others are made through PgBouncer; then it is used."""
    steps = migrations("postgres")
    found = []
    for made in range(len(steps)):
        name = postgres.new_database()
        await _schema(postgres.url_of(name), made)
        repository = SQLRepository(PostgresDriver(f"{url_of(bouncer, name)}&statement_cache_size=0", deadline=10.0))
        await repository.open(create=True)
        await repository.add(a_record("key"))
        found.append(await repository.get("key"))
        await repository.close()
        postgres.drop_database(name)

    assert found == [a_record("key")] * len(steps)


async def test_eight_that_start_at_once_make_one_store(url: str) -> None:
    """All open the same empty database through two connections; each is answered, and there is one store."""
    repositories = [
        SQLRepository(PostgresDriver(f"{url}&statement_cache_size=0", deadline=10.0, pool_size=3)) for _ in range(8)
    ]
    await asyncio.gather(*(each.open(create=True) for each in repositories))
    await repositories[0].add(a_record("key"))
    found = [await each.get("key") for each in repositories]
    anchors = {(await each.audit.anchor()).database_id for each in repositories}
    await asyncio.gather(*(each.close() for each in repositories))

    assert found == [a_record("key")] * 8
    assert len(anchors) == 1


async def test_many_at_once_share_two_connections(postgres: PostgresServer, database: str, url: str) -> None:
    """Twenty keys are read, changed and counted at once; every answer is the right one, nothing is left open."""
    repository = SQLRepository(PostgresDriver(f"{url}&statement_cache_size=0", deadline=20.0))
    await repository.open(create=True)
    names = [f"key{number}" for number in range(20)]
    for name in names:
        await repository.add(a_record(name))

    async def live(name: str) -> None:
        for version in range(1, 6):
            record = await repository.get(name)
            assert record is not None
            assert (record.key_id, record.version) == (name, version)
            await repository.update(name, RecordPatch(name=name), version=version)
            await repository.record_usage([Usage(name, 1, NOW)])

    await asyncio.gather(*map(live, names))
    records = [await repository.get(name) for name in names]
    await repository.close()
    sessions = postgres.execute("SELECT state FROM pg_stat_activity WHERE datname = $1", database)

    assert records == [a_record(name, version=6, name=name, uses=5, last_used_at=NOW) for name in names]
    assert [each["state"] for each in sessions] == ["idle"] * len(sessions)
    assert len(sessions) <= 2


async def test_this_pgbouncer_is_the_trap_that_we_mean(url: str) -> None:
    """A statement that is kept prepared is looked for in another session than the one that prepared it."""
    one, other = [await asyncpg.connect(url) for _ in range(2)]
    try:
        await one.fetch("SELECT 1")
        # With the first session taken, PgBouncer opens the second; from then on they take turns.
        await other.execute("BEGIN")
        await one.execute("BEGIN")
        await other.execute("COMMIT")
        await one.execute("COMMIT")
        with pytest.raises((asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)):
            for _ in range(3):
                await one.fetch("SELECT 1")
    finally:
        one.terminate()
        other.terminate()


async def test_a_pgbouncer_that_was_not_announced_is_found_at_once(url: str) -> None:
    """Without `statement_cache_size=0` no connection is made at all, rather than some that fail later."""
    driver = PostgresDriver(url, deadline=5.0)

    with pytest.raises(StoreUnavailable):
        await driver.open(create=True)
    await driver.close()


async def test_notifications_that_could_never_arrive_are_refused(url: str) -> None:
    """LISTEN succeeds through it and nothing is ever heard: the bus says so before anybody relies on it."""
    bus = PostgresBus(url.partition("?")[0], secret="s" * 32)

    with pytest.raises(ConfigurationError, match="PgBouncer"):
        await bus.check()


async def _schema(url: str, steps: int) -> None:
    """Make the schema of an earlier version."""
    connection = await asyncpg.connect(url, ssl=False)
    try:
        for step in migrations("postgres")[:steps]:
            for statement in step.statements:
                await connection.execute(statement)
        if steps:
            await connection.execute("UPDATE api_key_meta SET value = $1 WHERE name = 'schema_version'", str(steps))
    finally:
        await connection.close()
