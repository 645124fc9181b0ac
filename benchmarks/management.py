"""How many requests a second the service answers, and how long the slowest take: create, list, read, verify.

    python -m benchmarks.management [--keys 1000 1000000] [--seconds 5] [--clients 8] [--postgres URL] [--json]

For each store and each number of keys, `asgi-apikey serve` runs as a process of its own, one worker, over a store that
holds so many keys. Clients on kept connections, in this process, each send the next request when the last one is
answered; after a warm-up, all answers of some seconds are counted. So clients and server share the machine's cores, as
neither would with a server of its own: the figures are a lower bound, to be compared with each other.

* create: `POST /api/v1/api-keys`: the row, the change feed and the audit in one transaction.
* list: `GET /api/v1/api-keys?owner=…&limit=50`: the keys of one of 2,000 owners; of few keys there are fewer on it.
* read: `GET /api/v1/api-keys/{key_id}`.
* introspect: `POST /api/v1/api-keys/verify`: the caller's key and the presented one are read from the store.
* door: `GET /verify`, as a proxy asks: the key is remembered.

PostgreSQL is started for the run unless `--postgres` names an empty database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any

from asgi_apikey import APIKeys
from asgi_apikey.repositories import SQLRepository
from asgi_apikey.repositories.driver import BULK, Driver, Transaction
from benchmarks.figures import markdown, quantiles
from benchmarks.search import fill
from tests.servers import PostgresServer, free_port

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"  # of the stores that are made here
API = "/api/v1/api-keys"
OWNERS = 2_000
CUSTOMERS = 200
_WARM_UP = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent, and the status that it has to be answered with."""

    content: bytes
    status: int


def request(method: str, path: str, key: str, status: int, body: object = None) -> Request:
    """Return a request on a kept connection."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Length: {len(content)}\r\n"
    kind = "Content-Type: application/json\r\n" if content else ""
    return Request(f"{head}{kind}\r\n".encode() + content, status)


class Connection:
    """A kept connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, sent: Request) -> bytes:
        """Send one request and return the body of its answer.

        Raises:
            RuntimeError: Another status than expected.
        """
        self._writer.write(sent.content)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        body = await self._reader.readexactly(length)
        if int(head[9:12]) != sent.status:
            raise RuntimeError(f"answered {head[9:12].decode()}: {body[:200].decode()}")
        return body


@asynccontextmanager
async def connections(port: int, number: int) -> AsyncIterator[list[Connection]]:
    """Open some and close them."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    try:
        yield [Connection(*each) for each in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def load(clients: list[Connection], next_request: Callable[[], Request], seconds: float) -> dict[str, float]:
    """Keep all clients busy; return requests per second and quantiles in milliseconds."""
    began = time.perf_counter()
    counted_from, until = began + _WARM_UP, began + _WARM_UP + seconds
    times: list[float] = []

    async def one(client: Connection) -> None:
        while (sent := time.perf_counter()) < until:
            await client.ask(next_request())
            if sent >= counted_from:
                times.append(time.perf_counter() - sent)

    await asyncio.gather(*map(one, clients))
    took = time.perf_counter() - counted_from
    figures = {name: value * 1e3 for name, value in quantiles(times).items()}
    return {"per_second": len(times) / took, "p50_ms": figures["p50"], "p99_ms": figures["p99"]}


async def filled(driver: Driver, number: int) -> None:
    """Make a store and fill it."""
    store = SQLRepository(driver)
    await store.open(create=True)
    await fill(driver, number)
    await driver.write(_analyzed, deadline=BULK)
    await store.close()


async def _analyzed(transaction: Transaction) -> None:
    await transaction.fetch("ANALYZE")


async def admitted(url: str) -> tuple[str, list[str]]:
    """Return the key of an operator, and those of some customers."""
    async with APIKeys(url, pepper=PEPPER) as keys:
        operator = await keys.issue(owner="admin", scopes={"apikeys:*", "*"})
        customers = [(await keys.issue(owner=f"owner{n}", name="customer")).key for n in range(CUSTOMERS)]
    return operator.key, customers


@contextmanager
def served(url: str, folder: Path) -> Iterator[int]:
    """Serve the store, as a process of its own; yield the port."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASGI_APIKEY_")}
    ours = {"ASGI_APIKEY_URL": url, "ASGI_APIKEY_PEPPER": PEPPER, "ASGI_APIKEY_LOG_LEVEL": "warning"}
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "asgi_apikey", "serve", "--port", str(port)],
            env={**clean, **ours},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


async def reached(port: int) -> None:
    """Return when it listens.

    Raises:
        TimeoutError: It does not.
    """
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def workloads(operator: str, customers: list[str]) -> Mapping[str, Callable[[], Request]]:
    """What is measured: each returns the next request."""
    numbers, turns = count(), cycle(range(CUSTOMERS))

    def create() -> Request:
        number = next(numbers)
        body = {"owner": f"owner{number % OWNERS}", "name": f"made {number}", "scopes": ["orders:read"]}
        return request("POST", API, operator, 201, body)

    def some(make: Callable[[int], Request]) -> Callable[[], Request]:
        ready = [make(turn) for turn in range(CUSTOMERS)]
        return lambda: ready[next(turns)]

    return {
        "create": create,
        "list": some(lambda turn: request("GET", f"{API}?owner=owner{turn}&limit=50", operator, 200)),
        "read": some(lambda turn: request("GET", f"{API}/{customers[turn].split('_')[2]}", operator, 200)),
        "introspect": some(lambda turn: request("POST", f"{API}/verify", operator, 200, {"key": customers[turn]})),
        "door": some(lambda turn: request("GET", "/verify", customers[turn], 200)),
    }


async def measured(url: str, port: int, *, clients: int, seconds: float) -> list[dict[str, Any]]:
    """Return one row per workload."""
    operator, customers = await admitted(url)
    await reached(port)
    rows = []
    async with connections(port, clients) as opened:
        for name, next_request in workloads(operator, customers).items():
            rows.append({"request": name, **await load(opened, next_request, seconds)})
    return rows


def run(url: str, driver: Driver, number: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Fill a store, serve it, and measure."""
    print(f"filling with {number:,} keys", file=sys.stderr)
    asyncio.run(filled(driver, number))
    with tempfile.TemporaryDirectory() as folder, served(url, Path(folder)) as port:
        return asyncio.run(measured(url, port, clients=options.clients, seconds=options.seconds))


def show(store: str, number: int, rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    heads = [f"{store}, {number:,} keys", "per second", "p50, ms", "p99, ms"]
    lines = [
        [row["request"], f"{row['per_second']:,.0f}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}"] for row in rows
    ]
    return markdown(heads, lines) + "\n"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--postgres", metavar="URL", help="an empty database; for a single number of keys")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.postgres is not None and len(options.keys) > 1:
        parser.error("one database is for one number of keys: give --keys once")
    from asgi_apikey.repositories.postgres import PostgresDriver
    from asgi_apikey.repositories.sqlite import SQLiteDriver

    results: list[dict[str, Any]] = []
    server = PostgresServer() if options.postgres is None else None
    with server or nullcontext():
        for number in options.keys:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "keys.db"
                rows = run(f"sqlite:///{path}", SQLiteDriver(path, deadline=120.0), number, options)
                results.append({"store": "SQLite", "keys": number, "rows": rows})
            url = options.postgres if server is None else server.url_of(server.new_database())
            rows = run(url, PostgresDriver(url, deadline=120.0), number, options)
            results.append({"store": "PostgreSQL", "keys": number, "rows": rows})
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        print(show(result["store"], result["keys"], result["rows"]))


if __name__ == "__main__":
    main()
