"""Audit, usage and archive of every repository fulfil their contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import Database

from asgi_apikey.repositories.databases import DatabasesDriver
from tests.contracts.archive import ArchiveContract
from tests.contracts.audit import AuditContract, Vault
from tests.contracts.usage import UsageContract
from tests.repositories.stores import emptied, memory_vault, postgres_vault, sql_vault, sqlite_vault
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of one database for all of these tests."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


class TestMemory(AuditContract, UsageContract, ArchiveContract):
    """In this process."""

    @pytest.fixture
    async def vault(self) -> AsyncIterator[Vault]:
        """A new one."""
        async with memory_vault() as vault:
            yield vault


class TestSQLite(AuditContract, UsageContract, ArchiveContract):
    """In a file."""

    @pytest.fixture
    async def vault(self, tmp_path: Path) -> AsyncIterator[Vault]:
        """A new one."""
        async with sqlite_vault(tmp_path) as vault:
            yield vault


class TestPostgres(AuditContract, UsageContract, ArchiveContract):
    """On a server."""

    @pytest.fixture
    async def vault(self, database: str) -> AsyncIterator[Vault]:
        """An emptied one."""
        async with postgres_vault(database) as vault:
            yield vault


class TestDatabasesOnSQLite(AuditContract, UsageContract, ArchiveContract):
    """In the file of an application's own `Database`."""

    @pytest.fixture
    async def vault(self, tmp_path: Path) -> AsyncIterator[Vault]:
        """A new one."""
        async with (
            Database(f"sqlite:///{tmp_path / 'app.db'}") as database,
            sql_vault(DatabasesDriver(database)) as vault,
        ):
            yield vault


class TestDatabasesOnPostgres(AuditContract, UsageContract, ArchiveContract):
    """On the server of an application's own `Database`."""

    @pytest.fixture
    async def vault(self, database: str) -> AsyncIterator[Vault]:
        """An emptied one."""
        async with (
            Database(database, min_size=1, max_size=5, ssl=False) as application,
            sql_vault(DatabasesDriver(application, deadline=10.0), before=emptied) as vault,
        ):
            yield vault
