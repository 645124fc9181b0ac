"""A bus over Redis: for workers on many hosts that have one anyway."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from asgi_apikey.invalidation.exchange import Exchange
from asgi_apikey.invalidation.letters import MAX_LETTER, Seal
from asgi_apikey.invalidation.line import LineLost, LineUseless
from asgi_apikey.models import Seconds
from asgi_apikey.protocols import CatchUp
from asgi_apikey.redisaddress import NewServer, new_server
from asgi_apikey.redisclient import OwnedClient, RedisFailed, within

_TIMEOUT: Final[Seconds] = 0.5
"""No request waits for this, and on a busy machine a shorter one only makes the line come and go."""
_PATIENCE_ON_CLOSE: Final[Seconds] = 1.0
_PROOF_OF_LIFE: Final[Seconds] = 0.4
_MOST_HELD: Final = 1_000


class RedisBus:
    """A `Bus` over the publish/subscribe of a Redis server, 5 or newer, or of what speaks its protocol.

    Redis is not trusted: every message is sealed under `secret`, and what is not is ignored. Without Redis, or with one
    that is frozen, emptied, failed over or lying, changes spread with the leases.

    It needs `SUBSCRIBE` and `PUBLISH` on `{channel}:*`, and `PING`; it stores nothing. In a cluster it keeps to one of
    the nodes that are named, as messages are passed on to all, and takes the next one when that is lost. With Sentinels
    it keeps to the master. asyncio only.

    Args:
        address: URL of Redis, see `redisaddress`; or a function that returns a new client of one server.
        secret: Shared by all workers, at least 32 bytes.
        channel: What the channels' names start with, in braces. Workers of different channels do not hear each other.
        timeout: Seconds that Redis has for each operation.

    Raises:
        ConfigurationError: No secret or a short one, or an address that cannot be used.
    """

    counter: Sequence[int] = (0,)

    def __init__(
        self,
        address: str | NewServer,
        *,
        secret: str | bytes,
        channel: str = "asgi-apikey",
        timeout: Seconds = _TIMEOUT,
    ) -> None:
        new = new_server(address, timeout)

        async def connect(inbox: bytes) -> _RedisLine:
            client = OwnedClient(new)
            if not isinstance(client.raw, Redis):
                raise LineUseless("the bus needs a client of one node of a cluster; write redis+cluster://host:6379,…")
            line = _RedisLine(client, _to_all(channel), _to_one(channel, inbox), timeout)
            try:
                await line.subscribe()
            except BaseException:
                await line.close()
                raise
            return line

        self._channel = channel
        self._exchange = Exchange(connect, Seal(secret, channel), kind="redis")

    def __repr__(self) -> str:
        return f"RedisBus({self.name!r}, channel={self._channel!r})"

    @property
    def name(self) -> str:
        """See `Bus.name`."""
        return self._exchange.name

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`."""
        await self._exchange.open(catch_up)

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`."""
        return await self._exchange.wake(seq, workers, patience=patience)

    async def close(self) -> None:
        """See `Bus.close`."""
        await self._exchange.close()

    async def check(self) -> None:
        """Find out whether this can work. A Redis that is out of reach now is no reason why not.

        Raises:
            ConfigurationError: Redis refuses our user, or what it needs.
        """
        await self._exchange.check()


class _RedisLine:
    """A `Line`: one subscribed connection, and the client's other ones to send on."""

    def __init__(self, client: OwnedClient[Redis], to_all: str, inbox: str, timeout: Seconds) -> None:
        self._client = client
        self._channels = (to_all, inbox)
        self._prefix = inbox.rpartition(":")[0]
        self._timeout = timeout
        self._subscription: PubSub = client.raw.pubsub()
        self._held: deque[str] = deque()

    async def subscribe(self) -> None:
        """Listen to both channels; returns when Redis has said that we do.

        Raises:
            LineLost: It has not.
        """
        try:
            async with within(2 * self._timeout):
                await self._subscription.subscribe(*self._channels)
                for _ in self._channels:
                    await self._confirmed()
        except RedisFailed as error:
            raise _lost(error) from error

    async def receive(self, quiet: Seconds) -> str | None:
        """See `Line.receive`."""
        if self._held:
            return self._held.popleft()
        try:
            # The second one is for what comes byte by byte.
            async with within(2 * quiet):
                return _text(await self._message(quiet))
        except RedisFailed as error:
            raise _lost(error) from error

    async def probe(self) -> None:
        """See `Line.probe`. The ping goes the way of the messages: another connection says nothing about this one."""
        try:
            async with within(_PROOF_OF_LIFE):
                await self._subscription.ping()
                while (message := await self._message(_PROOF_OF_LIFE)) is None or message["type"] != "pong":
                    text = _text(message)
                    if text is not None and len(self._held) < _MOST_HELD:
                        self._held.append(text)
        except RedisFailed as error:
            raise _lost(error) from error

    async def send(self, text: str, inbox: bytes | None) -> None:
        """See `Line.send`."""
        channel = self._channels[0] if inbox is None else f"{self._prefix}:{inbox.hex()}"
        try:
            async with self._client.within(self._timeout) as client:
                await client.publish(channel, text)
        except RedisFailed as error:
            raise _lost(error) from error

    async def close(self) -> None:
        """See `Line.close`."""
        with suppress(RedisFailed):
            async with within(_PATIENCE_ON_CLOSE):
                await self._subscription.aclose()  # type: ignore[no-untyped-call]  # they forgot that one
        await self._client.close()

    async def _message(self, patience: Seconds) -> dict[str, object] | None:
        message: dict[str, object] | None = await self._subscription.get_message(timeout=patience)
        if message is not None and message["type"] == "subscribe":
            # The client has connected anew by itself, and said nothing: what was sent in between is lost.
            raise LineLost("the subscription was interrupted")
        return message

    async def _confirmed(self) -> None:
        while (message := await self._subscription.get_message(timeout=self._timeout)) is None or message[
            "type"
        ] != "subscribe":
            pass


def _to_all(channel: str) -> str:
    return f"{{{channel}}}:wake"


def _to_one(channel: str, inbox: bytes) -> str:
    return f"{{{channel}}}:ack:{inbox.hex()}"


def _text(message: dict[str, object] | None) -> str | None:
    """Return what a message says; an empty text, which is no letter, if it says nothing readable."""
    if message is None:
        return None
    said = message["data"]
    if isinstance(said, bytes) and len(said) <= MAX_LETTER:
        return said.decode("ascii", "replace")
    return said if isinstance(said, str) else ""


def _lost(error: RedisFailed) -> LineLost:
    if error.hopeless:
        return LineUseless(f"{error}: its user needs SUBSCRIBE, PUBLISH and PING, and the bus's channels")
    return LineLost(str(error))
