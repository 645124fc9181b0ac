"""Fixtures and settings that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers import PostgresServer, RedisServer

# No test is timed: on a shared machine a deadline says more about the neighbours than about the code.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.register_profile("long", parent=settings.get_profile("suite"), max_examples=10_000)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make fuzz` ask for more rounds than the sample that runs with the suite."""
    parser.addoption(
        "--fuzz-rounds",
        type=int,
        default=20_000,
        metavar="N",
        help="inputs per test marked `fuzz` (default: %(default)s)",
    )
    parser.addoption(
        "--fault-rounds",
        type=int,
        default=20,
        metavar="N",
        help="rounds per test marked `faults` (default: %(default)s)",
    )


@pytest.fixture
def fault_rounds(request: pytest.FixtureRequest) -> int:
    """How many changes of each kind a test marked `faults` sees acknowledged; ten times as many calls are cancelled."""
    rounds: int = request.config.getoption("--fault-rounds")
    return rounds


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio; modules that promise more parametrise this themselves."""
    return "asyncio"


@pytest.fixture
def fuzz_rounds(request: pytest.FixtureRequest) -> int:
    """How many inputs a test marked `fuzz` tries."""
    rounds: int = request.config.getoption("--fuzz-rounds")
    return rounds


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run, started by the first test that asks; make databases of your own in it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis server for the whole run, started by the first test that asks; flush it, or use keys of your own."""
    with RedisServer() as server:
        yield server
