"""What a fleet asks of its database and its bus as it grows from 1 to 10,000 workers, by simulation.

    python -m benchmarks.growth [--workers N …] [--seed N] [--cores N] [--json]

The costs of one poll, beat, look and message are measured first, on this machine, on SQLite and PostgreSQL: through the
package's own drivers, one at a time, the best of several batches. They are what a caller waits for, so they include the
client's part; a database has less to do. How the fleet behaves is simulated, see `benchmarks/crowd.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped] # it ships no types

from asgi_apikey.invalidation.leases import _BATCH, LeaseTimes
from asgi_apikey.invalidation.letters import ID_LENGTH, Ack, Seal
from asgi_apikey.models import Seconds
from asgi_apikey.repositories import open_repository
from asgi_apikey.repositories.sql import SQLRepository
from benchmarks.crowd import Costs, Crowd, Figures, Scenario
from benchmarks.figures import markdown, quantiles
from tests.servers import PostgresServer

FLEETS: Final = (1, 10, 100, 1_000, 10_000)
TIMES: Final = tuple(LeaseTimes(poll=poll, lease=4 * poll) for poll in (0.25, 0.5, 1.0, 2.5, 5.0))
_LISTED: Final = 1_000
_BATCHES: Final = 7
_EVENTS: Final = 150_000


# ---- what one operation costs --------------------------------------------------------------------------------------


async def cheapest(operation: Callable[[], Awaitable[object]], times: int) -> Seconds:
    """Return the seconds of one operation, of the batch that was disturbed least."""
    found = []
    for _ in range(_BATCHES):
        began = time.perf_counter()
        for _ in range(times):
            await operation()
        found.append((time.perf_counter() - began) / times)
    return min(found)


async def measure(url: str, message: Seconds = 0.0) -> Costs:
    """Return the costs on the store that `url` names, which is made."""
    repository = open_repository(url)
    assert isinstance(repository, SQLRepository)
    await repository.open(create=True)
    try:
        feed = repository.feed
        await feed.join("one", "", lease=2.0)
        poll = await cheapest(lambda: feed.changes(0, limit=_BATCH), 300)
        beat = await cheapest(lambda: feed.beat("one"), 50)
        look = await cheapest(feed.workers, 100)
        for number in range(_LISTED):
            await feed.join(f"{number:032x}", "redis:0123456789abcdef", lease=2.0)
        row = max(0.0, await cheapest(feed.workers, 5) - look) / _LISTED
    finally:
        await repository.close()
    return Costs(poll=poll, beat=beat, look=look, row=row, message=message, unseal=unsealing())


def unsealing() -> Seconds:
    """Return the seconds of reading one acknowledgement."""
    seal = Seal(secrets.token_bytes(32), "growth")
    text = seal.write(Ack(7, secrets.token_bytes(ID_LENGTH), secrets.token_hex(16)))
    began = time.perf_counter()
    for _ in range(2_000):
        seal.read(text)
    return (time.perf_counter() - began) / 2_000


async def notifying(url: str) -> Seconds:
    """Return the seconds of one notification through PostgreSQL."""
    connection = await asyncpg.connect(url, ssl=False)
    try:
        return await cheapest(lambda: connection.execute("SELECT pg_notify('growth', 'x')"), 100)
    finally:
        await connection.close()


async def measure_all() -> dict[str, Costs]:
    """Return the costs on each kind of store."""
    with tempfile.TemporaryDirectory(prefix="asgi-apikey-growth-") as folder:
        found = {"sqlite": await measure(f"sqlite:///{folder}/keys.db")}
    with PostgresServer() as server:
        url = server.url_of(server.new_database())
        return {**found, "postgres": await measure(url, await notifying(url))}


# ---- what a fleet costs --------------------------------------------------------------------------------------------


def simulate(scenario: Scenario, costs: Costs, seed: int) -> Figures:
    """Return the figures; large fleets are watched for a shorter time, down to ten leases."""
    seconds = max(10 * scenario.times.lease, min(600.0, _EVENTS / scenario.workers))
    return Crowd(scenario, costs, seed).run(seconds)


def tables(fleets: Sequence[int], costs: dict[str, Costs], seed: int, cores: int) -> dict[str, list[dict[str, Any]]]:
    """Return all tables, row by row."""
    postgres, sqlite = costs["postgres"], costs["sqlite"]
    middle = Scenario(workers=min(1_000, max(fleets)), cores=cores)
    few = replace(middle, workers=min(100, max(fleets)))
    scenarios = {
        "size": [(replace(middle, workers=workers), postgres) for workers in fleets],
        "poll and lease": [(replace(middle, times=times, bus="none"), postgres) for times in TIMES],
        "requests": [(replace(few, requests=rate, changes=0.1), postgres) for rate in (0.01, 0.1, 1.0, 10.0, 1_000.0)],
        "bus": [
            (replace(few, workers=8, bus="host"), sqlite),
            *((replace(each, bus=bus), postgres) for each in (few, middle) for bus in ("none", "postgres", "redis")),
        ],
        "crashes": [(replace(middle, workers=workers, crashes=1.0), postgres) for workers in fleets],
    }
    return {
        name: [_row(scenario, simulate(scenario, priced, seed)) for scenario, priced in rows]
        for name, rows in scenarios.items()
    }


def _row(scenario: Scenario, figures: Figures) -> dict[str, Any]:
    numbers = {name: value for name, value in asdict(figures).items() if name != "receipts"}
    return {**asdict(scenario), **numbers, "receipt": quantiles(figures.receipts) if figures.receipts else None}


COLUMNS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "workers": lambda row: f"{row['workers']:,}",
    "bus": lambda row: str(row["bus"]),
    "requests/s each": lambda row: f"{row['requests']:g}",
    "poll, lease (s)": lambda row: f"{row['times']['poll']:g}, {row['times']['lease']:g}",
    "polls/s": lambda row: f"{row['polls']:,.1f}",
    "beats/s": lambda row: f"{row['writes']:,.2f}",
    "rows/s": lambda row: f"{row['rows']:,.0f}",
    "database, cores": lambda row: f"{row['busy']:.3f}",
    "messages/s sent": lambda row: f"{row['published']:,.0f}",
    "received": lambda row: f"{row['delivered']:,.0f}",
    "pings/s": lambda row: f"{row['pings']:,.0f}",
    "requests that wait": lambda row: f"{row['waiting']:.2%}",
    "receipt p50 / p99 (ms)": lambda row: _receipt(row["receipt"]),
    "by acknowledgement": lambda row: f"{row['acknowledged']:.0%}",
}
_ALWAYS: Final = ("polls/s", "rows/s", "database, cores")
_BUS: Final = ("messages/s sent", "received", "pings/s", "receipt p50 / p99 (ms)", "by acknowledgement")
SHOWN: Final = {
    "size": ("workers", "polls/s", "beats/s", "rows/s", "database, cores", *_BUS),
    "poll and lease": ("poll, lease (s)", *_ALWAYS, "requests that wait", "receipt p50 / p99 (ms)"),
    "requests": ("requests/s each", *_ALWAYS, "requests that wait"),
    "bus": ("bus", "workers", "polls/s", "database, cores", *_BUS),
    "crashes": ("workers", "polls/s", "database, cores", "receipt p50 / p99 (ms)", "by acknowledgement"),
}


def _receipt(found: dict[str, float] | None) -> str:
    return "—" if found is None else f"{found['p50'] * 1e3:,.1f} / {found['p99'] * 1e3:,.1f}"


def as_text(costs: dict[str, Costs], found: dict[str, list[dict[str, Any]]]) -> str:
    """Return everything as Markdown."""
    heads = ["store (µs)", *(asdict(costs["postgres"]))]
    parts = [
        markdown(heads, [[name, *(f"{x * 1e6:,.1f}" for x in asdict(each).values())] for name, each in costs.items()])
    ]
    for name, rows in found.items():
        shown = SHOWN[name]
        parts.append(f"{name}\n\n" + markdown(shown, [[COLUMNS[column](row) for column in shown] for row in rows]))
    return "\n\n".join(parts)


def main() -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=FLEETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cores", type=int, default=4, help="of the database (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs = asyncio.run(measure_all())
    found = tables(given.workers, costs, given.seed, given.cores)
    if given.json:
        json.dump(
            {"costs": {name: asdict(each) for name, each in costs.items()}, "tables": found}, sys.stdout, indent=2
        )
        print()
    else:
        print(as_text(costs, found))
        print(f"\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores here")


if __name__ == "__main__":
    main()
