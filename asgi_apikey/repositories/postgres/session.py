"""One connection to PostgreSQL, used by one operation at a time.

Nothing here has a deadline but connecting: whoever has waited long enough calls `terminate`, and everything that waits
on this connection fails at once. asyncpg's own timeouts, and the cancellation of one of its calls, first ask the server
to stop, and wait for its answer: with a frozen server a caller that should have waited 1 s waited 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, cast

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.postgres.address import Address
from asgi_apikey.repositories.postgres.meanings import ERRORS, is_lost, translated
from asgi_apikey.repositories.postgres.placeholders import Placeholders
from asgi_apikey.repositories.records import Row, Value

# Isolation is spelled out: under a default of "repeatable read" the snapshot would be as old as the wait for the lock.
# READ WRITE is not: whoever made the database read-only by default meant it.
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the server lets one of our sessions hold things up, in case we cannot end it ourselves.

    Attributes:
        lock: Seconds for which a statement waits for a lock; below our own deadline, so that giving up is orderly.
        statement: Seconds that a statement may take.
        idle: Seconds for which an open transaction may do nothing: a stopped process keeps its locks no longer.
    """

    lock: Seconds
    statement: Seconds
    idle: Seconds

    @classmethod
    def within(cls, deadline: Seconds) -> Limits:
        """Return the limits of operations that have so many seconds."""
        return cls(lock=0.75 * deadline, statement=deadline, idle=2 * deadline)

    def lasting(self, deadline: Seconds) -> Limits:
        """Return those of an operation that has more time; it waits no longer for a lock."""
        return replace(self, statement=deadline, idle=2 * deadline)

    def settings(self) -> Mapping[str, str]:
        """PostgreSQL's names for them, with values in milliseconds."""
        limits = {
            "lock_timeout": self.lock,
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle,
        }
        return {name: str(max(1, round(seconds * 1000))) for name, seconds in limits.items()}

    def set_local(self) -> str:
        """Statements that make them hold until the end of a transaction."""
        return "; ".join(f"SET LOCAL {name} = {value}" for name, value in self.settings().items())


class Session:
    """An open connection.

    Attributes:
        rested: Whether it lay idle before its present use: the server may have hung up meanwhile.
        idle_since: On the loop's clock: when it was laid aside.
    """

    __slots__ = ("_placeholders", "_raw", "_set_local", "idle_since", "rested")

    def __init__(self, raw: asyncpg.Connection, placeholders: Placeholders, set_local: str) -> None:
        self.rested = False
        self.idle_since: Seconds = 0.0
        self._raw = raw
        self._placeholders = placeholders
        self._set_local = set_local

    @property
    def reusable(self) -> bool:
        """Whether the next operation may have it: open, and no transaction is."""
        return not self._raw.is_closed() and not self._raw.is_in_transaction()

    @property
    def server(self) -> tuple[int, ...]:
        """The server's version; the major one comes first."""
        return tuple(self._raw.get_server_version()[:2])

    @property
    def encoding(self) -> str:
        """How the database stores text, by PostgreSQL's name for it."""
        return str(getattr(self._raw.get_settings(), "server_encoding", ""))

    async def fetch(self, sql: str, args: Sequence[Value] = ()) -> list[Row]:
        """Run one statement and return its rows.

        Also outside of a transaction and behind a pooler of them, a statement is prepared and run on one connection of
        the server: asyncpg sends no Sync in between, so for the pooler it is one transaction.

        Raises:
            StoreUnavailable: It failed.
        """
        with translated():
            return cast("list[Row]", await self._raw.fetch(self._placeholders.numbered(sql), *args))

    async def run_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement once for each row of parameters.

        Raises:
            StoreUnavailable: It failed.
        """
        with translated():
            await self._raw.executemany(self._placeholders.numbered(sql), rows)

    async def begin(self, prologue: str = "") -> None:
        """Open a transaction and run `prologue`, statements without parameters, in the same round trip.

        Raises:
            StoreUnavailable: It failed.
        """
        await self._execute("; ".join(part for part in (_BEGIN, self._set_local, prologue) if part))

    async def commit(self) -> None:
        """Commit.

        Raises:
            StoreUnavailable: It failed; `outcome_unknown` says whether it may have been done all the same.
        """
        try:
            done = await self._execute("COMMIT")
        except StoreUnavailable as error:
            error.outcome_unknown = is_lost(error)
            raise
        if done != "COMMIT":
            # PostgreSQL's answer to COMMIT in a transaction of which a statement has failed.
            raise StoreUnavailable("the transaction was rolled back")

    async def roll_back(self, error: BaseException) -> None:
        """End the transaction after `error`; a connection that cannot be asked to any more is terminated."""
        if not isinstance(error, Exception) or self._raw.is_closed():
            # Cancelled: the loop is being shut down, and asyncpg is not in a state to be asked anything.
            self.terminate()
            return
        with suppress(*ERRORS, StoreUnavailable):
            if self._raw.is_in_transaction():
                await self._execute("ROLLBACK")

    async def close(self, *, patience: Seconds) -> None:
        """Say goodbye to the server and wait until it has hung up; after `patience` seconds, terminate."""
        with suppress(*ERRORS):
            await self._raw.close(timeout=patience)

    def terminate(self) -> None:
        """Close now; whoever waits for an answer gets StoreUnavailable."""
        with suppress(RuntimeError):
            # RuntimeError: its loop is closed.
            self._raw.terminate()

    def bury(self) -> None:
        """Close when the loop is closed, which alone could close it properly.

        The transport's callbacks will never run. What one of them would do, closing the socket, is done here, else
        the server keeps a session for nobody until the garbage collector finds the socket, and warns about it.
        """
        self.terminate()
        transport = getattr(self._raw, "_transport", None)
        transport = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
        connection_lost = getattr(transport, "_call_connection_lost", None)
        if connection_lost is not None and getattr(transport, "_sock", None) is not None:
            with suppress(RuntimeError):
                connection_lost(None)

    async def _execute(self, script: str) -> str:
        with translated():
            return str(await self._raw.execute(script))


async def connect(address: Address, placeholders: Placeholders, *, limits: Limits | None, deadline: Seconds) -> Session:
    """Open a connection.

    Args:
        address: Where.
        placeholders: Shared by all sessions of a driver.
        limits: The server's own limits for the session; None for a session of a migration, which takes its time.
        deadline: Seconds for which to wait.

    Raises:
        StoreUnavailable: That was not possible in time.
        ConfigurationError: The URL or its options cannot be used.
    """
    settings = dict(limits.settings()) if limits is not None else {}
    # A pooler of transactions refuses parameters of the session, and would not keep them anyway.
    pooled = address.statement_cache_size == 0
    set_local = limits.set_local() if limits is not None and pooled else ""
    with translated():
        raw = await asyncpg.connect(
            address.dsn,
            timeout=deadline,
            statement_cache_size=address.statement_cache_size,
            # No limit: one timer per statement and connection bought nothing, our statements do not change.
            max_cached_statement_lifetime=0,
            server_settings={} if pooled else {"application_name": "asgi-apikey", **settings},
        )
    return Session(raw, placeholders, set_local)
