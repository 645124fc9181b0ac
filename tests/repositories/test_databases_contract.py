"""The SQL repository over an application's `databases.Database` fulfils the contract, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import Database

from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.databases import keys_in
from tests.contracts.repository import CancellationContract, RepositoryContract
from tests.servers import PostgresServer

# Not what a store is made with: its identity, and its place in the feed.
CONTENTS = """
    SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
    WHERE starts_with(tablename, 'api_key') AND tablename NOT IN ('api_key_meta', 'api_key_feed')
"""


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of one PostgreSQL database for all of these tests."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


class OnSQLite:
    """An empty store in a new file."""

    @pytest.fixture
    async def repository(self, tmp_path: Path, threads: None) -> AsyncIterator[KeyRepository]:
        """Over a `Database` that the application has connected."""
        async with Database(f"sqlite:///{tmp_path / 'app.db'}") as database:
            repository = keys_in(database, deadline=10)
            await repository.open(create=True)
            yield repository
            await repository.close()


class OnPostgres:
    """An emptied store in a database of a real server."""

    @pytest.fixture
    async def repository(self, url: str) -> AsyncIterator[KeyRepository]:
        """Over a `Database` that the application has connected, with a small pool."""
        async with Database(url, min_size=1, max_size=5, ssl=False) as database:
            repository = keys_in(database, deadline=10)
            await repository.open(create=True)
            await database.execute(f"TRUNCATE {await database.fetch_val(CONTENTS)}")
            yield repository
            await repository.close()


class TestSQLite(OnSQLite, RepositoryContract):
    """Over a file."""


class TestSQLiteCancelled(OnSQLite, CancellationContract):
    """Over a file, with callers that go away."""


class TestPostgres(OnPostgres, RepositoryContract):
    """Over a server."""


class TestPostgresCancelled(OnPostgres, CancellationContract):
    """Over a server, with callers that go away."""
