"""Stand-ins for time and for slow or failing plugs; what they wrap is real."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import anyio
import anyio.lowlevel

from asgi_apikey.errors import APIKeyError
from asgi_apikey.models import Committed, Instant, Lane, Receipt, Seconds
from asgi_apikey.protocols import Hasher, VerdictCache

NOON: Instant = 1_800_000_000.0
"""When the tests play, unless they say otherwise."""


class FakeClock:
    """Both clocks stand still until they are moved."""

    def __init__(self, wall: Instant = NOON, monotonic: Seconds = 1_000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> Instant:
        """The wall clock."""
        return self._wall

    def monotonic(self) -> Seconds:
        """The monotonic clock."""
        return self._monotonic

    def advance(self, seconds: Seconds) -> None:
        """Let time pass, on both clocks."""
        self._wall += seconds
        self._monotonic += seconds

    def set_wall(self, wall: Instant) -> None:
        """Set the machine's clock; no time passes."""
        self._wall = wall


class Gate:
    """A place that is open, until it is shut: then whoever comes by waits there."""

    def __init__(self) -> None:
        self._opened: anyio.Event | None = None
        self.waiting = 0

    def shut(self) -> None:
        """Stop whoever comes by from now on."""
        self._opened = anyio.Event()

    def open(self) -> None:
        """Let everybody go on."""
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    def bypass(self) -> Callable[[], None]:
        """Open for newcomers; those who wait stay until the returned function is called."""
        assert self._opened is not None, "the gate is not shut"
        release, self._opened = self._opened.set, None
        return release

    async def passed(self) -> None:
        """Return at once, or when the gate opens."""
        if self._opened is None:
            return
        self.waiting += 1
        try:
            await self._opened.wait()
        finally:
            self.waiting -= 1


class Watched:
    """A repository whose calls are counted and can be stopped before or after the work, or made to fail.

    Attributes:
        calls: How often each method was called.
        before: A gate in front of each method's work.
        after: A gate behind it: the work is done, the caller does not know yet.
        failures: What a method raises in place of working.
        lost: What a method raises after its work is done.
    """

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()
        self.before: defaultdict[str, Gate] = defaultdict(Gate)
        self.after: defaultdict[str, Gate] = defaultdict(Gate)
        self.failures: dict[str, Exception] = {}
        self.lost: dict[str, Exception] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)
        if not callable(method):
            # Another plug of the same store: `audit`, `history`.
            return cast("Callable[..., Any]", method)

        async def watched(*args: object, **kwargs: object) -> object:
            self.calls[name] += 1
            await self.before[name].passed()
            if name in self.failures:
                raise self.failures[name]
            result = await method(*args, **kwargs)
            await self.after[name].passed()
            if name in self.lost:
                raise self.lost[name]
            return result

        return watched


class WatchedHasher:
    """A hasher whose calls are noted and can be stopped or made to fail.

    Attributes:
        verified: Digest and lane of each `verify`.
        hashed: The lane of each `hash`.
        closed: How often it was closed.
        before: A gate in front of each `verify`.
        before_hash: A gate in front of each `hash`.
        failure: What `verify` raises in place of working.
        refused: Digests that are no longer accepted.
    """

    def __init__(self, inner: Hasher) -> None:
        self._inner = inner
        self.verified: list[tuple[str, Lane]] = []
        self.hashed: list[Lane] = []
        self.closed = 0
        self.before = Gate()
        self.before_hash = Gate()
        self.failure: Exception | None = None
        self.refused: set[str] = set()

    @property
    def decoy(self) -> str:
        """The real decoy."""
        return self._inner.decoy

    def accepts(self, digest: str) -> bool:
        """As the real one, but for `refused`."""
        return digest not in self.refused and self._inner.accepts(digest)

    def outdated(self, digest: str) -> bool:
        """As the real one."""
        return self._inner.outdated(digest)

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """As the real one."""
        self.hashed.append(lane)
        await self.before_hash.passed()
        return await self._inner.hash(presented, lane=lane)

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """As the real one, but for `refused`."""
        self.verified.append((digest, lane))
        await self.before.passed()
        if self.failure is not None:
            raise self.failure
        return self.accepts(digest) and await self._inner.verify(presented, digest, lane=lane)

    def close(self) -> None:
        """As the real one."""
        self.closed += 1
        self._inner.close()


class FakeInvalidation:
    """One that has other workers: its lease can end and its counter can move.

    Attributes:
        announced: Everything that was announced.
        renewals: How often a lease was obtained.
        lease: Seconds that one lasts.
        refreshes: How often one was asked for ahead of time.
        failing: Whether `renew` obtains none.
        on_renew: Called by `renew`, as a poll that finds changes would be.
    """

    max_staleness: Seconds = 2.0

    def __init__(self, cache: VerdictCache, clock: FakeClock, *, lease: Seconds = 2.0) -> None:
        self._cache = cache
        self._clock = clock
        self.lease = lease
        self.fresh_until: Seconds = clock.monotonic() + lease
        self.moving = [0]
        self.counter: Sequence[int] = self.moving
        self.seen = 0
        self.announced: list[Committed] = []
        self.renewals = 0
        self.refresh_at: Seconds = self.fresh_until
        self.refreshes = 0
        self.failing = False
        self.on_renew: Callable[[], object] = lambda: None

    def refresh(self) -> None:
        """Note it."""
        self.refresh_at = self.fresh_until
        self.refreshes += 1

    async def renew(self) -> None:
        """Obtain a lease, unless that fails."""
        if self.failing:
            return
        self.renewals += 1
        self.fresh_until = self.refresh_at = self._clock.monotonic() + self.lease
        self.seen = self.counter[0]
        self.on_renew()

    async def tell(self, committed: Committed) -> None:
        """Note it, and apply it here."""
        self.announced.append(committed)
        for change in committed.changes:
            self._cache.invalidate(change)

    async def announce(self, committed: Committed) -> Receipt:
        """Note it, and apply it here."""
        await self.tell(committed)
        return Receipt(
            record=committed.record, confirmed=False, workers=1, acknowledged=1, elapsed=0.0, max_staleness=2.0
        )

    async def close(self) -> None:
        """Do nothing."""


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks run until it is so; fail if that takes for ever."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def together(*calls: Callable[[], Awaitable[object]]) -> list[object]:
    """Run the calls at once and return what each returned or, in its place, the error of ours that it raised."""
    results: list[object] = [None] * len(calls)

    async def run(number: int, call: Callable[[], Awaitable[object]]) -> None:
        try:
            results[number] = await call()
        except APIKeyError as error:
            results[number] = error

    async with anyio.create_task_group() as group:
        for number, call in enumerate(calls):
            group.start_soon(run, number, call)
    return results
