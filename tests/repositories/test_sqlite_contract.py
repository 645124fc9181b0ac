"""The SQL repository over SQLite fulfils the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import CancellationContract, RepositoryContract

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture
async def repository(tmp_path: Path, threads: None) -> AsyncIterator[KeyRepository]:
    """An empty store in a new file."""
    repository = SQLRepository(SQLiteDriver(tmp_path / "keys.db"))
    await repository.open(create=True)
    yield repository
    await repository.close()


class TestSQLite(RepositoryContract):
    """Over a file."""


class TestSQLiteCancelled(CancellationContract):
    """Over a file, with callers that go away."""
