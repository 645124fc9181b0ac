"""How long the event loop stalls while 50 clients present bad keys, beside the same flood of good ones.

    python -m benchmarks.lag [--json] [--seconds N]

The bad keys are of the worst kind: well formed, of an existing id, with a wrong secret, so that each one that is
let through costs a read and a hash. Goals: p99 of the lag at most 50 ms, and at most the memory that Argon2 may use.

Each flood has a process of its own, so that none starts with what another one left behind. Its memory is the resident
set (Linux: `/proc/self/statm`), looked at with every tick of the flood, over what it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from asgi_apikey import APIKeyError, APIKeys
from asgi_apikey.hashers.argon2 import DEFAULT_MEMORY_BUDGET, Argon2Hasher
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.keyformat import crc32_checksum
from asgi_apikey.protocols import Hasher

_CLIENTS = 50
_TICK = 0.005
_MIB = 1024 * 1024
_GOALS = {"lag_p99_ms": 50.0, "extra_mib": DEFAULT_MEMORY_BUDGET / _MIB}

Figures = dict[str, float]


def resident() -> float:
    """MiB of memory that this process holds now; not its peak, which never comes down."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


async def ticks(until: float) -> tuple[list[float], float]:
    """Sleep again and again; return by how many milliseconds each wake-up was late, and the most memory seen."""
    late, most = [], 0.0
    while (now := time.perf_counter()) < until:
        await asyncio.sleep(_TICK)
        late.append((time.perf_counter() - now - _TICK) * 1000)
        most = max(most, resident())
    return sorted(late), most


async def flood(keys: APIKeys, presented: list[bytes], until: float) -> int:
    """Present keys from all clients until the time is over; return how many requests were answered."""
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        for key in itertools.cycle(presented[number::_CLIENTS]):
            if time.perf_counter() >= until:
                return
            with contextlib.suppress(APIKeyError):
                await keys.authenticate(key, client=f"192.0.2.{number}")
            answered += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(client(number) for number in range(_CLIENTS)))
    return answered


def wrong(key: str, keys: APIKeys) -> bytes:
    """Return a well-formed key with the id of `key` and another secret."""
    other = keys.format.generate("live")
    body = other.key.replace(other.key_id, key.split("_")[-2])[:-6].encode()
    return body + crc32_checksum(body)


async def measure(url: str, hasher: Hasher, seconds: float, *, bad: bool) -> Figures:
    """Return the figures of one flood."""
    keys = APIKeys(url, hasher=hasher, single_process=True)
    await keys.repository.open(create=True)
    async with keys:
        issued = [(await keys.issue(owner="acme")).key for _ in range(_CLIENTS)]
        presented = (
            [wrong(key, keys) for key in issued for _ in range(200)] if bad else [key.encode() for key in issued]
        )
        before = resident()
        until = time.perf_counter() + seconds
        (late, most), answered = await asyncio.gather(ticks(until), flood(keys, presented, until))
    return {
        "answered_per_s": round(answered / seconds),
        "lag_p50_ms": round(late[len(late) // 2], 2),
        "lag_p99_ms": round(late[int(len(late) * 0.99)], 2),
        "lag_max_ms": round(late[-1], 2),
        "extra_mib": round(most - before, 1),
    }


def flooded(scheme: str, name: str, seconds: float) -> Figures:
    """Measure one flood in this process."""
    # That strangers find no room is what is measured, and no news.
    logging.getLogger("asgi_apikey").setLevel(logging.ERROR)
    hasher: Hasher = Argon2Hasher() if scheme == "argon2" else HMACSHA256Hasher(secrets.token_bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(f"sqlite:///{folder}/keys.db", hasher, seconds, bad=name == "bad"))


def main(*, as_json: bool, seconds: float) -> None:
    """Measure both hashers, each under a flood of good keys and one of bad ones."""
    figures: dict[str, dict[str, Figures]] = {"hmac": {}, "argon2": {}}
    # Started anew for each: a forked process would begin with the memory of this one.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        for scheme, floods in figures.items():
            for name in ("good", "bad"):
                floods[name] = fresh.apply(flooded, (scheme, name, seconds))
    if as_json:
        json.dump({"floods": figures, "goals": _GOALS}, sys.stdout, indent=2)
        print()
        return
    for scheme, floods in figures.items():
        for name, row in floods.items():
            print(f"  {scheme:7} {name:5} " + "  ".join(f"{key} {value:,}" for key, value in row.items()))
    print("  goals         " + "  ".join(f"{key} <= {most:,g}" for key, most in _GOALS.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    main(as_json=options.json, seconds=options.seconds)
