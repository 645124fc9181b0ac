"""Which schema a database has, and how it gets the present one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.migrations import Migration, pending
from asgi_apikey.repositories.postgres.session import Session
from asgi_apikey.repositories.records import Row

CHANGE_LOCK: Final = 2_052_275_969_952_089_470
"""The advisory lock of changes and migrations, one for each database. Any 64-bit number that nobody else would think
of; this one is the start of SHA-256("asgi-apikey"), with the sign bit off. It must never change: processes of two
versions that lock different numbers do not exclude each other."""

# `synchronous_commit = off` acknowledges commits that a crash may lose: here a revoked key would come back. Any other
# setting is stricter than "on" or chosen for a standby, and stays.
LOCK_CHANGES: Final = f"""SELECT pg_advisory_xact_lock({CHANGE_LOCK}), set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
    true)"""

SKIP_LOCKED: Final = " FOR NO KEY UPDATE SKIP LOCKED"
"""As an UPDATE locks a row, but passing over what others have locked; no foreign key leads to ours."""

_OLDEST_SERVER: Final = (14,)  # functions with a body of SQL; 13 was retired in November 2025

_META: Final = "SELECT name, value FROM api_key_meta"


@dataclass(frozen=True, slots=True)
class Store:
    """What a database says of itself.

    Attributes:
        version: Of its schema; 0 where there is none.
        database_id: Its own; None where there is none.
    """

    version: int
    database_id: str | None


async def store_of(session: Session) -> Store:
    """Ask a database, outside of a transaction.

    Raises:
        StoreUnavailable: It does not answer, or not sensibly.
        ConfigurationError: It is too old, or cannot hold all text.
    """
    if session.server < _OLDEST_SERVER:
        raise ConfigurationError(f"PostgreSQL 14 or newer is needed; this is {session.server[0]}")
    if session.encoding != "UTF8":
        raise ConfigurationError(
            f"the database stores text as {session.encoding}: make one with ENCODING 'UTF8' TEMPLATE template0"
        )
    try:
        rows = await session.fetch(_META)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, asyncpg.UndefinedTableError):
            return Store(0, None)
        raise
    return _store(rows)


async def migrate(session: Session, steps: tuple[Migration, ...], *, lock_timeout: Seconds) -> Store:
    """Bring a database to the newest schema, in one transaction; of racing processes, one does it.

    Args:
        session: Without limits of the server: filling an index may take its time.
        steps: All that there are.
        lock_timeout: Seconds for which to wait for another process that migrates, or for tables in use.

    Raises:
        StoreUnavailable: It could not be done, and nothing was.
        ConfigurationError: The database is ahead of us.
    """
    try:
        await session.begin(
            # Limits that a role or a database has by default are meant for its usual statements.
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
            f" SET LOCAL lock_timeout = {round(lock_timeout * 1000)}; SELECT pg_advisory_xact_lock({CHANGE_LOCK})"
        )
        # Read under the lock: of several processes that start at once, the first one has done it all. `to_regclass`
        # looks where the tables would be found, without the error that would end the transaction.
        [[present]] = await session.fetch("SELECT to_regclass('api_key_meta')::text")
        version = _store(await session.fetch(_META)).version if present else 0
        for step in pending(steps, version):
            for statement in step.statements:
                await session.fetch(statement)
            await session.fetch("UPDATE api_key_meta SET value = ? WHERE name = 'schema_version'", (str(step.number),))
        store = _store(await session.fetch(_META))
        await session.commit()
    except BaseException as error:
        await session.roll_back(error)
        raise
    return store


def _store(rows: list[Row]) -> Store:
    entries = {str(name): str(value) for name, value in rows}
    try:
        return Store(int(entries["schema_version"]), entries["database_id"])
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("the key store does not say which schema it has; it is damaged") from error
