"""PostgreSQL as a `Driver`: every operation in a task of its own, under one deadline, on a pooled connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.perloop import PerLoop
from asgi_apikey.repositories.driver import Transaction, allowed
from asgi_apikey.repositories.postgres.address import address_of
from asgi_apikey.repositories.postgres.meanings import is_lost, is_read_only, is_transient
from asgi_apikey.repositories.postgres.opener import Opener
from asgi_apikey.repositories.postgres.operation import Operation, Operations
from asgi_apikey.repositories.postgres.pool import Pool
from asgi_apikey.repositories.postgres.schema import LOCK_CHANGES, SKIP_LOCKED
from asgi_apikey.repositories.postgres.session import Session
from asgi_apikey.repositories.records import Row, Value

T = TypeVar("T")

_WRITERS: Final = 2
"""Connections kept for writes: one for changes, one for what needs no change lock. A flood of reads cannot hold up a
revocation, and writers who wait for a lock cannot take the connections of readers."""

_CONNECTIONS: Final = 10
_TRIES: Final = 3
_LONGEST_DEADLINE: Final[Seconds] = 3_600.0  # in milliseconds it must fit into 31 bits
_LONGEST_IDLE: Final[Seconds] = 120.0  # below the shortest common limit of firewalls and balancers, 240 s


class _Place:
    """What one event loop has: its connections, and who is writing."""

    def __init__(self, opener: Opener, *, readers: int, deadline: Seconds) -> None:
        self.readers = Pool(opener.connect, size=readers, longest_idle=_LONGEST_IDLE)
        # Reads of many rows leave the other half to the reads of requests.
        self.browsing = asyncio.Semaphore(max(1, readers // 2))
        self.writers = Pool(opener.connect, size=_WRITERS, longest_idle=_LONGEST_IDLE)
        # In line here, before a connection is taken: the server could only let one of ours change at a time anyway.
        self.changing = asyncio.Lock()
        self.writing = asyncio.Lock()
        self.operations = Operations(deadline)

    async def close(self, *, patience: Seconds) -> None:
        await self.operations.finish()
        await asyncio.gather(self.readers.close(patience=patience), self.writers.close(patience=patience))

    def drop_idle(self) -> None:
        self.readers.drop_idle()
        self.writers.drop_idle()

    def terminate(self) -> None:
        self.readers.terminate()
        self.writers.terminate()

    def bury(self) -> None:
        self.readers.bury()
        self.writers.bury()


class PostgresDriver:
    """A PostgreSQL database, 14 or newer.

    Every call is answered within `deadline`, whatever the server does: an operation runs in a task of its own, and
    when it is out of time its connection is closed. A caller who is cancelled leaves an operation that has a
    connection to its end; so nothing is ever half done, and no cancelled request costs a connection.

    Each event loop has connections of its own, opened on first use, remade after a fork. Each new connection is asked
    for the schema and the database's id: where a name suddenly leads to another store, or to an empty one, every call
    raises StoreUnavailable rather than call every key unknown. asyncio only.

    Not noticed: a standby behind a single host name. It answers with what was true a moment ago; name the primary.

    Args:
        url: `postgresql://user:password@host:port/database?option=value`, see `address_of` for the options.
        deadline: Seconds that a call may take. By default, a request that waits for it is answered within a second.
        pool_size: The most connections of one event loop, at least 3: two are for writes. Default: the URL's option
            of that name, or 10.
        statement_cache_size: Prepared statements that each connection keeps. 0 behind PgBouncer or another pooler of
            transactions; each statement then costs one more round trip.

    Raises:
        ConfigurationError: The URL cannot be read, or a number is out of its range.
    """

    skip_locked: Final = SKIP_LOCKED
    """See `Driver`."""

    def __init__(
        self,
        url: str,
        *,
        deadline: Seconds = 0.9,
        pool_size: int | None = None,
        statement_cache_size: int | None = None,
    ) -> None:
        if not 0 < deadline <= _LONGEST_DEADLINE:
            raise ConfigurationError(f"deadline must be positive seconds, at most {_LONGEST_DEADLINE:g}")
        address = address_of(url, statement_cache_size=statement_cache_size)
        if pool_size is None:
            pool_size = _CONNECTIONS if address.pool_size is None else address.pool_size
        if pool_size <= _WRITERS:
            raise ConfigurationError(
                f"pool_size must be at least {_WRITERS + 1}: {_WRITERS} connections are for writes"
            )
        self._deadline = deadline
        self._opener = opener = Opener(address, deadline=deadline)
        # A place does not know this object: so it can be collected, and its connections be discarded, while they live.
        readers = pool_size - _WRITERS
        self._places = PerLoop(lambda: _Place(opener, readers=readers, deadline=deadline), _discard)

    async def open(self, *, create: bool) -> None:
        """Connect this event loop; with `create`, make or migrate the tables first.

        A store that this object has already used is never made a second time: an empty one in its place would turn
        every key into an unknown one.

        Raises:
            StoreUnavailable: It cannot be reached, is not a key store (yet), or is another one.
            ConfigurationError: The URL cannot be used, or the store's schema is newer than this version knows.
        """
        place = self._places.here()
        if place.readers.sessions or place.writers.sessions:
            return
        try:
            await self._reach(place)
        except StoreUnavailable:
            if not (create and self._opener.may_migrate):
                raise
            await self._opener.migrate()
            await self._reach(place)

    async def close(self) -> None:
        """Close the connections of every event loop; waits at most twice `deadline` for this one's."""
        here = asyncio.get_running_loop()
        for loop, place in self._places.take_all().items():
            if loop is here:
                await place.close(patience=self._deadline)
            else:
                _discard(loop, place)

    async def fetch(self, sql: str, args: Sequence[Value] = (), *, deadline: Seconds | None = None) -> list[Row]:
        """Run one reading statement by itself.

        Raises:
            StoreUnavailable: No answer within the deadline, or an error for one.
        """
        place = self._places.here()

        async def read(session: Session) -> list[Row]:
            return await session.fetch(sql, args)

        try:
            if deadline is not None:
                return await self._browse(place, read, allowed(self._deadline, deadline))
            return await place.operations.run(lambda operation: _with_session(place.readers, operation, read))
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error

    async def change(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` in a transaction that holds the change lock, so that commit order is feed order.

        `work` is run again, at most twice, where the server says that the same transaction may now succeed.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        place = self._places.here()
        return await self._write(place, place.changing, work, LOCK_CHANGES, deadline)

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` like `change`, but without the change lock.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        place = self._places.here()
        return await self._write(place, place.writing, work, "", deadline)

    async def _browse(self, place: _Place, read: Callable[[Session], Awaitable[T]], deadline: Seconds) -> T:
        """Read in a transaction, because there the server can be given another limit for a statement."""
        prologue = self._limits_of(deadline)

        async def in_turn(operation: Operation) -> T:
            async with place.browsing:
                return await _with_session(
                    place.readers, operation, lambda session: _transact(session, operation, read, prologue)
                )

        try:
            return await place.operations.run(in_turn, deadline=deadline)
        except StoreUnavailable as error:
            # Nothing was changed, whatever became of the transaction.
            error.outcome_unknown = False
            raise

    async def _write(
        self,
        place: _Place,
        turn: asyncio.Lock,
        work: Callable[[Transaction], Awaitable[T]],
        prologue: str,
        deadline: Seconds | None,
    ) -> T:
        if deadline is not None:
            prologue = "; ".join(filter(None, (self._limits_of(allowed(self._deadline, deadline)), prologue)))

        async def in_turn(operation: Operation) -> T:
            async with turn:
                return await _with_session(
                    place.writers, operation, lambda session: _transact(session, operation, work, prologue)
                )

        try:
            return await place.operations.run(in_turn, deadline=deadline)
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error
        except StoreUnavailable as error:
            if is_read_only(error):
                # Perhaps no longer the primary. New connections look for it again, also those of readers.
                place.drop_idle()
            raise

    def _limits_of(self, deadline: Seconds) -> str:
        return self._opener.limits.lasting(deadline).set_local()

    async def _reach(self, place: _Place) -> None:
        """Have at least one connection, whose store was found to be the right one."""
        await place.operations.run(lambda operation: _with_session(place.readers, operation, _nothing))


async def _with_session(pool: Pool, operation: Operation, use: Callable[[Session], Awaitable[T]]) -> T:
    """Run `use` on a session; again on another one, if the first had died before it could begin.

    Of those that died while nobody used them there may be many, and all were cut at the same time; of those that die
    fresh from the server only the first is forgiven.
    """
    forgiven = False
    while True:
        session = await pool.take()
        operation.session = session
        try:
            return await use(session)
        except StoreUnavailable as error:
            if not is_lost(error):
                raise
            # Told so by the server, it may look open for another moment.
            session.terminate()
            if operation.began or operation.expired or (forgiven and not session.rested):
                raise
            forgiven = forgiven or not session.rested
            pool.drop_idle()
        except asyncio.CancelledError:
            # The loop is being shut down: asyncpg would now ask the server to stop, and wait.
            session.terminate()
            raise
        finally:
            operation.session = None
            pool.give_back(session)


async def _transact(
    session: Session, operation: Operation, work: Callable[[Session], Awaitable[T]], prologue: str
) -> T:
    """Run `work` in a transaction, again where that makes sense."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return await _transact_once(session, operation, work, prologue)
        except StoreUnavailable as error:
            if not tries_left or operation.expired or not is_transient(error):
                raise
    raise AssertionError("the last try either returns or raises")


async def _transact_once(
    session: Session, operation: Operation, work: Callable[[Session], Awaitable[T]], prologue: str
) -> T:
    operation.committing = False
    try:
        await session.begin(prologue)
        operation.began = True
        result = await work(session)
        operation.committing = True
        await session.commit()
    except BaseException as error:
        await session.roll_back(error)
        raise
    return result


async def _nothing(_: Session) -> None:
    """Use a session for nothing: it was checked when it was opened."""


def _discard(loop: asyncio.AbstractEventLoop, place: _Place) -> None:
    """Let go of the connections of a loop, from any thread."""
    if not loop.is_closed():
        with suppress(RuntimeError):
            # Not directly: the loop may run in another thread.
            loop.call_soon_threadsafe(place.terminate)
            return
    place.bury()
