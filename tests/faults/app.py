"""The application of a worker under test: a guarded page, and verbs that only the tests call.

    GET  /            the key id of whoever presents a key
    POST /-/<verb>    issue, revoke, amend, disable, enable, record, stats, stall, shift, flush: see `_VERBS`

The verbs are outside of the guard, as the tests play the application's own code with them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import psutil

from asgi_apikey import APIKeyMiddleware, APIKeys, sealing
from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import APIKeyError
from asgi_apikey.invalidation import letters
from asgi_apikey.models import Instant, Receipt, Seconds
from tests.faults.plugs import Site

Params = Mapping[str, str]

LATER_VERSION = "WORKER_OF_A_LATER_VERSION"
"""The variable that has a worker start as one."""


class ShiftedClock:
    """The machine's clocks, the wall clock of which can be set wrong."""

    def __init__(self) -> None:
        system = SystemClock()
        self._wall = system.wall
        self.monotonic: Callable[[], Seconds] = system.monotonic
        self.shift: Seconds = 0.0

    def wall(self) -> Instant:
        """The wall clock, wrong by `shift`."""
        return self._wall() + self.shift


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the id of the key that was accepted; start and stop when told to."""
    if scope["type"] == "lifespan":
        while (told := (await receive())["type"]) != "lifespan.shutdown":
            await send({"type": f"{told}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await _answer(send, 200, scope["state"]["api_key"].key_id.encode())


class Worker:
    """The guarded page and the verbs."""

    def __init__(self, keys: APIKeys, clock: ShiftedClock) -> None:
        self._guarded: ASGIApp = APIKeyMiddleware(page, keys=keys)
        self._keys = keys
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not scope["path"].startswith("/-/"):
            await self._guarded(scope, receive, send)
            return
        verb = _VERBS[scope["path"].removeprefix("/-/")]
        params = dict(parse_qsl(scope["query_string"].decode()))
        try:
            status, said = 200, await verb(self, params)
        except APIKeyError as error:
            unknown = getattr(error, "outcome_unknown", False)
            status, said = 503, {"error": type(error).__name__, "outcome_unknown": unknown, "message": str(error)}
        await _answer(send, status, json.dumps(said).encode())

    async def issue(self, params: Params) -> object:
        """Make a key; `ttl` seconds long where given."""
        ttl = params.get("ttl")
        issued = await self._keys.issue(owner=params.get("owner", "acme"), expires_in=float(ttl) if ttl else None)
        return {"key": issued.key, "key_id": issued.record.key_id}

    async def revoke(self, params: Params) -> object:
        """Revoke a key."""
        return _told(await self._keys.revoke(params["key_id"], reason="oracle"))

    async def amend(self, params: Params) -> object:
        """Give a key another name."""
        return _told(await self._keys.amend(params["key_id"], name=params["name"]))

    async def disable(self, params: Params) -> object:
        """Switch a key off."""
        return _told(await self._keys.disable(params["key_id"]))

    async def enable(self, params: Params) -> object:
        """Switch a key on."""
        return _told(await self._keys.enable(params["key_id"]))

    async def rotate(self, params: Params) -> object:
        """Replace a key at once."""
        issued = await self._keys.rotate(params["key_id"], grace=0)
        assert issued.receipt is not None
        return {"key": issued.key, "key_id": issued.record.key_id, **_told(issued.receipt)}

    async def stats(self, params: Params) -> object:
        """Say what this process has counted, and how much memory it has."""
        resident = psutil.Process().memory_info().rss
        return {**dataclasses.asdict(self._keys.stats), "rss": resident, "pid": os.getpid()}

    async def stall(self, params: Params) -> object:
        """Block the event loop."""
        time.sleep(float(params["seconds"]))  # noqa: ASYNC251 - that is the fault
        return {}

    async def shift(self, params: Params) -> object:
        """Set the wall clock wrong."""
        self._clock.shift = float(params["seconds"])
        return {}


_Verb = Callable[[Worker, Params], Awaitable[object]]
_VERBS: Mapping[str, _Verb] = {
    name: getattr(Worker, name)
    for name in ("issue", "revoke", "amend", "disable", "enable", "rotate", "stats", "stall", "shift")
}


def _told(receipt: Receipt) -> dict[str, Any]:
    return {
        "confirmed": receipt.confirmed,
        "workers": receipt.workers,
        "acknowledged": receipt.acknowledged,
        "elapsed": receipt.elapsed,
        "max_staleness": receipt.max_staleness,
        "version": receipt.record.version,
    }


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def become_a_later_version() -> None:
    """Write letters and shared records of other formats, under the same secrets and names, and know only those."""
    for name in ("_WAKE", "_ACK", "_NEWS"):
        setattr(letters, name, getattr(letters, name) + 100)
    sealing._FORMAT += 1  # type: ignore[misc] # final, but for this


def create() -> ASGIApp:
    """Return the worker that the environment describes."""
    if os.environ.get(LATER_VERSION):
        become_a_later_version()
    clock = ShiftedClock()
    return Worker(Site.from_environ(os.environ).keys(clock), clock)
