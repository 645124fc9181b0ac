"""A part of a name is looked for in two ways, by how many keys have it; both find the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgi_apikey.models import KeyQuery, Note, SortBy, Status
from asgi_apikey.repositories import statements
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import NOW, a_record

pytestmark = pytest.mark.anyio

QUERIES = [
    KeyQuery(name_contains="bot"),
    KeyQuery(name_contains="BOT 1", sort=SortBy.NAME, ascending=True),
    KeyQuery(name_contains="100%_", environment="live"),
    KeyQuery(name_contains="bot", status=Status.ACTIVE, limit=3),
    KeyQuery(name_contains="nobody"),
    KeyQuery(name_contains="bot", owner="owner1"),
    KeyQuery(name_contains="bot", tags=frozenset({"odd"})),
]


async def everything(store: SQLRepository, query: KeyQuery) -> list[str]:
    """Every page's keys."""
    found, page = [], await store.find(query, now=NOW)
    while True:
        found += [each.key_id for each in page.records]
        if page.next_cursor is None:
            return found
        page = await store.find(
            KeyQuery(
                **{name: getattr(query, name) for name in query.__slots__ if name != "cursor"}, cursor=page.next_cursor
            ),
            now=NOW,
        )


@pytest.mark.parametrize("query", QUERIES, ids=repr)
async def test_rare_and_frequent_parts_are_found_alike(
    query: KeyQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up by their names, or looked at in order: the same keys in the same order, on every page."""
    store = SQLRepository(SQLiteDriver(tmp_path / "keys.db"))
    names = [f"Bot {number}" for number in range(20)] + [f"person {number}" for number in range(20)] + ["at 100%_"]
    records = [
        a_record(
            f"key{at:02}",
            name=name,
            owner=f"owner{at % 3}",
            created_at=NOW - at % 7,
            tags=frozenset({"odd"} if at % 2 else ()),
        )
        for at, name in enumerate(names)
    ]
    await store.archive.put(records, note=Note(at=NOW))
    few = await everything(store, query)
    monkeypatch.setattr(statements, "FEW", 1)
    in_order = await everything(store, query)
    await store.close()

    assert few == in_order
    assert bool(few) is (query.name_contains != "nobody")
    assert len(few) == len(set(few))
