"""Files and connections for the tests of the SQLite driver."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is, or will be."""
    return tmp_path / "keys.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLRepository]:
    """A store in a new file that does not wait long for anybody."""
    store = SQLRepository(SQLiteDriver(path, busy_timeout=0.2, deadline=5.0))
    await store.open(create=True)
    yield store
    await store.close()


@pytest.fixture
def threads() -> Iterator[None]:
    """The test leaves as many threads as it found."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        # A closed connection's thread ends right after it has said so.
        thread.join(timeout=5)
    assert [thread for thread in left if thread.is_alive()] == []
