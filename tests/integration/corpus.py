"""Requests that parsers, proxies and routers disagree about, as bytes.

Where a case holds a good key, `{key}` stands for it. Cases end by themselves: they ask for the connection to be
closed, or the server closes it because it understands nothing.

Sources: RFC 9112 sections 2.2, 5, 6 and 7.1.2; what uvicorn's two parsers were seen to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEAD: Final = b"Host: localhost\r\nConnection: close\r\n"


NOT_THE_OPEN_PATH: Final = rb"""
    //health ///health /health/ /health// /HEALTH /Health /healthz /health. /health.json
    /%68ealth /%2568ealth /healt%68 /health%2f /health%2F.. /health%5c /health%00 /health%0a /health%0d
    /health%20 /health%09 /health%3f /health%23 /health%c0%af /health%ff /health%u002f
    /health; /health;a=1 /health/.. /health/../ /health/../ws /health/%2e%2e/ /health/.%2e/orders
    /./health /.//health /../health /x/../health /%2e/health /%2e%2e/health /\health \health /health\..\orders
    /%2fhealth /%5chealth //evil.example/health /orders/..%2fhealth /;/health
    http://localhost/ http://localhost//health http://localhost/health/../ http://health@localhost/
    http://localhost/health%2f
"""

NOT_A_PATH: Final = b"* health localhost:80 ?/health http:/health http:health http:// http:///health"

# One parser takes the address apart and cuts fragments off, the other passes all of it on as the path.
PERHAPS_THE_OPEN_PATH: Final = b"""
    http://localhost/health http://evil.example/health HTTP://evil.example:80/health ws://localhost/health
    /health# /health#/../orders
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One exchange.

    Attributes:
        name: For test ids.
        chunks: What is sent, see `wire.exchange`.
        statuses: All that may come back, on any parser; 0 stands for a connection closed without a response.
        calls: How often the application inside may be called at most.
    """

    name: str
    chunks: tuple[bytes, ...]
    statuses: frozenset[int]
    calls: int = 0

    def with_key(self, key: str) -> tuple[bytes, ...]:
        """Return the chunks with a real key in them."""
        return tuple(chunk.replace(b"{key}", key.encode()) for chunk in self.chunks)


def _lines(name: str, lines: bytes, *statuses: int, calls: int = 0) -> Case:
    """A GET request with these header lines, each ended by CRLF."""
    return Case(name, (b"GET / HTTP/1.1\r\n" + _HEAD + lines + b"\r\n",), frozenset(statuses), calls)


def _value(name: str, value: bytes, *statuses: int, calls: int = 0) -> Case:
    """A GET request with this value of the key header."""
    return _lines(name, b"X-API-Key: " + value + b"\r\n", *statuses, calls=calls)


def _target(name: str, target: bytes, *statuses: int) -> Case:
    """A GET request for this target, without a key."""
    return Case(name, (b"GET " + target + b" HTTP/1.1\r\n" + _HEAD + b"\r\n",), frozenset(statuses))


def _post(name: str, lines: bytes, *bodies: bytes, statuses: tuple[int, ...], calls: int = 0) -> Case:
    """A POST request to the guarded path that reads its body."""
    head = b"POST /body HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n"
    first, *later = bodies
    return Case(name, (head + first, *later), frozenset(statuses), calls)


def _raw(name: str, *chunks: bytes, statuses: tuple[int, ...], calls: int = 0) -> Case:
    return Case(name, chunks, frozenset(statuses), calls)


def values() -> Iterator[Case]:
    """What can stand in the one header."""
    yield _value("good", b"{key}", 200, calls=1)
    yield _value("blanks around", b" \t {key} \t ", 200, calls=1)
    yield _value("empty", b"", 401)
    yield _value("blanks only", b" \t ", 401)
    yield _value("comma-folded", b"{key}, {key}", 401)
    yield _value("comma without a blank", b"{key},{key}", 401)
    yield _value("semicolon", b"{key};q=1", 401)
    yield _value("quoted", b'"{key}"', 401)
    yield _value("percent-escaped", b"%61%6b{key}", 401)
    yield _value("with a scheme", b"Bearer {key}", 401)
    yield _value("UTF-8", "{key}é".encode(), 401)
    yield _value("full-width letters", "\uff41\uff4b_live".encode(), 401)
    yield _value("no-break space after", b"{key}\xa0", 401)
    yield _value("next line after", b"{key}\x85", 401)
    yield _value("control byte after", b"{key}\x01", 400, 401)
    yield _value("control byte before", b"\x1f{key}", 400, 401)
    yield _value("delete after", b"{key}\x7f", 400, 401)
    yield _value("vertical tab after", b"{key}\x0b", 400, 401)
    yield _value("form feed before", b"\x0c{key}", 400, 401)
    yield _value("null before", b"\x00{key}", 400)
    yield _value("null within", b"{key}\x00garbage", 400)
    yield _value("carriage return within", b"{key}\rX-Other: 1", 400, 401)
    yield _value("300 bytes", b"a" * 300, 401)
    yield _value("60 kB", b"a" * 60_000, 400, 401)
    yield _value("good and 60 kB", b"{key}" + b"a" * 60_000, 400, 401)
    yield _value("key of another system", b"sk_live_4eC39HqLyjWDarjtT1zdp7dc", 401)
    yield _value("upper case", b"AK_LIVE_000000000000_100000000000000000000000000000000000000", 401)


def fields() -> Iterator[Case]:
    """How a header can be written, folded and repeated."""
    yield _lines("no key", b"", 401)
    yield _lines("odd case of the name", b"x-aPi-kEY: {key}\r\n", 200, calls=1)
    yield _lines("no blank after the colon", b"X-API-Key:{key}\r\n", 200, calls=1)
    yield _lines("twice the same", b"X-API-Key: {key}\r\nX-API-Key: {key}\r\n", 400)
    yield _lines("twice in other case", b"X-API-Key: {key}\r\nx-api-key: {key}\r\n", 400)
    yield _lines("good and bad", b"X-API-Key: {key}\r\nX-API-Key: bad\r\n", 400)
    yield _lines("bad and good", b"X-API-Key: bad\r\nX-API-Key: {key}\r\n", 400)
    yield _lines("good and empty", b"X-API-Key: {key}\r\nX-API-Key:\r\n", 400)
    yield _lines("underscores", b"X_API_Key: {key}\r\n", 401)
    yield _lines("longer name", b"X-API-Keys: {key}\r\nX-API-Key-: {key}\r\n", 401)
    yield _lines("blank before the colon", b"X-API-Key : {key}\r\n", 400)
    yield _lines("tab before the colon", b"X-API-Key\t: {key}\r\n", 400)
    yield _lines("null in the name", b"X-API-Key\x00: {key}\r\n", 400)
    yield _lines("no colon", b"X-API-Key {key}\r\n", 400)
    yield _lines("no name", b": {key}\r\n", 400)
    yield _lines("other places are not enabled", b"Authorization: Bearer {key}\r\nCookie: api_key={key}\r\n", 401)
    yield _lines("hop-by-hop", b"Connection: X-API-Key\r\nX-API-Key: {key}\r\n", 200, calls=1)
    # A folded line is one value (RFC 9112 section 5.2); what one parser refuses, the other may put together.
    yield _lines("folded before the key", b"X-API-Key:\r\n {key}\r\n", 200, 400, 401, calls=1)
    yield _lines("folded after the key", b"X-API-Key: {key}\r\n \r\n", 200, 400, 401, calls=1)
    yield _lines("folded within the key", b"X-API-Key: ak_live\r\n _{key}\r\n", 400, 401)
    yield _lines("another line folded over it", b"X-Other: 1\r\n X-API-Key: {key}\r\n", 400, 401)
    yield _raw("folded first line", b"GET / HTTP/1.1\r\n X-API-Key: {key}\r\n" + _HEAD + b"\r\n", statuses=(400, 401))
    yield _lines("bare line feed", b"X-Other: 1\nX-API-Key: {key}\r\n", 200, 400, 401, calls=1)
    yield _lines("spoofed principal", b"api_key: 1\r\nX-User: admin\r\nstate: api_key\r\n", 401)


def framing() -> Iterator[Case]:
    """Where a request begins and ends, and what comes after its body."""
    chunked = b"Transfer-Encoding: chunked\r\nConnection: close\r\n"
    keyed = b"X-API-Key: {key}\r\n"
    yield _post("chunks", chunked + keyed, b"3\r\nabc\r\n0\r\n\r\n", statuses=(200,), calls=1)
    # A trailer that arrives together with the headers is among them in uvicorn's scope when httptools parses, and
    # nothing tells it apart. It takes a real key to be let in by one; a proxy that removes keys must drop trailers.
    yield _post("trailer early", chunked, b"3\r\nabc\r\n0\r\nX-API-Key: {key}\r\n\r\n", statuses=(200, 401), calls=1)
    yield _post("trailer after a key", chunked + keyed, b"0\r\nX-API-Key: {key}\r\n\r\n", statuses=(200, 400), calls=1)
    yield _post(
        "trailer late",
        chunked + b"Expect: 100-continue\r\n",
        b"",
        b"3\r\nabc\r\n0\r\nX-API-Key: {key}\r\n\r\n",
        statuses=(401,),
    )
    yield _post(
        "trailer while the body is read",
        chunked + keyed + b"Expect: 100-continue\r\n",
        b"",
        b"3\r\nabc\r\n0\r\nX-API-Key: {key}\r\n\r\n",
        statuses=(100, 200),
        calls=1,
    )
    smuggled = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    length = b"Content-Length: %d\r\n" % len(smuggled)
    yield _post(
        "length then chunks", length + chunked + keyed, b"0\r\n\r\n" + smuggled, statuses=(200, 400, 401), calls=1
    )
    yield _post(
        "chunks then length",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n" + keyed,
        b"0\r\n\r\n" + smuggled,
        statuses=(200, 400, 401),
        calls=1,
    )
    yield _post("two lengths", b"Content-Length: 0\r\n" + length + keyed, smuggled, statuses=(400,))
    yield _post("negative length", b"Content-Length: -1\r\n" + keyed, smuggled, statuses=(400,))
    yield _post(
        "unknown coding",
        b"Transfer-Encoding: xchunked\r\nConnection: close\r\n" + keyed,
        smuggled,
        statuses=(400, 501),
        calls=1,
    )
    yield _post(
        "two codings",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + keyed,
        b"0\r\n\r\n" + smuggled,
        statuses=(200, 400, 401, 501),
        calls=1,
    )
    yield _post("no size of a chunk", chunked + keyed, b"zz\r\nabc\r\n0\r\n\r\n", statuses=(400,), calls=1)
    yield _post("smuggled in a body", length + b"Connection: close\r\n", smuggled, statuses=(401,))
    yield _raw(
        "open, then guarded",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled,
        statuses=(200, 401),
    )
    yield _raw(
        "with a key, then without",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n",
        smuggled,
        statuses=(200, 401),
        calls=1,
    )
    yield _raw(
        "with a key and without at once",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n\r\n" + smuggled,
        statuses=(200, 401),
        calls=1,
    )


def methods() -> Iterator[Case]:
    """Methods and versions."""
    for method in (b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PROPFIND", b"get", b"FOO", b"OpTiOnS"):
        yield _raw(
            f"method {method.decode()}", method + b" /health/.. HTTP/1.1\r\n" + _HEAD + b"\r\n", statuses=(400, 401)
        )
    yield _raw("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\n" + _HEAD + b"\r\n", statuses=(0, 400, 401))
    for name, lines in {
        "without an origin": b"Access-Control-Request-Method: GET\r\n",
        "without a method": b"Origin: https://a.example\r\n",
        "with an empty method": b"Origin: https://a.example\r\nAccess-Control-Request-Method:\r\n",
        "with two origins": b"Origin: https://a\r\nOrigin: https://b\r\nAccess-Control-Request-Method: GET\r\n",
    }.items():
        yield _raw(f"preflight {name}", b"OPTIONS / HTTP/1.1\r\n" + _HEAD + lines + b"\r\n", statuses=(401,))
    yield _raw("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", statuses=(401,))
    yield _raw("HTTP/0.9", b"GET /\r\n\r\n", statuses=(0, 400, 401))
    yield _raw("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", statuses=(0, 400, 401))
    yield _raw("HTTP/3.0", b"GET / HTTP/3.0\r\n" + _HEAD + b"\r\n", statuses=(0, 400, 401))
    yield _raw("no host", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", statuses=(400, 401))
    yield _raw("two hosts", b"GET / HTTP/1.1\r\nHost: evil.example\r\n" + _HEAD + b"\r\n", statuses=(400, 401))
    yield _raw(
        "host with a path", b"GET / HTTP/1.1\r\nHost: a/health?\r\nConnection: close\r\n\r\n", statuses=(400, 401)
    )
    yield _lines("h2c", b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 401)
    yield _raw(
        "half a handshake",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        statuses=(400, 401, 426),
    )


def targets() -> Iterator[Case]:
    """Spellings of the open path `/health`, and of others through it, without a key."""
    yield _target("open", b"/health", 200)
    yield _target("open with a query", b"/health?path=//&x=%2f", 200)
    for spelling in NOT_THE_OPEN_PATH.split():
        yield _target(f"target {spelling.decode()}", spelling, 400, 401)
    for spelling in NOT_A_PATH.split():
        yield _target(f"target {spelling.decode()}", spelling, 0, 400, 401)
    for spelling in PERHAPS_THE_OPEN_PATH.split():
        yield _target(f"target {spelling.decode()}", spelling, 200, 400, 401)
    yield _target("target /health\\xff", b"/health\xff", 400, 401)
    yield _target("target with a blank", b"/health /orders", 400)
    yield _target("target with a tab", b"/health\t", 400)


def handshakes() -> Iterator[Case]:
    """WebSocket handshakes that must not open one."""
    upgrade = (
        b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    for name, lines, statuses in (
        ("without a key", b"", (401,)),
        ("with two keys", b"X-API-Key: {key}\r\nX-API-Key: {key}\r\n", (400,)),
        ("with a comma-folded key", b"X-API-Key: {key}, {key}\r\n", (401,)),
        ("with a key as subprotocol", b"Sec-WebSocket-Protocol: X-API-Key, {key}\r\n", (401,)),
        ("with a control byte", b"X-API-Key: {key}\x01\r\n", (400, 401)),
    ):
        yield _raw(f"WebSocket {name}", b"GET /ws HTTP/1.1\r\n" + upgrade + lines + b"\r\n", statuses=statuses)
    for target in (
        b"//ws",
        b"/health/../ws",
        b"/health/",
        b"//health",
        b"http://localhost/ws",
        b"/%68ealth",
        b"/ws%2f",
    ):
        name = f"WebSocket at {target.decode()}"
        yield _raw(name, b"GET " + target + b" HTTP/1.1\r\n" + upgrade + b"\r\n", statuses=(400, 401))


CASES: Final = (*values(), *fields(), *framing(), *methods(), *targets(), *handshakes())
