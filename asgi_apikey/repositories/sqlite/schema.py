"""Which schema a file has, and how it gets the present one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.driver import Transaction
from asgi_apikey.repositories.migrations import Migration, pending
from asgi_apikey.repositories.owned import Progress
from asgi_apikey.repositories.records import Row
from asgi_apikey.repositories.sqlite.connection import connect, is_busy

_log = logging.getLogger("asgi_apikey")

_WAL_RETRY: Final[Seconds] = 0.01


async def meta_of(fetch: Callable[[str], Awaitable[list[Row]]]) -> tuple[int, str | None]:
    """Return the schema's version and the store's id; 0 and None where there is no store.

    Raises:
        StoreUnavailable: No answer, or not a sensible one.
    """
    if not await fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'api_key_meta'"):
        return 0, None
    rows = await fetch("SELECT name, value FROM api_key_meta")
    entries = {str(name): str(value) for name, value in rows}
    try:
        return int(entries["schema_version"]), entries["database_id"]
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("the key store does not say which schema it has; it is damaged") from error


async def migrate_file(path: Path, steps: tuple[Migration, ...], progress: Progress, *, patience: Seconds) -> None:
    """Bring a file to the newest schema, in one transaction over its own connection; of racing processes, one does.

    Args:
        path: The file; it is there.
        steps: All that there are.
        progress: Of the task that does it, which nobody cancels from then on.
        patience: Seconds for which to wait for other processes that write.

    Raises:
        StoreUnavailable: It could not be done, and nothing was; or, with `outcome_unknown`, perhaps it was.
        ConfigurationError: The file is ahead of us.
    """
    progress.begun = True
    connection = await connect(path, busy_timeout=patience)
    try:
        await connection.run("PRAGMA synchronous = FULL")

        async def write_ahead() -> list[Row]:
            return await connection.run("PRAGMA journal_mode = WAL")

        await _write_ahead(path, write_ahead, patience=patience)

        async def work(transaction: Transaction) -> None:
            # Read under the lock: of several processes that start at once, the first one has done it all.
            version, _ = await meta_of(transaction.fetch)
            await apply(transaction, pending(steps, version))

        await connection.transact(work, Progress())
    finally:
        await connection.close()


async def apply(transaction: Transaction, steps: tuple[Migration, ...]) -> None:
    """Take these steps.

    Raises:
        StoreUnavailable: One failed; the transaction will be rolled back.
    """
    for step in steps:
        for statement in step.statements:
            await transaction.fetch(statement)
        await transaction.fetch("UPDATE api_key_meta SET value = ? WHERE name = 'schema_version'", (str(step.number),))


async def _write_ahead(path: Path, switch: Callable[[], Awaitable[list[Row]]], *, patience: Seconds) -> None:
    """Switch the file to WAL, which it then stays in.

    This one statement ignores the busy timeout (it failed in 3 of 8 processes that started at once), and SQLite has
    nothing to wait on, so it is tried again.
    """
    attempts = max(1, round(patience / _WAL_RETRY))
    for attempt in range(attempts):
        try:
            [[mode]] = await switch()
        except StoreUnavailable as error:
            if not is_busy(error) or attempt == attempts - 1:
                raise
            await asyncio.sleep(_WAL_RETRY)
        else:
            if mode != "wal":
                _log.warning(
                    "%s cannot use write-ahead logging; readers will wait for writers", path, extra={"event": "no_wal"}
                )
            return
