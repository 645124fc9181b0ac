"""Sending over a network: to the address that was judged, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from asgi_apikey.webhooks import Unsent, Webhook
from asgi_apikey.webhooks.httpx import HTTPXSender
from tests.webhooks.test_signing import SECRET

pytestmark = pytest.mark.anyio

Serve = Callable[[SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """A server on loopback; the address to post to."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://localhost:{port}"
        tasks.cancel_scope.cancel()


def answering(head: str, seen: list[bytes]) -> Serve:
    """Answer with this, and never end the body."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                received += await stream.receive()
            seen.append(received)
            await stream.send(head.encode() + b"\r\n\r\n" + b"x" * 100)
            await anyio.sleep_forever()

    return serve


def endpoint(url: str, *, private: bool = True) -> Webhook:
    """An endpoint in the clear."""
    return Webhook(url=url, secret=SECRET, allow_http=True, allow_private=private)


async def test_a_message_is_posted() -> None:
    """With its headers, under the name that was meant; the body of the answer is not waited for."""
    seen: list[bytes] = []
    async with listening(answering("HTTP/1.1 202 Accepted\r\ncontent-length: 5000\r\nretry-after: 7", seen)) as url:
        answer = await HTTPXSender().post(endpoint(f"{url}/hooks?x=1"), {"webhook-id": "m1"}, b'{"a":1}')

    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert (answer.status, answer.retry_after) == (202, 7.0)
    assert head.startswith(b"POST /hooks?x=1 HTTP/1.1\r\n")
    assert f"host: {url.removeprefix('http://')}".encode() in head.lower()
    assert b"webhook-id: m1" in head
    assert body == b'{"a":1}'


async def test_a_redirect_is_not_followed() -> None:
    """It could lead anywhere, also into the network that the first address is not in."""
    seen: list[bytes] = []
    async with listening(answering("HTTP/1.1 307 Moved\r\ncontent-length: 0\r\nlocation: /elsewhere", seen)) as url:
        answer = await HTTPXSender().post(endpoint(url), {}, b"{}")

    assert (answer.status, len(seen)) == (307, 1)


async def test_private_addresses_are_not_even_connected_to() -> None:
    """Nobody on this machine hears anything."""
    seen: list[bytes] = []
    async with listening(answering("HTTP/1.1 200 OK", seen)) as url:
        with pytest.raises(Unsent, match="not public"):
            await HTTPXSender().post(endpoint(url, private=False), {}, b"{}")

    assert seen == []


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One would look the name up itself, and connect wherever that leads."""
    seen: list[bytes] = []
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    async with listening(answering("HTTP/1.1 204 No Content", seen)) as url:
        answer = await HTTPXSender().post(endpoint(url), {}, b"{}")

    assert answer.status == 204


async def silent(stream: SocketStream) -> None:
    """Take everything, say nothing."""
    async with stream:
        await anyio.sleep_forever()


async def test_silence_ends() -> None:
    """Each step has a deadline, and the whole attempt has one."""
    async with listening(silent) as url:
        with pytest.raises(Unsent, match="Timeout"):
            await HTTPXSender(timeout=0.1).post(endpoint(url), {}, b"{}")


async def dripping(stream: SocketStream) -> None:
    """Say a little now and then, for ever."""
    async with stream:
        with suppress(anyio.BrokenResourceError):
            await stream.send(b"HTTP/1.1 200 OK\r\n")
            while True:
                await stream.send(b"x: y\r\n")
                await anyio.sleep(0.01)


async def test_who_never_comes_to_an_end_is_cut_off() -> None:
    """Every step is quick, and there are too many."""
    async with listening(dripping) as url:
        with pytest.raises(Unsent, match="no answer within"):
            await HTTPXSender(timeout=0.3).post(endpoint(url), {}, b"{}")


async def rude(stream: SocketStream) -> None:
    """Hang up."""
    await stream.aclose()


async def test_what_goes_wrong_is_told_by_its_class() -> None:
    """Its text may hold the URL."""
    async with listening(rude) as url:
        with pytest.raises(Unsent) as caught:
            await HTTPXSender().post(endpoint(f"{url}/T0ken"), {}, b"{}")

    assert "T0ken" not in caught.value.why
    assert caught.value.__cause__ is None


async def test_a_certificate_is_for_the_name_and_believed() -> None:
    """An endpoint without TLS behind an https:// URL gets nothing."""
    seen: list[bytes] = []
    async with listening(answering("HTTP/1.1 200 OK", seen)) as url:
        secure = Webhook(url=url.replace("http:", "https:"), secret=SECRET, allow_private=True)
        with pytest.raises(Unsent):
            await HTTPXSender(timeout=1).post(secure, {}, b'{"a":1}')

    assert seen == []
