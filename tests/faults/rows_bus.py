"""Faults of the bus: Redis frozen, killed, emptied, refusing, cut off; notifications lost, forged, repeated."""

# ruff: noqa: ASYNC230 - eight bytes of a file that is in memory.

from __future__ import annotations

import asyncio
import mmap
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg  # type: ignore[import-untyped] # it ships no types
from redis.asyncio import Redis

from tests.faultproxy import Fault, FaultProxy, faults_before
from tests.faults.app import LATER_VERSION
from tests.faults.fleet import ROOT
from tests.faults.oracle import Ground, Oracle
from tests.faults.rows import Row, Run, Scale, Seen, amid, tests
from tests.faults.rows_store import deaf_sessions, frozen, hanging_up, on_postgres, restarted
from tests.servers import RedisServer

_WAKE: Final = "{asgi-apikey}:wake"
_JUNK: Final = 200
_POSTGRES: Final = "tests/repositories/test_postgres_faults.py::"
_ADMIN_NAME: Final = "admin-of-the-tests"


def on_redis(
    fault: Callable[[Oracle, RedisServer], AbstractAsyncContextManager[object]],
    *,
    plug: str = "redis",
    slowest: float = 1.0,
) -> Run:
    """Return a run with a fault of the Redis server, which is given."""

    async def run(ground: Ground, scale: Scale) -> Seen:
        return await amid(plug, lambda oracle: fault(oracle, ground.redis), slots=20, slowest=slowest)(ground, scale)

    return run


def through_proxy(fault: Callable[[Oracle, FaultProxy], AbstractAsyncContextManager[object]]) -> Run:
    """Return a run in which all workers reach Redis through a proxy, which is given."""

    async def run(ground: Ground, scale: Scale) -> Seen:
        async with faults_before(ground.redis.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            return await amid("redis", lambda oracle: fault(oracle, proxy), slots=20, slowest=1.0, bus=url)(
                ground, scale
            )

    return run


@asynccontextmanager
async def redis_slow(oracle: Oracle, proxy: FaultProxy) -> AsyncIterator[None]:
    """Delay every piece, longer and longer."""
    proxy.fault = Fault.DELAY
    for proxy.delay in (0.03, 0.2, 1.0):
        await asyncio.sleep(oracle.scale_seconds / 3)
    proxy.fault = Fault.PASS
    yield


@asynccontextmanager
async def redis_trickling(oracle: Oracle, proxy: FaultProxy) -> AsyncIterator[None]:
    """Pass every byte by itself."""
    proxy.delay = 0.01
    proxy.fault = Fault.TRICKLE
    await asyncio.sleep(oracle.scale_seconds)
    proxy.fault = Fault.PASS
    yield


@asynccontextmanager
async def redis_cut(oracle: Oracle, proxy: FaultProxy) -> AsyncIterator[None]:
    """Swallow everything; then hang up on everybody."""
    proxy.fault = Fault.BLACKHOLE
    await asyncio.sleep(oracle.scale_seconds / 2)
    proxy.reset()
    await asyncio.sleep(oracle.scale_seconds / 2)
    proxy.fault = Fault.PASS
    yield


@asynccontextmanager
async def redis_dropping(oracle: Oracle, proxy: FaultProxy) -> AsyncIterator[None]:
    """Swallow half of everything."""
    until = time.monotonic() + oracle.scale_seconds
    while time.monotonic() < until:
        proxy.fault = Fault.BLACKHOLE
        await asyncio.sleep(0.03)
        proxy.fault = Fault.PASS
        await asyncio.sleep(0.03)
    yield


async def failover(ground: Ground, scale: Scale) -> Seen:
    """Move the address that workers know from one Redis to its replica."""
    with RedisServer() as old, RedisServer() as new:
        new.execute("REPLICAOF", "127.0.0.1", str(old.port))
        async with faults_before(old.port) as proxy:

            @asynccontextmanager
            async def fault(oracle: Oracle) -> AsyncIterator[None]:
                await asyncio.sleep(oracle.scale_seconds / 3)
                await asyncio.to_thread(old.kill)
                await asyncio.sleep(oracle.scale_seconds / 3)
                await asyncio.to_thread(new.execute, "REPLICAOF", "NO", "ONE")
                proxy._target = new.port
                proxy.reset()
                proxy.fault = Fault.PASS
                await asyncio.sleep(oracle.scale_seconds / 3)
                yield

            url = f"redis://127.0.0.1:{proxy.port}/0"
            return await amid("redis", fault, slots=20, slowest=1.0, bus=url)(ground, scale)


@asynccontextmanager
async def redis_frozen(oracle: Oracle, server: RedisServer) -> AsyncIterator[None]:
    """SIGSTOP."""
    server.freeze()
    await asyncio.sleep(oracle.scale_seconds)
    server.thaw()
    yield


@asynccontextmanager
async def redis_killed(oracle: Oracle, server: RedisServer) -> AsyncIterator[None]:
    """`kill -9`, some time without it, and an empty one in its place; twice."""
    for _ in range(2):
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(oracle.scale_seconds / 2)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(0.5)
    yield


@asynccontextmanager
async def redis_refusing(oracle: Oracle, server: RedisServer) -> AsyncIterator[None]:
    """Ask for a password that nobody has, and disconnect everybody; later, take all rights but PING."""
    admin = Redis.from_url(server.url, single_connection_client=True, client_name=_ADMIN_NAME)
    await admin.ping()
    await admin.config_set("requirepass", secrets.token_hex(8))
    await _disconnect_others(admin)
    await asyncio.sleep(oracle.scale_seconds / 2)
    await admin.config_set("requirepass", "")
    await asyncio.sleep(0.5)
    await _command(admin, "ACL", "SETUSER", "default", "-publish")
    await asyncio.sleep(oracle.scale_seconds / 2)
    await _command(admin, "ACL", "SETUSER", "default", "+@all")
    await admin.aclose()
    yield


@asynccontextmanager
async def subscriptions_killed(oracle: Oracle, server: RedisServer) -> AsyncIterator[None]:
    """`CLIENT KILL TYPE pubsub`, ten times a second: many revokes fall into a gap."""
    admin = Redis.from_url(server.url)
    until = time.monotonic() + oracle.scale_seconds
    while time.monotonic() < until:
        await _command(admin, "CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.1)
    await admin.aclose()
    yield


@asynccontextmanager
async def slow_subscribers(oracle: Oracle, server: RedisServer) -> AsyncIterator[None]:
    """Let Redis hold next to nothing for a subscriber, and shout so much that it has to hold something."""
    admin = Redis.from_url(server.url)
    await admin.config_set("client-output-buffer-limit", "pubsub 4096 1024 1")
    until = time.monotonic() + oracle.scale_seconds
    while time.monotonic() < until:
        await admin.publish(_WAKE, b"x" * 1_000_000)
        await asyncio.sleep(0.05)
    await admin.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
    await admin.aclose()
    yield


@asynccontextmanager
async def forged_on_redis(oracle: Oracle, server: RedisServer) -> AsyncIterator[None]:
    """Publish noise, and every message that was ever heard again and again, on all channels of the bus."""
    admin = Redis.from_url(server.url)
    listening = admin.pubsub()
    await listening.psubscribe("{asgi-apikey}:*")
    heard: list[tuple[bytes, bytes]] = [(_WAKE.encode(), b"")]
    until = time.monotonic() + oracle.scale_seconds
    while time.monotonic() < until:
        while (message := await listening.get_message(ignore_subscribe_messages=True, timeout=0)) is not None:
            if len(heard) < 1_000 and 0 < len(message["data"]) < 1_000:
                heard.append((message["channel"], message["data"]))
        async with admin.pipeline(transaction=False) as pipeline:
            for _ in range(_JUNK):
                channel, text = random.choice(heard)
                pipeline.publish(channel, random.choice((text, _flipped(text), text[:-1], os.urandom(100))))
            pipeline.publish(_WAKE, os.urandom(1_000_000))
            await pipeline.execute()
        await asyncio.sleep(0.1)
    await listening.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    await admin.aclose()
    yield


@asynccontextmanager
async def forged_on_host(oracle: Oracle) -> AsyncIterator[None]:
    """Write random numbers into the shared counter, a thousand times a second."""
    path = Path(f"{oracle.fleet.site.url.removeprefix('sqlite:///')}-signal")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as mapped:
        cell = memoryview(mapped).cast("Q")
        until = time.monotonic() + oracle.scale_seconds
        while time.monotonic() < until:
            for _ in range(10):
                cell[0] = secrets.randbits(64)
            await asyncio.sleep(0.01)
        cell.release()
    yield


@asynccontextmanager
async def replayed_on_host(oracle: Oracle) -> AsyncIterator[None]:
    """Put back the number that was there before, whenever the counter has changed: what only an intruder does."""
    path = Path(f"{oracle.fleet.site.url.removeprefix('sqlite:///')}-signal")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as mapped:
        cell = memoryview(mapped).cast("Q")
        first = cell[0]
        until = time.monotonic() + oracle.scale_seconds
        while time.monotonic() < until:
            cell[0] = first
            await asyncio.sleep(0)
        cell[0] = secrets.randbits(64)
        cell.release()
    yield


@asynccontextmanager
async def forged_values(oracle: Oracle) -> AsyncIterator[None]:
    """Write into every entry of the cache what stood in another one, or earlier in this one, whole or not."""
    client = Redis.from_url(oracle.fleet.site.bus)
    seen: dict[bytes, bytes] = {}
    until = time.monotonic() + oracle.scale_seconds
    while time.monotonic() < until:
        names: list[bytes] = [name async for name in client.scan_iter("*asgi-apikey*", count=1_000)][:200]
        values = await client.mget(names) if names else []
        # What stood in an entry first is its oldest value, from before its key was revoked.
        for name, value in zip(names, values, strict=True):
            if isinstance(value, bytes):
                seen.setdefault(name, value)
        async with client.pipeline(transaction=False) as pipeline:
            for name in random.sample(list(seen), min(_JUNK, len(seen))):
                other = seen[random.choice(list(seen))]
                old = seen[name]
                pipeline.set(name, random.choice((old, other, _flipped(old), old[:-1], old + b"x", b"")), ex=60)
            await pipeline.execute()
        await asyncio.sleep(0.1)
    await client.aclose()
    if not seen:
        oracle.ledger.violate("the fault itself", "nothing stood in the cache")
    yield


@asynccontextmanager
async def upgraded(oracle: Oracle) -> AsyncIterator[None]:
    """Replace workers by ones of a later version, with a long pause in the middle."""
    oracle.fleet.environ[LATER_VERSION] = "1"
    half = len(oracle.fleet.workers) // 2
    for number, worker in enumerate(oracle.fleet.workers):
        if number == half:
            await asyncio.sleep(oracle.scale_seconds)
        await asyncio.to_thread(worker.terminate)
        await oracle.fleet.restart(worker)
    yield


def forged_on_postgres() -> Run:
    """Notify noise, and every notification that was ever heard again."""

    @asynccontextmanager
    async def fault(oracle: Oracle, server: object, database: str) -> AsyncIterator[None]:
        connection = await asyncpg.connect(oracle.fleet.site.url, ssl=False)
        heard = ["noise"]
        await connection.add_listener("asgi-apikey", lambda *args: heard.append(args[3]))
        until = time.monotonic() + oracle.scale_seconds
        while time.monotonic() < until:
            for _ in range(20):
                text = random.choice(heard[-1_000:])
                forged = random.choice((text, _flipped(text.encode()).decode("ascii", "replace"), "x" * 7_000))
                await connection.execute("SELECT pg_notify('asgi-apikey', $1)", forged)
            await asyncio.sleep(0.1)
        await connection.close()
        yield

    return on_postgres(fault, plug="postgres")


async def _command(client: Redis, *words: str) -> None:
    await client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py leaves it untyped


async def _disconnect_others(admin: Redis) -> None:
    for client in await admin.client_list():
        if client["name"] != _ADMIN_NAME:
            await _command(admin, "CLIENT", "KILL", "ID", client["id"])


def _flipped(text: bytes) -> bytes:
    if not text:
        return b"\0"
    place = random.randrange(len(text))
    return text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "F1a",
        "Redis frozen",
        "SIGSTOP",
        "requests do not notice; revokes are confirmed when the leases have ended",
        on_redis(redis_frozen, slowest=1.0),
    ),
    Row(
        "F1b",
        "Redis frozen, records shared",
        "as F1a, with `share_records=True`",
        "as F1a; a cold read waits for Redis 50 ms at most, and soon not at all",
        on_redis(redis_frozen, plug="records"),
    ),
    Row(
        "F2",
        "Redis killed, and started empty",
        "`kill -9`, start, twice",
        "as F1a; fast again after it",
        on_redis(redis_killed, slowest=1.0),
    ),
    Row(
        "F3a",
        "Redis slow",
        "TCP proxy: each piece 30 ms, then 200 ms, then 1 s late",
        "as F1a",
        through_proxy(redis_slow),
    ),
    Row("F3b", "Redis trickles", "TCP proxy: byte by byte, 10 ms each", "as F1a", through_proxy(redis_trickling)),
    Row(
        "F4",
        "Redis a black hole, then resetting",
        "TCP proxy: bytes go nowhere and nobody is told; then every connection is reset",
        "as F1a",
        through_proxy(redis_cut),
    ),
    Row(
        "F5",
        "Redis refuses (NOAUTH, NOPERM)",
        "`requirepass` and all disconnected; then no right to PUBLISH",
        "as F1a",
        on_redis(redis_refusing, slowest=1.0),
    ),
    Row(
        "F6a",
        "Subscriptions killed while keys are revoked",
        "`CLIENT KILL TYPE pubsub` ten times a second",
        "what was missed in a gap is caught up, or waited for",
        on_redis(subscriptions_killed, slowest=1.0),
    ),
    Row(
        "F6b",
        "Messages dropped",
        "TCP proxy: for 30 of every 60 ms, bytes go nowhere",
        "as F6, with what is left of the messages for noise",
        through_proxy(redis_dropping),
    ),
    Row(
        "F7",
        "Subscribers too slow",
        "`client-output-buffer-limit pubsub` of 4 kB, messages of 1 MB",
        "as F6",
        on_redis(slow_subscribers, slowest=1.0),
    ),
    Row(
        "F8a",
        "Forged, swapped, old, truncated values in the shared cache",
        "written straight into Redis, 2,000 a second, records and proofs shared",
        "a miss each: nothing is accepted or rejected for what stands there",
        amid("records", forged_values, slots=20, slowest=2.0),
    ),
    Row(
        "F8b",
        "The same, one by one",
        "every kind of wrong value, in bulk",
        "a miss each",
        tests("tests/caches/test_redis.py") if (ROOT / "tests/caches/test_redis.py").exists() else None,
        "the tests of the shared cache are not in this tree",
    ),
    Row(
        "F9",
        "Failover to another Redis, one revoke behind",
        "a replica is promoted, the old one killed, the address moved, all connections reset",
        "the bus stores nothing: as F6",
        failover,
    ),
    Row(
        "F10b",
        "PostgreSQL frozen (bus over it)",
        "as F10",
        "as F10",
        on_postgres(frozen, plug="postgres", slowest=1.5),
    ),
    Row(
        "F11c",
        "PostgreSQL restarted, and killed (bus over it)",
        "as F11a",
        "as F11a; listens again",
        on_postgres(restarted, plug="postgres"),
    ),
    Row(
        "F14b",
        "Listening sessions terminated",
        "`pg_terminate_backend` of all every 0.3 s, bus over PostgreSQL",
        "as F6",
        on_postgres(hanging_up, plug="postgres"),
    ),
    Row(
        "F14c",
        "Listening sessions deaf",
        "SIGSTOP of the backends of all present sessions, bus over PostgreSQL",
        "noticed within a second by the heartbeat; leases decide meanwhile",
        on_postgres(deaf_sessions, plug="postgres", slowest=1.5),
    ),
    Row(
        "F29a",
        "Forged, repeated and huge messages (Redis)",
        "2,000 a second on all channels of the bus: noise, replays, flipped bits, 1 MB",
        "never a false confirmation; a bounded number of polls",
        on_redis(forged_on_redis, slowest=2.0),
    ),
    Row(
        "F29b",
        "Forged and repeated notifications (PostgreSQL)",
        "200 a second",
        "as F29a",
        forged_on_postgres(),
    ),
    Row(
        "F29c",
        "Random numbers in the counter (host)",
        "1,000 a second",
        "as F29a: each is a poll at most",
        amid("host", forged_on_host, slowest=2.0),
    ),
    Row(
        "F29d",
        "Earlier number put back, over and over (host)",
        "by a process of the same user, who could change the database as well",
        "a confirmation may be untrue, for no longer than a lease (here: late is counted from a lease after it)",
        amid("host", replayed_on_host, margin=2.1, slowest=2.0),
    ),
    Row(
        "F35a",
        "Later formats, newer schemas",
        "letters of a later version; a database that a newer version has migrated",
        "not understood, so ignored; refused with a clear message",
        tests(
            "tests/invalidation/test_letters.py",
            f"{_POSTGRES}test_a_newer_schema_is_refused",
            "tests/repositories/test_databases.py::test_a_newer_schema_is_refused",
        )
        if (ROOT / "tests/invalidation/test_letters.py").exists()
        else None,
        "the tests of the bus's letters are not in this tree",
    ),
    Row(
        "F35b",
        "Two versions at work at once",
        "half of the workers replaced by ones whose letters and shared records have other formats, later all",
        "nothing of the other version is believed; revokes are confirmed when the leases have ended",
        amid("records", upgraded, slots=20, slowest=2.0),
    ),
)
