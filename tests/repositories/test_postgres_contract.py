"""The SQL repository over PostgreSQL fulfils the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from tests.contracts.repository import CancellationContract, RepositoryContract
from tests.servers import PostgresServer

# As a migration leaves them.
EMPTY_TABLES = """
    SELECT CASE tablename
        WHEN 'api_key_feed' THEN 'UPDATE api_key_feed SET last_seq = 0'
        ELSE 'DELETE FROM ' || tablename
    END
    FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'api_key_meta'
"""


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of one database for all of these tests."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


@pytest.fixture
async def repository(database: str) -> AsyncIterator[KeyRepository]:
    """An empty store."""
    async with empty_store(database) as repository:
        yield repository


@pytest.fixture
async def behind_a_pooler(database: str) -> AsyncIterator[KeyRepository]:
    """An empty store, spoken to as one must through a pooler of transactions."""
    async with empty_store(f"{database}?statement_cache_size=0") as repository:
        yield repository


@asynccontextmanager
async def empty_store(url: str) -> AsyncIterator[KeyRepository]:
    """A store in the database, without what the test before has left; patient, as the machine may be busy."""
    driver = PostgresDriver(url, deadline=10.0)
    repository = SQLRepository(driver)
    await repository.open(create=True)
    for statement in await driver.fetch(EMPTY_TABLES):
        await driver.write(lambda transaction, sql=str(statement[0]): transaction.fetch(sql))  # type: ignore[misc]
    yield repository
    await repository.close()


class TestPostgres(RepositoryContract):
    """Over asyncpg."""


class TestPostgresCancelled(CancellationContract):
    """Over asyncpg, with callers that go away."""


class TestPostgresBehindAPooler(RepositoryContract):
    """Over asyncpg, without anything that outlives a transaction."""

    @pytest.fixture
    def repository(self, behind_a_pooler: KeyRepository) -> KeyRepository:
        """The one that a pooler would not disturb."""
        return behind_a_pooler
