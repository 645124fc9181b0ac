"""PostgreSQL behind `databases`: connections of the application's asyncpg pool, or of a copy of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar
from weakref import WeakSet

from databases import Database
from databases.core import Connection

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.perloop import PerLoop
from asgi_apikey.repositories.databases.loans import Lines, Loan, enter, lines
from asgi_apikey.repositories.databases.units import Unit, nothing
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.migrations import Migration, migrations
from asgi_apikey.repositories.postgres.meanings import ERRORS, is_lost, is_transient, translated
from asgi_apikey.repositories.postgres.placeholders import Placeholders
from asgi_apikey.repositories.postgres.schema import LOCK_CHANGES, SKIP_LOCKED, migrate, store_of
from asgi_apikey.repositories.postgres.session import Limits, Session
from asgi_apikey.repositories.records import Row, Value

T = TypeVar("T")

_TRIES: Final = 3


class _Pool(Protocol):
    """What we ask of asyncpg's pool."""

    def is_closing(self) -> bool: ...

    def terminate(self) -> None: ...


class PostgresDialect:
    """An asyncpg pool: the application's where that can be used, else one of our own with the same options.

    A pool belongs to the event loop that it was connected on. On that loop we use the application's; on another one,
    and as long as the application has not connected, a copy that is connected on first use. So nobody depends on who
    connects first, and we never disconnect what is not ours.

    Args:
        database: The application's.
        connections: The most that a copy opens.
        deadline: Seconds that one of our units may take, to tell the server.
    """

    def __init__(self, database: Database, *, connections: int, deadline: Seconds) -> None:
        self.steps = migrations("postgres")
        self.skip_locked = SKIP_LOCKED
        self._limits = Limits.within(deadline)
        self._placeholders = Placeholders()
        self._database = database
        self._checked: WeakSet[object] = WeakSet()
        options = {name: value for name, value in database.options.items() if name not in ("min_size", "init_size")}
        # `min_size` is 0, so connecting the copy connects nothing yet, and its pool is there at once.
        options |= {"min_size": 0, "max_size": connections}
        self._copies = PerLoop(lambda: _Copy(Database(database.url, **options)), _discard)

    def lines(self, connections: int) -> Lines:
        """Changes wait in one line, other writes in another: those do not need the change lock."""
        return lines(connections, asyncio.Lock(), asyncio.Lock())

    async def take(self, unit: Unit, *, create: bool) -> Loan:
        """Take a connection from a pool; asyncpg can be cancelled while we wait for it.

        Raises:
            StoreUnavailable: None to be had.
        """
        database = self._database if _usable(self._database) else await self._copies.here().connected()
        connection = database.connection()
        with translated():
            await enter(connection)
        # The pool's proxy forgets a connection that is terminated, and cannot even be asked whether it is closed then.
        raw = getattr(connection.raw_connection, "_con", connection.raw_connection)
        # The session is not ours: whatever we set ends with our transaction.
        session = Session(raw, self._placeholders, self._limits.lasting(unit.deadline).set_local())
        loan = _PostgresLoan(connection, unit, raw=raw, session=session, steps=self.steps, checked=self._checked)
        # From here on nothing inside of asyncpg is cancelled: it would ask the server to stop, and wait for its answer.
        unit.end = loan.terminate
        return loan

    async def close(self, *, patience: Seconds) -> None:
        """Disconnect our copies, bounded: `disconnect()` waits for every connection to be given back."""
        here = asyncio.get_running_loop()
        for loop, copy in self._copies.take_all().items():
            if loop is here:
                await copy.close(patience=patience)
            else:
                _discard(loop, copy)


class _Copy:
    """A `Database` of our own, for one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def connected(self) -> Database:
        """Return it, connected.

        Raises:
            StoreUnavailable: Its options are refused.
        """
        if not self._database.is_connected:
            with translated():
                await self._database.connect()
        return self._database

    async def close(self, *, patience: Seconds) -> None:
        if not self._database.is_connected:
            return
        closing = asyncio.ensure_future(self._database.disconnect())
        await asyncio.wait({closing}, timeout=patience)
        self.terminate()
        # Without its connections it ends at once.
        await asyncio.wait({closing})
        closing.exception()

    def terminate(self) -> None:
        pool = _pool_of(self._database)
        if pool is not None:
            pool.terminate()

    def bury(self) -> None:
        """Close the sockets, which the closed loop alone could close properly."""
        for holder in getattr(_pool_of(self._database), "_holders", ()):
            raw = getattr(holder, "_con", None)
            if raw is not None:
                Session(raw, Placeholders(), "").bury()


class _PostgresLoan:
    """One connection of a pool. Its methods say what `Loan` says."""

    def __init__(
        self,
        connection: Connection,
        unit: Unit,
        *,
        raw: object,
        session: Session,
        steps: tuple[Migration, ...],
        checked: WeakSet[object],
    ) -> None:
        self._connection = connection
        self._unit = unit
        self._proxy = connection.raw_connection
        self._raw = raw
        self._session = session
        self._steps = steps
        self._checked = checked

    @property
    def checked(self) -> bool:
        return self._raw in self._checked

    def mark_checked(self) -> None:
        self._checked.add(self._raw)

    async def store(self) -> tuple[int, str | None]:
        store = await store_of(self._session)
        return store.version, store.database_id

    async def migrate(self, *, patience: Seconds) -> None:
        await migrate(self._session, self._steps, lock_timeout=patience)

    async def fetch(self, sql: str, args: Sequence[Value]) -> list[Row]:
        return await self._session.fetch(sql, args)

    async def change(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._transact(work, LOCK_CHANGES)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._transact(work, "")

    def was_dead(self, error: StoreUnavailable) -> bool:
        return is_lost(error)

    async def give_back(self) -> None:
        if not self._session.reusable:
            # Closed, or in a transaction that could not be rolled back: the pool makes a new one.
            self.terminate()
        with suppress(*ERRORS, AssertionError, AttributeError):
            await self._connection.__aexit__()
        self._unit.end = nothing

    def terminate(self) -> None:
        """Close the connection, if it is still ours: its next user may already have it when this is called."""
        with suppress(*ERRORS):
            self._proxy.terminate()

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]], prologue: str) -> T:
        """Run `work` in a transaction; again, where the server says that the same one may now succeed."""
        for tries_left in reversed(range(_TRIES)):
            self._unit.committing = False
            try:
                return await self._transact_once(work, prologue)
            except StoreUnavailable as error:
                if not tries_left or self._unit.expired or not is_transient(error):
                    raise
        raise AssertionError("the last try either returns or raises")

    async def _transact_once(self, work: Callable[[Transaction], Awaitable[T]], prologue: str) -> T:
        try:
            await self._session.begin(prologue)
            result = await work(self._session)
            await self._session.commit()
        except BaseException as error:
            await self._session.roll_back(error)
            raise
        return result


def _usable(database: Database) -> bool:
    """Whether it is connected, and on this event loop.

    Which loop a pool belongs to is known to asyncpg alone. Where it does not say so any more, a copy is used.
    """
    pool = _pool_of(database)
    if pool is None or not database.is_connected or pool.is_closing():
        return False
    return getattr(pool, "_loop", None) is asyncio.get_running_loop()


def _pool_of(database: Database) -> _Pool | None:
    return getattr(getattr(database, "_backend", None), "_pool", None)


def _discard(loop: asyncio.AbstractEventLoop, copy: _Copy) -> None:
    """Let go of the connections of a loop, from any thread."""
    if not loop.is_closed():
        with suppress(RuntimeError):
            # Not directly: the loop may run in another thread.
            loop.call_soon_threadsafe(copy.terminate)
            return
    copy.bury()
