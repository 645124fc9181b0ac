"""Fixtures of the ASGI floor."""

from __future__ import annotations

import pytest

from tests.asgi.driver import FakeKeys, Inner


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """This floor promises both."""
    return request.param


@pytest.fixture
def keys() -> FakeKeys:
    """Keys of Alice and Bob in memory, Carol's in the store."""
    return FakeKeys()


@pytest.fixture
def inner() -> Inner:
    """The application inside."""
    return Inner()
