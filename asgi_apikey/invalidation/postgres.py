"""A bus over LISTEN and NOTIFY of the PostgreSQL server that holds the keys: many hosts, and no other server.

Each event loop has one connection for it. What asyncpg does not notice by itself is found out here: a backend that was
frozen (it gave no sign for 5 s and more, measured with asyncpg 0.32), and a pooler in between that takes LISTEN and
never passes a notification on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.invalidation.exchange import Exchange
from asgi_apikey.invalidation.letters import MAX_LETTER, Seal
from asgi_apikey.invalidation.line import LineLost, LineUseless
from asgi_apikey.models import Seconds
from asgi_apikey.protocols import CatchUp

T = TypeVar("T")

_LONGEST_TIMEOUT: Final[Seconds] = 10.0
_LONGEST_CHANNEL: Final = 30
"""Bytes. An identifier of PostgreSQL has at most 63, and an inbox takes 33."""
_MOST_HELD: Final = 10_000

_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_REFUSALS: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)

_DEAF: Final = (
    "notifications do not arrive: there is a pooler of transactions (PgBouncer) in between, which takes LISTEN and "
    "drops what comes. Give the bus the server's own address, or do without a bus: then revokes wait for the leases"
)


class PostgresBus:
    """A `Bus` over LISTEN and NOTIFY.

    Any role that may connect to a database may also send notifications in it, so every message is sealed under
    `secret`, and what is not is ignored. Only NOTIFY takes a lock in PostgreSQL, for an instant, one for all databases
    of a server.

    Not through a pooler of transactions: see `check`. asyncio only.

    Args:
        dsn: `postgresql://…` as asyncpg reads it, of the database with the keys, on the primary.
        secret: Shared by all workers, at least 32 bytes.
        channel: What the channels' names start with, up to 30 characters. Workers of different channels, or of
            different databases, do not hear each other.
        timeout: Seconds that PostgreSQL has for each operation.

    Raises:
        ConfigurationError: No secret or a short one, or a channel or time-out that is not possible.
    """

    counter: Sequence[int] = (0,)

    def __init__(self, dsn: str, *, secret: str | bytes, channel: str = "asgi-apikey", timeout: Seconds = 0.5) -> None:
        if not 0 < timeout <= _LONGEST_TIMEOUT:
            raise ConfigurationError(
                f"the time-out of PostgreSQL must be positive seconds, at most {_LONGEST_TIMEOUT:g}"
            )
        if len(channel) > _LONGEST_CHANNEL or '"' in channel:
            raise ConfigurationError(f"the channel must have at most {_LONGEST_CHANNEL} characters, and no quotes")
        seal = Seal(secret, channel)
        # Once a notification has come all the way, it need not be tried again whenever the server was restarted.
        passed = asyncio.Event()

        async def connect(inbox: bytes) -> _PostgresLine:
            line = _PostgresLine(await _connection(dsn, timeout), channel, inbox, timeout)
            try:
                await line.listen()
                if not passed.is_set():
                    await _try_out(line, dsn, timeout)
                    passed.set()
            except BaseException:
                await line.close()
                raise
            return line

        self._channel = channel
        self._exchange = Exchange(connect, seal, kind="postgres")

    def __repr__(self) -> str:
        return f"PostgresBus({self.name!r}, channel={self._channel!r})"

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
        """Find out whether this can work. A PostgreSQL that is out of reach now is no reason why not.

        Raises:
            ConfigurationError: There is a pooler of transactions in between, or PostgreSQL refuses us.
        """
        await self._exchange.check()


class _PostgresLine:
    """A `Line`: one connection, which listens and sends."""

    def __init__(self, raw: asyncpg.Connection, channel: str, inbox: bytes, timeout: Seconds) -> None:
        self._raw = raw
        self._channel = channel
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self.inbox = self._name_of(inbox)
        self._turn = asyncio.Lock()
        self._talking: set[asyncio.Task[object]] = set()
        self._heard: deque[str] = deque()
        self._news = asyncio.Event()
        self._lost = ""
        raw.add_termination_listener(lambda _: self._lose("PostgreSQL has closed the connection"))

    async def listen(self) -> None:
        """Listen to both channels.

        Raises:
            LineLost: That was not possible in time.
        """
        for channel in (self._channel, self.inbox):
            # By name: asyncpg keeps the listener, and says LISTEN.
            await self._talk(self._raw.add_listener(channel, self._hear))

    async def receive(self, quiet: Seconds) -> str | None:
        """See `Line.receive`."""
        while not self._heard:
            self._news.clear()
            if self._lost:
                raise LineLost(self._lost)
            try:
                async with asyncio.timeout(quiet):
                    await self._news.wait()
            except TimeoutError:
                return None
        return self._heard.popleft()

    async def probe(self) -> None:
        """See `Line.probe`."""
        await self._talk(self._raw.execute("SELECT 1"))

    async def send(self, text: str, inbox: bytes | None) -> None:
        """See `Line.send`."""
        await self.notify(self._channel if inbox is None else self._name_of(inbox), text)

    async def notify(self, channel: str, text: str) -> None:
        """Send a text to a channel.

        Raises:
            LineLost: PostgreSQL did not take it in time.
        """
        await self._talk(self._raw.execute(_notification(channel, text)))

    async def close(self) -> None:
        """See `Line.close`."""
        self._lose("we have hung up")

    async def _talk(self, call: Coroutine[object, object, T]) -> None:
        """Wait for a call in a task of its own, as cancelling one of asyncpg's would ask the server, and wait."""
        task = self._loop.create_task(self._in_turn(call))
        self._talking.add(task)
        task.add_done_callback(self._talked)
        await asyncio.wait({task}, timeout=2 * self._timeout)
        if not task.done():
            self._lose(f"PostgreSQL did not answer within {self._timeout:g} s")
            raise LineLost(self._lost)
        if (error := task.exception()) is not None:
            self._lose(f"PostgreSQL failed ({type(error).__name__})")
            raise LineLost(self._lost) from error

    async def _in_turn(self, call: Coroutine[object, object, T]) -> None:
        """One at a time. Whoever waited for us may have left; so it is a timer that ends what takes too long."""
        try:
            async with self._turn:
                timer = self._loop.call_later(
                    self._timeout, self._lose, f"PostgreSQL did not answer within {self._timeout:g} s"
                )
                try:
                    await call
                finally:
                    timer.cancel()
        finally:
            call.close()

    def _talked(self, task: asyncio.Task[None]) -> None:
        self._talking.discard(task)
        if not task.cancelled():
            # Fetched, so that the loop does not report an error that its caller did not stay to hear.
            task.exception()

    def _hear(self, connection: object, pid: int, channel: str, text: str) -> None:
        # What is longer than any letter is none; asyncpg has read it already, PostgreSQL lets 7,999 bytes through.
        if len(text) <= MAX_LETTER and len(self._heard) < _MOST_HELD:
            self._heard.append(text)
            self._news.set()

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = reason
            self._news.set()
            with suppress(RuntimeError):
                # RuntimeError: its loop is closed.
                self._raw.terminate()

    def _name_of(self, inbox: bytes) -> str:
        return f"{self._channel}:{inbox.hex()}"


async def _connection(dsn: str, patience: Seconds) -> asyncpg.Connection:
    """Open a connection.

    Raises:
        LineLost: That was not possible in time.
    """
    try:
        return await asyncpg.connect(
            dsn,
            timeout=patience,
            # Nothing is prepared: what we say has no parameters, and a pooler must be found out, not stumbled over.
            statement_cache_size=0,
            # A notification is not kept over a crash anyway, so none needs to wait for the disk.
            server_settings={"application_name": "asgi-apikey bus", "synchronous_commit": "off"},
        )
    except _REFUSALS as error:
        raise LineUseless(f"PostgreSQL refuses the bus ({type(error).__name__})") from error
    except asyncpg.ProtocolViolationError as error:
        # How PgBouncer says that it does not know a setting of the session.
        raise LineUseless(_DEAF) from error
    except (*_ERRORS, ValueError) as error:
        raise LineLost(f"PostgreSQL cannot be reached ({type(error).__name__})") from error


async def _try_out(line: _PostgresLine, dsn: str, patience: Seconds) -> None:
    """Send a notification to a line from another connection and see it arrive.

    From another one, because a pooler that has but one client gives both of that client's transactions the same
    session: what it sends itself, it would hear.

    Raises:
        LineLost: The other connection could not be made.
        LineUseless: It did not arrive.
    """
    other = _PostgresLine(await _connection(dsn, patience), "", b"", patience)
    try:
        word = secrets.token_hex(16)
        await other.notify(line.inbox, word)
        async with asyncio.timeout(2 * patience):
            while await line.receive(patience) != word:
                pass
    except TimeoutError:
        raise LineUseless(_DEAF) from None
    finally:
        await other.close()


def _notification(channel: str, text: str) -> str:
    """The statement; the channel has no quotes, and the text consists of hexadecimal digits."""
    return f"NOTIFY \"{channel}\", '{text}'"
