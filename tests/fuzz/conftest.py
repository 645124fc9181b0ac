"""One world for each test module."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.fuzz.world import World


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for tests that are called many times with generated input."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def world(runner: asyncio.Runner) -> Iterator[World]:
    """Keys and the applications they guard."""
    world = World()
    runner.run(world.settle())
    yield world
    runner.run(world.close())
