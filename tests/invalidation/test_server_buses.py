"""Buses over real servers: fast while the server is there, and silent, never wrong, while it is not."""

# ruff: noqa: ASYNC110, ASYNC222 - other processes send us no events, and may block the loop for a moment.

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.invalidation.letters import Ack, Seal
from asgi_apikey.invalidation.postgres import PostgresBus
from asgi_apikey.invalidation.redis import RedisBus
from asgi_apikey.invalidation.urls import open_bus
from asgi_apikey.protocols import Bus
from tests.faultproxy import Fault, FaultProxy, faults_before, scripted
from tests.invalidation.listeners import SECRET, Listener, listening
from tests.pooler import pooling
from tests.servers import LOOPBACK, PostgresServer, RedisServer

pytestmark = pytest.mark.anyio

Server = RedisServer | PostgresServer

PATIENT = 30.0
"""Seconds that a call may take before a test fails: never reached when things are well."""


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis to torment."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL to torment."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of them."""
    found: Server = request.getfixturevalue(f"own_{request.param}")
    return found


@pytest.fixture
def make(server: Server) -> Callable[[], Bus]:
    """Buses over it, on a channel of their own."""
    channel = secrets.token_hex(4)
    return lambda: open_bus(server.url, secret=SECRET, channel=channel)


async def settled(*listeners: Listener) -> None:
    """Wait until everybody listens."""
    async with asyncio.timeout(PATIENT):
        while not all(each.woken for each in listeners):
            await asyncio.sleep(0.005)


async def eventually(true: Callable[[], object]) -> None:
    """Wait for another process."""
    async with asyncio.timeout(PATIENT):
        while not true():
            await asyncio.sleep(0.01)


def listeners_of(server: Server) -> list[str]:
    """Addresses of connections that listen: numbers with which the server can end them."""
    if isinstance(server, RedisServer):
        lines = server.execute("CLIENT", "LIST", "TYPE", "pubsub").decode().splitlines()
        return [dict(word.split("=", 1) for word in line.split())["id"] for line in lines]
    rows = server.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'asgi-apikey bus'")
    return [str(row[0]) for row in rows]


def hang_up_on(server: Server, number: str) -> None:
    """End one connection."""
    if isinstance(server, RedisServer):
        server.execute("CLIENT", "KILL", "ID", number)
    else:
        server.execute("SELECT pg_terminate_backend($1)", int(number))


async def test_workers_answer(make: Callable[[], Bus]) -> None:
    """All of them, and nobody else."""
    async with listening(make, Listener("one", 7), Listener("two", 9), Listener("behind", 6)) as (waker, *_):
        assert set(await waker.wake(7, ["one", "two"], patience=PATIENT)) == {"one", "two"}
        assert set(await waker.wake(7, ["one", "behind"], patience=0.2)) == {"one"}


async def test_whoever_shares_no_secret_hears_nothing(make: Callable[[], Bus], server: Server) -> None:
    """Another application on the same server and channel neither wakes ours nor answers for them."""
    one, theirs = Listener("one", 7), Listener("one", 7)
    other = open_bus(server.url, secret=SECRET[::-1], channel="shared")
    mine = open_bus(server.url, secret=SECRET, channel="shared")
    await mine.open(one.catch_up)
    await other.open(theirs.catch_up)
    await settled(one, theirs)
    answered = await other.wake(7, ["one"], patience=0.2)
    await mine.close()
    await other.close()

    assert (set(answered), one.woken, theirs.woken) == (set(), [0], [0])
    assert mine.name != other.name


async def test_a_message_lost_in_the_gap_is_made_up_for(make: Callable[[], Bus], server: Server) -> None:
    """After its connection was killed, a worker looks at the feed: nobody tells it that it has missed something."""
    one = Listener("one", 7)
    async with listening(make, one) as (waker, _):
        await settled(one)
        assert set(await waker.wake(7, ["one"], patience=PATIENT)) == {"one"}
        one.woken.clear()
        for number in listeners_of(server):
            hang_up_on(server, number)
        await settled(one)

        assert one.woken[0] == 0
        assert set(await waker.wake(7, ["one"], patience=PATIENT)) == {"one"}


async def test_a_frozen_server_costs_patience_only(make: Callable[[], Bus], server: Server) -> None:
    """Silence is found out within a second, and when the server goes on, so does everybody."""
    one = Listener("one", 7)
    async with listening(make, one) as (waker, _):
        await settled(one)
        server.freeze()
        try:
            began = time.monotonic()
            answered = await waker.wake(7, ["one"], patience=0.3)
            took = time.monotonic() - began
            await eventually(lambda: not waker._exchange._places.here()._up.is_set())  # type: ignore[attr-defined]
            noticed = time.monotonic() - began
        finally:
            server.thaw()

        assert set(answered) == set()
        assert took < 5  # without a bound of its own, redis-py took 59 s and asyncpg as long as it lasted
        assert noticed < 5
        assert set(await waker.wake(8, ["one"], patience=0.0)) == set()
        assert set(await waker.wake(7, ["one"], patience=PATIENT)) == {"one"}


async def test_a_restarted_server_is_found_again(make: Callable[[], Bus], server: Server) -> None:
    """Killed and started empty: a call that was made meanwhile is answered when it is back."""
    one = Listener("one", 7)
    async with listening(make, one) as (waker, _):
        await settled(one)
        await asyncio.to_thread(server.kill)
        call = asyncio.create_task(waker.wake(7, ["one"], patience=PATIENT))
        await asyncio.to_thread(server.start)

        assert set(await call) == {"one"}


async def test_garbage_is_ignored(make: Callable[[], Bus], server: Server) -> None:
    """Whatever else is sent to the channel wakes nobody and harms nobody."""
    one = Listener("one", 7)
    bus = open_bus(server.url, secret=SECRET, channel="garbage")
    await bus.open(one.catch_up)
    await settled(one)
    forged = Seal(secrets.token_bytes(32), "garbage").write(Ack(7, secrets.token_bytes(16), "one"))
    for text in ("", "no letter", "é" * 100, "ab" * 3_000, forged):
        if isinstance(server, RedisServer):
            server.execute("PUBLISH", "{garbage}:wake", text)
        else:
            server.execute("SELECT pg_notify('garbage', $1)", text)
    waker = open_bus(server.url, secret=SECRET, channel="garbage")
    await waker.open(Listener("waker").catch_up)
    answered = await waker.wake(7, ["one"], patience=PATIENT)
    await waker.close()
    await bus.close()

    assert set(answered) == {"one"}
    assert one.woken == [0, 7]


async def test_a_storm_of_cancelled_calls(make: Callable[[], Bus], server: Server) -> None:
    """Cancelled at every point of a call: the line lives on, and the server sees no more connections than before."""
    one = Listener("one", 7)
    async with listening(make, one) as (waker, _):
        await settled(one)
        await waker.wake(7, ["one"], patience=PATIENT)
        before = len(listeners_of(server))
        for number in range(200):
            call = asyncio.create_task(waker.wake(7, ["one"], patience=PATIENT))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        assert set(await waker.wake(7, ["one"], patience=PATIENT)) == {"one"}
        assert len(listeners_of(server)) == before


def test_one_loop_after_the_other(make: Callable[[], Bus], server: Server) -> None:
    """Nobody closes the bus: the loop's end does, and the next loop has a line of its own."""
    bus = make()

    async def once() -> set[str]:
        await bus.open(Listener("self").catch_up)
        async with listening(make, Listener("one", 7)):
            return set(await bus.wake(7, ["one"], patience=PATIENT))

    assert [asyncio.run(once()) for _ in range(2)] == [{"one"}, {"one"}]
    give_up = time.monotonic() + PATIENT
    while listeners_of(server) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert listeners_of(server) == []


def test_a_child_has_its_own_line(make: Callable[[], Bus]) -> None:
    """After a fork, as of gunicorn with --preload, parent and child are two workers, and neither takes the other's."""
    bus = make()

    async def answer() -> None:
        await bus.open(Listener("child", 7).catch_up)
        await asyncio.sleep(60)

    async def parent() -> set[str]:
        await bus.open(Listener("parent", 7).catch_up)
        pid = os.fork()
        if pid == 0:
            # The loop of the parent is none of the child's business.
            asyncio.events._set_running_loop(None)
            try:
                asyncio.run(answer())
            finally:
                os._exit(1)
        try:
            return set(await bus.wake(7, ["child"], patience=PATIENT))
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            await bus.close()

    assert asyncio.run(parent()) == {"child"}


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    """A network in front of the server."""
    async with faults_before(server.port) as faults:
        yield faults


@pytest.mark.parametrize("fault", [Fault.BLACKHOLE, Fault.TRICKLE, Fault.RESET])
async def test_a_bad_network_costs_patience_only(server: Server, proxy: FaultProxy, fault: Fault) -> None:
    """Nothing hangs, nothing is confirmed, and when the network is well again, so is the bus."""

    def make() -> Bus:
        channel = f"net-{fault.name.lower()}"
        return open_bus(server.url.replace(str(server.port), str(proxy.port)), secret=SECRET, channel=channel)

    one = Listener("one", 7)
    async with listening(make, one) as (waker, _):
        await settled(one)
        proxy.fault = fault
        if fault is Fault.RESET:
            proxy.reset()
        began = time.monotonic()
        answered = await waker.wake(7, ["one"], patience=1.5)
        took = time.monotonic() - began
        proxy.fault = Fault.PASS
        again = await waker.wake(7, ["one"], patience=PATIENT)

    assert (set(answered), set(again)) == (set(), {"one"})
    assert took < 5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"-NOAUTH Authentication required.\r\n", "AuthenticationError"),
        (b"-NOPERM this user has no permissions to run the 'subscribe' command\r\n", "NoPermissionError"),
    ],
)
async def test_a_redis_that_refuses_us_is_told_at_the_start(answer: bytes, reason: str) -> None:
    """`check` names what the user needs."""
    async with scripted(answer) as port:
        with pytest.raises(ConfigurationError, match=f"{reason}.*SUBSCRIBE"):
            await RedisBus(f"redis://{LOOPBACK}:{port}", secret=SECRET).check()


@pytest.mark.parametrize(
    "answer",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n:1\r\n$1\r\nx\r\n",
        b"what?\r\n",
        b"$999999999\r\n",
        b"*1000000\r\n*1\r\n",
        b"*3\r\n$7\r\nmessage\r\n*0\r\n:7\r\n",
    ],
)
async def test_a_redis_that_talks_nonsense_is_out_of_reach(answer: bytes) -> None:
    """Whatever a server says that is not Redis, or not well: no error, no answer, no hanging."""
    async with scripted(answer) as port:
        bus = RedisBus(f"redis://{LOOPBACK}:{port}", secret=SECRET)
        await bus.check()
        await bus.open(Listener("one").catch_up)
        answered = await bus.wake(7, ["two"], patience=0.2)
        await bus.close()

    assert set(answered) == set()


async def test_a_pooler_of_transactions_is_refused(own_postgres: PostgresServer) -> None:
    """LISTEN succeeds through it, and nothing ever arrives: `check` says so, and how to go on."""
    async with pooling(own_postgres.port, "postgres", links=3) as port:
        bus = PostgresBus(f"postgresql://postgres@{LOOPBACK}:{port}/postgres", secret=SECRET)

        with pytest.raises(ConfigurationError, match="PgBouncer"):
            await bus.check()


async def test_a_frozen_backend_is_found_out(own_postgres: PostgresServer) -> None:
    """Only the process that serves our connection stands still: nothing but asking it shows that."""
    one = Listener("one", 7)
    bus = PostgresBus(own_postgres.url, secret=SECRET, channel="frozen-backend")
    await bus.open(one.catch_up)
    await settled(one)
    [pid] = listeners_of(own_postgres)
    os.kill(int(pid), 19)
    try:
        began = time.monotonic()
        await eventually(lambda: len(one.woken) > 1)
        noticed = time.monotonic() - began
    finally:
        os.kill(int(pid), 18)
    await bus.close()

    assert noticed < 5  # asyncpg alone says nothing for as long as it lasts


async def test_an_absent_server_is_no_error() -> None:
    """A bus that cannot be reached now may come later."""
    for url in (f"redis://{LOOPBACK}:1", f"postgresql://nobody@{LOOPBACK}:1/none"):
        bus = open_bus(url, secret=SECRET)
        await bus.check()
        await bus.open(Listener("one").catch_up)

        assert set(await bus.wake(7, ["two"], patience=0.05)) == set()
        await bus.close()


def test_unsafe_buses_are_refused() -> None:
    """No secret, no such server, and numbers that are out of range; no message repeats the URL."""
    for unsafe, why in [
        (lambda: open_bus("redis://u:hush@h", secret=""), "asgi-apikey pepper"),
        (lambda: open_bus("kafka://u:hush@h", secret=SECRET), "must start with"),
        (lambda: RedisBus("redis://u:hush@h:port", secret=SECRET), "cannot be read"),
        (lambda: RedisBus("redis://u:hush@h", secret=SECRET, timeout=0), "time-out"),
        (lambda: PostgresBus("postgresql://u:hush@h", secret=SECRET, timeout=-1), "time-out"),
        (lambda: PostgresBus("postgresql://u:hush@h", secret=SECRET, channel="x" * 31), "30 characters"),
        (lambda: PostgresBus("postgresql://u:hush@h", secret=SECRET, channel='"; DROP'), "quotes"),
    ]:
        with pytest.raises(ConfigurationError, match=why) as refused:
            unsafe()
        assert "hush" not in str(refused.value)


def test_reprs_hold_no_secret() -> None:
    """Neither the secret nor a password."""
    buses = [
        RedisBus("redis://user:hush@host", secret=SECRET),
        PostgresBus("postgresql://user:hush@host/db", secret=SECRET),
    ]

    assert not any("hush" in repr(bus) or SECRET in repr(bus) for bus in buses)


@pytest.mark.parametrize(
    ("url", "module", "extra"), [("redis://h", "redis", "redis"), ("postgresql://h/db", "asyncpg", "postgres")]
)
def test_a_missing_library_is_named(url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    for name in [*sys.modules]:
        if name in (f"asgi_apikey.invalidation.{extra}", "asgi_apikey.redisclient") or name.startswith(f"{module}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtra, match=rf"asgi-apikey\[{extra}\]"):
        open_bus(url, secret=SECRET)
