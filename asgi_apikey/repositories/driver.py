"""What `SQLRepository` needs of a database: four verbs and a transaction.

One dialect of SQL serves every driver, and a driver only translates its placeholders:

* `?` marks a parameter, in order; no statement contains another `?`, nor a `%`.
* Text, 64-bit integers and NULL are the only types.
* Writes answer with `RETURNING` (SQLite >= 3.35, PostgreSQL), because row counts are not portable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from asgi_apikey.repositories.records import Row, Value

T = TypeVar("T")


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

    async def fetch(self, sql: str, args: Sequence[Value] = ()) -> list[Row]:
        """Run one reading statement on the primary, in a snapshot taken after this call began.

        Raises:
            StoreUnavailable: No answer before the driver's deadline, or an error for one.
        """
        ...

    async def change(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in a transaction that holds the change lock, so that commit order is feed order.

        The transaction is run by a task of its own: cancelling the caller never stops it half way. What `work`
        raises rolls it back and is raised here.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        ...

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` like `change`, but without the change lock: for what is not in the feed, like usage.

        Raises:
            StoreUnavailable: Not committed; or, with `outcome_unknown`, perhaps committed.
        """
        ...
