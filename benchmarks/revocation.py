"""How long after its commit a revoke is in force everywhere, per way to hear of it, beside the floor of each way.

    python -m benchmarks.revocation [--plug NAME …] [--workers 1 2 4 8] [--rounds N] [--json]

Workers are processes of their own with a real `APIKeys`; each presents the key every half millisecond, from memory,
and notes when it was first refused. In every round, the same processes do the floor of the plug first:

* host: a counter in shared memory goes up, and each worker, which looks at it as often as at the key, copies it.
  The handshake, beside it, is as little as two processes can do: one raises a number, the other, which does nothing
  but look at it, copies it. It is measured before the workers start, as each of the two needs a core.
* redis, postgres: one PUBLISH or NOTIFY, to which each worker answers with one of its own.
* poll: no floor, as nobody is told; the bound is the lease. strict: none, as nothing is remembered.

The commit is shown apart: what it takes is the database's business. Everything runs on one machine, and a worker that
has no core waits for one: beyond one worker per free core the scheduler is measured, in the floor as well.
"""

# ruff: noqa: ASYNC110, ASYNC220 - the processes under test send no events.

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import platform
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped] # it ships no types
from redis.asyncio import Redis

from asgi_apikey import APIKeyError
from benchmarks.figures import markdown, quantiles
from tests.faults.oracle import ground
from tests.faults.plugs import PLUGS, Site

_PAUSE = 0.000_5
_WITHIN = 30.0
_COUNTER, _CURRENT, _FIRST = 0, 1, 2
_COUNTED, _WARM, _REFUSED, _EACH = 0, 1, 2, 3


class Board:
    """Numbers that all processes see: what is asked for, and how far each worker is."""

    def __init__(self, path: Path, workers: int) -> None:
        self.workers = workers
        size = 8 * (_FIRST + _EACH * workers)
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self.cells = memoryview(mmap.mmap(file.fileno(), size)).cast("Q")

    def place(self, worker: int, what: int) -> int:
        """Return where a worker's number is."""
        return _FIRST + _EACH * worker + what

    async def reached(self, what: int, number: int) -> None:
        """Wait until all workers are so far; without a pause, so that the wait adds nothing."""
        places = [self.place(worker, what) for worker in range(self.workers)]
        give_up = time.monotonic() + _WITHIN
        while any(self.cells[place] != number for place in places):
            if time.monotonic() > give_up:
                raise TimeoutError(f"workers are at {[self.cells[place] for place in places]}, not {number}")
            await asyncio.sleep(0)


async def work(number: int, workers: int, folder: Path) -> None:
    """Be a worker, until killed or told to end."""
    board = Board(folder / "board", workers)
    presented = [line.encode() for line in (folder / "keys").read_text().split()]
    cells, place = board.cells, board.place
    async with Site.from_environ(os.environ).keys() as keys:
        echo = asyncio.create_task(_echo(Site.from_environ(os.environ)))
        while True:
            if cells[_COUNTER] != cells[place(number, _COUNTED)]:
                cells[place(number, _COUNTED)] = cells[_COUNTER]
            current = cells[_CURRENT]
            if current and cells[place(number, _REFUSED)] != current:
                key = presented[current - 1]
                if cells[place(number, _WARM)] != current:
                    await keys.authenticate(key)
                    cells[place(number, _WARM)] = current
                elif keys.authenticate_nowait(key) is None:
                    # As the middleware does: what memory cannot tell is asked for.
                    try:
                        await keys.authenticate(key)
                    except APIKeyError:
                        cells[place(number, _REFUSED)] = current
            if echo.done():
                await echo
            await asyncio.sleep(_PAUSE)


async def _echo(site: Site) -> None:
    """Answer each call of the floor."""
    kind = PLUGS[site.plug].bus
    if kind == "redis":
        client = Redis.from_url(site.bus)
        listening = client.pubsub()
        await listening.subscribe("floor:call")
        async for message in listening.listen():
            if message["type"] == "message":
                await client.publish("floor:answer", message["data"])
    elif kind == "postgres":
        connection = await asyncpg.connect(site.bus, ssl=False)
        calls: asyncio.Queue[str] = asyncio.Queue()
        await connection.add_listener("floor_call", lambda *args: calls.put_nowait(args[3]))
        while True:
            await connection.execute("SELECT pg_notify('floor_answer', $1)", await calls.get())
    else:
        await asyncio.Event().wait()


Floor = Callable[[int], Awaitable[None]]


async def _counter_floor(board: Board) -> Floor:
    async def floor(number: int) -> None:
        board.cells[_COUNTER] = number
        await board.reached(_COUNTED, number)

    return floor


async def _redis_floor(site: Site, workers: int) -> Floor:
    client = Redis.from_url(site.bus)
    listening = client.pubsub()
    await listening.subscribe("floor:answer")
    await listening.get_message(timeout=1)
    while (await client.pubsub_numsub("floor:call"))[0][1] < workers:
        await asyncio.sleep(0.01)

    async def floor(number: int) -> None:
        await client.publish("floor:call", str(number))
        missing = workers
        while missing:
            message = await listening.get_message(ignore_subscribe_messages=True, timeout=_WITHIN)
            missing -= message is not None and message["data"] == str(number).encode()

    return floor


async def _postgres_floor(site: Site, workers: int) -> Floor:
    connection = await asyncpg.connect(site.bus, ssl=False)
    answers: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("floor_answer", lambda *args: answers.put_nowait(args[3]))
    while True:
        # Whoever answers is listening by now.
        await connection.execute("SELECT pg_notify('floor_call', '0')")
        await asyncio.sleep(0.2)
        if answers.qsize() >= workers:
            break
        while not answers.empty():
            answers.get_nowait()
    while not answers.empty():
        answers.get_nowait()

    async def floor(number: int) -> None:
        await connection.execute("SELECT pg_notify('floor_call', $1)", str(number))
        missing = workers
        while missing:
            missing -= await answers.get() == str(number)

    return floor


def handshake(rounds: int, folder: Path) -> list[float]:
    """Return how long each of so many handshakes of two processes took, in milliseconds."""
    path = folder / "handshake"
    path.write_bytes(bytes(16))
    with path.open("r+b") as file:
        cells = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
    other = subprocess.Popen([sys.executable, "-m", "benchmarks.revocation", "--echo", "--folder", str(folder)])
    took = []
    try:
        for number in range(1, rounds + 1):
            began = time.perf_counter()
            cells[0] = number
            while cells[1] != number:
                pass
            took.append((time.perf_counter() - began) * 1e3)
    finally:
        other.kill()
        other.wait()
    # The first one waited for the other process to start.
    return took[1:]


def echo(folder: Path) -> None:
    """Be the other process, until killed."""
    with (folder / "handshake").open("r+b") as file:
        cells = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
    while True:
        cells[1] = cells[0]


async def measure(plug: str, workers: int, rounds: int, folder: Path, site: Site) -> dict[str, Any]:
    """Return the figures of one plug with so many workers, in milliseconds."""
    keys = site.keys()
    await keys.open()
    issued = [await keys.issue(owner="acme") for _ in range(rounds)]
    (folder / "keys").write_text("\n".join(each.key for each in issued))
    board = Board(folder / "board", workers)
    shaken = handshake(10 * rounds, folder) if plug == "host" else []
    command = [sys.executable, "-m", "benchmarks.revocation", "--folder", str(folder), "--workers", str(workers)]
    processes = [
        subprocess.Popen([*command, "--be", str(number)], env={**os.environ, **site.environ()})
        for number in range(workers)
    ]
    floors, commits, receipts, refusals, confirmed = [], [], [], [], 0
    try:
        board.cells[_CURRENT] = 1
        await board.reached(_WARM, 1)
        kind = PLUGS[plug].bus
        if kind == "redis":
            floor = await _redis_floor(site, workers)
        elif kind == "postgres":
            floor = await _postgres_floor(site, workers)
        else:
            floor = await _counter_floor(board)
        for number, each in enumerate(issued, 1):
            board.cells[_CURRENT] = number
            await board.reached(_WARM, number)
            began = time.perf_counter()
            await floor(number)
            floors.append((time.perf_counter() - began) * 1e3)
            began = time.perf_counter()
            receipt = await keys.revoke(each.record.key_id)
            returned = time.perf_counter()
            await board.reached(_REFUSED, number)
            refused = time.perf_counter()
            committed = returned - receipt.elapsed
            commits.append((committed - began) * 1e3)
            receipts.append(receipt.elapsed * 1e3)
            refusals.append((refused - committed) * 1e3)
            confirmed += receipt.confirmed
    finally:
        for process in processes:
            process.kill()
            process.wait()
        with suppress(APIKeyError):
            await keys.close()
    figures = {
        "plug": plug,
        "workers": workers,
        "rounds": rounds,
        "confirmed": confirmed,
        "handshake": quantiles(shaken) if shaken else None,
        "floor": quantiles(floors) if _has_floor(plug) else None,
        "commit": quantiles(commits),
        "receipt": quantiles(receipts),
        "refused": quantiles(refusals),
    }
    figures["ratio_p50"], figures["ratio_p99"] = (
        (quantiles(receipts)[at] / quantiles(floors)[at] for at in ("p50", "p99")) if _has_floor(plug) else (None, None)
    )
    return figures


def _has_floor(plug: str) -> bool:
    return plug == "host" or bool(PLUGS[plug].bus)


async def main(plugs: Sequence[str], counts: Sequence[int], rounds: int, *, as_json: bool) -> None:
    """Measure all plugs with all numbers of workers."""
    results = []
    with ground() as here:
        for plug in plugs:
            for workers in counts:
                folder = here.folder / f"{plug}-{workers}"
                folder.mkdir()
                site = await here.site(plug)
                few = rounds if PLUGS[plug].fast else min(rounds, 5)
                results.append(await measure(plug, workers, few, folder, site))
                if not as_json:
                    print(_line(results[-1]), flush=True)
    if as_json:
        json.dump(results, sys.stdout, indent=2)
        print()
    else:
        print(f"\n{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores\n")
        print(table(results))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    heads = [
        "plug",
        "workers",
        "revokes",
        "handshake, µs p50 / p99",
        "floor p50 / p99",
        "commit p50 / p99",
        "receipt p50 / p99",
    ]
    heads += ["refused everywhere p50 / p99", "receipt ÷ floor, p50 / p99"]
    return markdown(heads, [_cells(each) for each in results])


def _cells(each: dict[str, Any]) -> list[str]:
    def pair(name: str) -> str:
        found = each[name]
        return "—" if found is None else f"{found['p50']:.2f} / {found['p99']:.2f}"

    ratio = "—" if each["ratio_p50"] is None else f"{each['ratio_p50']:.1f} / {each['ratio_p99']:.1f}"
    revokes = f"{each['confirmed']} of {each['rounds']}"
    raw = each["handshake"]
    shaken = "—" if raw is None else f"{raw['p50'] * 1e3:.1f} / {raw['p99'] * 1e3:.1f}"
    return [
        each["plug"],
        str(each["workers"]),
        revokes,
        shaken,
        *map(pair, ("floor", "commit", "receipt", "refused")),
        ratio,
    ]


def _line(each: dict[str, Any]) -> str:
    return "  ".join(_cells(each))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plug", action="append", choices=sorted(PLUGS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.echo:
        echo(given.folder)
    elif given.be is not None:
        asyncio.run(work(given.be, given.workers[0], given.folder))
    else:
        asyncio.run(main(given.plug or list(PLUGS), given.workers, given.rounds, as_json=given.json))
