"""Dead letters and notices of every repository fulfil their contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from databases import Database

from asgi_apikey.repositories import deadletters
from asgi_apikey.repositories.databases import DatabasesDriver
from asgi_apikey.repositories.deadletters import MOST, MemoryDeadLetters, SQLDeadLetters
from asgi_apikey.repositories.driver import Driver
from asgi_apikey.repositories.notices import MemoryNotices, SQLNotices
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.letters import LettersContract, Post, a_letter
from tests.servers import PostgresServer


@asynccontextmanager
async def posted(driver: Driver) -> AsyncIterator[Post]:
    """The tables of a store."""
    await driver.open(create=True)
    yield Post(SQLDeadLetters(driver), SQLNotices(driver))
    await driver.close()


class TestMemory(LettersContract):
    """In this process."""

    @pytest.fixture
    async def post(self) -> Post:
        """A new one."""
        return Post(MemoryDeadLetters(), MemoryNotices())


class TestSQLite(LettersContract):
    """In a file."""

    @pytest.fixture
    async def post(self, tmp_path: Path) -> AsyncIterator[Post]:
        """A new one."""
        async with posted(SQLiteDriver(tmp_path / "keys.db")) as post:
            yield post


class TestPostgres(LettersContract):
    """On a server."""

    @pytest.fixture
    async def post(self, postgres: PostgresServer) -> AsyncIterator[Post]:
        """A new one."""
        name = postgres.new_database()
        async with posted(PostgresDriver(postgres.url_of(name), deadline=10.0)) as post:
            yield post
        postgres.drop_database(name)


class TestDatabases(LettersContract):
    """In the file of an application's own `Database`."""

    @pytest.fixture
    async def post(self, tmp_path: Path) -> AsyncIterator[Post]:
        """A new one."""
        async with (
            Database(f"sqlite:///{tmp_path / 'own.db'}") as database,
            posted(DatabasesDriver(database)) as post,
        ):
            yield post


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_oldest_letters_make_room(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is gone must not fill the store."""
    monkeypatch.setattr(deadletters, "MOST", 3)
    driver = SQLiteDriver(tmp_path / "keys.db")
    await driver.open(create=True)
    letters = MemoryDeadLetters() if kind == "memory" else SQLDeadLetters(driver)
    for number in range(5):
        await letters.put([a_letter(f"e{9 - number}")])

    assert [each.letter_id for each in await letters.page("", limit=10)] == ["e5", "e6", "e7"]
    assert MOST == 10_000
    await driver.close()
