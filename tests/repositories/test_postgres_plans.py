"""Every statement is run as it was when somebody last looked: by the same indexes, without a sort."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from benchmarks.explain import COMMITTED, COMMITTED_SQLITE, every_statement, plans_of, plans_of_sqlite
from tests.servers import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database to be filled."""
    name = postgres.new_database()
    yield postgres.url_of(name)
    postgres.drop_database(name)


@pytest.mark.anyio
async def test_no_plan_has_changed(url: str) -> None:
    """The plans are the committed ones; if better ones are meant, `python -m benchmarks.explain URL` writes them."""
    assert await plans_of(url) == COMMITTED.read_text(encoding="utf-8")


def test_no_statement_reads_a_whole_table() -> None:
    """In the committed plans, every table is reached by an index; only what few keys have in common is sorted."""
    plans = COMMITTED.read_text(encoding="utf-8")
    by_name = dict(re.findall(r"^-- (.*)\n((?:.+\n)*)", plans, re.MULTILINE))

    assert list(by_name) == [name for name, _ in every_statement()]
    assert "Seq Scan" not in plans
    assert "Bitmap" not in plans
    assert {name.partition(",")[0] for name, plan in by_name.items() if "Sort" in plan} == {
        "find by lineage",
        "find by tag",
        "find among few",
    }


def test_no_plan_of_sqlite_has_changed() -> None:
    """The same for SQLite: `python -m benchmarks.explain sqlite`."""
    assert plans_of_sqlite() == COMMITTED_SQLITE.read_text(encoding="utf-8")


def test_no_statement_reads_a_whole_table_of_sqlite() -> None:
    """Every table is reached by an index, or from its end; sorted is what few keys have in common."""
    plans = COMMITTED_SQLITE.read_text(encoding="utf-8")
    by_name = dict(re.findall(r"^-- (.*)\n((?:.+\n)*)", plans, re.MULTILINE))

    assert list(by_name) == [name for name, _ in every_statement()]
    assert {name for name, plan in by_name.items() if re.search(r"SCAN (?!.* USING )", plan)} == {"audit.LAST"}
    assert {name.partition(",")[0] for name, plan in by_name.items() if "TEMP B-TREE" in plan} == {
        "find by lineage",
        "find by tag",
        "find among few",
    }


@pytest.mark.anyio
async def test_a_lost_index_is_seen(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one of the indexes the plans are others."""
    monkeypatch.setattr("benchmarks.explain.FILL_LABELS", "DROP INDEX api_keys_by_owner")

    assert "Index Scan: api_keys_by_owner" in COMMITTED.read_text(encoding="utf-8")
    assert "api_keys_by_owner" not in await plans_of(url)
