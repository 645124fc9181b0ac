"""How long the event loop stalls while 50 clients present bad keys, beside the same flood of good ones.

    python -m benchmarks.lag [--json] [--seconds N]

The bad keys are of the worst kind: well formed, of an existing id, with a wrong secret, so that each one that is
let through costs a read and a hash. Goal: p99 of the lag at most 50 ms, extra memory within the Argon2 budget.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import secrets
import sys
import tempfile
import time
from pathlib import Path

from asgi_apikey import APIKeyError, APIKeys
from asgi_apikey.hashers.argon2 import Argon2Hasher
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.keyformat import crc32_checksum
from asgi_apikey.protocols import Hasher

_CLIENTS = 50
_TICK = 0.005


async def ticks(until: float) -> list[float]:
    """Sleep again and again; return by how many milliseconds each wake-up was late."""
    late = []
    while (now := time.perf_counter()) < until:
        await asyncio.sleep(_TICK)
        late.append((time.perf_counter() - now - _TICK) * 1000)
    return sorted(late)


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


async def measure(url: str, hasher: Hasher, seconds: float) -> dict[str, dict[str, float]]:
    """Return the figures of one hasher: a flood of good keys, then one of bad ones."""
    figures = {}
    keys = APIKeys(url, hasher=hasher, single_process=True)
    await keys.repository.open(create=True)
    async with keys:
        issued = [(await keys.issue(owner="acme")).key for _ in range(_CLIENTS)]
        bad = [wrong(key, keys) for key in issued for _ in range(200)]
        for name, presented in (("good", [key.encode() for key in issued]), ("bad", bad)):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            until = time.perf_counter() + seconds
            late, answered = await asyncio.gather(ticks(until), flood(keys, presented, until))
            figures[name] = {
                "answered_per_s": round(answered / seconds),
                "lag_p50_ms": round(late[len(late) // 2], 2),
                "lag_p99_ms": round(late[int(len(late) * 0.99)], 2),
                "lag_max_ms": round(late[-1], 2),
                "extra_mib": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
            }
    return figures


async def main(*, as_json: bool, seconds: float) -> None:
    """Measure both hashers."""
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "hmac": await measure(f"sqlite:///{Path(folder)}/h.db", HMACSHA256Hasher(secrets.token_bytes(32)), seconds),
            "argon2": await measure(f"sqlite:///{Path(folder)}/a.db", Argon2Hasher(), seconds),
        }
    if as_json:
        json.dump(figures, sys.stdout, indent=2)
        print()
        return
    for hasher, floods in figures.items():
        for name, row in floods.items():
            print(f"  {hasher:7} {name:5} " + "  ".join(f"{key} {value:,}" for key, value in row.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    asyncio.run(main(as_json=options.json, seconds=options.seconds))
