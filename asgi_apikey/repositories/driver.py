"""What `SQLRepository` needs of a database: four verbs and a transaction.

One dialect of SQL serves every driver, and a driver only translates its placeholders:

* `?` marks a parameter, in order; no statement contains another `?`, nor a `%`.
* Text, 64-bit integers and NULL are the only types.
* Writes answer with `RETURNING` (SQLite >= 3.35, PostgreSQL), because row counts are not portable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from asgi_apikey.models import Seconds
from asgi_apikey.repositories.records import Row, Value

T = TypeVar("T")

BROWSE: Final[Seconds] = 15.0
"""The deadline of a read that may have to look at every row: a search, a count, a page of an export. Among a
million keys that took 0.1 to 0.4 s on idle cores with warm caches; disks and neighbours make it ten times as long."""

BULK: Final[Seconds] = 120.0
"""The deadline of a change of many keys, which is one transaction however many they are: 100,000 take 5 to 8 s."""

MIGRATE: Final[Seconds] = 900.0
"""The deadline of bringing a store to the newest schema: a million keys of the first one took SQLite 30 s."""

MIGRATE_AFTER: Final[Seconds] = 45.0
"""How long that waits for other processes, which may be doing the same."""


class Transaction(Protocol):
    """An open transaction. The work inside awaits nothing else: it holds a lock that others wait for."""

    async def fetch(self, sql: str, args: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and return its rows.

        Raises:
            StoreUnavailable: It failed; the transaction will be rolled back.
        """
        ...

    async def run_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement once for each row of parameters.

        Raises:
            StoreUnavailable: It failed; the transaction will be rolled back.
        """
        ...


class Driver(Protocol):
    """A database of one dialect, reached lazily and from any number of event loops.

    It has a deadline of its own for every unit of work, meant for a request that waits. A unit that works on many rows
    asks for a longer one; what is longer of the two holds. It waits no longer for other people's locks, and it leaves
    connections to the reads of requests.

    Attributes:
        skip_locked: What a SELECT within a transaction ends with to lock its rows and pass over those that others
            have locked; empty where writers exclude each other anyway.
    """

    @property
    def skip_locked(self) -> str:
        """See the class."""
        ...

    async def open(self, *, create: bool) -> None:
        """Connect and check the schema, idempotently. Only with `create` may this make or migrate a store.

        Raises:
            StoreUnavailable: It cannot be reached, or is not a key store (yet).
            ConfigurationError: Its schema is newer than this version of the package.
        """
        ...

    async def close(self) -> None:
        """Release everything; the next use opens again."""
        ...

    async def fetch(self, sql: str, args: Sequence[Value] = (), *, deadline: Seconds | None = None) -> list[Row]:
        """Run one reading statement on the primary, in a snapshot taken after this call began.

        Args:
            sql: The statement.
            args: Its parameters.
            deadline: Seconds, see the class; None for the driver's own.

        Raises:
            StoreUnavailable: No answer before the deadline, or an error for one.
        """
        ...

    async def change(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` in a transaction that holds the change lock, so that commit order is feed order.

        The transaction is run by a task of its own: cancelling the caller never stops it half way. What `work`
        raises rolls it back and is raised here.

        Args:
            work: Run once; where the database says that the same may now succeed, again.
            deadline: Seconds, see the class; None for the driver's own.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        ...

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, deadline: Seconds | None = None) -> T:
        """Run `work` like `change`, but without the change lock: for what is not in the feed, like usage.

        Args:
            work: See `change`.
            deadline: Seconds, see the class; None for the driver's own.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        ...


def allowed(own: Seconds, asked: Seconds | None) -> Seconds:
    """Return the seconds that a unit of work has."""
    return own if asked is None else max(own, asked)
