"""How rows are read, page by page, wherever they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from asgi_apikey.adopted.rows import Row

PAGE: Final = 500


class RowSource(Protocol):
    """Somebody else's keys."""

    def pages(self) -> AsyncIterator[Sequence[Row]]:
        """Yield all rows, some hundred at a time.

        Raises:
            StoreUnavailable: The database does not answer.
            InvalidRequest: There is no such table, or the file cannot be read.
        """
        ...


def quoted(name: str) -> str:
    """Write the name of a table, with its schema, or of a column, so that it is nothing else."""
    return ".".join('"' + each.replace('"', '""') + '"' for each in name.split("."))
