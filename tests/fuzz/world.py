"""Guarded applications in process, keys in every standing, and one way to ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from asgi_apikey import DAY, APIKeyMiddleware, APIKeys, IssuedKey, Principal, get_api_key
from asgi_apikey.asgi.types import Message, Receive, Scope, Send
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import FakeClock

PEPPER: Final = bytes.fromhex("8f1de247b09a63c52ef47108db963a5c0fe78429bd1672ca4e9358f02ba1d63f")
CHECKSUM_KEY: Final = bytes.fromhex("31c87e05fa924db6601be359a72cd48f")

HEADER: Final = b"x-api-key"
PARAMETER: Final = b"api_key"

OPEN_PATHS: Final = ("/health", "/static/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as a server would hand it over.

    Attributes:
        what: What was done to it, for the tally.
        guard: Which of the world's middlewares it meets.
        headers: Lines in order.
        query: The raw query string.
        kind: `http` or `websocket`.
        denial: Whether the server can answer a handshake with a response.
        raw_path: The path as it was sent, None where the server does not tell.
        client: Address of the peer.
        state: What the server put there; `...` for nothing at all.
    """

    what: str
    guard: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    query: bytes = b""
    kind: str = "http"
    denial: bool = True
    method: str = "GET"
    path: str = "/"
    raw_path: bytes | None = None
    client: tuple[str, int] | None = None
    state: Any = ...

    def scope(self) -> Scope:
        """Return a new ASGI scope for it."""
        scope: Scope = {
            "type": self.kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "path": self.path,
            "raw_path": self.raw_path,
            "root_path": "",
            "query_string": self.query,
            "headers": list(self.headers),
            "client": self.client,
        }
        if self.kind == "http":
            scope["method"] = self.method
        elif self.denial:
            scope["extensions"] = {"websocket.http.response": {}}
        if self.state is not ...:
            scope["state"] = dict(self.state) if isinstance(self.state, dict) else self.state
        return scope


@dataclass(slots=True)
class Answer:
    """What became of a request.

    Attributes:
        status: HTTP status; 101 for an accepted WebSocket, 1008 for one closed before it was accepted.
        called: Whether the application inside was.
        principal: Whom it found.
        messages: Everything that was sent.
    """

    status: int | None = None
    called: bool = False
    principal: Principal | None = None
    messages: list[Message] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Whether this is an orderly no: the client was told that it is its fault, and nobody else heard of it."""
        return not self.called and self.principal is None and self.status in {400, 401, 1008}


class World:
    """Keys in memory, of both versions and in every standing, behind one middleware for each set of places.

    Attributes:
        good: Keys that have to be let in.
        ended: Keys that were good once, or will be, or are elsewhere.
        texts: All that is let in, as bytes.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        repository, hasher = MemoryRepository(), HMACSHA256Hasher(PEPPER)
        # Issued without a checksum key: version 1. Both are read by either.
        self._plain = APIKeys(repository=repository, hasher=hasher, clock=self.clock)
        self.keys = APIKeys(
            repository=repository,
            hasher=hasher,
            clock=self.clock,
            checksum_keys=[CHECKSUM_KEY],
            usage_interval=1e9,  # a timer of the real clock, which knows nothing of the jumps of ours
        )
        self.good: list[IssuedKey] = []
        self.ended: list[IssuedKey] = []
        self.texts: frozenset[bytes] = frozenset()
        self.guards = {
            "header": APIKeyMiddleware(_application, keys=self.keys, exempt=OPEN_PATHS),
            "bearer": APIKeyMiddleware(_application, keys=self.keys, header=None, bearer=True),
            "query": APIKeyMiddleware(_application, keys=self.keys, header=None, query_param="api_key"),
            "cookie": APIKeyMiddleware(_application, keys=self.keys, header=None, cookie="api_key"),
            "everywhere": APIKeyMiddleware(
                _application, keys=self.keys, bearer=True, query_param="api_key", cookie="api_key", strip=True
            ),
        }

    async def settle(self) -> None:
        """Issue the keys."""
        for number in range(8):
            keys = self._plain if number % 2 else self.keys
            self.good.append(await keys.issue(owner=f"owner {number}", scopes={"orders:read"}))
        now = self.clock.wall()
        revoked = await self._plain.issue(owner="revoked")
        await self.keys.revoke(revoked.record.key_id)
        disabled = await self.keys.issue(owner="disabled")
        await self.keys.disable(disabled.record.key_id)
        deleted = await self.keys.issue(owner="deleted")
        await self.keys.delete(deleted.record.key_id)
        self.ended = [
            revoked,
            disabled,
            deleted,
            await self.keys.issue(owner="expired", expires_at=now + 1.0),
            await self._plain.issue(owner="later", not_before=now + 10_000 * DAY),
            await self.keys.issue(owner="elsewhere", environment="test"),
        ]
        self.clock.advance(1.0)
        self.texts = frozenset(each.key.encode() for each in self.good)

    async def close(self) -> None:
        """End what runs in the background."""
        await self.keys.close()
        await self._plain.close()

    async def ask(self, request: Request) -> Answer:
        """Send one request and return what became of it."""
        return await self.ask_with(request, request.scope())

    async def ask_with(self, request: Request, scope: Scope) -> Answer:
        """The same, in an ASGI scope that the caller looks at afterwards, as an access log does."""
        answer = Answer()

        async def receive() -> Message:
            return {"type": "websocket.connect"} if request.kind == "websocket" else {"type": "http.request"}

        async def send(message: Message) -> None:
            answer.messages.append(message)
            if answer.status is None:
                answer.status = _status(message)

        scope["answer"] = answer
        await self.guards[request.guard](scope, receive, send)
        if get_api_key() is not None:
            raise AssertionError("a principal has outlived its request")
        return answer


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    answer = scope["answer"]
    answer.called = True
    answer.principal = scope["state"]["api_key"]
    if get_api_key() is not answer.principal:
        raise AssertionError("two places name different principals")
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _status(message: Message) -> int:
    kind = message["type"]
    if kind == "websocket.accept":
        return 101
    return int(message["code"] if kind == "websocket.close" else message["status"])
