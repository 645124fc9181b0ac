"""Units of work on many rows have a deadline of their own, and take nothing from the reads of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from databases import Database

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import HOUR, KeyQuery, KeyRecord, Note, Revocation, Seconds, Usage
from asgi_apikey.repositories.databases import DatabasesDriver
from asgi_apikey.repositories.driver import BROWSE, BULK, Driver, Transaction, allowed
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.records import Row, Value
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import NOW, a_record
from tests.servers import PostgresServer

pytestmark = pytest.mark.anyio

T = TypeVar("T")

SHORT = 0.2
LONG = 30.0

# Each takes longer than the short deadline, wherever it runs.
SLOW_SQLITE = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) FROM n
"""
SLOW_POSTGRES = "SELECT 3000000 FROM pg_sleep(0.7)"


@dataclass(frozen=True, slots=True)
class Subject:
    """A driver whose own deadline is short, and a statement that takes longer."""

    driver: Driver
    slow: str


@asynccontextmanager
async def over_sqlite(folder: Path, _: PostgresServer) -> AsyncIterator[Subject]:
    """Over aiosqlite."""
    driver = SQLiteDriver(folder / "keys.db", busy_timeout=SHORT, deadline=SHORT)
    yield Subject(driver, SLOW_SQLITE)
    await driver.close()


@asynccontextmanager
async def over_postgres(_: Path, server: PostgresServer) -> AsyncIterator[Subject]:
    """Over asyncpg."""
    name = server.new_database()
    driver = PostgresDriver(server.url_of(name), deadline=SHORT, pool_size=4)
    yield Subject(driver, SLOW_POSTGRES)
    await driver.close()
    server.drop_database(name)


@asynccontextmanager
async def over_pooled_postgres(_: Path, server: PostgresServer) -> AsyncIterator[Subject]:
    """Over asyncpg, as behind a pooler of transactions, where limits are set in each transaction."""
    name = server.new_database()
    driver = PostgresDriver(f"{server.url_of(name)}?statement_cache_size=0", deadline=SHORT, pool_size=4)
    yield Subject(driver, SLOW_POSTGRES)
    await driver.close()
    server.drop_database(name)


@asynccontextmanager
async def over_databases_sqlite(folder: Path, _: PostgresServer) -> AsyncIterator[Subject]:
    """Over an application's `Database` on a file."""
    async with Database(f"sqlite:///{folder / 'app.db'}") as database:
        driver = DatabasesDriver(database, deadline=SHORT, connections=2)
        yield Subject(driver, SLOW_SQLITE)
        await driver.close()


@asynccontextmanager
async def over_databases_postgres(_: Path, server: PostgresServer) -> AsyncIterator[Subject]:
    """Over an application's `Database` on a server."""
    name = server.new_database()
    async with Database(server.url_of(name), min_size=1, max_size=5, ssl=False) as database:
        driver = DatabasesDriver(database, deadline=SHORT, connections=2)
        yield Subject(driver, SLOW_POSTGRES)
        await driver.close()
    server.drop_database(name)


@pytest.fixture(
    params=[over_sqlite, over_postgres, over_pooled_postgres, over_databases_sqlite, over_databases_postgres],
    ids=lambda each: each.__name__.removeprefix("over_"),
)
async def subject(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer, threads: None
) -> AsyncIterator[Subject]:
    """Every driver, over a store that is there."""
    async with request.param(tmp_path, postgres) as subject:
        for _ in range(20):
            # The machine may be too busy to make a store in so short a time; whoever asks again goes on.
            try:
                await subject.driver.open(create=True)
            except StoreUnavailable:
                continue
            break
        yield subject


async def test_a_unit_that_asks_for_more_time_has_it(subject: Subject) -> None:
    """Reading and writing; the same without asking is ended by the driver's own deadline."""

    async def slow(transaction: Transaction) -> object:
        return (await transaction.fetch(subject.slow))[0][0]

    async def quick(transaction: Transaction) -> object:
        return (await transaction.fetch("SELECT 1"))[0][0]

    [[read]] = await subject.driver.fetch(subject.slow, deadline=LONG)
    changed = await subject.driver.change(slow, deadline=LONG)
    written = await subject.driver.write(slow, deadline=LONG)

    assert (read, changed, written) == (3_000_000, 3_000_000, 3_000_000)
    with pytest.raises(StoreUnavailable):
        await subject.driver.fetch(subject.slow)
    with pytest.raises(StoreUnavailable):
        await subject.driver.change(slow)
    # On SQLite, what has begun goes on until it ends; this is behind it.
    assert await subject.driver.change(quick, deadline=LONG) == 1


async def test_long_reads_take_nothing_from_short_ones(subject: Subject) -> None:
    """While more long reads are under way than there are connections, a read of a request has its answer in time."""
    long = [asyncio.ensure_future(subject.driver.fetch(subject.slow, deadline=LONG)) for _ in range(3)]
    done, _ = await asyncio.wait(long, timeout=0.1)
    found = []
    for _ in range(5):
        try:
            found.append(await subject.driver.fetch("SELECT 1"))
        except StoreUnavailable:
            # Once in a while the machine is too busy for 0.3 s; behind the long reads it would be every time.
            continue
    still = not all(each.done() for each in long)
    for each in long:
        each.cancel()
    await asyncio.wait(long)

    assert done == set()
    assert still
    assert [int(str(rows[0][0])) for rows in found][:1] == [1]


async def test_a_cancelled_long_read_leaves_room_for_the_next(subject: Subject) -> None:
    """Whoever searches and goes away has not used up anything."""
    for _ in range(4):
        reading = asyncio.ensure_future(subject.driver.fetch(subject.slow, deadline=LONG))
        await asyncio.wait({reading}, timeout=0.05)
        reading.cancel()
        await asyncio.wait({reading})

    assert [tuple(row) for row in await subject.driver.fetch("SELECT 7", deadline=LONG)] == [(7,)]


def test_the_longer_deadline_holds() -> None:
    """A driver that was given more time than a unit asks for keeps it."""
    assert allowed(0.9, None) == 0.9
    assert allowed(0.9, 15.0) == 15.0
    assert allowed(120.0, 15.0) == 120.0


@dataclass(slots=True)
class Noting:
    """A driver that notes which deadline each unit asks for."""

    driver: Driver
    asked: list[Seconds | None] = field(default_factory=list)
    skip_locked: str = ""

    async def open(self, *, create: bool) -> None:
        """See `Driver.open`."""
        await self.driver.open(create=create)

    async def close(self) -> None:
        """See `Driver.close`."""
        await self.driver.close()

    async def fetch(self, sql: str, args: Sequence[Value] = (), *, deadline: Seconds | None = None) -> list[Row]:
        """See `Driver.fetch`."""
        self.asked.append(deadline)
        return await self.driver.fetch(sql, args, deadline=deadline)

    async def change(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """See `Driver.change`."""
        self.asked.append(deadline)
        return await self.driver.change(work, deadline=deadline)

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """See `Driver.write`."""
        self.asked.append(deadline)
        return await self.driver.write(work, deadline=deadline)


Case = tuple[Seconds | None, Callable[[SQLRepository], Awaitable[object]]]
CASES: dict[str, Case] = {
    "get": (None, lambda store: store.get("key1")),
    "revoke_all": (BULK, lambda store: store.revoke_all(KeyQuery(), Revocation(NOW, "me", "why"), now=NOW)),
    "prune": (BULK, lambda store: store.prune(NOW, limit=10)),
    "import": (BULK, lambda store: store.archive.put([a_record("new")])),
    "export": (BROWSE, lambda store: store.archive.records("", limit=10)),
    "find": (BROWSE, lambda store: store.find(KeyQuery(), now=NOW)),
    "count": (BROWSE, lambda store: store.count(KeyQuery(), now=NOW)),
    "audit": (BROWSE, lambda store: store.audit.entries(0, limit=10)),
    "unannounced": (BULK, lambda store: store.audit.unannounced(limit=10)),
    "prune usage": (BULK, lambda store: store.history.prune(NOW + 10 * HOUR)),
    "count usage": (None, lambda store: store.record_usage([Usage("key1", 1, NOW)])),
    "position": (None, lambda store: store.feed.position()),
}


@pytest.mark.parametrize("name", CASES)
async def test_who_asks_for_how_much(name: str, tmp_path: Path) -> None:
    """What works on many rows asks for more; what a request waits for, and the poll of the feed, do not."""
    expected, call = CASES[name]
    noting = Noting(SQLiteDriver(tmp_path / "keys.db"))
    store = SQLRepository(noting, cursor_key=b"k" * 32)
    await store.add(a_record())
    await store.record_usage([Usage("key1", 1, NOW)])
    noting.asked.clear()
    await call(store)
    await store.close()

    assert max(noting.asked, key=lambda each: each or 0.0) == expected


class Tock:
    """Ticks, to find out for how long the event loop does nothing else."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._task = asyncio.ensure_future(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0)
            now = self._loop.time()
            self.longest, self._last = max(self.longest, now - self._last), now

    async def stop(self) -> float:
        """End it; return the longest time between two ticks."""
        self._task.cancel()
        await asyncio.wait({self._task})
        return self.longest


@pytest.fixture
def many() -> list[KeyRecord]:
    """More keys than one change tells about one by one."""
    return [a_record(f"many{number:06}") for number in range(3_000)]


async def test_revoking_many_lets_others_run(many: list[KeyRecord], tmp_path: Path) -> None:
    """Each stretch of a bulk revoke gives way: thousands of keys never stop the loop for as long as they take."""
    store = SQLRepository(SQLiteDriver(tmp_path / "keys.db"))
    await store.archive.put(many, note=Note(at=NOW))
    began = asyncio.get_running_loop().time()
    ticks = Tock()
    done = await store.revoke_all(KeyQuery(), Revocation(NOW, "me", "why"), now=NOW)
    longest = await ticks.stop()
    took = asyncio.get_running_loop().time() - began
    await store.close()

    assert len(done.records) == len(many)
    assert len(done.changes) == 1
    assert longest < took / 3
