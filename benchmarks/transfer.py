"""What it takes to move many keys: time, rate and memory of an import, an export, and the same import once more.

    python -m benchmarks.transfer [--count 1000000] [--url sqlite:///keys.db] [--json]

The file is made first and is not timed. Time is told twice: by the clock, and as the processor time of this process (a
server's is not in it), which a busy machine does not change. Memory is the growth of the process's peak (`ru_maxrss`)
in each step: it does not grow with the number of keys, because both ways work through pages and batches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from asgi_apikey import APIKeys
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories.lines import footer, header, line_of

_NOW = 1_800_000_000.0


def records(count: int) -> Iterator[KeyRecord]:
    """Yield keys as they usually are: two scopes, a name, some metadata, 1,000 owners."""
    for number in range(count):
        yield KeyRecord(
            key_id=f"{number:06x}{secrets.token_hex(3)}",
            digest=f"sha256${secrets.token_urlsafe(32)}",
            owner=f"owner-{number % 1_000}",
            name=f"key {number}",
            hint="x9Zq",
            scopes=frozenset({"orders:read", "orders:write"}),
            created_at=_NOW + number,
            metadata={"plan": "pro"},
        )


def write(path: Path, count: int) -> None:
    """Write a file to import."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{header()}\n")
        file.writelines(f"{line_of(record)}\n" for record in records(count))
        file.write(f"{footer(count)}\n")


def peak() -> float:
    """The most memory that this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def imported(keys: APIKeys, path: Path) -> int:
    """Import the file; return how many keys were added."""
    added = 0
    with path.open(encoding="utf-8") as lines:
        async for progress in keys.import_lines(lines):
            added = progress.added
    return added


async def exported(keys: APIKeys, path: Path) -> int:
    """Export to the file; return how many lines there are."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        async for line in keys.export_lines():
            file.write(f"{line}\n")
            count += 1
    return count


async def measure(url: str, folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Run the three steps; return seconds by the clock and of the processor, keys per second and MiB of each."""
    source = folder / "in.jsonl"
    write(source, count)
    keys = APIKeys(url, pepper=None)
    await keys.repository.open(create=True)
    figures: dict[str, dict[str, float]] = {}
    steps: tuple[tuple[str, Callable[[], Awaitable[int]]], ...] = (
        ("import", partial(imported, keys, source)),
        ("export", partial(exported, keys, folder / "out.jsonl")),
        ("import again", partial(imported, keys, source)),
    )
    for name, work in steps:
        before, began, used = peak(), time.perf_counter(), time.process_time()
        await work()
        seconds, used = time.perf_counter() - began, time.process_time() - used
        figures[name] = {
            "seconds": seconds,
            "processor": used,
            "per_second": count / seconds,
            "mebibytes": peak() - before,
        }
        print(f"{name}: {figures[name]}", file=sys.stderr)
    await keys.close()
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--url", help="Default: an SQLite file in a folder of its own.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = options.url or f"sqlite:///{folder / 'keys.db'}"
        figures = asyncio.run(measure(url, folder, options.count))
    if options.json:
        print(json.dumps({"count": options.count, "steps": figures}))
        return
    print(f"{options.count:,} keys")
    for step, values in figures.items():
        print(
            f"{step:14} {values['seconds']:8.1f} s {values['processor']:8.1f} s processor"
            f" {values['per_second']:10,.0f} keys/s"
            f" {values['mebibytes']:8.1f} MiB more at the peak"
        )


if __name__ == "__main__":
    main()
