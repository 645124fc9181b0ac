"""The reference repository fulfils the contract, on both event loops."""

from __future__ import annotations

import pytest

from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.memory import MemoryRepository
from tests.contracts.repository import CancellationContract, RepositoryContract


@pytest.fixture
def repository() -> KeyRepository:
    """An empty repository."""
    return MemoryRepository()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
class TestMemoryRepository(RepositoryContract):
    """It needs no particular event loop."""


class TestMemoryRepositoryCancelled(CancellationContract):
    """Nothing in it waits, so there is nothing to cancel."""
