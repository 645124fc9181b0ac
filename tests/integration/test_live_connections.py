"""Connections that stay open, over real servers in several processes with one SQLite file."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.models import IssuedKey, Receipt, Seconds
from tests.integration.desk import Desk
from tests.integration.hosts import Host, start, stop
from tests.integration.sockets import Closed, Socket, connect, drop_all

pytestmark = pytest.mark.anyio

BOUND: Seconds = LeaseTimes().lease
GONE = Closed(4401, "invalid_key")
SERVERS = {
    "h11, websockets": ("--http", "h11", "--ws", "websockets"),
    "httptools, websockets-sansio": ("--http", "httptools", "--ws", "websockets-sansio"),
    "h11, wsproto": ("--http", "h11", "--ws", "wsproto"),
}


@contextmanager
def workers(desk: Desk, folder: Path, *options: tuple[str, ...], **environ: str) -> Iterator[list[Host]]:
    """As many processes as there are options, all started at once."""
    with ExitStack() as stopping:
        running = []
        for number, each in enumerate(options):
            host = start(
                "live_app:create",
                folder,
                {**desk.environ, **environ},
                name=f"live-{number}",
                options=(*each, "--no-access-log"),
            )
            stopping.callback(stop, host)
            running.append(host)
        for host in running:
            host.calls()
        yield running
        for host in running:
            host.process.terminate()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Path]]:
    """A file of our own, with leases as they are by default."""
    folder = tmp_path_factory.mktemp("live")
    desk = Desk(folder / "keys.db", secrets.token_urlsafe(32), cache_ttl=60.0)
    desk.init()
    yield desk, folder
    desk.close()


@pytest.fixture(scope="module")
def hosts(own: tuple[Desk, Path]) -> Iterator[dict[str, Host]]:
    """One process for each of the implementations that uvicorn has."""
    desk, folder = own
    with workers(desk, folder, *SERVERS.values()) as running:
        yield dict(zip(SERVERS, running, strict=True))


@pytest.fixture
def desk(own: tuple[Desk, Path]) -> Desk:
    """Who issues and revokes."""
    return own[0]


@pytest.fixture(params=SERVERS)
def host(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Host:
    """One of them."""
    return hosts[request.param]


async def in_the_office(desk: Desk, verb: object) -> object:
    """Run a verb of another process than the workers', without keeping our own loop from reading."""
    return await asyncio.to_thread(desk.run, verb)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
async def nothing_left_open() -> AsyncIterator[None]:
    """Every connection of a test ends with it."""
    yield
    await drop_all()


async def issue(desk: Desk, **request: object) -> IssuedKey:
    """Make a key."""
    issued = await in_the_office(desk, desk.keys.issue(owner="acme", **request))  # type: ignore[arg-type]
    assert isinstance(issued, IssuedKey)
    return issued


async def revoke(desk: Desk, issued: IssuedKey) -> Receipt:
    """Revoke it, and return when that is confirmed."""
    receipt = await in_the_office(desk, desk.keys.revoke(issued.record.key_id))
    assert isinstance(receipt, Receipt)
    assert receipt.confirmed
    return receipt


async def end_of(socket: Socket) -> tuple[str | Closed, Seconds]:
    """Read until something comes; what, and when."""
    async with asyncio.timeout(30):
        return await socket.next(), time.monotonic()


async def opened(port: int, key: str, path: str = "/echo") -> Socket:
    """An open connection that is known to be served."""
    socket = await connect(port, path, X_API_Key=key)
    assert socket.status == 101
    if path == "/echo":
        await socket.send("hello")
        assert await socket.next() == "hello"
    return socket


async def fill(ports: list[int], key: str, size: int) -> list[Socket]:
    """Open many connections, evenly, some at a time."""
    sockets: list[Socket] = []
    while len(sockets) < size:
        batch = range(len(sockets), min(size, len(sockets) + 50))
        sockets += await asyncio.gather(*(opened(ports[number % len(ports)], key) for number in batch))
    return sockets


async def closed_in_time(desk: Desk, running: list[Host], size: int) -> None:
    """Open connections of one key, pause some of them, revoke it, and see all others close within the bound."""
    ports = [host.port for host in running]
    issued, other = await issue(desk), await issue(desk)
    sockets = await fill(ports, issued.key, size)
    for port in ports:
        await opened(port, issued.key, "/flood")
    bystanders = [await opened(port, other.key) for port in ports]
    # Until the servers' buffers are full, and their `send` waits.
    await asyncio.sleep(0.3)
    committed_by = time.monotonic()
    await revoke(desk, issued)
    ends = await asyncio.gather(*map(end_of, sockets))
    for bystander in bystanders:
        await bystander.send("still here")
        assert await bystander.next() == "still here"

    assert {said for said, _ in ends} == {GONE}
    assert max(when for _, when in ends) - committed_by < BOUND
    # Before anybody waits for the servers to stop, which wait for their clients.
    await drop_all()


async def test_revoking_closes_every_websocket_within_the_bound(desk, hosts) -> None:
    """In all processes and implementations; a paused client blocks nobody, and other keys are not disturbed."""
    await closed_in_time(desk, list(hosts.values()), 30)


@pytest.mark.faults
async def test_a_thousand_websockets_over_four_workers(own, tmp_path, fault_rounds) -> None:
    """The same, in bulk; a sample runs with the suite."""
    options = list(SERVERS.values())
    with workers(own[0], tmp_path, *options, options[1]) as running:
        await closed_in_time(own[0], running, min(1_000, 2 * fault_rounds))


async def test_after_a_confirmed_revoke_no_message_gets_through(desk, host) -> None:
    """Though the connection is still open: what is said on it is not answered."""
    issued = await issue(desk)
    socket = await opened(host.port, issued.key)
    await revoke(desk, issued)
    await socket.send("too late")

    assert (await end_of(socket))[0] == GONE


async def test_a_disabled_key_closes_too(desk, host) -> None:
    """Reversible or not."""
    issued = await issue(desk)
    socket = await opened(host.port, issued.key)
    await in_the_office(desk, desk.keys.disable(issued.record.key_id))

    assert (await end_of(socket))[0] == GONE


async def test_a_key_that_expires_closes(desk, host) -> None:
    """At its end, without anybody's doing."""
    issued = await issue(desk, expires_in=1.0)
    socket = await opened(host.port, issued.key)
    said, _ = await end_of(socket)

    assert said == GONE
    assert issued.record.expires_at is not None
    assert 0 <= time.time() - issued.record.expires_at < 0.5


async def test_a_rotation_with_a_grace_closes_nothing(desk, host) -> None:
    """Nor does a new name."""
    issued = await issue(desk)
    socket = await opened(host.port, issued.key)
    await in_the_office(desk, desk.keys.amend(issued.record.key_id, name="another"))
    await in_the_office(desk, desk.keys.rotate(issued.record.key_id, grace=3_600))
    await asyncio.sleep(0.7)
    await socket.send("still here")
    said = await socket.next()

    assert said == "still here"


async def test_a_stream_is_cut_off(desk, host) -> None:
    """The response breaks off in the middle, so that no client takes it for the whole."""
    issued = await issue(desk)
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(f"GET /stream HTTP/1.1\r\nHost: h\r\nX-API-Key: {issued.key}\r\n\r\n".encode())
    await reader.readuntil(b"still there")
    await revoke(desk, issued)
    async with asyncio.timeout(10):
        rest = await reader.read()
    writer.close()

    # What ends a response of chunks, which is how a client tells the whole from the half.
    assert not rest.endswith(b"0\r\n\r\n")


async def test_a_key_among_the_subprotocols(desk, host) -> None:
    """Accepted, and answered with the other name."""
    issued = await issue(desk)
    socket = await connect(host.port, "/echo", Sec_WebSocket_Protocol=f"apikey, apikey.{issued.key}")
    await socket.send("hello")
    said = await socket.next()

    assert (socket.status, said) == (101, "hello")
    assert socket.headers["sec-websocket-protocol"] == "apikey"


async def test_a_key_as_the_first_message(desk, host) -> None:
    """Accepted first, known second; a bad one is closed."""
    issued = await issue(desk)
    good, bad = await connect(host.port, "/echo"), await connect(host.port, "/echo")
    await good.send(issued.key)
    await good.send("hello")
    said = await good.next()
    await bad.send("ak_live_nobodys")
    refused = await bad.next()

    assert said == "hello"
    assert refused == GONE


async def test_a_refused_handshake_is_answered(desk, host) -> None:
    """With a response, where no codes are asked for."""
    socket = await connect(host.port, "/echo", X_API_Key="ak_live_nobodys")

    assert socket.status == 401
    assert b"invalid_key" in socket.body


async def test_a_refused_handshake_may_be_closed_with_a_code(own, tmp_path) -> None:
    """For clients that cannot see responses; all implementations pass it on."""
    with workers(own[0], tmp_path, *SERVERS.values(), LIVE_APP_CLOSE_CODES="1") as running:
        for host in running:
            socket = await connect(host.port, "/echo", X_API_Key="ak_live_nobodys", Sec_WebSocket_Protocol="chat")

            assert (socket.status, socket.headers["sec-websocket-protocol"]) == (101, "chat")
            assert await socket.next() == GONE


async def test_no_key_is_in_what_a_process_has_written(desk, host) -> None:
    """Not of any place, not even in its access log."""
    issued = await issue(desk)
    await opened(host.port, issued.key)
    await connect(host.port, "/echo", Sec_WebSocket_Protocol=f"chat, apikey.{issued.key}")

    assert issued.key not in host.log.read_text()
