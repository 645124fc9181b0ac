"""A connection that the application's `Database` lends for one unit of work, and who may have it when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from databases.core import Connection

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.databases.units import Unit
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.migrations import Migration
from asgi_apikey.repositories.records import Row, Value

T = TypeVar("T")


class Loan(Protocol):
    """A lent connection. Statements go to the connection below `databases`, as they are.

    `databases` would take `:name` and `%` in them for its own, answer a write with different things on different
    databases, and print every parameter to its DEBUG log.
    """

    @property
    def checked(self) -> bool:
        """Whether the store that it leads to has been found to be the right one."""
        ...

    def mark_checked(self) -> None:
        """The store that it leads to is the right one."""
        ...

    async def store(self) -> tuple[int, str | None]:
        """Return the schema's version and the store's id; 0 and None where there is no store.

        Raises:
            StoreUnavailable: No answer, or not a sensible one.
            ConfigurationError: No store can be in such a database.
        """
        ...

    async def migrate(self, *, patience: Seconds) -> None:
        """Bring the database to the newest schema; of racing processes, one does it.

        Args:
            patience: Seconds for which to wait for the locks of others.

        Raises:
            StoreUnavailable: Not done, or perhaps done.
            ConfigurationError: The database is ahead of us.
        """
        ...

    async def fetch(self, sql: str, args: Sequence[Value]) -> list[Row]:
        """Run one reading statement by itself.

        Raises:
            StoreUnavailable: It failed.
        """
        ...

    async def change(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction that holds the change lock.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        ...

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction that does not.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        ...

    def was_dead(self, error: StoreUnavailable) -> bool:
        """Whether `error` says that the connection was lost, perhaps long before it was lent."""
        ...

    async def give_back(self) -> None:
        """Return the connection. Raises nothing: what was done with it is done."""
        ...


@dataclass(frozen=True, slots=True)
class Lines:
    """Where the units of one event loop wait their turn, before they take a connection from the application.

    Attributes:
        slots: One for each connection that we may have at once.
        browsing: One for each that may read many rows at once; the others are left to the reads of requests.
        changing: Changes wait for each other here; in the database each would hold a connection meanwhile.
        writing: Other writes do, too.
    """

    slots: asyncio.Semaphore
    browsing: asyncio.Semaphore
    changing: asyncio.Lock
    writing: asyncio.Lock


class Dialect(Protocol):
    """What differs between databases. One object serves all event loops."""

    @property
    def steps(self) -> tuple[Migration, ...]:
        """The schema's history."""
        ...

    @property
    def skip_locked(self) -> str:
        """See `Driver.skip_locked`."""
        ...

    def lines(self, connections: int) -> Lines:
        """Return the lines of one event loop, before at most so many connections."""
        ...

    async def take(self, unit: Unit, *, create: bool) -> Loan:
        """Take a connection for a unit, and see to it that the unit can be ended from outside.

        Args:
            unit: On whose behalf.
            create: Whether a missing database may be made, if that is possible at all.

        Raises:
            StoreUnavailable: None to be had.
        """
        ...

    async def close(self, *, patience: Seconds) -> None:
        """Release what is ours, and only that, within `patience` seconds."""
        ...


def lines(connections: int, changing: asyncio.Lock, writing: asyncio.Lock) -> Lines:
    """Return the lines before so many connections."""
    return Lines(asyncio.Semaphore(connections), asyncio.Semaphore(max(1, connections // 2)), changing, writing)


async def enter(connection: Connection) -> None:
    """Take a connection of `databases`, in the task that it was made for.

    Raises:
        StoreUnavailable: The `Database` has been disconnected meanwhile.
    """
    try:
        await connection.__aenter__()
    except (AssertionError, AttributeError) as error:
        # An `assert` is how `databases` says so; under `python -O` it runs on, into an attribute of None.
        raise StoreUnavailable("the application's Database is not connected") from error
