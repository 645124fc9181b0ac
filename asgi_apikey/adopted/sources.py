"""Where the rows of another system are read: its database, or a file that it has exported. Nothing is ever written."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from anyio import to_thread

from asgi_apikey.adopted.rows import Row
from asgi_apikey.adopted.systems import ForeignTable
from asgi_apikey.adopted.tables import PAGE, RowSource, quoted
from asgi_apikey.errors import ConfigurationError, InvalidRequest, MissingExtra, StoreUnavailable

_LISTS: Final = ("keys", "data", "apikeys", "api_keys", "rows", "keyauth_credentials")
"""Under which of these names an exported object has its keys."""


def source_of(url: str, table: ForeignTable) -> RowSource:
    """Return the source that a URL names: `sqlite:///keys.db`, `postgresql://…`, or a file.

    Args:
        url: Also in SQLAlchemy's spellings; or the path of a file, by its ending: `.json`, `.jsonl`, `.csv`.
        table: Which, and by which of its columns.

    Raises:
        ConfigurationError: It names nothing that can be read. The message does not repeat it.
        MissingExtra: The library for this database is not installed.
    """
    scheme, colon, rest = url.partition(":")
    dialect = scheme.partition("+")[0]
    if colon and dialect == "sqlite" and rest.startswith("///") and len(rest) > 3:
        return SQLiteSource(Path(rest.removeprefix("///").partition("?")[0]), table)
    if colon and dialect in {"postgresql", "postgres"}:
        return _postgres(f"postgresql:{rest}", table)
    reader = _READERS.get(Path(url).suffix.lower())
    if reader is not None and "://" not in url:
        return FileSource(Path(url), reader)
    raise ConfigurationError(
        "give 'sqlite:///keys.db', 'postgresql://user:password@host/database', or a file that ends in "
        ".json, .jsonl or .csv, which every database can export"
    )


class SQLiteSource:
    """A table in a file of SQLite, opened for reading only.

    Read in pages, each in a transaction of its own: the system goes on writing meanwhile.

    Args:
        path: Of the file.
        table: In it.
    """

    def __init__(self, path: Path, table: ForeignTable) -> None:
        self._path = path
        self._name, self._order = quoted(table.name), table.order

    async def pages(self) -> AsyncIterator[Sequence[Row]]:
        """See `RowSource.pages`."""
        last: object = None
        while page := await to_thread.run_sync(self._page, last):
            yield page
            last = page[-1].columns[self._order]

    def _page(self, last: object) -> list[Row]:
        order = quoted(self._order)
        # ruff: noqa: S608 - names of the table and of its column, quoted; the value is a parameter.
        start = f"SELECT * FROM {self._name}"
        statement = f"{start} {'' if last is None else f'WHERE {order} > ?'} ORDER BY {order} LIMIT {PAGE}"
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
                opened.row_factory = sqlite3.Row
                return [Row(dict(each)) for each in opened.execute(statement, () if last is None else (last,))]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error) or "no such column" in str(error):
                raise InvalidRequest(f"the database has no table {self._name} with a column {order}") from error
            raise StoreUnavailable(f"their database cannot be read: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreUnavailable("their database cannot be read: it is not one of SQLite") from error


class FileSource:
    """A file that was exported.

    Args:
        path: Of it.
        read: Yields what stands in it.
    """

    def __init__(self, path: Path, read: Callable[[Path], Iterator[object]]) -> None:
        self._path = path
        self._read = read

    async def pages(self) -> AsyncIterator[Sequence[Row]]:
        """See `RowSource.pages`."""
        page: list[Row] = []
        try:
            for each in self._read(self._path):
                page.append(_row(each))
                if len(page) == PAGE:
                    yield page
                    page = []
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest("the file cannot be read") from error
        except (ValueError, RecursionError, csv.Error):
            # Not chained: a parser's message may quote what it could not read.
            raise InvalidRequest("the file is not what its name says: JSON, lines of JSON, or CSV") from None
        if page:
            yield page


def _row(found: object) -> Row:
    if not isinstance(found, dict):
        raise InvalidRequest("the file is not a list of objects")
    return Row(found)


def _postgres(url: str, table: ForeignTable) -> RowSource:
    try:
        from asgi_apikey.adopted.postgres import PostgresSource
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise MissingExtra("postgres", "a postgresql: URL") from error
    return PostgresSource(url, table)


def _json(path: Path) -> Iterator[object]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found, dict):
        found = next((found[each] for each in _LISTS if isinstance(found.get(each), list)), [found])
    yield from found if isinstance(found, list) else [found]


def _json_lines(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _csv(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)


_READERS: Final = {".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv}
