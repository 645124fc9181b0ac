"""All meters keep one contract, wherever they count."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import Database

from asgi_apikey.limiters.redis import RedisMeters
from asgi_apikey.metering import MemoryMeters
from asgi_apikey.protocols import Meters
from asgi_apikey.repositories.databases import DatabasesDriver
from tests.contracts.meters import MetersContract
from tests.repositories.stores import emptied, postgres_vault, sql_vault, sqlite_vault
from tests.servers import PostgresServer, RedisServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of one database for all of these tests."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


class TestMemory(MetersContract):
    """In this process."""

    @pytest.fixture
    def meters(self) -> Meters:
        """New ones."""
        return MemoryMeters()


class TestMemoryOnTrio(MetersContract):
    """They know nothing of asyncio."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """The other event loop."""
        return "trio"

    @pytest.fixture
    def meters(self) -> Meters:
        """New ones."""
        return MemoryMeters()


class TestSQLite(MetersContract):
    """In the file with the keys."""

    @pytest.fixture
    async def meters(self, tmp_path: Path) -> AsyncIterator[Meters]:
        """Of a new store."""
        async with sqlite_vault(tmp_path) as vault:
            yield vault.repository.meters


class TestPostgres(MetersContract):
    """In the database with the keys."""

    @pytest.fixture
    async def meters(self, database: str) -> AsyncIterator[Meters]:
        """Of an emptied store."""
        async with postgres_vault(database) as vault:
            yield vault.repository.meters


class TestDatabasesOnPostgres(MetersContract):
    """In the database of an application's own `Database`."""

    @pytest.fixture
    async def meters(self, database: str) -> AsyncIterator[Meters]:
        """Of an emptied store."""
        async with (
            Database(database, min_size=1, max_size=5, ssl=False) as application,
            sql_vault(DatabasesDriver(application, deadline=10.0), before=emptied) as vault,
        ):
            yield vault.repository.meters


class TestRedis(MetersContract):
    """On a server of its own."""

    @pytest.fixture
    async def meters(self, redis: RedisServer) -> AsyncIterator[Meters]:
        """New ones; patient, for the machine may be busy."""
        meters = RedisMeters(redis.url, namespace=secrets.token_hex(4), timeout=5.0)
        yield meters
        await meters.close()
