"""Reads and writes of each repository beside its raw driver, in the same rounds; and one hot key beside 64 keys.

    python -m benchmarks.repositories [--rounds N] [--calls N] [--json]

A read is `repository.get` of a key that exists: the row, mapped to a record, within a deadline. Beside it:

* raw: the driver as one would use it, with the same statement and the same deadline, returning the bare row: asyncpg's
  own pool, with a task that is waited for and not cancelled; aiosqlite's kept connection; `databases`' own `fetch_one`.
* held: the same statement on one connection that nobody else uses, without any deadline.

A write is `repository.update`: the row, its change in the feed and its entry in the audit, in one transaction; beside
it one bare UPDATE in a transaction on the raw driver, which is not the same work, so no ratio is given.

The goal is that a read takes at most 1.3 times as long as raw. All variants of a round run close together, and ratios
are medians over rounds, so that noise hits all of them alike.

Reads of SQLite are measured on one core (Linux): of the loop and its connection's thread only one works at a time. On
two cores the kernel places them as it likes, and the same call takes 22 µs in one run and 110 in the next.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg  # type: ignore[import-untyped] # it ships no types
from databases import Database

from asgi_apikey import APIKeys
from asgi_apikey.models import KeyRecord, RecordPatch
from asgi_apikey.repositories import statements
from asgi_apikey.repositories.databases import DatabasesDriver
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from benchmarks.figures import markdown, quantiles
from tests.faults.oracle import ground

_KEYS = 1_000
_DEADLINE = 2.0
_AT_ONCE = 8
_HOT_CALLS = 20_000

Call = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured of one driver.

    Attributes:
        repository: Ours.
        reads: By name: `ours`, `raw`, `held`.
        writes: By name: `ours`, `raw`.
        reads_on: Where the reads are measured.
    """

    repository: SQLRepository
    reads: Mapping[str, Call]
    writes: Mapping[str, Call]
    reads_on: Callable[[], AbstractContextManager[None]] = nullcontext


def key_id(number: int) -> str:
    """Return the id of one of the keys."""
    return f"key{number % _KEYS}"


async def within(work: Awaitable[Any]) -> Any:
    """Wait for work as our driver does: in a task of its own, which a caller's cancellation would leave alone."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=_DEADLINE)
    return task.result()


async def filled(repository: SQLRepository) -> None:
    """Make the store and put the keys into it."""
    await repository.open(create=True)
    for number in range(_KEYS):
        await repository.add(
            KeyRecord(
                key_id=key_id(number),
                digest=f"hmac-sha256$1${number:043}",
                owner=f"owner{number % 100}",
                name="a key",
                scopes=frozenset({"orders:read", "orders:write"}),
                created_at=1_800_000_000.0,
                metadata={"plan": "pro"},
            )
        )


def ours(repository: SQLRepository) -> tuple[Call, Call]:
    """Return our read and our write."""
    versions: dict[str, int] = {}

    async def read(number: int) -> object:
        return await repository.get(key_id(number))

    async def write(number: int) -> object:
        name = key_id(number)
        committed = await repository.update(name, RecordPatch(name=str(number)), version=versions.get(name, 1))
        versions[name] = committed.record.version
        return committed

    return read, write


@asynccontextmanager
async def over_sqlite(path: str) -> AsyncIterator[Contender]:
    """Aiosqlite."""
    repository = SQLRepository(SQLiteDriver(path, deadline=_DEADLINE))
    await filled(repository)
    raw = await aiosqlite.connect(path, isolation_level=None)
    await raw.execute("PRAGMA synchronous = FULL")

    async def timed(number: int) -> object:
        async with asyncio.timeout(_DEADLINE):
            return await raw.execute_fetchall(statements.GET, (key_id(number),))

    async def held(number: int) -> object:
        return await raw.execute_fetchall(statements.GET, (key_id(number),))

    async def write(number: int) -> object:
        await raw.execute("BEGIN IMMEDIATE")
        await raw.execute("UPDATE api_keys SET hint = 'abcd' WHERE key_id = ?", (key_id(number),))
        return await raw.execute("COMMIT")

    our_read, our_write = ours(repository)
    yield Contender(
        repository,
        {"ours": our_read, "raw": timed, "held": held},
        {"ours": our_write, "raw": write},
        reads_on=on_one_core,
    )
    await raw.close()
    await repository.close()


@asynccontextmanager
async def over_postgres(url: str) -> AsyncIterator[Contender]:
    """Asyncpg."""
    repository = SQLRepository(PostgresDriver(url, deadline=_DEADLINE, pool_size=_AT_ONCE + 2))
    await filled(repository)
    get = statements.GET.replace("?", "$1")
    pool = await asyncpg.create_pool(url, ssl=False, min_size=_AT_ONCE, max_size=_AT_ONCE)
    connection = await asyncpg.connect(url, ssl=False)
    turn = asyncio.Lock()

    async def read(number: int) -> object:
        return await within(pool.fetchrow(get, key_id(number)))

    async def held(number: int) -> object:
        async with turn:
            return await connection.fetchrow(get, key_id(number))

    async def change(number: int) -> None:
        async with pool.acquire() as one, one.transaction():
            await one.execute("UPDATE api_keys SET hint = 'abcd' WHERE key_id = $1", key_id(number))

    our_read, our_write = ours(repository)
    yield Contender(
        repository,
        {"ours": our_read, "raw": read, "held": held},
        {"ours": our_write, "raw": lambda number: within(change(number))},
    )
    await connection.close()
    await pool.close()
    await repository.close()


@asynccontextmanager
async def over_databases(url: str) -> AsyncIterator[Contender]:
    """A `databases.Database` of the application's own."""
    async with Database(url) as database:
        repository = SQLRepository(DatabasesDriver(database, deadline=_DEADLINE))
        await filled(repository)
        get = statements.GET.replace("?", ":key_id")
        update = "UPDATE api_keys SET hint = 'abcd' WHERE key_id = :key_id"

        async def change(number: int) -> None:
            async with database.transaction():
                await database.execute(update, {"key_id": key_id(number)})

        async with database.connection() as connection:

            async def held(number: int) -> object:
                return await connection.fetch_one(get, {"key_id": key_id(number)})

            our_read, our_write = ours(repository)
            yield Contender(
                repository,
                {
                    "ours": our_read,
                    "raw": lambda number: within(database.fetch_one(get, {"key_id": key_id(number)})),
                    "held": held,
                },
                {"ours": our_write, "raw": lambda number: within(change(number))},
            )
            await repository.close()


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep the threads of this process on one core, where the system can."""
    threads = [int(each.name) for each in Path("/proc/self/task").glob("*")]
    before = {thread: os.sched_getaffinity(thread) for thread in threads}
    for thread, cores in before.items():
        os.sched_setaffinity(thread, {max(cores)})
    try:
        yield
    finally:
        for thread, cores in before.items():
            os.sched_setaffinity(thread, cores)


async def paired(calls: Mapping[str, Call], rounds: int, count: int) -> dict[str, list[float]]:
    """Run `count` calls of each in every round, one by one; return microseconds of each call."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    numbers = iter(range(10**9))
    order = list(calls)
    for turn in range(rounds):
        # Another one goes first each time: whoever follows a write to the disk pays for it.
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            call = calls[name]
            for _ in range(count):
                number = next(numbers)
                began = time.perf_counter()
                await call(number)
                times[name].append((time.perf_counter() - began) * 1e6)
    return times


async def rate(call: Call, seconds: float) -> float:
    """Return how many calls a second are made by eight callers at once."""
    until = time.perf_counter() + seconds
    numbers = iter(range(10**9))

    async def caller() -> int:
        made = 0
        while time.perf_counter() < until:
            await call(next(numbers))
            made += 1
        return made

    began = time.perf_counter()
    made = sum(await asyncio.gather(*(caller() for _ in range(_AT_ONCE))))
    return made / (time.perf_counter() - began)


async def rates(calls: Mapping[str, Call]) -> dict[str, float]:
    """Return the median rate of each, in turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(10):
        for name, call in calls.items():
            found[name].append(await rate(call, 0.2))
    return {name: statistics.median(each) for name, each in found.items()}


def ratio(times: Mapping[str, Sequence[float]], name: str, over: str, count: int) -> float:
    """Return the median, over rounds, of how much longer one takes than another."""
    ratios = [
        statistics.median(times[name][at : at + count]) / statistics.median(times[over][at : at + count])
        for at in range(0, len(times[name]), count)
    ]
    return statistics.median(ratios)


async def measured(name: str, contender: Contender, rounds: int, calls: int) -> dict[str, Any]:
    """Return the figures of one driver."""
    gc.collect()
    gc.disable()
    with contender.reads_on():
        await paired(contender.reads, 5, 20)
        reads = await paired(contender.reads, rounds, calls)
        read_rates = await rates({each: contender.reads[each] for each in ("ours", "raw")})
    writes = await paired(contender.writes, max(4, rounds // 5), 10)
    gc.enable()
    return {
        "driver": name,
        "read_us": {each: quantiles(times) for each, times in reads.items()},
        "read_ratio": ratio(reads, "ours", "raw", calls),
        "reads_per_s": read_rates,
        "write_us": {each: quantiles(times) for each, times in writes.items()},
        # One after the other: two updates of one key at once would not both find the version they expect.
        "writes_per_s": {each: 1e6 / statistics.mean(times) for each, times in writes.items()},
    }


async def hot(url: str, rounds: int) -> float:
    """Return requests per second of one hot key over those of 64 keys, the usage counts written in each round."""
    keys = APIKeys(url, pepper=None, usage_interval=1.0)
    await keys.repository.open(create=True)
    async with keys:
        presented = [(await keys.issue(owner="acme")).key.encode() for _ in range(64)]
        for each in presented:
            await keys.authenticate(each)

        async def seconds(of: Sequence[bytes]) -> float:
            began = time.perf_counter()
            for number in range(_HOT_CALLS):
                each = of[number % len(of)]
                if keys.authenticate_nowait(each) is None:
                    await keys.authenticate(each)
                if not number % 500:
                    # The loop runs its timers, as it would between requests.
                    await asyncio.sleep(0)
            await keys.flush()
            return time.perf_counter() - began

        await seconds(presented)
        ratios = []
        for turn in range(rounds):
            sets = (presented[:1], presented) if turn % 2 else (presented, presented[:1])
            took = {len(each): await seconds(each) for each in sets}
            ratios.append(took[64] / took[1])
    return statistics.median(ratios)


async def main(rounds: int, calls: int, *, as_json: bool) -> None:
    """Measure all drivers."""
    results: list[dict[str, Any]] = []
    with ground() as here:
        postgres = here.postgres
        plain = postgres.url_of(postgres.new_database())
        application = postgres.url_of(postgres.new_database()).replace("postgresql:", "postgresql+asyncpg:")
        contenders = {
            "SQLite (aiosqlite)": partial(over_sqlite, f"{here.folder}/a.db"),
            "PostgreSQL (asyncpg)": partial(over_postgres, plain),
            "databases, SQLite": partial(over_databases, f"sqlite+aiosqlite:///{here.folder}/b.db"),
            "databases, PostgreSQL": partial(over_databases, application),
        }
        for name, contender in contenders.items():
            async with AsyncExitStack() as stack:
                results.append(await measured(name, await stack.enter_async_context(contender()), rounds, calls))
        hot_keys = {
            "SQLite": await hot(f"sqlite:///{here.folder}/hot.db", 30),
            "PostgreSQL": await hot(postgres.url_of(postgres.new_database()), 30),
        }
    if as_json:
        json.dump({"drivers": results, "one hot key over 64": hot_keys}, sys.stdout, indent=2)
        print()
        return
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds\n")
    print(tables(results, hot_keys))


def tables(results: Sequence[Mapping[str, Any]], hot_keys: Mapping[str, float]) -> str:
    """Return the figures as Markdown."""

    def pair(found: Mapping[str, float]) -> str:
        return f"{found['p50']:,.0f} / {found['p99']:,.0f}"

    reads = [
        [
            each["driver"],
            *(pair(each["read_us"][name]) for name in ("held", "raw", "ours")),
            f"{each['read_ratio']:.2f}",
            *(f"{each['reads_per_s'][name]:,.0f}" for name in ("raw", "ours")),
        ]
        for each in results
    ]
    writes = [
        [
            each["driver"],
            *(pair(each["write_us"][name]) for name in ("raw", "ours")),
            *(f"{each['writes_per_s'][name]:,.0f}" for name in ("raw", "ours")),
        ]
        for each in results
    ]
    heads = ["read", "held, µs p50 / p99", "raw, µs p50 / p99", "ours, µs p50 / p99", "ours ÷ raw"]
    heads += [f"raw, {_AT_ONCE} at once, per s", f"ours, {_AT_ONCE} at once, per s"]
    write_heads = ["write", "bare UPDATE, µs p50 / p99", "ours, µs p50 / p99", "bare UPDATE, per s", "ours, per s"]
    hot_rows = [[name, f"{value:.2f}"] for name, value in hot_keys.items()]
    return "\n\n".join(
        (
            markdown(heads, reads),
            markdown(write_heads, writes),
            markdown(["usage on", "one hot key ÷ 64 keys, requests per second"], hot_rows),
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=30, help="of each variant in a round (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.calls, as_json=given.json))
