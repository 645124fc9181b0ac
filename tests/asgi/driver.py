"""A tiny in-process ASGI server, and keys that need no store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from asgi_apikey.asgi.connections import Connections
from asgi_apikey.asgi.types import ASGIApp, Message, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, MalformedKey, UnknownKey
from asgi_apikey.models import Principal
from asgi_apikey.protocols import Clock
from asgi_apikey.rehearsal import Rehearsal
from asgi_apikey.standings import Sight
from tests.fakes import FakeClock

GOOD = b"ak_live_good"
OTHER = b"ak_live_other"
COLD = b"ak_live_cold"
ALICE = Principal(key_id="alice-key", owner="alice", scopes=frozenset({"orders:read"}))
BOB = Principal(key_id="bob-key", owner="bob", scopes=frozenset())
CAROL = Principal(key_id="carol-key", owner="carol", scopes=frozenset({"orders:read"}))


class FakeJudge:
    """Tells about keys what a test says.

    Attributes:
        recheck: What a presented key is found to be.
        mark: Moved by every change.
        leased: Whether changes would have been heard of.
        renewable: Whether they can be heard of when somebody asks.
        rechecked: What was verified anew.
    """

    def __init__(self, clock: Clock, recheck: Callable[[bytes], Awaitable[Principal]]) -> None:
        self._clock = clock
        self._recheck = recheck
        self.mark = 0
        self.leased = True
        self.renewable = True
        self.rechecked: list[bytes] = []

    def look(self) -> Sight:
        """Return the mark."""
        return Sight(self.mark, self._clock.monotonic())

    def holds(self, key_id: str, since: Sight) -> bool:
        """Whether nothing has moved."""
        return self.leased and since.mark == self.mark

    async def renewed(self, key_id: str, since: Sight) -> bool:
        """Obtain a lease, unless there is none to be had."""
        await anyio.lowlevel.checkpoint()
        self.leased = self.leased or self.renewable
        return self.holds(key_id, since)

    async def recheck(self, presented: bytes) -> Principal:
        """Note it, and ask."""
        self.rechecked.append(presented)
        return await self._recheck(presented)


class FakeKeys:
    """Keeps keys in dictionaries: `cached` ones are told at once, `stored` ones after a suspension."""

    def __init__(self) -> None:
        self.lifespan_states: dict[int, object] = {}
        self.cached: dict[bytes, Principal] = {GOOD: ALICE, OTHER: BOB}
        self.stored: dict[bytes, Principal] = {COLD: CAROL}
        self.rejected: dict[bytes, BaseException] = {}
        self.asked: list[tuple[bytes, str | None]] = []
        self.told = 0
        self.log: list[str] = []
        self.opening: BaseException | None = None
        self.closing: BaseException | None = None
        self.clock = FakeClock()
        self.rehearsal = Rehearsal(self.clock)
        self.judge = FakeJudge(self.clock, self.authenticate)
        self.connections = Connections(self.judge, self.clock, interval=0.01)

    def authenticate_nowait(self, presented: bytes) -> Principal | None:
        """Tell a cached key."""
        principal = self.cached.get(presented)
        self.told += principal is not None
        return principal

    async def authenticate(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Tell any key, after letting others run; only the charset of ours is a key's."""
        self.asked.append((presented, client))
        principal = self.authenticate_nowait(presented)
        if principal is not None:
            return principal
        await anyio.lowlevel.checkpoint()
        if presented in self.rejected:
            raise self.rejected[presented]
        if presented in self.stored:
            return self.stored[presented]
        raise UnknownKey("some-id") if presented.replace(b"_", b"").isalnum() else MalformedKey

    async def open(self) -> None:
        """Note it."""
        self.log.append("open")
        if self.opening is not None:
            raise self.opening

    async def close(self) -> None:
        """Note it, after letting others run, as whatever writes something does."""
        await anyio.lowlevel.checkpoint()
        self.log.append("close")
        if self.closing is not None:
            raise self.closing


@dataclass
class Inner:
    """The application inside: remembers what reached it, and answers 200."""

    scopes: list[Scope] = field(default_factory=list)
    seen: list[Principal | None] = field(default_factory=list)
    state_key: str = "api_key"
    work: Callable[[Scope], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        self.scopes.append(dict(scope))
        self.seen.append(scope["state"][self.state_key])
        if self.work is not None:
            await self.work(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    @property
    def calls(self) -> int:
        """How often it was reached."""
        return len(self.scopes)


@dataclass
class Reply:
    """What the server was told to send."""

    messages: list[Message]

    @property
    def status(self) -> int:
        """The status of the response, or of the denied handshake."""
        return next(m["status"] for m in self.messages if m["type"].endswith("http.response.start"))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header lines in their order."""
        return next(list(m["headers"]) for m in self.messages if m["type"].endswith("http.response.start"))

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(m.get("body", b"") for m in self.messages if m["type"].endswith("http.response.body"))

    def header(self, name: bytes) -> list[bytes]:
        """Every value of one header."""
        return [value for each, value in self.headers if each == name]


def http(*headers: tuple[bytes, bytes], path: str | None = "/orders", **parts: object) -> Scope:
    """An HTTP scope as uvicorn makes it; the path is one that needs no escapes, or `raw_path` is among the parts."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": (path or "/orders").encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"example"), *headers],
        "client": ("192.0.2.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    scope.update(parts)
    return scope


def websocket(*headers: tuple[bytes, bytes], denial: bool = True, **parts: object) -> Scope:
    """A WebSocket scope, of a server that offers denial responses or not."""
    scope = http(*headers, **parts)
    del scope["method"]
    scope |= {
        "type": "websocket",
        "subprotocols": parts.get("subprotocols", []),
        "extensions": {"websocket.http.response": {}} if denial else None,
    }
    return scope


def key(value: bytes = GOOD, name: bytes = b"x-api-key") -> tuple[bytes, bytes]:
    """A header line with a key."""
    return name, value


async def serve(app: ASGIApp, scope: Scope) -> Reply:
    """Serve one connection to its end."""
    messages: list[Message] = []
    first = {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request", "body": b""}
    incoming = [first]

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": f"{scope['type']}.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return Reply(messages)


def serve_now(app: ASGIApp, scope: Scope) -> Reply:
    """Serve one connection in a loop of its own, for tests that make thousands."""
    return asyncio.run(serve(app, scope))


def step_through(app: ASGIApp, scope: Scope) -> Reply:
    """Serve one connection without any event loop: `anyio.sleep(0)` must not be reached."""
    task = serve(app, scope)
    try:
        task.send(None)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    task.close()
    raise AssertionError("the application suspended")


def every_error() -> list[type[APIKeyError]]:
    """All classes of the error tree."""
    found, queue = [], [APIKeyError]
    while queue:
        found.append(queue.pop())
        queue += found[-1].__subclasses__()
    return found
