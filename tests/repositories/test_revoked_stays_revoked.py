"""After a revoke, nothing that verifying leads to changes a key: not its status, version, scopes, end or digest.

Elsewhere, the "last used" of a request that had read the key before is written back as a whole record, and takes the
revocation with it. Here workers verify, count and re-hash before, during and after the revoke, on every store.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from databases import Database

from asgi_apikey import APIKeys
from asgi_apikey.errors import APIKeyError
from asgi_apikey.models import DAY, KeyRecord
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.databases import keys_in
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.servers import PostgresServer
from tests.wiring import LATER_PEPPER, PEPPER

pytestmark = pytest.mark.anyio

WORKERS = 3
ROUNDS = 6


@pytest.fixture
def name(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(params=["memory", "sqlite", "postgres", "databases-sqlite", "databases-postgres"])
def another(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer, name: str
) -> Callable[[], KeyRepository]:
    """Makes one more repository over the same store, as another worker has it."""
    memory, url = MemoryRepository(), postgres.url_of(name)
    makers: dict[str, Callable[[], KeyRepository]] = {
        "memory": lambda: memory,
        "sqlite": lambda: SQLRepository(SQLiteDriver(tmp_path / "keys.db", busy_timeout=20, deadline=20)),
        "postgres": lambda: SQLRepository(PostgresDriver(url, deadline=20, pool_size=4)),
        "databases-sqlite": lambda: keys_in(Database(f"sqlite:///{tmp_path / 'app.db'}"), deadline=20),
        "databases-postgres": lambda: keys_in(Database(url, ssl=False), deadline=20),
    }
    return makers[request.param]


def a_fleet(another: Callable[[], KeyRepository]) -> list[APIKeys]:
    """Workers over one store; the first one has the old pepper alone, so the others re-hash what it issues."""
    peppers: list[str | list[str]] = [PEPPER, *[[PEPPER, LATER_PEPPER]] * (WORKERS - 1)]
    return [
        APIKeys(repository=another(), pepper=pepper, usage_interval=1e9, last_used_resolution=0.0, consistency="strict")
        for pepper in peppers
    ]


def without_use(record: KeyRecord | None) -> KeyRecord | None:
    """A record without the two columns that requests may write."""
    return record and replace(record, uses=0, last_used_at=None)


async def test_no_sequence_of_verifies_changes_a_revoked_key(another: Callable[[], KeyRepository]) -> None:
    """In any order and at once with the revoke: only the counts move, and nobody is let in afterwards."""
    rng = random.Random(7)
    workers = a_fleet(another)
    await workers[0].repository.open(create=True)
    revoked: list[KeyRecord] = []
    for _ in range(ROUNDS):
        issued = await workers[0].issue(owner="acme", scopes={"orders:read"}, expires_in=DAY)

        async def verify(worker: APIKeys, presented: bytes = issued.key.encode()) -> bool:
            with suppress(APIKeyError):
                await worker.authenticate(presented)
                return True
            return False

        await asyncio.gather(*(verify(rng.choice(workers)) for _ in range(rng.randint(0, 6))))
        await asyncio.gather(
            workers[0].revoke(issued.record.key_id, by="me", reason="leaked"),
            *(verify(rng.choice(workers)) for _ in range(rng.randint(1, 6))),
            *(rng.choice(workers).flush() for _ in range(rng.randint(0, 2))),
        )
        revoked.append(await workers[0].get(issued.record.key_id))
        late = await asyncio.gather(*(verify(worker) for worker in workers * 2))

        assert late == [False] * len(late)
        assert (revoked[-1].revoked_at is None, revoked[-1].version) == (False, 2)
        assert (revoked[-1].scopes, revoked[-1].expires_at) == (issued.record.scopes, issued.record.expires_at)
    # Counts and re-hashes that were under way are written now, long after the revokes.
    for worker in workers:
        await worker.close()
    store = another()
    after = [await store.get(each.key_id) for each in revoked]
    await store.close()

    assert [without_use(each) for each in after] == [without_use(each) for each in revoked]
