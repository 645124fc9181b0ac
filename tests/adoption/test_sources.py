"""Rows come from databases and from files; nothing is written there, and nothing of it is repeated in messages."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.adopted.catalogue import TABLES, table_of
from asgi_apikey.adopted.rows import Row
from asgi_apikey.adopted.sources import source_of
from asgi_apikey.adopted.tables import PAGE
from asgi_apikey.errors import InvalidRequest, StoreUnavailable
from asgi_apikey.repositories.records import to_row
from tests.adoption.golden import GOLDEN, TERMS
from tests.servers import PostgresServer

BEANONE = next(each for each in GOLDEN if each.system == "beanone-apikey")
TABLE = table_of("beanone-apikey")

pytestmark = pytest.mark.anyio


async def rows_of(url: str, table: str | None = None) -> list[Row]:
    """All rows of a source."""
    source = source_of(url, TABLE if table is None else replace(TABLE, name=table))
    return [row async for page in source.pages() for row in page]


def as_json(path: Path, rows: Sequence[object]) -> None:
    """An export as one list, within an object as APIs give it."""
    path.write_text(json.dumps({"data": rows}))


def as_lines(path: Path, rows: Sequence[object]) -> None:
    """An export as lines."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")


def as_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """An export as a table, with the mark that spreadsheets write first."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(("name", "write"), [("x.json", as_json), ("x.jsonl", as_lines), ("x.csv", as_csv)])
async def test_an_export_says_the_same_as_the_table(tmp_path: Path, name: str, write: object) -> None:
    """Whatever it is written in."""
    write(tmp_path / name, [dict(each) for each in BEANONE.rows])  # type: ignore[operator]
    found = await rows_of(str(tmp_path / name))

    assert [TABLE.take(each, TERMS) for each in found] == BEANONE.records()


async def test_many_rows_come_in_pages(tmp_path: Path) -> None:
    """Each once."""
    with sqlite3.connect(tmp_path / "x.db") as made:
        made.execute("CREATE TABLE api_keys (id TEXT PRIMARY KEY)")
        made.executemany("INSERT INTO api_keys VALUES (?)", [(f"{each:06}",) for each in range(2 * PAGE + 1)])
    made.close()

    assert [each.text("id") for each in await rows_of(f"sqlite:///{tmp_path / 'x.db'}")] == [
        f"{each:06}" for each in range(2 * PAGE + 1)
    ]


async def test_postgresql_is_read_in_pages_and_cannot_be_written(postgres: PostgresServer) -> None:
    """In a schema of its own, with uuids, arrays and times of the database."""
    url = postgres.url_of(postgres.new_database())
    opened = await asyncpg.connect(url)
    await opened.execute(
        "CREATE SCHEMA theirs; CREATE TABLE theirs.api_keys (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        "user_id int, key_hash text, status text, service_id text, created_at timestamptz DEFAULT now())"
    )
    await opened.execute(
        "INSERT INTO theirs.api_keys (user_id, key_hash, status, service_id) "
        "SELECT n, encode(sha256(n::text::bytea), 'hex'), 'ACTIVE', 'billing' FROM generate_series(1, $1::int) AS n",
        PAGE + 5,
    )
    await opened.close()
    found = await rows_of(url, "theirs.api_keys")

    assert len({TABLE.take(each, TERMS).key_id for each in found}) == PAGE + 5
    with pytest.raises(InvalidRequest, match="no table"):
        await rows_of(url, "nowhere")


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """And none is made."""
    with pytest.raises(StoreUnavailable):
        await rows_of(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(StoreUnavailable):
        await rows_of("postgresql://nobody:hunter22@127.0.0.1:1/none")

    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize("text", ["{", '["a"]', '{"data": [1]}', "\x00"])
async def test_a_file_of_something_else_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    """It may hold digests."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidRequest, match="the file is not"):
        await rows_of(str(tmp_path / "x.json"))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=80),
    st.binary(max_size=40),
    st.lists(st.text()),
)


@given(st.data(), st.sampled_from(TABLES))
def test_whatever_a_row_holds_it_is_taken_or_refused(data: st.DataObject, table: object) -> None:
    """Never another error, and no record that could not be stored."""
    known = [each for each in GOLDEN if each.system == table.system]  # type: ignore[attr-defined]
    row = dict(data.draw(st.sampled_from(known)).rows[0])
    for column in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=4)):
        row[column] = data.draw(VALUES)
    record = None
    with suppress(InvalidRequest):
        record = table.take(Row(row), TERMS)  # type: ignore[attr-defined]

    if record is not None:
        to_row(record)
        assert record.owner
        assert record.digest.startswith(table.system)  # type: ignore[attr-defined]
