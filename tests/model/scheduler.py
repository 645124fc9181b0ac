"""A scheduler that drives the real coroutines of several processes, one step at a time, in an order of its choosing.

Every call to the store, and every message, stops before and after its effect until the scheduler lets it go on. Time
stands still until the scheduler moves it; each process has a clock of its own rate. Between two such points the code
runs as it does in an event loop: without interruption.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from asgi_apikey.authenticator import Authenticator, Limits
from asgi_apikey.background import Background
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.errors import APIKeyError
from asgi_apikey.hashers.hmac_sha256 import SHA256Hasher
from asgi_apikey.invalidation.announcer import CLOCK_RATE
from asgi_apikey.invalidation.leases import LeasedInvalidation, LeaseTimes
from asgi_apikey.invalidation.poll import NoBus
from asgi_apikey.issuer import Issuer
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.models import Instant, KeyRequest, Seconds
from asgi_apikey.protocols import Bus, CatchUp
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import NOON
from tests.feeds import MemoryFeed
from tests.wiring import CountedUsage, NotedRehashes

LEASE = LeaseTimes().lease
KINDS = ("none", "counter", "messages")

RATE: ContextVar[float] = ContextVar("rate", default=1.0)
"""Of the clock of the process that the running task belongs to."""

_real_sleep = anyio.sleep


async def sleep_by_own_clock(seconds: Seconds) -> None:
    """In place of `anyio.sleep`: a process whose clock is fast wakes up early."""
    # At least a microsecond: time that only moves by hand would stand still for a rounding error.
    await _real_sleep(max(seconds / RATE.get(), 1e-6))


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is moved by hand."""

    now: Seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        # A timer is due when it is due: one that is called early looks at the time and is set again, for ever.
        self._clock_resolution = 0.0

    def time(self) -> float:
        """The virtual time."""
        return self.now

    @property
    def busy(self) -> bool:
        """Whether anything can run without waiting."""
        return bool(self._ready)  # type: ignore[attr-defined]

    @property
    def next_timer(self) -> Seconds | None:
        """When the next timer fires."""
        timers = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        return min(timers, default=None)


@dataclass(frozen=True, slots=True)
class Point:
    """Where a process has stopped."""

    process: Process
    label: str
    passed: asyncio.Future[None]


class ProcessClock:
    """A clock that is fast or slow."""

    def __init__(self, loop: VirtualLoop, rate: float) -> None:
        self._loop = loop
        self._rate = rate

    def wall(self) -> Instant:
        """The wall clock."""
        return NOON + self._loop.now

    def monotonic(self) -> Seconds:
        """The monotonic clock."""
        return 1_000.0 + self._loop.now * self._rate


class Stepped:
    """A store as one process sees it: each call stops before and after its effect."""

    def __init__(self, inner: object, process: Process) -> None:
        self._inner = inner
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)

        async def stepped(*args: object, **kwargs: object) -> object:
            await self._process.stop(f"{name}: asked")
            result = await method(*args, **kwargs)
            self._process.world.look()
            await self._process.stop(f"{name}: done")
            return result

        return stepped


class CounterBus:
    """One number in memory that all processes see."""

    name = "counter"

    def __init__(self, world: Schedule) -> None:
        self._world = world
        self.counter: Sequence[int] = world.counter

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`."""

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`."""
        self._world.counter[0] += 1
        return workers

    async def close(self) -> None:
        """See `Bus.close`."""


class MessageBus:
    """Wake-ups and acknowledgements that arrive late, twice, or never."""

    name = "messages"
    counter: Sequence[int] = (0,)

    def __init__(self, process: Process) -> None:
        self._process = process
        self.catch_up: CatchUp | None = None

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`."""
        self.catch_up = catch_up

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`."""
        heard: set[str] = set()
        all_heard = anyio.Event()

        async def reach(process: Process, bus: MessageBus) -> None:
            await process.stop("woken")
            if bus.catch_up is None:
                return
            acknowledgement = await bus.catch_up(seq)
            await process.stop("acknowledges")
            if acknowledgement.position >= seq:
                heard.add(acknowledgement.worker_id)
            if heard >= set(workers):
                all_heard.set()

        for process in self._process.world.processes:
            if process is not self._process and isinstance(process.bus, MessageBus):
                for _ in range(self._process.world.random.choice((0, 1, 1, 2))):
                    process.start(partial(reach, process, process.bus))
        if workers:
            with anyio.move_on_after(patience):
                await all_heard.wait()
        return heard

    async def close(self) -> None:
        """See `Bus.close`."""


class Process:
    """One process: everything that `APIKeys` wires, over the shared store.

    Attributes:
        killed: None of its steps will ever be taken again.
        stopped_until: None is taken before.
    """

    def __init__(self, world: Schedule, number: int, kind: str, rate: float) -> None:
        self.world = world
        self.number = number
        self.rate = rate
        self.killed = False
        self.stopped_until: Seconds = 0.0
        clock = ProcessClock(world.loop, rate)
        self.cache = LocalCache()
        self.background = Background()
        self.bus: Bus = {"none": NoBus, "counter": partial(CounterBus, world), "messages": partial(MessageBus, self)}[
            kind
        ]()
        self.invalidation = LeasedInvalidation(
            Stepped(world.feed, self), self.cache, bus=self.bus, clock=clock, background=self.background
        )
        store = Stepped(world.repository, self)
        keys, hasher = KeyFormat(), SHA256Hasher()
        self.authenticator = Authenticator(
            store,
            hasher,
            parser=keys,
            cache=self.cache,
            invalidation=self.invalidation,
            usage=CountedUsage(),
            clock=clock,
            environment="live",
            limits=Limits(),
            rehash=NotedRehashes(),
        )
        self.issuer = Issuer(
            store,
            hasher,
            generator=keys,
            invalidation=self.invalidation,
            clock=clock,
            environment="live",
            background=self.background,
        )

    @property
    def runs(self) -> bool:
        """Whether steps of it may be taken now."""
        return not self.killed and self.world.loop.now >= self.stopped_until

    async def stop(self, label: str) -> None:
        """Wait until the scheduler lets us go on."""
        passed: asyncio.Future[None] = self.world.loop.create_future()
        self.world.points.append(Point(self, label, passed))
        await passed

    def start(self, work: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
        """Start a task of this process."""

        async def run() -> object:
            RATE.set(self.rate)
            return await work()

        task = self.world.loop.create_task(run())
        self.world.tasks.append(task)
        return task


class Schedule:
    """One run: a store with one key, and processes that serve it.

    Args:
        seed: Decides everything.
        kind: Which bus the processes have; one in five has none.

    Attributes:
        late: What was accepted too late, each as a sentence.
        accepted: How many requests were accepted.
        confirmed: Whether a confirmed receipt has been given.
    """

    def __init__(self, seed: int, *, kind: str = "none", processes: int = 3) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.loop = VirtualLoop()
        self.repository = MemoryRepository()
        self.feed = MemoryFeed(self.repository)
        self.counter = [0]
        self.points: list[Point] = []
        self.tasks: list[asyncio.Task[object]] = []
        self.requests: list[asyncio.Task[object]] = []
        self.late: list[str] = []
        self.accepted = 0
        self.confirmed = False
        self.revoked_at: Seconds | None = None
        self.key = ""
        self.key_id = ""
        rates = [1.0, CLOCK_RATE, CLOCK_RATE**0.5]
        self.processes: list[Process] = []
        for number in range(processes):
            bus = kind if self.random.random() < 0.8 else "none"
            self.processes.append(Process(self, number, bus, self.random.choice(rates)))

    def run(self, steps: int) -> None:
        """Issue a key, then do `steps` random things."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._run(steps))
        finally:
            self.close()

    def close(self) -> None:
        """End what is left."""
        asyncio.set_event_loop(None)
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    async def _run(self, steps: int) -> None:
        await self.prepare()
        for _ in range(steps):
            self._something()
            await self.settle()

    async def prepare(self) -> None:
        """Issue the key, and let every process remember it, under a lease."""
        issuing = self.processes[0].start(lambda: self.processes[0].issuer.issue(KeyRequest(owner="acme")))
        await self.until(issuing.done)
        issued: Any = issuing.result()
        self.key, self.key_id = issued.key, issued.record.key_id
        for process in self.processes:
            request = self.request(process)
            await self.until(request.done)

    def request(self, process: Process) -> asyncio.Task[object]:
        """Send a request to a process."""
        sent_at = self.loop.now
        confirmed = self.confirmed
        # The promise is on the worker's own clock, which may be the slow one.
        bound = None if self.revoked_at is None else self.revoked_at + LEASE * CLOCK_RATE

        async def send() -> None:
            try:
                await process.authenticator.authenticate(self.key.encode())
            except APIKeyError:
                return
            if process.killed:
                return
            self.accepted += 1
            if confirmed or (bound is not None and sent_at >= bound):
                why = "a confirmed receipt" if confirmed else "max_staleness"
                self.late.append(f"process {process.number} accepted after {why} (seed {self.seed})")

        task = process.start(send)
        self.requests.append(task)
        return task

    def revoke(self, process: Process) -> asyncio.Task[object]:
        """Have a process revoke the key."""

        async def revoke() -> None:
            try:
                receipt = await process.issuer.revoke(self.key_id)
            except APIKeyError:
                return
            if not process.killed:
                self.confirmed = self.confirmed or receipt.confirmed

        return process.start(revoke)

    def look(self) -> None:
        """Note when the key was revoked."""
        record = self.repository._records.get(self.key_id)
        if self.revoked_at is None and record is not None and record.revoked_at is not None:
            self.revoked_at = self.loop.now

    async def settle(self) -> None:
        """Let everything run that can."""
        await asyncio.sleep(0)
        for _ in range(10_000):
            if not self.loop.busy:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"something runs without end (seed {self.seed})")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let everybody go on, in order, until it is so."""
        await self.settle()
        while not condition():
            self.step(0)
            await self.settle()

    async def up_to(self, process: Process, label: str) -> Point:
        """Let a process go on until it stops there."""
        while True:
            await self.settle()
            ours = [point for point in self.points if point.process is process]
            for point in ours:
                if point.label == label:
                    return point
            self.pass_by(ours[0])

    def pass_by(self, point: Point) -> None:
        """Let whoever has stopped there go on."""
        self.points.remove(point)
        if not point.passed.done():
            point.passed.set_result(None)

    def step(self, number: int | None = None) -> bool:
        """Let one of those go on that may; False if there is none."""
        able = [point for point in self.points if point.process.runs]
        if not able:
            return False
        self.pass_by(self.random.choice(able) if number is None else able[number])
        return True

    def advance(self, seconds: Seconds) -> None:
        """Let time pass."""
        self.loop.now += seconds

    def _something(self) -> None:
        dice, process = self.random.random(), self.random.choice(self.processes)
        if dice < 0.55 and self.step():
            return
        if dice < 0.72:
            if process.runs:
                self.request(process)
        elif dice < 0.76:
            if process.runs and self.accepted > len(self.processes):
                self.revoke(process)
        elif dice < 0.92:
            self._let_time_pass()
        elif dice < 0.95:
            process.stopped_until = self.loop.now + self.random.choice((0.3, LEASE, 3 * LEASE, 12 * LEASE))
        elif dice < 0.97:
            if self.requests:
                self.random.choice(self.requests).cancel()
        elif dice < 0.985:
            if process.runs:
                process.start(process.invalidation.close)
        elif sum(not each.killed for each in self.processes) > 2:
            process.killed = True

    def _let_time_pass(self) -> None:
        timer = self.loop.next_timer
        if timer is not None and self.random.random() < 0.5:
            self.loop.now = max(self.loop.now, timer)
        else:
            self.advance(self.random.choice((0.001, 0.1, 0.5, 1.0, LEASE, 3 * LEASE)))
