"""Every kind of store, new and empty, with a way to write to its tables directly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from asgi_apikey.models import AuditEntry
from asgi_apikey.repositories.audit import APPEND, SQLAuditLog, _row
from asgi_apikey.repositories.driver import Driver, Transaction
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.records import Value
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.audit import Vault


class MemoryTables:
    """The lists and dicts of a `MemoryRepository`."""

    def __init__(self, repository: MemoryRepository) -> None:
        self._repository = repository

    async def entries(self) -> list[AuditEntry]:
        """See `Tables.entries`."""
        return list(self._repository.audit._entries)

    async def write(self, entries: list[AuditEntry]) -> None:
        """See `Tables.write`."""
        self._repository.audit._entries[:] = entries

    async def cut_feed(self, seq: int) -> None:
        """See `Tables.cut_feed`."""
        del self._repository._feed[seq - 1 :]

    async def raise_version(self, key_id: str) -> None:
        """See `Tables.raise_version`."""
        record = self._repository._records[key_id]
        self._repository._records[key_id] = replace(record, version=record.version + 1)


class SQLTables:
    """The tables behind an `SQLRepository`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def entries(self) -> list[AuditEntry]:
        """See `Tables.entries`."""
        return [*await SQLAuditLog(self._driver).entries(0, limit=100_000)]

    async def write(self, entries: list[AuditEntry]) -> None:
        """See `Tables.write`."""

        async def work(transaction: Transaction) -> None:
            await transaction.fetch("DELETE FROM api_key_audit")
            await transaction.run_many(APPEND, [_row(each) for each in entries])

        await self._driver.write(work)

    async def cut_feed(self, seq: int) -> None:
        """See `Tables.cut_feed`."""
        await self._run("DELETE FROM api_key_changes WHERE seq >= ?", (seq,))

    async def raise_version(self, key_id: str) -> None:
        """See `Tables.raise_version`."""
        await self._run("UPDATE api_keys SET version = version + 1 WHERE key_id = ?", (key_id,))

    async def _run(self, sql: str, args: tuple[Value, ...]) -> None:
        await self._driver.write(lambda transaction: transaction.fetch(sql, args))


@asynccontextmanager
async def memory_vault() -> AsyncIterator[Vault]:
    """In this process."""
    repository = MemoryRepository()
    yield Vault(repository, MemoryTables(repository))


@asynccontextmanager
async def sqlite_vault(folder: Path) -> AsyncIterator[Vault]:
    """In a new file."""
    async with sql_vault(SQLiteDriver(folder / "keys.db")) as vault:
        yield vault


@asynccontextmanager
async def postgres_vault(url: str) -> AsyncIterator[Vault]:
    """In a database that is kept from test to test, because making one takes longer than most of them."""
    async with sql_vault(PostgresDriver(url, deadline=10.0), before=emptied) as vault:
        yield vault


@asynccontextmanager
async def sql_vault(
    driver: Driver, *, before: Callable[[Driver], Awaitable[object]] | None = None
) -> AsyncIterator[Vault]:
    """In whatever the driver leads to."""
    repository = SQLRepository(driver)
    await repository.open(create=True)
    if before is not None:
        await before(driver)
    yield Vault(repository, SQLTables(driver))
    await repository.close()


async def emptied(driver: Driver) -> None:
    """Remove everything from a PostgreSQL database; only its feed goes on counting."""

    async def work(transaction: Transaction) -> None:
        for table in (
            "api_keys",
            "api_key_changes",
            "api_key_audit",
            "api_key_usage",
            "api_key_labels",
            "api_key_meters",
        ):
            await transaction.fetch(f"DELETE FROM {table}")
        await transaction.fetch(
            "UPDATE api_key_meta SET value = (SELECT CAST(last_seq AS text) FROM api_key_feed)"
            " WHERE name = 'audit_after'"
        )

    await driver.write(work)
