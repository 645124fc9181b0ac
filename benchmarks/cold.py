"""What a request costs whose key is not in memory: one by one, and 200 at once with the same key.

    python -m benchmarks.cold [--json]

The baseline in the same run is the bare work: one `get` of the repository and one `verify` of the hasher.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from asgi_apikey import APIKeys
from asgi_apikey.hashers.argon2 import Argon2Hasher
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.models import Lane
from asgi_apikey.protocols import Hasher

_STAMPEDE = 200


async def microseconds(work: Callable[[], Awaitable[object]]) -> float:
    """Time one call."""
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e6


async def measure(url: str, hasher: Hasher, count: int) -> dict[str, float]:
    """Return the figures of one pair of store and hasher."""
    keys = APIKeys(url, hasher=hasher, single_process=True)
    await keys.repository.open(create=True)
    async with keys:
        issued = [await keys.issue(owner="acme") for _ in range(count)]

        async def bare(key: str, key_id: str) -> None:
            record = await keys.repository.get(key_id)
            if record is None or not await hasher.verify(key.encode(), record.digest, lane=Lane.STRANGER):
                raise AssertionError

        bare_times, our_times = [], []
        for each in issued[1:]:
            bare_times.append(await microseconds(partial(bare, each.key, each.record.key_id)))
            our_times.append(await microseconds(partial(keys.authenticate, each.key.encode())))
        before = keys.stats.reads
        presented = issued[0].key.encode()
        stampede = await microseconds(lambda: asyncio.gather(*(keys.authenticate(presented) for _ in range(_STAMPEDE))))
        return {
            "bare_us": round(statistics.median(bare_times), 1),
            "cold_us": round(statistics.median(our_times), 1),
            "ratio": round(statistics.median(o / b for o, b in zip(our_times, bare_times, strict=True)), 2),
            "stampede_ms": round(stampede / 1000, 1),
            "stampede_reads": keys.stats.reads - before,
        }


async def main(*, as_json: bool) -> None:
    """Measure every pair."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for hasher_name, count in (("hmac", 400), ("argon2", 20)):
            for store in ("memory", "sqlite"):
                hasher: Hasher = HMACSHA256Hasher(secrets.token_bytes(32)) if hasher_name == "hmac" else Argon2Hasher()
                url = "memory:" if store == "memory" else f"sqlite:///{Path(folder) / hasher_name}.db"
                figures[f"{store}, {hasher_name}"] = await measure(url, hasher, count)
    if as_json:
        json.dump(figures, sys.stdout, indent=2)
        print()
        return
    print(f"{'':18}{'get + verify':>14}{'ours, cold':>14}{'ratio':>8}{f'{_STAMPEDE} at once':>14}{'reads':>7}")
    for name, row in figures.items():
        print(
            f"  {name:16}{row['bare_us']:>11,.0f} us{row['cold_us']:>11,.0f} us{row['ratio']:>8}"
            f"{row['stampede_ms']:>11,.1f} ms{row['stampede_reads']:>7}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(as_json=parser.parse_args().json))
