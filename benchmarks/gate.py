"""What a cached request costs: ours beside the least code that does the same, and beside Starlette's middleware.

    python -m benchmarks.gate [--json] [--rounds N]

Goals: ours adds at most 1.25 times what the hand-inlined bound adds, and at most as much as Starlette's
`AuthenticationMiddleware` over a plain dict, which checks nothing; of what ours adds, at most 8 % is the last look.
Figures are nanoseconds over the bare app. Ours stands beside an SQLite file, as by default: under a lease, comparing
the counter that the processes of a host share. The lease lasts for the whole run, so that no poll is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import sys
import time
import tracemalloc
from collections.abc import MutableMapping
from contextvars import ContextVar
from functools import partial
from hashlib import blake2s
from mmap import mmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from asgi_apikey import APIKeyMiddleware, APIKeys, Principal
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.models import Tally, Verdict
from benchmarks.rounds import App, run

_START = {"type": "http.response.start", "status": 200, "headers": []}
_BODY = {"type": "http.response.body", "body": b"ok"}


async def bare(scope: Any, receive: Any, send: Any) -> None:
    await send(_START)
    await send(_BODY)


def no_op(app: App) -> App:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return middleware


def inlined(app: App, presented: bytes, principal: Principal) -> App:
    """The steps of ours in one function, and none that ours does not do, on variables of its own."""
    # As in the file of a host bus: a number of 64 bits, which takes longer to read than a small one.
    page = mmap(-1, 8)
    page[:] = b"\xa5" * 8
    keyed = blake2s(digest_size=32, key=b"k" * 32)
    cache: dict[bytes, Verdict] = {}
    digest = keyed.copy()
    digest.update(presented)
    cache[digest.digest()] = Verdict(principal, 1, float("inf"), None, Tally(principal.key_id, open_until=float("inf")))
    recall, monotonic = cache.__getitem__, partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    refresh_at, counter = float("inf"), memoryview(page).cast("Q")
    seen = counter[0]
    current: ContextVar[Principal | None] = ContextVar("current", default=None)
    lifespans: dict[int, object] = {}
    keys = object()

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or "marker" in scope:
            raise AssertionError
        scope["headers"] = headers = list(scope["headers"])
        found: bytes | None = None
        for name, value in headers:
            if len(name) == 9 and name.lower() == b"x-api-key":
                if found is not None:
                    raise AssertionError
                found = value
        if found is None or len(found) > 256:
            raise AssertionError
        fingerprint = keyed.copy()
        fingerprint.update(found)
        verdict = recall(fingerprint.digest())
        now = monotonic()
        if (
            now >= refresh_at
            or now >= verdict.deadline
            or counter[0] != seen
            or (verdict.ends_at is not None and time.time() >= verdict.ends_at)
        ):
            raise AssertionError
        tally = verdict.tally
        if now > tally.open_until:
            raise AssertionError
        tally.uses += 1.0
        tally.last = now
        principal = verdict.principal
        if principal.restrictions is not None:
            raise AssertionError
        state = scope.get("state")
        if not isinstance(state, dict) or "api_key" in state or id(state) in lifespans:
            raise AssertionError
        state["api_key"] = principal
        scope["marker"] = (keys, principal, headers, None)
        token = current.set(principal)
        try:
            await app(scope, receive, send)
        finally:
            current.reset(token)
            scope["marker"] = None

    return middleware


def without_last_look(app: App, presented: bytes, principal: Principal) -> App:
    """The same, but believing the cache: no lease, no counter."""
    keyed = blake2s(digest_size=32, key=b"k" * 32)
    cache: dict[bytes, Verdict] = {}
    digest = keyed.copy()
    digest.update(presented)
    cache[digest.digest()] = Verdict(principal, 1, float("inf"), None, Tally(principal.key_id, open_until=float("inf")))
    recall, monotonic = cache.__getitem__, partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    current: ContextVar[Principal | None] = ContextVar("current", default=None)
    lifespans: dict[int, object] = {}
    keys = object()

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or "marker" in scope:
            raise AssertionError
        scope["headers"] = headers = list(scope["headers"])
        found: bytes | None = None
        for name, value in headers:
            if len(name) == 9 and name.lower() == b"x-api-key":
                if found is not None:
                    raise AssertionError
                found = value
        if found is None or len(found) > 256:
            raise AssertionError
        fingerprint = keyed.copy()
        fingerprint.update(found)
        verdict = recall(fingerprint.digest())
        now = monotonic()
        if now >= verdict.deadline or (verdict.ends_at is not None and time.time() >= verdict.ends_at):
            raise AssertionError
        tally = verdict.tally
        if now > tally.open_until:
            raise AssertionError
        tally.uses += 1.0
        tally.last = now
        principal = verdict.principal
        if principal.restrictions is not None:
            raise AssertionError
        state = scope.get("state")
        if not isinstance(state, dict) or "api_key" in state or id(state) in lifespans:
            raise AssertionError
        state["api_key"] = principal
        scope["marker"] = (keys, principal, headers, None)
        token = current.set(principal)
        try:
            await app(scope, receive, send)
        finally:
            current.reset(token)
            scope["marker"] = None

    return middleware


def starlette(app: App, presented: bytes) -> App:
    """The backend that Starlette's documentation shows, with a dict for the database."""
    owners = {presented.decode(): "acme"}

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
            if "X-API-Key" not in conn.headers:
                return None
            owner = owners.get(conn.headers["X-API-Key"])
            if owner is None:
                raise AuthenticationError("unknown key")
            return AuthCredentials(["authenticated"]), SimpleUser(owner)

    return AuthenticationMiddleware(app, backend=Backend())


def scope_with(presented: bytes) -> MutableMapping[str, Any]:
    """A request as browsers and SDKs send it through one proxy: 11 headers, the key in the middle."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/orders/17",
        "raw_path": b"/orders/17",
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "headers": [
            (b"host", b"api.example.test"),
            (b"user-agent", b"python-httpx/0.28.1"),
            (b"accept", b"*/*"),
            (b"accept-encoding", b"gzip, deflate, br"),
            (b"connection", b"keep-alive"),
            (b"x-api-key", presented),
            (b"content-type", b"application/json"),
            (b"x-request-id", b"0f9d3c1e-8f0e-4d8a-9a55-0f1b7a0c2f11"),
            (b"x-forwarded-for", b"203.0.113.7"),
            (b"x-forwarded-proto", b"https"),
            (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ],
    }


async def issued(keys: APIKeys) -> tuple[bytes, Principal]:
    """Return a key that the cache knows, and its principal."""
    presented = (await keys.issue(owner="acme", scopes={"orders:read"})).key.encode()
    return presented, await keys.authenticate(presented)


def bytes_per_key(count: int) -> float:
    """Memory of one cached key, indexes included, the principal's own strings too."""
    gc.collect()
    tracemalloc.start()
    cache = LocalCache(verdicts=count)
    before, _ = tracemalloc.get_traced_memory()
    for number in range(count):
        principal = Principal(key_id=f"{number:012d}", owner=f"owner-{number}")
        fingerprint = number.to_bytes(32, "big")
        cache.put(fingerprint, Verdict(principal, 1, float(number), None, Tally(principal.key_id)), cache.mark())
        cache.put_proof(fingerprint, f"hmac-sha256$0123abcd${number:043d}")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


def measured(store: Path, rounds: int) -> tuple[dict[str, int], dict[str, float]]:
    """Return nanoseconds over the bare app, and the ratios that have goals."""
    week = LeaseTimes(poll=300_000.0, lease=600_000.0)
    keys = APIKeys(f"sqlite:///{store}", pepper=None, usage_interval=3600.0, leases=week)
    presented, principal = asyncio.run(issued(keys))
    apps: dict[str, App] = {
        "bare": bare,
        "no-op": no_op(bare),
        "inlined bound": inlined(bare, presented, principal),
        "bound without last look": without_last_look(bare, presented, principal),
        "ours, cached": APIKeyMiddleware(bare, keys=keys),
        "Starlette's, over a dict": starlette(bare, presented),
    }
    gc.disable()
    # Not counted: the interpreter specialises its bytecode during the first calls.
    run(apps, lambda: scope_with(presented), rounds=20, calls=200)
    timings = run(apps, lambda: scope_with(presented), rounds=rounds, calls=200)
    gc.enable()
    figures = {name: round(timings.added(name)) for name in apps if name != "bare"}
    last_look = timings.added("inlined bound", "bound without last look") / timings.added("ours, cached")
    return figures, {
        "ours / inlined bound": round(timings.ratio("ours, cached", "inlined bound"), 3),
        "ours / Starlette's": round(timings.ratio("ours, cached", "Starlette's, over a dict"), 3),
        "last look / ours": round(last_look, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=400)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        figures, ratios = measured(Path(folder) / "keys.db", options.rounds)
    memory = {str(count): round(bytes_per_key(count)) for count in (10_000, 100_000)}
    if options.json:
        json.dump({"added_ns": figures, "ratios": ratios, "bytes_per_cached_key": memory}, sys.stdout, indent=2)
        print()
        return
    print(f"{platform.python_implementation()} {platform.python_version()}, {options.rounds} rounds of 200 calls")
    for name, added in figures.items():
        print(f"  {name:28} + {added:6,} ns")
    for name, ratio in ratios.items():
        print(f"  {name:28}   {ratio:6.3f}")
    for count, size in memory.items():
        print(f"  bytes per key at {int(count):>7,}         {size:6,}")


if __name__ == "__main__":
    main()
