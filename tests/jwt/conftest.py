"""Fixtures of the tests about tokens."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Verifying tokens works on both."""
    return request.param


@pytest.fixture
def clock() -> FakeClock:
    """Stands still until it is moved."""
    return FakeClock()
