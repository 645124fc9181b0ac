"""Behind a pooler of transactions, no operation ever meets what another has left in a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg  # type: ignore[import-untyped] # it ships no types
import pytest

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import RecordPatch, Usage
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from tests.contracts.repository import NOW, a_record
from tests.pooler import pooling
from tests.servers import LOOPBACK, PostgresServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def url(postgres: PostgresServer, database: str) -> AsyncIterator[str]:
    """Its URL by way of a pooler with two connections."""
    async with pooling(postgres.port, database, links=2) as port:
        yield f"postgresql://postgres@{LOOPBACK}:{port}/{database}"


async def test_everything_works_behind_a_pooler(url: str) -> None:
    """Many keys read, changed and counted at once over two shared sessions: every answer is the right one."""
    repository = SQLRepository(PostgresDriver(f"{url}?statement_cache_size=0", deadline=10.0))
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

    assert records == [a_record(name, version=6, name=name, uses=5, last_used_at=NOW) for name in names]


async def test_the_pooler_of_these_tests_mixes_sessions_up(url: str) -> None:
    """A statement that is kept prepared is looked for in another session than the one that prepared it."""
    connection = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            for _ in range(2):
                await connection.fetch("SELECT 1")
    finally:
        connection.terminate()


async def test_a_pooler_that_was_not_announced_is_found_at_once(url: str) -> None:
    """Without `statement_cache_size=0` no connection is made at all, rather than some that fail later."""
    driver = PostgresDriver(url, deadline=5.0)

    with pytest.raises(StoreUnavailable):
        await driver.open(create=True)
    await driver.close()
