"""How each database runs each of our statements, written to `benchmarks/plans/`.

    python -m benchmarks.explain postgresql://…  > benchmarks/plans/postgres.txt
    python -m benchmarks.explain sqlite          > benchmarks/plans/sqlite.txt

The URL names a PostgreSQL database that may be filled: 20,000 keys are put into it. SQLite keeps no statistics by
itself, so an empty store in memory gives the same plans as a full one. The committed files are compared by a test, so
an index that is lost, or a statement that no longer fits its index, is seen in review and not in production.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from asgi_apikey.models import KeyQuery, SortBy, Status
from asgi_apikey.repositories import archive, audit, feed, statements, usage
from asgi_apikey.repositories.migrations import migrations
from asgi_apikey.repositories.paging import Position
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.postgres.placeholders import Placeholders
from asgi_apikey.repositories.search import wanted_of

COMMITTED = Path(__file__).parent / "plans" / "postgres.txt"
COMMITTED_SQLITE = COMMITTED.with_name("sqlite.txt")

# The plan that does not look at the parameters: what a prepared statement comes to after five runs. Without the nodes
# that need no index: which of them is cheaper differs from version to version, but whether an index serves does not,
# and where one of these still appears, none does. Searches by scopes are left out: they, too, differ.
SETTINGS = ("plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_bitmapscan = off")

# Written with an index of smallest values by some versions of PostgreSQL, and without by others.
VARYING = re.compile(r"\(\w+ IS NOT NULL\)$")

# Lists of parameters, as long as a chunk.
LIST = re.compile(r"ARRAY\[[^]]*\]")

SQLITE_STEP = re.compile(r"(?:SCAN|SEARCH|USE TEMP B-TREE) .*")

# 200 owners with 100 keys each, of 20 tenants; as many keys of each status as of any other.
FILL = """
INSERT INTO api_keys (key_id, digest, version, owner, tenant, environment, name, description, hint, scopes, created_at,
    created_by, not_before, expires_at, disabled_at, revoked_at, revoked_by, revoke_reason, uses, metadata, lineage)
SELECT 'key' || n, 'digest' || n, 1, 'owner' || n % 200, 'tenant' || n % 20, 'live', 'name', '', 'abcd', 'orders:read',
    n::bigint * 1000000, 'root', CASE n % 5 WHEN 1 THEN 4102444800000000 END, CASE n % 5 WHEN 2 THEN 0 END,
    CASE n % 5 WHEN 3 THEN 0 END, CASE n % 5 WHEN 4 THEN 0 END, '', '', 0, '{}', 'key' || n / 2
FROM generate_series(1, 20000) n
"""
FILL_FEED = (
    "INSERT INTO api_key_changes (seq, key_id, version) SELECT n, 'key' || n, 1 FROM generate_series(1, 20000) n"
)
FILL_LABELS = """
INSERT INTO api_key_labels (kind, label, key_id)
SELECT kind, kind || n % 2000, 'key' || n FROM generate_series(1, 20000) n, unnest(ARRAY['scope', 'tag']) kind
"""


def every_statement() -> Iterator[tuple[str, str]]:
    """The name and the text of each statement that the repository sends; of those that are composed, a sample."""
    for module in (statements, feed, audit, usage, archive):
        for name, value in vars(module).items():
            if name[0].isalpha() and name.isupper() and isinstance(value, str) and " " in value:
                yield f"{module.__name__.rpartition('.')[2]}.{name}", value
    yield "update", statements.update(["name", "revoked_at"])
    queries: dict[str, KeyQuery] = {
        "find": KeyQuery(),
        "find by owner": KeyQuery(owner="o"),
        "find by tenant": KeyQuery(tenant="t"),
        "find by owner and tenant": KeyQuery(owner="o", tenant="t"),
        "find by environment": KeyQuery(environment="e"),
        "find by lineage": KeyQuery(lineage="l"),
        "find by tag": KeyQuery(tags=frozenset({"t"})),
        "find sorted by end": KeyQuery(sort=SortBy.EXPIRES_AT, ascending=True),
        "find sorted by name": KeyQuery(sort=SortBy.NAME, ascending=True),
        **{f"find {status}": KeyQuery(status=status) for status in Status},
        "find active by owner": KeyQuery(owner="o", status=Status.ACTIVE),
    }
    for name, query in queries.items():
        wanted = wanted_of(query, now=0.0)
        assert wanted is not None
        yield name, statements.find(query, wanted, start=None, limit=51)[0]
        yield f"{name}, next page", statements.find(query, wanted, start=Position(0, "k"), limit=51)[0]
    part = wanted_of(KeyQuery(name_contains="n"), now=0.0)
    assert part is not None
    yield "named", statements.named("n")[0]
    yield "find among few", statements.find(KeyQuery(), part, start=None, limit=51, among=["k"])[0]


async def plans_of(url: str) -> str:
    """Fill the database and return the plan of every statement, without what differs from one server to another."""
    driver = PostgresDriver(url, deadline=30.0)
    await driver.open(create=True)
    await driver.close()
    connection = await asyncpg.connect(url)
    try:
        for statement in (FILL, FILL_FEED, FILL_LABELS, "VACUUM ANALYZE"):
            await connection.execute(statement)
        for setting in SETTINGS:
            await connection.execute(f"SET {setting}")
        numbered = Placeholders().numbered
        texts = [await _plan_of(connection.fetchval, name, numbered(sql)) for name, sql in every_statement()]
    finally:
        await connection.close()
    return "\n".join(texts)


def plans_of_sqlite() -> str:
    """Return the plan of every statement: which index finds the rows, and what is sorted."""
    connection = sqlite3.connect(":memory:")
    try:
        for step in migrations("sqlite"):
            for statement in step.statements:
                connection.execute(statement)
        return "\n".join(_sqlite_plan_of(connection, name, sql) for name, sql in every_statement())
    finally:
        connection.close()


def _sqlite_plan_of(connection: sqlite3.Connection, name: str, sql: str) -> str:
    steps = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?"))]
    # How rows are reached, and what is sorted; how the rest is told differs from version to version.
    told = [found[0] for step in steps if (found := SQLITE_STEP.match(step)) and "CONSTANT ROW" not in step]
    return "\n".join([f"-- {name}", *(step.replace("COVERING ", "") for step in told), ""])


async def _plan_of(fetch: Callable[[str], Awaitable[Any]], name: str, sql: str) -> str:
    nulls = ", ".join("NULL" for _ in range(sql.count("$")))
    await fetch(f"PREPARE explained AS {sql}")
    explained = json.loads(
        await fetch(f"EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE explained{f'({nulls})' if nulls else ''}")
    )
    await fetch("DEALLOCATE explained")
    return "\n".join([f"-- {name}", *_lines(explained[0]["Plan"]), ""])


def _lines(node: Mapping[str, Any]) -> Iterator[str]:
    """What decides the cost: how rows are reached, by which condition of which index, and whether they are sorted."""
    reached = node.get("Index Name") or ("Scan" in node["Node Type"] and node.get("Relation Name"))
    if reached:
        condition = LIST.sub("ARRAY[...]", VARYING.sub("", node.get("Index Cond", "")))
        yield f"{node['Node Type']}: {reached} {condition}".rstrip()
    if "Sort Key" in node:
        yield f"{node['Node Type']}: {', '.join(node['Sort Key'])}"
    for child in node.get("Plans", ()):
        yield from _lines(child)


if __name__ == "__main__":
    [asked] = sys.argv[1:]
    sys.stdout.write(plans_of_sqlite() if asked == "sqlite" else asyncio.run(plans_of(asked)))
