"""Callers that go away, thousands of them, at any point: nothing leaks, nothing stays locked, nothing is half done."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import pytest
from databases import Database

from asgi_apikey.audit import AuditChain
from asgi_apikey.auditor import Auditor
from asgi_apikey.errors import APIKeyError
from asgi_apikey.models import KeyQuery, Note, RecordPatch, Revocation, Usage
from asgi_apikey.repositories.databases import keys_in
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import NOW, a_record
from tests.servers import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.faults]

AT_ONCE = 40
GONE = Revocation(NOW, "somebody", "cancelled")
POOL = 5


def operation(repository: SQLRepository, rng: random.Random, number: int) -> Callable[[], Awaitable[object]]:
    """One of everything that a repository is asked to do."""
    note = Note(at=NOW)
    some = f"key{rng.randrange(20)}"
    return rng.choice(
        [
            lambda: repository.get(some),
            lambda: repository.find(KeyQuery(owner="acme", limit=5), now=NOW),
            lambda: repository.record_usage([Usage(f"key{each}", 1, NOW) for each in rng.sample(range(20), 5)]),
            lambda: repository.add(a_record(f"new{number}"), note=note),
            lambda: repository.update(some, RecordPatch(name=str(number)), version=rng.randint(1, 30), note=note),
            lambda: repository.replace_digest(some, old=f"sha256${some}", new=f"sha256${some}"),
            lambda: repository.archive.put([a_record(f"put{number}")], note=note),
            lambda: repository.audit.entries(0, limit=5),
            lambda: repository.archive.records(some, limit=5),
            lambda: repository.revoke_all(KeyQuery(owner="acme", name=f"{number - 50}"), GONE, now=NOW, note=note),
            lambda: repository.feed.changes(1, limit=5),
        ]
    )


async def quietly(call: Callable[[], Awaitable[object]]) -> bool:
    """Do it, and return True when that was possible; what the store answers does not matter."""
    with suppress(APIKeyError):
        await call()
    return True


async def a_while(rng: random.Random) -> None:
    """Let everybody go on: for some turns of the loop, or for as long as a statement takes, or a commit."""
    for _ in range(rng.choice((0, 0, 1, 3, 10, 50))):
        await asyncio.sleep(0)
    if rng.random() < 0.3:
        await asyncio.sleep(rng.random() * 0.003)


async def natively(calls: list[Callable[[], Awaitable[object]]], rng: random.Random) -> int:
    """Start all, cancel each after a while; return how many were cancelled."""
    tasks = [asyncio.ensure_future(quietly(call)) for call in calls]
    for task in rng.sample(tasks, len(tasks)):
        await a_while(rng)
        task.cancel()
    await asyncio.wait(tasks)
    return sum(task.cancelled() for task in tasks)


async def in_scopes(calls: list[Callable[[], Awaitable[object]]], rng: random.Random) -> int:
    """The same, in cancel scopes."""

    async def one(call: Callable[[], Awaitable[object]], scope: anyio.CancelScope) -> None:
        with scope:
            await quietly(call)

    scopes = [anyio.CancelScope() for _ in calls]
    async with anyio.create_task_group() as group:
        for call, scope in zip(calls, scopes, strict=True):
            group.start_soon(one, call, scope)
        for scope in rng.sample(scopes, len(scopes)):
            await a_while(rng)
            scope.cancel()
    return sum(scope.cancelled_caught for scope in scopes)


async def settled(held: Callable[[], tuple[int, int, int]], before: tuple[int, int, int]) -> tuple[int, int, int]:
    """Wait until no more is held than before; return what is."""
    for _ in range(200):
        gc.collect()
        if all(now <= then for now, then in zip(held(), before, strict=True)):
            break
        await anyio.sleep(0.05)
    return held()


async def storm(repository: SQLRepository, rounds: int, *, pool: int = 0) -> None:
    """Have so many operations cancelled, half of the rounds in each way, and look at what is left.

    Args:
        repository: New.
        rounds: How many; others are done before their time to be cancelled comes.
        pool: Connections that may be open, all of them or fewer: a pool grows as it is needed.
    """
    rng = random.Random(rounds)
    process = psutil.Process()
    await repository.open(create=True)
    for number in range(20):
        await repository.add(a_record(f"key{number}"))
    await asyncio.gather(*(quietly(operation(repository, rng, -number)) for number in range(1, AT_ONCE)))

    def held() -> tuple[int, int, int]:
        return (len(asyncio.all_tasks()), threading.active_count(), process.num_fds())

    tasks, threads, descriptors = held()
    before, cancelled = (tasks, threads, descriptors + pool), 0
    started = 0
    while cancelled < rounds:
        calls = [operation(repository, rng, started + number) for number in range(AT_ONCE)]
        cancelled += await (natively if (started // AT_ONCE) % 2 else in_scopes)(calls, rng)
        started += AT_ONCE
    after = await settled(held, before)
    committed = await repository.add(a_record("after"))
    print(f"{cancelled:,} of {started:,} operations cancelled; tasks, threads, descriptors: {before}, then {after}")
    report = await Auditor(repository.audit, AuditChain()).verify()

    # Not all of them before they could do anything.
    assert cancelled < started - started // 20
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
    assert committed.record.key_id == "after"
    assert report.findings == ()


async def test_a_storm_leaves_nothing_behind_on_sqlite(tmp_path: Path, fault_rounds: int) -> None:
    """Tasks, threads and descriptors as before, and the audit is sound."""
    repository = SQLRepository(SQLiteDriver(tmp_path / "keys.db", busy_timeout=10.0, deadline=10.0))
    await storm(repository, 10 * fault_rounds)
    await repository.close()


async def test_a_storm_leaves_nothing_behind_on_the_applications_file(tmp_path: Path, fault_rounds: int) -> None:
    """Over an application's `Database` on SQLite, which used by itself loses connections to cancelled calls."""
    async with Database(f"sqlite:///{tmp_path / 'app.db'}") as application:
        repository = keys_in(application, deadline=10.0)
        await storm(repository, 10 * fault_rounds)
        await repository.close()
        checked = await application.fetch_val("PRAGMA integrity_check")

    assert checked == "ok"


async def test_a_storm_leaves_nothing_behind_in_the_applications_pool(
    postgres: PostgresServer, fault_rounds: int
) -> None:
    """Over an application's `Database` on PostgreSQL: its pool is whole, and no session is left in a transaction."""
    name = postgres.new_database()
    async with Database(postgres.url_of(name), min_size=1, max_size=POOL, ssl=False) as application:
        repository = keys_in(application, deadline=10.0)
        await storm(repository, 10 * fault_rounds, pool=POOL)
        sessions = postgres.execute("SELECT state FROM pg_stat_activity WHERE datname = $1", name)
        free = application._backend._pool._queue.qsize()
        await repository.close()
    postgres.drop_database(name)

    assert len(sessions) <= POOL
    assert {each["state"] for each in sessions} <= {"idle"}
    assert free == POOL


async def test_a_storm_leaves_nothing_behind_on_postgres(postgres: PostgresServer, fault_rounds: int) -> None:
    """The same; on the server there are no more sessions than the pool has, and none is left in a transaction."""
    name = postgres.new_database()
    repository = SQLRepository(PostgresDriver(postgres.url_of(name), deadline=10.0, pool_size=POOL))
    await storm(repository, 10 * fault_rounds, pool=POOL)
    sessions = postgres.execute("SELECT state FROM pg_stat_activity WHERE datname = $1", name)
    await repository.close()
    postgres.drop_database(name)

    assert len(sessions) <= POOL
    assert {each["state"] for each in sessions} <= {"idle"}
