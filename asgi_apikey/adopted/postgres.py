"""A table in PostgreSQL, read through asyncpg in transactions that cannot write. Needs the extra `postgres`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from asgi_apikey.adopted.rows import Row
from asgi_apikey.adopted.systems import ForeignTable
from asgi_apikey.adopted.tables import PAGE, quoted
from asgi_apikey.errors import InvalidRequest, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.repositories.postgres.address import address_of

_PATIENCE: Seconds = 30.0
_READ_ONLY = {"default_transaction_read_only": "on", "application_name": "asgi-apikey adopt"}


class PostgresSource:
    """A table in a database.

    Args:
        url: Of the database.
        table: In it; with its schema, if that is not in the search path.

    Raises:
        ConfigurationError: The URL cannot be read; the message does not repeat it.
    """

    def __init__(self, url: str, table: ForeignTable) -> None:
        self._dsn = address_of(url).dsn
        self._name, self._order = quoted(table.name), table.order

    async def pages(self) -> AsyncIterator[Sequence[Row]]:
        """See `RowSource.pages`."""
        order = quoted(self._order)
        # ruff: noqa: S608 - names of the table and of its column, quoted; the value is a parameter.
        first = f"SELECT * FROM {self._name} ORDER BY {order} LIMIT {PAGE}"
        further = f"SELECT * FROM {self._name} WHERE {order} > $1 ORDER BY {order} LIMIT {PAGE}"
        try:
            opened = await asyncpg.connect(
                self._dsn, timeout=_PATIENCE, command_timeout=_PATIENCE, server_settings=_READ_ONLY
            )
            try:
                found = await opened.fetch(first)
                while found:
                    yield [Row(dict(each)) for each in found]
                    found = await opened.fetch(further, found[-1][self._order])
            finally:
                await opened.close(timeout=_PATIENCE)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise InvalidRequest(f"the database has no table {self._name} with a column {order}") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"their database cannot be read: {type(error).__name__}") from error
