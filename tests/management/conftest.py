"""The API over every store of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from tests.management.desk import Desk, by_header, client_of, memory_keys
from tests.wiring import PEPPER


@pytest.fixture(params=["memory", "sqlite"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Desk]:
    """An operator's desk; what is promised holds whatever the store."""
    keys = memory_keys() if request.param == "memory" else APIKeys(f"sqlite:///{tmp_path}/keys.db", pepper=PEPPER)
    await keys.repository.open(create=True)
    async with keys, client_of(keys.management(by_header)) as client:
        yield Desk(keys, client)


@pytest.fixture
async def quick(anyio_backend: str) -> AsyncIterator[Desk]:
    """The same in memory alone, for what has nothing to do with the store."""
    async with memory_keys() as keys, client_of(keys.management(by_header)) as client:
        yield Desk(keys, client)
