"""How long searches take on a big store, and how the database finds its way.

    python -m benchmarks.search [--keys 1000000] [--rounds 50] [--postgres URL] [--json]

A store is filled with keys of 2,000 owners in 20 tenants; each has two scopes and one or two tags, some end, some are
revoked, half were used. Then each query is asked again and again, first page and next page; the 95th percentile is
printed, with the plan. `SCAN` without an index in a plan of SQLite, or `Seq Scan` in one of PostgreSQL, reads the whole
table: of the queries that are called indexed, none may have one, and the run fails if one has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asgi_apikey.models import DAY, KeyQuery, KeyRecord, SortBy, Status
from asgi_apikey.repositories import SQLRepository, statements
from asgi_apikey.repositories.driver import BULK, Driver, Transaction
from asgi_apikey.repositories.records import to_row
from asgi_apikey.repositories.search import Labels, wanted_of
from benchmarks.figures import markdown

NOW = 1_800_000_000.0
_CHUNK = 20_000

# In the plans of SQLite and of PostgreSQL.
INDEX = re.compile(r"(?:INDEX|Scan using|Scan Backward using|Index Scan on) (\w+)|(PRIMARY KEY)")


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


INDEXED = {
    "all": KeyQuery(),
    "owner": KeyQuery(owner="owner7"),
    "tenant": KeyQuery(tenant="tenant7"),
    "owner, active": KeyQuery(owner="owner7", status=Status.ACTIVE),
    "active": KeyQuery(status=Status.ACTIVE),
    "revoked": KeyQuery(status=Status.REVOKED),
    "lineage": KeyQuery(lineage="key000000077"),
    "name": KeyQuery(name="key number 77"),
    "rare tag": KeyQuery(tags=_names("rare")),
    "frequent tag": KeyQuery(tags=_names("even")),
    "rare scope": KeyQuery(scopes=_names("area7:read")),
    "frequent scope": KeyQuery(scopes=_names("read")),
    "rare and frequent": KeyQuery(tags=_names("rare", "even"), status=Status.ACTIVE),
    "any of two scopes": KeyQuery(any_scopes=_names("area7:read", "area8:read")),
    "by name": KeyQuery(sort=SortBy.NAME, ascending=True),
    "by end": KeyQuery(sort=SortBy.EXPIRES_AT, ascending=True),
    "ending soon": KeyQuery(expires_before=NOW + DAY, sort=SortBy.EXPIRES_AT, status=Status.ACTIVE),
    "owner, by use": KeyQuery(owner="owner7", sort=SortBy.LAST_USED_AT, ascending=True),
    "owner, idle": KeyQuery(owner="owner7", idle_for=30 * DAY),
    "owner, name contains": KeyQuery(owner="owner7", name_contains="77"),
}
SCANNED = {
    "never used": KeyQuery(never_used=True),
    "idle": KeyQuery(idle_for=30 * DAY),
    "by use": KeyQuery(sort=SortBy.LAST_USED_AT, ascending=True),
    "name contains, frequent": KeyQuery(name_contains="7"),
    "name contains, rare": KeyQuery(name_contains="number 999999"),
    "created by": KeyQuery(created_by="nobody"),
}


def records(count: int) -> Iterator[KeyRecord]:
    """The keys of the store."""
    for number in range(count):
        yield KeyRecord(
            key_id=f"key{number:09}",
            digest=f"sha256${number}",
            owner=f"owner{number % 2_000}",
            tenant=f"tenant{number % 20}",
            name=f"key number {number}",
            scopes=_names("read", f"area{number % 5_000}:read"),
            tags=_names("even" if number % 2 == 0 else "odd", *(["rare"] if number % 10_000 == 7 else [])),
            created_at=NOW - 365 * DAY + number,
            expires_at=None if number % 3 else NOW + (number % 1_000 - 100) * DAY,
            revoked_at=NOW if number % 11 == 0 else None,
            last_used_at=NOW - (number % 400) * DAY if number % 2 else None,
            uses=number % 2,
        )


async def fill(driver: Driver, count: int) -> None:
    """Write the keys, without a change for each: that is not what is measured here."""
    chunk: list[KeyRecord] = []

    async def write(transaction: Transaction) -> None:
        await transaction.run_many(statements.INSERT.replace("RETURNING key_id", ""), [to_row(each) for each in chunk])
        labels = [("scope", label, each.key_id) for each in chunk for label in each.scopes]
        labels += [("tag", label, each.key_id) for each in chunk for label in each.tags]
        await transaction.run_many(statements.ADD_LABEL, labels)

    for record in records(count):
        chunk.append(record)
        if len(chunk) == _CHUNK:
            await driver.write(write, deadline=BULK)
            chunk.clear()
    if chunk:
        await driver.write(write, deadline=BULK)


async def percentiles(store: SQLRepository, query: KeyQuery, rounds: int) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds, of first and next pages in turn."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        page = await store.find(query, now=NOW)
        times.append(time.perf_counter() - began)
        if page.next_cursor is not None:
            began = time.perf_counter()
            await store.find(replace(query, cursor=page.next_cursor), now=NOW)
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3, statistics.quantiles(times, n=20)[-1] * 1e3


async def plan(store: SQLRepository, driver: Driver, query: KeyQuery, explain: str) -> list[str]:
    """How the database answers the first page."""
    wanted = wanted_of(query, NOW)
    assert wanted is not None
    frequent: list[Labels] = [each for each in wanted.labels if await store._is_frequent(each, wanted)]
    among = await store._named(wanted)
    if among is not None:
        statement, args = statements.named(wanted.part or "")
    else:
        statement, args = statements.find(query, wanted, start=None, limit=51, frequent=frequent)
    return [str(row[-1]) for row in await driver.fetch(f"{explain} {statement}", args)]


async def measure(driver: Driver, explain: str, count: int, rounds: int) -> list[dict[str, Any]]:
    """Return one row per query."""
    store = SQLRepository(driver)
    await store.open(create=True)
    [[stored]] = await driver.fetch("SELECT count(*) FROM api_keys")
    if stored != count:
        print(f"filling with {count:,} keys", file=sys.stderr)
        await fill(driver, count)
        await driver.write(_analyzed, deadline=BULK)
    rows = []
    for indexed, queries in ((True, INDEXED), (False, SCANNED)):
        for name, query in queries.items():
            p50, p95 = await percentiles(store, query, rounds if indexed else max(2, rounds // 10))
            steps = await plan(store, driver, query, explain)
            whole = any(_reads_all(step) for step in steps)
            rows.append({"query": name, "indexed": indexed, "p50_ms": p50, "p95_ms": p95, "scan": whole, "plan": steps})
    await store.close()
    return rows


async def _analyzed(transaction: Transaction) -> None:
    await transaction.fetch("ANALYZE")


def _reads_all(step: str) -> bool:
    return "Seq Scan" in step or (step.startswith("SCAN api_keys") and "INDEX" not in step)


def reached_by(row: Mapping[str, Any]) -> str:
    """Name the indexes of a plan, in words where there is none."""
    found = [name for pair in INDEX.findall(" | ".join(row["plan"])) for name in pair if name]
    keyed = ("sqlite_autoindex", "PRIMARY", "api_keys_pkey", "api_key_labels_pkey")
    names = ["a primary key" if name.startswith(keyed) else f"`{name}`" for name in found]
    return ", ".join(dict.fromkeys(names)) or "the whole table"


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as Markdown."""
    heads = ["query", "p50, ms", "p95, ms", "reached by"]
    lines = [[row["query"], f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}", reached_by(row)] for row in rows]
    return f"## {title}\n\n{markdown(heads, lines)}\n"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--sqlite", type=Path, help="keep the file here, and use it again")
    parser.add_argument("--postgres", metavar="URL", help="an empty database, or one that was filled by this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        from asgi_apikey.repositories.sqlite import SQLiteDriver

        driver: Driver = SQLiteDriver(options.sqlite or Path(folder) / "keys.db", deadline=120.0)
        results["SQLite"] = asyncio.run(measure(driver, "EXPLAIN QUERY PLAN", options.keys, options.rounds))
    if options.postgres is not None:
        from asgi_apikey.repositories.postgres import PostgresDriver

        driver = PostgresDriver(options.postgres, deadline=120.0)
        results["PostgreSQL"] = asyncio.run(measure(driver, "EXPLAIN", options.keys, options.rounds))
    if options.json:
        json.dump(results, sys.stdout)
    else:
        for title, rows in results.items():
            print(show(f"{title}, {options.keys:,} keys", rows))
    if any(row["scan"] and row["indexed"] for rows in results.values() for row in rows):
        sys.exit("a query that has an index reads the whole table")


if __name__ == "__main__":
    main()
