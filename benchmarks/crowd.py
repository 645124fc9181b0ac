"""A simulated fleet: what its polls, beats, looks, wake-ups and acknowledgements ask of the database and of the bus.

Each simulated worker follows the constants of the package; who revokes is one more. Requests come at random; as only
the first one after a poll is due has any effect, no other is simulated. The database is a queue in front of some cores.
The same seed and costs give the same figures.

Not in it: what a poll costs the worker itself, what Redis does, and the reads of keys.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from asgi_apikey.invalidation.announcer import CLOCK_RATE, CLOCK_STEP
from asgi_apikey.invalidation.exchange import _FIRST_REPEAT, _LONGEST_REPEAT, _QUIET
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.invalidation.register import _BEAT, _DEAD, _MANY
from asgi_apikey.models import DAY, Seconds

Bus = Literal["none", "host", "redis", "postgres"]

LATENCY: Final[Seconds] = 0.000_3
"""One way between two machines of the same network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one operation takes, in seconds.

    Attributes:
        poll: Reading the feed where there is nothing new.
        beat: Showing that a worker lives.
        look: Listing the register, but for its rows.
        row: Each row of it.
        message: Sending one through PostgreSQL; those through Redis are none of the database's business.
        unseal: Reading a sealed acknowledgement.
    """

    poll: Seconds
    beat: Seconds
    look: Seconds
    row: Seconds
    message: Seconds
    unseal: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fleet.

    Attributes:
        workers: Processes.
        requests: Of each worker, in a second.
        changes: Of the fleet, in a second.
        times: How often to poll and how long to trust.
        bus: How they hear of changes.
        crashes: Of each worker, in a day: exits that deregister nobody.
        cores: Of the database.
    """

    workers: int
    requests: float = 10.0
    changes: float = 1.0
    times: LeaseTimes = field(default_factory=LeaseTimes)
    bus: Bus = "redis"
    crashes: float = 0.0
    cores: int = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of it; rates are in a second.

    Attributes:
        polls: Reads of the feed.
        writes: Beats.
        looks: Lists of the register.
        rows: Read by polls and looks.
        busy: Cores of the database that all this takes; more than there are: it falls behind.
        published: Messages sent.
        delivered: Messages received; through PostgreSQL, backends that are woken.
        pings: Of lines on which nothing was said.
        waiting: Share of the requests that wait for a poll.
        receipts: Seconds from each commit to its receipt, in order.
        acknowledged: Share of the receipts that all workers have acknowledged; the others waited for the leases.
    """

    polls: float
    writes: float
    looks: float
    rows: float
    busy: float
    published: float
    delivered: float
    pings: float
    waiting: float
    receipts: tuple[Seconds, ...]
    acknowledged: float


@dataclass(slots=True)
class _Worker:
    fresh_until: Seconds = -math.inf
    beat_at: Seconds = -math.inf
    look_at: Seconds = 0.0
    position: int = 0
    polling: bool = False
    turn: int = 0
    owes: list[_Call] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    """One change on its way to all."""

    position: int
    committed_at: Seconds
    awaited: int
    answered: set[int] = field(default_factory=set)
    reader_free_at: Seconds = 0.0
    over: bool = False


class Crowd:
    """One run.

    Args:
        scenario: Who takes part.
        costs: Measured, or made up.
        seed: Decides everything else.
    """

    def __init__(self, scenario: Scenario, costs: Costs, seed: int) -> None:
        self._given = scenario
        self._costs = costs
        self._random = random.Random(seed)
        self._now: Seconds = 0.0
        self._queue: list[tuple[Seconds, int, Callable[[], None]]] = []
        self._pushed = 0
        self._free_at = [0.0] * scenario.cores
        self._commits: list[Seconds] = []
        self._receipts: list[Seconds] = []
        self._polls = self._writes = self._looks = self._rows = self._waits = 0
        self._published = self._delivered = self._acknowledged = 0
        self._busy: Seconds = 0.0
        self._workers = [
            _Worker(look_at=self._random.uniform(0.0, self._look_interval)) for _ in range(scenario.workers)
        ]
        for worker in self._workers:
            # They have not all been started in the same instant.
            worker.beat_at = -self._random.uniform(0.0, _BEAT * scenario.times.lease)
            self._push(self._random.uniform(0.0, scenario.times.poll), partial(self._request, worker, 0))
        if scenario.changes:
            self._push(self._random.expovariate(scenario.changes), self._change)

    def run(self, seconds: Seconds) -> Figures:
        """Let so much time pass; changes that have no receipt by then are not counted."""
        while self._queue and self._queue[0][0] < seconds:
            self._now, _, what = heapq.heappop(self._queue)
            what()
        requests = self._given.requests * self._given.workers * seconds
        return Figures(
            polls=self._polls / seconds,
            writes=self._writes / seconds,
            looks=self._looks / seconds,
            rows=self._rows / seconds,
            busy=self._busy / seconds,
            published=self._published / seconds,
            delivered=self._delivered / seconds,
            pings=self._given.workers / _QUIET if self._over_a_server else 0.0,
            waiting=min(1.0, self._waits / requests) if requests else 0.0,
            receipts=tuple(sorted(self._receipts)),
            acknowledged=self._acknowledged / len(self._receipts) if self._receipts else 0.0,
        )

    @property
    def _over_a_server(self) -> bool:
        return self._given.bus in ("redis", "postgres")

    @property
    def _look_interval(self) -> Seconds:
        return _DEAD * self._given.times.lease * max(1.0, self._given.workers / _MANY)

    def _push(self, at: Seconds, what: Callable[[], None]) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (at, self._pushed, what))

    def _serve(self, cost: Seconds) -> tuple[Seconds, Seconds]:
        """Return when the database begins with what was sent now, and when the answer is back."""
        begins = max(heapq.heappop(self._free_at), self._now + LATENCY)
        heapq.heappush(self._free_at, begins + cost)
        self._busy += cost
        return begins, begins + cost + LATENCY

    # ---- workers ---------------------------------------------------------------------------------------------------

    def _request(self, worker: _Worker, turn: int) -> None:
        """The first request after a poll was due; an earlier one may have seen to it meanwhile."""
        if turn == worker.turn and not worker.polling:
            # The very first poll of a worker is not what this is about.
            self._waits += self._now >= worker.fresh_until > -math.inf
            self._poll(worker)

    def _poll(self, worker: _Worker) -> None:
        worker.polling = True
        self._polls += 1
        cost = self._costs.poll
        began = self._now
        if began - worker.beat_at >= _BEAT * self._given.times.lease:
            worker.beat_at = began
            self._writes += 1
            cost += self._costs.beat
        if began >= worker.look_at:
            worker.look_at = began + self._look_interval
            cost += self._listing()
        begins, ends = self._serve(cost)
        self._push(ends, partial(self._landed, worker, began, begins))

    def _listing(self) -> Seconds:
        self._looks += 1
        self._rows += self._given.workers
        return self._costs.look + self._costs.row * self._given.workers

    def _landed(self, worker: _Worker, began: Seconds, read_at: Seconds) -> None:
        position = bisect_right(self._commits, read_at)
        # The row at its own position is read again each time.
        self._rows += 1 + position - worker.position
        worker.position = position
        worker.polling = False
        worker.fresh_until = began + self._given.times.lease
        owes, worker.owes = worker.owes, []
        for call in owes:
            if call.position <= position:
                self._answer(worker, call)
            else:
                worker.owes.append(call)
        if worker.owes:
            self._poll(worker)
        elif self._given.requests:
            worker.turn += 1
            due = max(self._now, began + self._given.times.poll)
            wait = self._random.expovariate(self._given.requests)
            self._push(due + wait, partial(self._request, worker, worker.turn))

    # ---- changes ---------------------------------------------------------------------------------------------------

    def _change(self) -> None:
        self._push(self._now + self._random.expovariate(self._given.changes), self._change)
        self._commits.append(self._now)
        call = _Call(len(self._commits), self._now, self._given.workers + self._dead())
        times = self._given.times
        self._push(self._now + times.lease * CLOCK_RATE + 2 * CLOCK_STEP, partial(self._waited, call))
        _, listed_at = self._serve(self._listing())
        if self._given.bus == "host":
            self._push(listed_at, partial(self._signal, call))
        elif self._over_a_server:
            self._push(listed_at, partial(self._wake, call, _FIRST_REPEAT))

    def _dead(self) -> int:
        """Whether somebody is registered who is not there any more; one is as bad as many."""
        missed = self._given.workers * self._given.crashes / DAY * _DEAD * self._given.times.lease
        return int(self._random.random() >= math.exp(-missed))

    def _signal(self, call: _Call) -> None:
        """A number in memory: nobody is waited for, and each polls with its next request."""
        self._confirm(call, acknowledged=True)
        for worker in self._workers:
            worker.turn += 1
            if self._given.requests:
                wait = self._random.expovariate(self._given.requests)
                self._push(self._now + wait, partial(self._request, worker, worker.turn))

    def _wake(self, call: _Call, pause: Seconds) -> None:
        if call.over:
            return
        self._push(self._sent(len(self._workers)), partial(self._woken, call))
        self._push(self._now + pause, partial(self._wake, call, min(2 * pause, _LONGEST_REPEAT)))

    def _sent(self, hearers: int) -> Seconds:
        """Return when a message that is sent now is there."""
        self._published += 1
        if self._given.bus == "redis":
            self._delivered += hearers
            return self._now + 2 * LATENCY
        # PostgreSQL wakes every backend that listens to anything.
        self._delivered += len(self._workers)
        return self._serve(self._costs.message)[1]

    def _woken(self, call: _Call) -> None:
        for worker in self._workers:
            worker.owes.append(call)
            if not worker.polling:
                self._poll(worker)

    def _answer(self, worker: _Worker, call: _Call) -> None:
        self._push(self._sent(1), partial(self._heard, call, id(worker)))

    def _heard(self, call: _Call, who: int) -> None:
        if who in call.answered:
            return
        call.answered.add(who)
        call.reader_free_at = max(call.reader_free_at, self._now) + self._costs.unseal
        if len(call.answered) == call.awaited:
            self._push(call.reader_free_at, partial(self._confirm, call, acknowledged=True))

    def _waited(self, call: _Call) -> None:
        self._confirm(call, acknowledged=False)

    def _confirm(self, call: _Call, *, acknowledged: bool) -> None:
        if not call.over:
            call.over = True
            self._receipts.append(self._now - call.committed_at)
            self._acknowledged += acknowledged
