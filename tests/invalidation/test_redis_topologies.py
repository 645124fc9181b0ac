"""Redis Cluster and Sentinel: bus and cache find their way, and what fails over costs speed only."""

# ruff: noqa: ASYNC110 - other processes send us no events.

from __future__ import annotations

import asyncio
import gc
import re
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster

from asgi_apikey import APIKeyError, APIKeys, Receipt
from asgi_apikey.caches.redis import RedisCache
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.invalidation.redis import RedisBus
from asgi_apikey.invalidation.urls import open_bus
from asgi_apikey.protocols import Bus
from tests.contracts.shared_cache import SharedCacheContract
from tests.invalidation.listeners import SECRET, Listener, listening
from tests.servers import LOOPBACK, RedisServer
from tests.topologies import Cluster, Watched, cluster, url_of, watched

# redis-py leaves a socket to the collector where one of its connects was cut off, which nodes that die make often.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

Topology = Cluster | Watched

PATIENT = 30.0
LENIENT = 5.0
"""Seconds for caches in tests that are not about slowness."""


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What is left to the collector is collected here, and not in the middle of a test that minds."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Cluster]:
    """A cluster that stays whole."""
    with cluster(3) as found:
        yield found


@pytest.fixture(scope="module")
def three_sentinels() -> Iterator[Watched]:
    """A master that stays one."""
    with watched() as found:
        yield found


@pytest.fixture(params=["three_nodes", "three_sentinels"])
def topology(request: pytest.FixtureRequest) -> Topology:
    """Each of them."""
    found: Topology = request.getfixturevalue(request.param)
    return found


async def settled(*listeners: Listener) -> None:
    """Wait until everybody listens."""
    async with asyncio.timeout(PATIENT):
        while not all(each.woken for each in listeners):
            await asyncio.sleep(0.005)


# ---- bus -----------------------------------------------------------------------------------------------------------


async def test_workers_answer(topology: Topology) -> None:
    """Through whatever stands behind the URL."""

    def make() -> Bus:
        return open_bus(topology.url, secret=SECRET)

    async with listening(make, Listener("one", 7), Listener("two", 9), Listener("behind", 6)) as (waker, *_):
        assert set(await waker.wake(7, ["one", "two"], patience=PATIENT)) == {"one", "two"}
        assert set(await waker.wake(7, ["one", "behind"], patience=0.2)) == {"one"}


async def test_nodes_pass_messages_on(three_nodes: Cluster) -> None:
    """Two workers, each at a node of its own: the wake-up reaches the one, and the answer the other."""
    one, waker = (open_bus(url_of("redis+cluster", [node]), secret=SECRET) for node in three_nodes.primaries[:2])
    listener, other = Listener("one", 7), Listener("waker")
    await one.open(listener.catch_up)
    await waker.open(other.catch_up)
    await settled(listener, other)
    answered = await waker.wake(7, ["one"], patience=PATIENT)
    await waker.close()
    await one.close()

    assert set(answered) == {"one"}


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_lost_node_is_left_for_the_next(fault: str) -> None:
    """Of the nodes that the URL names; the cluster itself need not be whole for that."""
    with cluster(2) as two:
        one = Listener("one", 7)
        async with listening(lambda: open_bus(two.url, secret=SECRET), one) as (waker, _):
            await settled(one)
            lost = two.primaries[0]
            await asyncio.to_thread(lost.kill if fault == "killed" else lost.freeze)
            began = time.monotonic()
            answered = await waker.wake(7, ["one"], patience=PATIENT)
            took = time.monotonic() - began

    assert set(answered) == {"one"}
    assert took < 10


async def test_a_client_of_a_whole_cluster_is_refused(three_nodes: Cluster) -> None:
    """The bus needs one of a node, and says so at the start."""
    port = three_nodes.primaries[0].port
    bus = RedisBus(lambda: RedisCluster(LOOPBACK, port), secret=SECRET)  # type: ignore[arg-type,return-value] # a mistake

    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        await bus.check()


async def test_a_frozen_sentinel_costs_nothing() -> None:
    """The others are asked at the same time: the first answer counts."""
    with watched() as found, found.sentinels[0].frozen():
        cache = RedisCache(found.url, timeout=LENIENT)
        began = time.monotonic()
        await cache.put("name", b"value", 60.0)
        held = await cache.get("name")
        took = time.monotonic() - began
        await cache.close()

    assert held is not None
    assert took < LENIENT


async def test_a_sentinel_that_takes_a_replica_for_the_master_is_not_believed(three_sentinels: Watched) -> None:
    """A replica passes nothing on to the master: a bus that kept to it would never be fast again."""
    lines = [f"sentinel monitor mymaster {LOOPBACK} {three_sentinels.master.port} 9"]
    with RedisServer(settings={}, watches=lines) as behind:
        # It goes on asking, and finds out; but not before we have asked it.
        behind.execute("SENTINEL", "REMOVE", "mymaster")
        behind.execute("SENTINEL", "MONITOR", "mymaster", LOOPBACK, str(three_sentinels.replica.port), "9")
        alone, all_of_them = (
            RedisCache(f"{url_of('redis+sentinel', sentinels)}/mymaster", namespace="behind", timeout=LENIENT)
            for sentinels in ([behind], [behind, *three_sentinels.sentinels])
        )
        await alone.put("name", b"value", 60.0)
        await all_of_them.put("name", b"value", 60.0)
        found = [await cache.get("name") for cache in (alone, all_of_them)]
        await alone.close()
        await all_of_them.close()

    assert [held is not None for held in found] == [False, True]


# ---- cache ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def cache(topology: Topology) -> AsyncIterator[RedisCache]:
    """An empty cache."""
    found = RedisCache(topology.url, namespace=secrets.token_hex(4), timeout=LENIENT)
    yield found
    await found.close()


class TestRedisCache(SharedCacheContract):
    """Keeps the contract, wherever the entries are."""


async def test_entries_spread_over_the_nodes(three_nodes: Cluster) -> None:
    """And are cleared on all of them, without those of others."""
    mine, other = (RedisCache(three_nodes.url, namespace=name, timeout=LENIENT) for name in ("mine", "other"))
    for number in range(30):
        await mine.put(f"name {number}", b"value", 60.0)
        await other.put(f"name {number}", b"value", 60.0)
    before = [int(node.execute("DBSIZE")[1:]) for node in three_nodes.primaries]
    await mine.clear()

    assert min(before) > 0
    assert [await mine.get(f"name {number}") for number in range(30)] == [None] * 30
    assert None not in [await other.get(f"name {number}") for number in range(30)]
    await other.clear()
    await mine.close()
    await other.close()


async def test_a_storm_of_cancelled_calls_mixes_nothing_up(cache: RedisCache) -> None:
    """Answers of calls whose callers have left never reach another caller."""
    names = [str(number) for number in range(20)]
    for name in names:
        await cache.put(name, name.encode() * 10, 60.0)
    for number in range(200):
        call = asyncio.create_task(cache.get(names[number % 20]))
        for _ in range(number % 9):
            await asyncio.sleep(0)
        call.cancel()
        name = names[(number + 7) % 20]
        held = await cache.get(name)
        await asyncio.gather(call, return_exceptions=True)

        assert held is None or held.value == name.encode() * 10


async def test_a_node_that_is_replaced_is_found() -> None:
    """A frozen primary: what was there is asked of its successor, without anybody having been told."""
    with cluster(3, replicas=1) as found:
        cache = RedisCache(found.url, timeout=0.2)
        names = [str(number) for number in range(30)]
        async with asyncio.timeout(PATIENT):
            while None in [await cache.get(name) for name in names]:
                for name in names:
                    await cache.put(name, b"value", 600.0)
        with found.primaries[0].frozen():
            async with asyncio.timeout(PATIENT):
                while None in [await cache.get(name) for name in names]:
                    for name in names:
                        await cache.put(name, b"value", 600.0)
                    await asyncio.sleep(0.05)
        await cache.close()


async def test_an_absent_cluster_is_a_miss() -> None:
    """As an absent server is; and closing leaves nothing open."""
    for url in (f"redis+cluster://{LOOPBACK}:1,{LOOPBACK}:2", f"redis+sentinel://{LOOPBACK}:1,{LOOPBACK}:2/mymaster"):
        cache = RedisCache(url)
        await cache.put("name", b"value", 60.0)

        assert await cache.get("name") is None
        await cache.close()


# ---- the agreement -------------------------------------------------------------------------------------------------

TIMES = LeaseTimes(poll=0.2, lease=0.6)


@dataclass(slots=True)
class Oracle:
    """Presents keys to all workers without a pause, and knows from when on one must be refused."""

    workers: list[APIKeys]
    confirmed_at: dict[str, float] = field(default_factory=dict)
    accepted: int = 0
    late: int = 0

    async def press(self, worker: APIKeys, presented: list[str]) -> None:
        """Be a load."""
        while True:
            for key in tuple(presented):
                sent = time.monotonic()
                try:
                    await worker.authenticate(key.encode())
                except APIKeyError:
                    continue
                finally:
                    await asyncio.sleep(0.002)
                self.accepted += 1
                self.late += sent > self.confirmed_at.get(key, float("inf"))
            await asyncio.sleep(0.002)

    async def revoked(self, presented: list[str]) -> Receipt:
        """Return the receipt of one key's end, which all workers knew."""
        issued = await self.workers[0].issue(owner="acme")
        for worker in self.workers:
            await worker.authenticate(issued.key.encode())
        presented.append(issued.key)
        receipt = await self.workers[-1].revoke(issued.record.key_id)
        self.confirmed_at[issued.key] = time.monotonic()
        return receipt


@asynccontextmanager
async def oracle(url: str, folder: Path) -> AsyncIterator[tuple[Oracle, Callable[[], asyncio.Future[Receipt]]]]:
    """Three workers over this Redis, under load; and what revokes one key more."""
    secret, pepper = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    async with AsyncExitStack() as stack:
        workers = [
            APIKeys(
                f"sqlite:///{folder}/keys.db",
                pepper=pepper,
                bus=RedisBus(url, secret=secret),
                shared_cache=RedisCache(url, timeout=0.3),
                cache_secret=secret,
                share_records=True,
                leases=TIMES,
            )
            for _ in range(3)
        ]
        for worker in workers:
            await stack.enter_async_context(worker)
        found, presented = Oracle(workers), list[str]()
        load = [asyncio.create_task(found.press(worker, presented)) for worker in workers]
        try:
            yield found, lambda: asyncio.ensure_future(found.revoked(presented))
        finally:
            for task in load:
                task.cancel()
            outcomes = await asyncio.gather(*load, return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, asyncio.CancelledError):
                raise AssertionError("the load ended") from outcome


async def survives(url: str, folder: Path, fault: Callable[[], object]) -> None:
    """Revokes are fast, then wait for the leases, then are fast again; and none is late."""
    async with oracle(url, folder) as (found, revoke), asyncio.timeout(PATIENT):
        while (await revoke()).acknowledged < 3:
            pass
        await asyncio.to_thread(fault)
        receipts = [await revoke()]
        while receipts[-1].acknowledged < 3:
            receipts.append(await revoke())

    assert found.late == 0
    assert found.accepted > 0
    assert all(receipt.confirmed for receipt in receipts)
    assert max(receipt.elapsed for receipt in receipts) < 5 * TIMES.lease


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_failover_by_sentinels_costs_speed_only(fault: str, tmp_path: Path) -> None:
    """The master is lost while keys are revoked: confirmed by the leases, then by acknowledgements again."""
    with watched() as found:
        await survives(found.url, tmp_path, found.master.kill if fault == "killed" else found.master.freeze)

        assert found.master_port() == found.replica.port


async def test_a_node_of_a_cluster_that_is_lost_costs_speed_only(tmp_path: Path) -> None:
    """Also to those whose bus was at that node."""
    with cluster(3) as found:
        await survives(found.url, tmp_path, found.primaries[0].kill)


# ---- least privilege -----------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "redis.md"


def users() -> list[list[str]]:
    """Return the ACL commands of the page, with a password."""
    blocks = re.findall(r"^```text\n(ACL SETUSER .*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [block.replace(">…", ">hush").split() for block in blocks]


def with_user(url: str) -> str:
    """Return a URL that logs in."""
    scheme, _, rest = url.partition("://")
    more = "?sentinel_username=apikeys&sentinel_password=hush" if "sentinel" in scheme else ""
    return f"{scheme}://apikeys:hush@{rest}{more}"


async def test_the_documented_user_may_do_what_is_needed(
    redis: RedisServer, three_nodes: Cluster, three_sentinels: Watched
) -> None:
    """And nothing else, on each kind of server: the commands are taken from the page."""
    for_servers, for_clusters, for_masters, for_sentinels = users()
    for servers, added, url in (
        ([redis], [], redis.url),
        (three_nodes.primaries, for_clusters, three_nodes.url),
        ([three_sentinels.master], for_masters, three_sentinels.url),
    ):
        for server in servers:
            assert server.execute(*for_servers) == b"+OK"
            assert not added or server.execute(*added) == b"+OK"
        for sentinel in three_sentinels.sentinels:
            assert sentinel.execute(*for_sentinels) == b"+OK"
        bus, listener = RedisBus(with_user(url), secret=SECRET), Listener("one", 7)
        await bus.check()
        async with listening(lambda url=url: RedisBus(with_user(url), secret=SECRET), listener) as (waker, _):  # type: ignore[misc]
            assert set(await waker.wake(7, ["one"], patience=PATIENT)) == {"one"}
        cache = RedisCache(with_user(url), timeout=LENIENT)
        await cache.put("name", b"value", 60.0)

        assert await cache.get("name") is not None
        await cache.clear()
        assert await cache.get("name") is None
        await cache.close()
        for forbidden in ("*", "other"):
            stranger = RedisCache(with_user(url), namespace=forbidden, timeout=LENIENT)
            await stranger.put("name", b"value", 60.0)
            assert await stranger.get("name") is None
            await stranger.close()
        with pytest.raises(ConfigurationError, match="NoPermission"):
            await RedisBus(with_user(url), secret=SECRET, channel="other").check()
        for server in servers:
            server.execute("ACL", "DELUSER", "apikeys")
