"""Every change feed fulfils the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import Database

from asgi_apikey.repositories.databases import DatabasesDriver
from asgi_apikey.repositories.driver import Driver
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.feed import FedStore, FeedContract
from tests.feeds import MemoryFeed
from tests.repositories.test_postgres_contract import EMPTY_TABLES
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of one database for all of these tests."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


async def opened(driver: Driver) -> SQLRepository:
    """A repository whose tables are there."""
    repository = SQLRepository(driver)
    await repository.open(create=True)
    return repository


class TestMemory(FeedContract):
    """The one that other tests use."""

    @pytest.fixture
    async def store(self) -> FedStore:
        """A new one."""
        repository = MemoryRepository()
        return FedStore(repository, MemoryFeed(repository))


class TestSQLite(FeedContract):
    """In a file."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FedStore]:
        """A new one."""
        repository = await opened(SQLiteDriver(tmp_path / "keys.db", busy_timeout=10.0, deadline=10.0))
        yield FedStore(repository, repository.feed)
        await repository.close()


class TestPostgres(FeedContract):
    """On a server."""

    @pytest.fixture
    async def store(self, database: str) -> AsyncIterator[FedStore]:
        """An emptied one."""
        driver = PostgresDriver(database, deadline=10.0)
        repository = await opened(driver)
        for statement in await driver.fetch(EMPTY_TABLES):
            await driver.write(lambda transaction, sql=str(statement[0]): transaction.fetch(sql))  # type: ignore[misc]
        yield FedStore(repository, repository.feed)
        await repository.close()


class TestDatabases(FeedContract):
    """In the file of an application's own `Database`."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FedStore]:
        """A new one."""
        async with Database(f"sqlite:///{tmp_path / 'app.db'}") as database:
            repository = await opened(DatabasesDriver(database))
            yield FedStore(repository, repository.feed)
            await repository.close()
