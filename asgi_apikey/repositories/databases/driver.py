"""The application's own `databases.Database` as a `Driver`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Final, TypeAlias, TypeVar

from databases import Database

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.perloop import PerLoop
from asgi_apikey.repositories.databases.loans import Dialect, Lines, Loan
from asgi_apikey.repositories.databases.units import Unit, Units
from asgi_apikey.repositories.driver import MIGRATE, MIGRATE_AFTER, Transaction, allowed
from asgi_apikey.repositories.migrations import pending
from asgi_apikey.repositories.records import Row, Value
from asgi_apikey.repositories.sql import SQLRepository

T = TypeVar("T")
_Use: TypeAlias = Callable[[Loan, Unit], Awaitable[T]]
_Turn: TypeAlias = asyncio.Lock | asyncio.Semaphore
_log = logging.getLogger("asgi_apikey")

_TRIES: Final = 3
_LONGEST_DEADLINE: Final[Seconds] = 3_600.0  # in milliseconds it must fit into 31 bits


def keys_in(database: Database, *, deadline: Seconds = 2.0, connections: int = 4) -> SQLRepository:
    """Return the repository that keeps keys in an application's database: `APIKeys(repository=keys_in(database))`.

    Args:
        database: See `DatabasesDriver`.
        deadline: Seconds that a call may take.
        connections: The most that each event loop has at once.

    Raises:
        ConfigurationError: This database cannot hold keys; the message says what to do instead.
    """
    return SQLRepository(DatabasesDriver(database, deadline=deadline, connections=connections))


class _Place:
    """What belongs to one event loop.

    Attributes:
        opened: Whether the schema was found complete.
    """

    __slots__ = ("lines", "opened", "units")

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.units = Units()
        self.opened = False


class DatabasesDriver:
    """A `databases.Database` on SQLite (aiosqlite) or PostgreSQL 14 or newer (asyncpg).

    The application goes on using it as before, also within transactions of its own: each of our units of work runs in
    a task of its own and has a connection of its own, so it neither sees nor ends a transaction of the application.
    On SQLite that has a price: a change of a key waits for the application's open write transaction, and gives up
    when `deadline` is over. Make changes of keys before or after it, not within.

    Whether and when the application connects it does not matter, and it is never disconnected here. While it is not
    connected to PostgreSQL, and on event loops other than its own, a copy with the same URL and options is used, whose
    connections are opened as needed and closed by `close`. asyncio only.

    A unit of work whose caller is cancelled goes on to its end if it has a connection, under the same deadline.
    After that its statement is interrupted (SQLite) or its connection is closed (PostgreSQL), so a silent server
    costs the application's pool no connection.

    Not a secret is ever bound; yet the digests are hidden from the DEBUG log of `databases`, too, which prints values.

    Args:
        database: Not one with `force_rollback`, which never commits.
        deadline: Seconds that a call may take, from the call to the answer, give or take 0.1 s. What works on many rows
            has a longer one.
        connections: The most that each event loop has at once; leave the application enough of its pool.

    Raises:
        ConfigurationError: Another backend, `force_rollback`, SQLite in memory or too old, or a number out of range.
    """

    def __init__(self, database: Database, *, deadline: Seconds = 2.0, connections: int = 4) -> None:
        if not isinstance(database, Database):
            raise ConfigurationError("give a databases.Database; for a URL, use APIKeys(url)")
        if not 0 < deadline <= _LONGEST_DEADLINE:
            raise ConfigurationError(f"deadline must be positive seconds, at most {_LONGEST_DEADLINE:g}")
        if connections < 1:
            raise ConfigurationError("connections must be at least 1")
        _check_commits(database)
        dialect = _dialect_of(database, deadline=deadline, connections=connections)
        self._database = database
        self._dialect: Dialect = dialect
        self._deadline = deadline
        self._database_id: str | None = None
        self._warned = False
        # A place does not know this object, so both can be collected while their loop lives.
        self._places: PerLoop[_Place] = PerLoop(lambda: _Place(dialect.lines(connections)), _forget)

    @property
    def skip_locked(self) -> str:
        """See `Driver`."""
        return self._dialect.skip_locked

    async def open(self, *, create: bool) -> None:
        """Check the schema; with `create`, make or migrate the tables first (and a missing SQLite file, mode 0600).

        A store that this object has already used is never made a second time: an empty one in its place would turn
        every key into an unknown one.

        Raises:
            StoreUnavailable: It cannot be reached, is not a key store (yet), or is another one.
            ConfigurationError: The store's schema is newer than this version of the package.
        """
        place = self._here()
        if create and place.opened:
            # Every `add` comes by here.
            return
        may_create = create and self._database_id is None

        async def look(loan: Loan, _: Unit) -> int:
            return await self._look(loan)

        async def migrate(loan: Loan, _: Unit) -> None:
            await loan.migrate(patience=MIGRATE_AFTER)
            await self._check(loan)

        missing = await self._lent(place, look, create=may_create)
        if missing and not may_create:
            raise _behind(missing)
        if missing:
            await self._lent(place, migrate, turn=place.lines.changing, deadline=MIGRATE)
        place.opened = True

    async def close(self) -> None:
        """Wait for units whose callers have left, and close our copies; takes at most twice `deadline`.

        The application's `Database` is left as it is.
        """
        place = self._places.take_all().get(_running_loop())
        if place is not None:
            await place.units.finish(patience=self._deadline)
        await self._dialect.close(patience=self._deadline)

    async def fetch(self, sql: str, args: Sequence[Value] = (), *, deadline: Seconds | None = None) -> list[Row]:
        """Run one reading statement by itself.

        Raises:
            StoreUnavailable: No answer within the deadline, or an error for one.
        """

        async def read(loan: Loan, _: Unit) -> list[Row]:
            await self._check(loan)
            return await loan.fetch(sql, args)

        place = self._here()
        return await self._used(place, read, turn=None if deadline is None else place.lines.browsing, deadline=deadline)

    async def change(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` in a transaction that holds the change lock, so that commit order is feed order.

        `work` is run again, at most twice, where PostgreSQL says that the same transaction may now succeed.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """

        async def change(loan: Loan, unit: Unit) -> T:
            await self._check(loan)
            return await loan.change(_watched(unit, work))

        place = self._here()
        return await self._used(place, change, turn=place.lines.changing, deadline=deadline)

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` like `change`, but without the change lock.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """

        async def write(loan: Loan, unit: Unit) -> T:
            await self._check(loan)
            return await loan.write(_watched(unit, work))

        place = self._here()
        return await self._used(place, write, turn=place.lines.writing, deadline=deadline)

    def _here(self) -> _Place:
        _running_loop()
        return self._places.here()

    async def _used(
        self, place: _Place, use: _Use[T], *, turn: _Turn | None = None, deadline: Seconds | None = None
    ) -> T:
        """Run `use` for a caller who cannot do anything about a wrong configuration."""
        try:
            return await self._lent(place, use, turn=turn, deadline=deadline)
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error

    async def _lent(
        self,
        place: _Place,
        use: _Use[T],
        *,
        turn: _Turn | None = None,
        deadline: Seconds | None = None,
        create: bool = False,
    ) -> T:
        """Run `use` in a unit of its own, on a lent connection, when it is its turn."""

        async def work(unit: Unit) -> T:
            async with nullcontext() if turn is None else turn, place.lines.slots:
                return await self._with_loan(unit, use, create=create)

        return await place.units.run(work, deadline=allowed(self._deadline, deadline))

    async def _with_loan(self, unit: Unit, use: _Use[T], *, create: bool) -> T:
        """Run `use` on a connection; on another one, if the first had died while nobody used it."""
        wait = unit.end
        for tries_left in reversed(range(_TRIES)):
            _check_commits(self._database)
            unit.end = wait
            loan = await self._dialect.take(unit, create=create)
            unit.holding = True
            try:
                unit.check_time()
                return await use(loan, unit)
            except StoreUnavailable as error:
                if not tries_left or unit.began or unit.expired or not loan.was_dead(error):
                    raise
            finally:
                await loan.give_back()
                unit.holding = False
        raise AssertionError("the last try either returns or raises")

    async def _check(self, loan: Loan) -> None:
        if not loan.checked:
            missing = await self._look(loan)
            if missing:
                raise _behind(missing)

    async def _look(self, loan: Loan) -> int:
        """Return how many steps of the schema are missing; where none are, the store is from now on the one we know."""
        version, database_id = await loan.store()
        if self._database_id not in (None, database_id):
            self._refuse_foreign()
        missing = len(pending(self._dialect.steps, version))
        if not missing:
            self._database_id = database_id
            loan.mark_checked()
        return missing

    def _refuse_foreign(self) -> None:
        if not self._warned:
            _log.error(
                "the Database leads to another key store than the one that this process has used before",
                extra={"event": "other_store"},
            )
            self._warned = True
        raise StoreUnavailable(
            "the Database leads to another key store than before: put the right one back, or restart to use this one"
        )


def _dialect_of(database: Database, *, deadline: Seconds, connections: int) -> Dialect:
    """Return what to do on this database. Only its own libraries are imported: one has the driver of one's database."""
    name, driver = database.url.dialect, database.url.driver
    if name == "sqlite":
        from asgi_apikey.repositories.databases.sqlite import SQLiteDialect

        return SQLiteDialect(database, deadline=deadline)
    if name in ("postgresql", "postgres") and driver != "aiopg":
        from asgi_apikey.repositories.databases.postgres import PostgresDialect

        return PostgresDialect(database, connections=connections, deadline=deadline)
    raise ConfigurationError("keys can be kept by a Database on SQLite (aiosqlite) or PostgreSQL (asyncpg)")


def _check_commits(database: Database) -> None:
    """Refuse a `Database` that rolls everything back: a key it has acknowledged would be unknown to everybody else.

    It can still be made so after it was given to us, by its method `force_rollback`.
    """
    if getattr(database, "_force_rollback", False) or getattr(database, "_global_connection", None) is not None:
        raise ConfigurationError(
            "a Database with force_rollback never commits: give keys another Database, or, in tests, 'memory:'"
        )


def _behind(missing: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"the database lacks {missing} step(s) of the key store's schema: `asgi-apikey init` on the same URL,"
        " or `await repository.open(create=True)`"
    )


def _watched(unit: Unit, work: Callable[[Transaction], Awaitable[T]]) -> Callable[[Transaction], Awaitable[T]]:
    """Let the unit know when its transaction has begun, and when all that is left is to commit it."""

    async def watched(transaction: Transaction) -> T:
        unit.check_time()
        unit.began = True
        result = await work(transaction)
        # Whoever was told that time is up, and that nothing was committed, must be able to rely on it.
        unit.check_time()
        unit.committing = True
        return result

    return watched


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise ConfigurationError(
            "databases needs asyncio: on trio use 'memory:' or a repository of your own"
        ) from error


def _forget(loop: asyncio.AbstractEventLoop, place: _Place) -> None:
    """Nothing to do when a loop is gone: its units ended with it."""
