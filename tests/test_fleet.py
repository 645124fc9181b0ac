"""Processes of a fleet over real servers: one revokes, the others refuse; one hashes, the others know."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.caches.redis import RedisCache
from asgi_apikey.errors import ConfigurationError, InvalidKey
from asgi_apikey.fleet import fleet_of
from asgi_apikey.hashers.argon2 import Argon2Hasher, Argon2Profile
from asgi_apikey.invalidation.host import HostBus
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.invalidation.poll import NoBus
from asgi_apikey.invalidation.postgres import PostgresBus
from asgi_apikey.invalidation.redis import RedisBus
from asgi_apikey.sharing import SharedProofs
from tests.fakes import WatchedHasher
from tests.invalidation.listeners import Listener, listening
from tests.pooler import pooling
from tests.servers import LOOPBACK, PostgresServer, RedisServer
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
SECRET = "zT6^uR2!pL9@nM4#kJ7$hG3%fD8&sA5*"
LONG = LeaseTimes(poll=10.0, lease=20.0)
"""So long that a revoke which waits for it is easily told from one that was acknowledged."""
QUICK = Argon2Profile(memory=64, passes=1, parallelism=1)


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


@asynccontextmanager
async def processes(count: int, url: str, **options: object) -> AsyncIterator[list[APIKeys]]:
    """So many of them, which differ in nothing."""
    options = {"pepper": PEPPER, "leases": LONG, **options}
    fleet = [APIKeys(url, **options) for _ in range(count)]  # type: ignore[arg-type]
    await fleet[0].repository.open(create=True)
    for each in fleet:
        await each.open()
    try:
        yield fleet
    finally:
        for each in fleet:
            await each.close()


async def accepted(keys: APIKeys, key: str) -> bool:
    """Whether a request with the key is let in."""
    try:
        await keys.authenticate(key.encode())
    except InvalidKey:
        return False
    return True


@pytest.mark.parametrize("bus", ["redis", "postgres"])
async def test_a_revoke_is_acknowledged_by_all(bus: str, url: str, redis: RedisServer) -> None:
    """Confirmed long before the leases end, and from then on nobody accepts the key."""
    options = {"redis": redis.url, "cache_secret": SECRET} if bus == "redis" else {}
    async with processes(3, url, **options) as fleet:
        issued = await fleet[0].issue(owner="acme")
        before = [await accepted(each, issued.key) for each in fleet]
        receipt = await fleet[0].revoke(issued.record.key_id)
        after = [await accepted(each, issued.key) for each in fleet]

    assert (before, after) == ([True] * 3, [False] * 3)
    assert (receipt.confirmed, receipt.workers, receipt.acknowledged) == (True, 3, 3)
    assert receipt.elapsed < LONG.lease


async def test_without_the_bus_a_revoke_waits(url: str) -> None:
    """Redis is not there at all: confirmed when the leases have ended, and never before."""
    times = LeaseTimes(poll=0.25, lease=0.5)
    options = {"redis": f"redis://{LOOPBACK}:1", "cache_secret": SECRET, "leases": times}
    async with processes(2, url, **options) as (one, two):
        issued = await one.issue(owner="acme")
        assert await accepted(two, issued.key)
        receipt = await one.revoke(issued.record.key_id)

        assert not await accepted(two, issued.key)
    assert receipt.confirmed
    assert receipt.elapsed >= times.lease


async def test_a_fleet_pays_for_a_slow_hash_once(url: str, redis: RedisServer) -> None:
    """Started one after the other with empty memories: the second finds the proof of the first."""
    cache = RedisCache(redis.url, namespace=secrets.token_hex(4), timeout=5.0)
    hashers = [WatchedHasher(Argon2Hasher(profile=QUICK, peppers=PEPPER)) for _ in range(2)]
    fleet = [APIKeys(url, hasher=hasher, shared_cache=cache, cache_secret=SECRET, leases=LONG) for hasher in hashers]
    await fleet[0].repository.open(create=True)
    issued = await fleet[0].issue(owner="acme")
    for each in fleet:
        assert await accepted(each, issued.key)
        assert not await accepted(each, issued.key[:-12] + "A" * 12)
    for each in fleet:
        await each.close()

    assert [len(hasher.verified) for hasher in hashers] == [1, 0]


async def test_records_are_shared(url: str, redis: RedisServer) -> None:
    """With `share_records`, a key that one process has read is not read by the next; a revoke ends that at once."""
    cache = RedisCache(redis.url, namespace=secrets.token_hex(4), timeout=5.0)
    async with processes(2, url, shared_cache=cache, cache_secret=SECRET, share_records=True) as (one, two):
        issued = await one.issue(owner="acme")
        # Both have read the feed, and so know what to believe.
        assert [await accepted(each, issued.key) for each in (one, two)] == [True, True]
        two.forget("another")
        reads = two.stats.reads
        await one.revoke(issued.record.key_id)

        assert not await accepted(two, issued.key)
        assert reads <= 1


def test_the_parts_follow_from_the_arguments() -> None:
    """Which bus and cache comes with what."""
    nothing = {"redis": None, "bus": None, "shared_cache": None, "cache_secret": None, "peppers": ()}
    pepper = (PEPPER.encode(),)
    postgres = "postgresql+asyncpg://u:p@h/db"
    secret = {"cache_secret": SECRET}

    def bus_of(url: str | None, **given: object) -> type:
        return type(fleet_of(url, **{**nothing, **given}).bus)  # type: ignore[arg-type]

    assert bus_of("sqlite:///keys.db") is HostBus
    assert bus_of(None) is NoBus
    assert bus_of(postgres) is NoBus
    assert bus_of(postgres, peppers=pepper) is PostgresBus
    assert bus_of(postgres, **secret) is PostgresBus
    assert bus_of(postgres + "?statement_cache_size=0", peppers=pepper) is NoBus
    assert bus_of(postgres, redis="redis://h", **secret) is RedisBus
    assert bus_of(postgres, redis="redis://h", bus=NoBus(), **secret) is NoBus
    assert bus_of("sqlite:///keys.db", bus="postgresql://h/db", **secret) is PostgresBus
    assert fleet_of(None, **{**nothing, "redis": "redis://h", **secret}).cache is not None  # type: ignore[arg-type]
    assert fleet_of(None, **{**nothing, **secret}).proofs(lambda _: True) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"redis": "redis://u:hush@h"}, "cache_secret="),
        ({"bus": "redis://u:hush@h"}, "cache_secret="),
        ({"shared_cache": RedisCache("redis://h")}, "cache_secret="),
        ({"redis": "redis://u:hush@h", "cache_secret": "short"}, "32"),
        ({"redis": "redis://u:hush@h", "cache_secret": PEPPER}, "must not be a pepper"),
        ({"redis": "http://u:hush@h", "cache_secret": SECRET}, "redis://"),
        ({"share_records": True, "consistency": "ttl"}, "change feed"),
        ({"share_records": True}, "shared_cache="),
    ],
)
def test_unsafe_fleets_are_refused(given: dict[str, object], why: str) -> None:
    """At construction, with the fix in the message and no password."""
    with pytest.raises(ConfigurationError, match=why) as refused:
        APIKeys("sqlite:///keys.db", pepper=PEPPER, **given)  # type: ignore[arg-type]

    assert "hush" not in str(refused.value)


async def test_a_pooler_is_refused_at_the_start(postgres: PostgresServer) -> None:
    """A bus that could never work is not discovered by the first slow revoke."""
    async with pooling(postgres.port, "postgres", links=3) as port:
        keys = APIKeys("memory:", bus=f"postgresql://postgres@{LOOPBACK}:{port}/postgres", cache_secret=SECRET)

        with pytest.raises(ConfigurationError, match="PgBouncer"):
            await keys.open()
        await keys.close()


def test_what_people_chose_is_not_shared() -> None:
    """A key of our own making may be shared; one of any other shape may be a password."""
    keys = APIKeys("memory:", redis="redis://h", cache_secret=SECRET)
    proofs = keys._authenticator._proofs
    assert isinstance(proofs, SharedProofs)

    assert proofs._shareable(keys.format.generate("live").key.encode())
    assert not proofs._shareable(b"hunter2")


def test_two_loops_one_after_the_other(url: str, redis: RedisServer) -> None:
    """As test clients do: each loop issues, uses and revokes a key, and nothing of the first disturbs the second."""
    keys = APIKeys(url, pepper=PEPPER, redis=redis.url, cache_secret=SECRET, leases=LONG)

    async def once() -> bool:
        await keys.repository.open(create=True)
        issued = await keys.issue(owner="acme")
        before = await accepted(keys, issued.key)
        await keys.revoke(issued.record.key_id)
        return before and not await accepted(keys, issued.key)

    assert [asyncio.run(once()), asyncio.run(once())] == [True, True]


async def test_the_user_of_the_manual_has_all_the_rights_it_needs() -> None:
    """Bus and cache work, `clear` too, and nothing else does."""
    page = (ROOT / "docs" / "howto" / "redis.md").read_text(encoding="utf-8")
    words = page.partition("ACL SETUSER apikeys on >… ")[2].partition("```")[0].split()
    with RedisServer() as server:
        server.execute("ACL", "SETUSER", "apikeys", "on", ">hush", *words)
        url = server.url.replace("//", "//apikeys:hush@")
        cache = RedisCache(url, timeout=5.0)
        await cache.put("name", b"value", 60.0)
        held = await cache.get("name")
        await cache.clear()
        bus = RedisBus(url, secret=SECRET)
        await bus.check()
        async with listening(lambda: RedisBus(url, secret=SECRET), Listener("one", 7)) as (waker, _):
            answered = await waker.wake(7, ["one"], patience=30.0)
        with pytest.raises(ConfigurationError, match="SUBSCRIBE"):
            await RedisBus(url, secret=SECRET, channel="theirs").check()
        await cache.close()

    assert held is not None
    assert set(answered) == {"one"}
