"""A thousand workers, simulated: partitions, pauses, joins, crashes, lost messages and clocks of different rates.

Where the model explores every order in a small world, this tries very many orders in a large one. Each worker follows
the protocol by its own clock, with the constants of the code; everything takes a random time, and sometimes for ever.

    python -m tests.model.simulation --workers 1000 --events 10000000
"""

from __future__ import annotations

import argparse
import heapq
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from asgi_apikey.invalidation.announcer import CLOCK_RATE
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.invalidation.register import _BEAT, _DEAD, _VALID
from asgi_apikey.models import Seconds

_TIMES = LeaseTimes()
_LEASE, _POLL = _TIMES.lease, _TIMES.poll
_KEYS = 200
_NEVER = float("-inf")


@dataclass(slots=True)
class Key:
    """One key, and what the oracle knows about it."""

    revoked_at: Seconds | None = None
    confirmed_at: Seconds | None = None


@dataclass(slots=True)
class Registration:
    """A row of the register."""

    worker: Worker
    on_bus: bool
    beat: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """One process; its clock shows `offset + rate * time`."""

    rate: float
    offset: Seconds
    on_bus: bool
    cut_off_until: Seconds = 0.0
    stopped_until: Seconds = 0.0
    dead: bool = False
    fresh_until: Seconds = _NEVER
    registration: int = 0
    beat_at: Seconds = _NEVER
    position: int = 0
    polling: bool = False
    waiting: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    verdicts: set[int] = field(default_factory=set)
    tombstones: dict[int, int] = field(default_factory=dict)
    generation: int = 0
    flushed: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of a simulation.

    Attributes:
        events: How many things happened.
        accepted: Requests accepted.
        confirmed: Changes whose receipt was confirmed, and how many of them by acknowledgements alone.
        acknowledged: See `confirmed`.
        late: Requests first sent after a confirmed receipt, and accepted.
        overdue: Requests first sent longer than `max_staleness` after the commit, and accepted.
        seconds: Simulated time.
    """

    events: int
    accepted: int
    confirmed: int
    acknowledged: int
    late: int
    overdue: int
    seconds: Seconds


class Simulation:
    """One run.

    Args:
        workers: How many at the same time.
        seed: Decides everything.
        waits: Leases that a revoker waits; the protocol's own number, but for tests of the simulation.
    """

    def __init__(self, workers: int, seed: int, *, waits: float = CLOCK_RATE) -> None:
        self._random = random.Random(seed)
        self._waits = waits
        self._now: Seconds = 0.0
        self._queue: list[tuple[Seconds, int, Worker | None, Callable[[], None]]] = []
        self._pushed = 0
        self._keys = [Key() for _ in range(_KEYS)]
        self._slots = list(range(_KEYS))
        self._feed: list[int] = []
        self._register: dict[int, Registration] = {}
        self._registrations = 0
        self._sightings: dict[int, tuple[int, Seconds]] = {}
        self._accepted = self._confirmed = self._acknowledged = self._late = self._overdue = 0
        self._workers: list[Worker] = []
        for _ in range(workers):
            self._workers.append(self._new_worker())
        self._after(0.1, None, self._revoke)
        self._after(0.1, None, self._accident)

    def run(self, events: int) -> Tally:
        """Let so many things happen."""
        for _ in range(events):
            at, _, worker, what = heapq.heappop(self._queue)
            self._now = max(self._now, at)
            if worker is not None:
                if worker.dead:
                    continue
                if worker.stopped_until > self._now:
                    self._push(worker.stopped_until, worker, what)
                    continue
            what()
        return Tally(events, self._accepted, self._confirmed, self._acknowledged, self._late, self._overdue, self._now)

    def _push(self, at: Seconds, worker: Worker | None, what: Callable[[], None]) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (at, self._pushed, worker, what))

    def _after(self, mean: Seconds, worker: Worker | None, what: Callable[[], None]) -> None:
        self._push(self._now + self._random.expovariate(1.0 / mean), worker, what)

    def _latency(self) -> Seconds:
        """A few milliseconds; one in fifty takes long."""
        mean = 0.003 if self._random.random() < 0.98 else 0.8
        return self._random.expovariate(1.0 / mean)

    # ---- workers -------------------------------------------------------------------------------------------------

    def _new_worker(self) -> Worker:
        rate = CLOCK_RATE ** self._random.uniform(-0.5, 0.5)
        worker = Worker(rate, self._random.uniform(0.0, 1e6), self._random.random() < 0.8)
        self._after(1.0, worker, partial(self._request, worker))
        return worker

    def _clock(self, worker: Worker) -> Seconds:
        return worker.offset + worker.rate * self._now

    def _request(self, worker: Worker) -> None:
        self._after(0.2, worker, partial(self._request, worker))
        slot = self._random.randrange(_KEYS)
        key = self._slots[slot]
        clock = self._clock(worker)
        if clock < worker.fresh_until:
            if key in worker.verdicts:
                self._accept(worker, key, self._now)
                if clock >= worker.fresh_until - _LEASE + _POLL:
                    self._poll(worker)
                return
        else:
            self._poll(worker)
        if worker.cut_off_until <= self._now:
            # Asked now, so it holds for this request whatever the lease; it is remembered if nothing came between.
            self._push(
                self._now + self._latency(), worker, partial(self._look_up, worker, key, worker.generation, self._now)
            )

    def _look_up(self, worker: Worker, key: int, mark: int, sent_at: Seconds) -> None:
        active = self._keys[key].revoked_at is None
        self._push(self._now + self._latency(), worker, partial(self._found, worker, key, mark, sent_at, active))

    def _found(self, worker: Worker, key: int, mark: int, sent_at: Seconds, active: bool) -> None:
        if active and mark >= max(worker.flushed, worker.tombstones.get(key, 0)):
            worker.verdicts.add(key)
            self._accept(worker, key, sent_at)

    def _accept(self, worker: Worker, key: int, sent_at: Seconds) -> None:
        self._accepted += 1
        facts = self._keys[key]
        if facts.confirmed_at is not None and sent_at > facts.confirmed_at:
            self._late += 1
        # By the worker's own clock, which is what it goes by.
        if facts.revoked_at is not None and (sent_at - facts.revoked_at) * worker.rate > _LEASE:
            self._overdue += 1

    # ---- the poll ------------------------------------------------------------------------------------------------

    def _poll(self, worker: Worker) -> None:
        if worker.polling:
            return
        worker.polling = True
        if worker.cut_off_until > self._now:
            self._push(self._now + 1.0, worker, partial(self._failed, worker))
            return
        began = self._clock(worker)
        if worker.registration and began - worker.beat_at < _BEAT * _LEASE:
            self._ask(worker)
        else:
            self._push(self._now + self._latency(), worker, partial(self._register_at_store, worker, began))

    def _failed(self, worker: Worker) -> None:
        worker.polling = False

    def _register_at_store(self, worker: Worker, began: Seconds) -> None:
        """A beat; or, if nobody knows us, a new registration, for which everything is forgotten."""
        known = self._register.get(worker.registration)
        if known is not None:
            known.beat += 1
            self._push(self._now + self._latency(), worker, partial(self._beaten, worker, began))
            return
        worker.fresh_until = _NEVER
        self._registrations += 1
        self._register[self._registrations] = Registration(worker, worker.on_bus)
        self._push(self._now + self._latency(), worker, partial(self._joined, worker, self._registrations, began))

    def _beaten(self, worker: Worker, began: Seconds) -> None:
        worker.beat_at = began
        self._ask(worker)

    def _joined(self, worker: Worker, registration: int, began: Seconds) -> None:
        worker.registration, worker.beat_at = registration, began
        began = self._clock(worker)
        self._push(self._now + self._latency(), worker, partial(self._position_read, worker, began))

    def _position_read(self, worker: Worker, began: Seconds) -> None:
        self._push(self._now + self._latency(), worker, partial(self._started_over, worker, began, len(self._feed)))

    def _started_over(self, worker: Worker, began: Seconds, position: int) -> None:
        worker.position = position
        worker.generation += 1
        worker.flushed = worker.generation
        worker.verdicts.clear()
        worker.tombstones.clear()
        self._obtained(worker, began)

    def _ask(self, worker: Worker) -> None:
        self._push(self._now + self._latency(), worker, partial(self._read, worker, self._clock(worker)))

    def _read(self, worker: Worker, began: Seconds) -> None:
        self._push(self._now + self._latency(), worker, partial(self._landed, worker, began, len(self._feed)))

    def _landed(self, worker: Worker, began: Seconds, position: int) -> None:
        for key in self._feed[worker.position : position]:
            worker.generation += 1
            worker.tombstones[key] = worker.generation
            worker.verdicts.discard(key)
        worker.position = max(worker.position, position)
        self._obtained(worker, began)

    def _obtained(self, worker: Worker, began: Seconds) -> None:
        worker.fresh_until = min(began + _LEASE, worker.beat_at + _VALID * _LEASE)
        worker.polling = False
        waiting, worker.waiting = worker.waiting, []
        for position, answer in waiting:
            self._woken(worker, position, answer)

    def _woken(self, worker: Worker, position: int, answer: Callable[[], None]) -> None:
        """Acknowledge when the position is reached; a poll on its way may have been asked before."""
        if worker.position >= position:
            if self._random.random() < 0.95:
                self._push(self._now + self._latency(), None, answer)
            return
        worker.waiting.append((position, answer))
        self._poll(worker)

    # ---- changes -------------------------------------------------------------------------------------------------

    def _revoke(self) -> None:
        """Somebody commits a change, and then lists who has to know of it."""
        self._after(0.05, None, self._revoke)
        slot = self._random.randrange(_KEYS)
        key = self._slots[slot]
        if self._keys[key].revoked_at is not None:
            # Well known by now: another key takes its place.
            if (self._keys[key].revoked_at or 0.0) < self._now - 10 * _LEASE:
                self._keys.append(Key())
                self._slots[slot] = len(self._keys) - 1
            return
        self._keys[key].revoked_at = self._now
        self._feed.append(key)
        if self._random.random() < 0.9:
            rate = CLOCK_RATE ** self._random.uniform(-0.5, 0.5)
            self._push(
                self._now + self._latency(), None, partial(self._announce, key, len(self._feed), rate, self._now)
            )

    def _announce(self, key: int, position: int, rate: float, committed_at: Seconds) -> None:
        awaited: set[int] = set()
        for number, each in list(self._register.items()):
            beat, since = self._sightings.get(number, (-1, 0.0))
            if beat != each.beat:
                self._sightings[number] = (each.beat, self._now)
            elif (self._now - since) * rate >= _DEAD * _LEASE:
                del self._register[number], self._sightings[number]
                continue
            awaited.add(number)
        for number in list(awaited):
            each = self._register[number]
            if each.on_bus and self._random.random() < 0.97:
                heard = partial(self._heard, key, awaited, number)
                self._push(self._now + self._latency(), each.worker, partial(self._woken, each.worker, position, heard))
        # The revoker's own clock may be the fast one.
        self._push(committed_at + self._waits * _LEASE / rate, None, partial(self._waited, key))
        if not awaited:
            self._confirm(key)

    def _heard(self, key: int, awaited: set[int], number: int) -> None:
        awaited.discard(number)
        if not awaited and self._keys[key].confirmed_at is None:
            self._acknowledged += 1
            self._confirm(key)

    def _waited(self, key: int) -> None:
        if self._keys[key].confirmed_at is None:
            self._confirm(key)

    def _confirm(self, key: int) -> None:
        self._confirmed += 1
        self._keys[key].confirmed_at = self._now

    # ---- accidents -----------------------------------------------------------------------------------------------

    def _accident(self) -> None:
        self._after(10.0 / len(self._workers), None, self._accident)
        number = self._random.randrange(len(self._workers))
        worker = self._workers[number]
        long = self._now + self._random.choice((0.5, _LEASE, 4 * _LEASE, 30 * _LEASE))
        dice = self._random.random()
        if dice < 0.4:
            worker.cut_off_until = long
        elif dice < 0.8:
            worker.stopped_until = long
        elif dice < 0.95 or worker.polling:
            self._replaced(number)
        else:
            # A clean exit: the lease is given up first.
            worker.fresh_until = _NEVER
            self._register.pop(worker.registration, None)
            self._replaced(number)

    def _replaced(self, number: int) -> None:
        self._workers[number].dead = True
        self._workers[number] = self._new_worker()


def main() -> int:
    """Run one simulation and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}, {options.workers} workers", flush=True)
    began = time.perf_counter()
    tally = Simulation(options.workers, seed).run(options.events)
    print(
        f"{tally.events:,} events, {tally.seconds:,.0f} s of their time in {time.perf_counter() - began:.0f} s of ours"
    )
    print(f"{tally.accepted:,} accepted; {tally.confirmed:,} changes confirmed, {tally.acknowledged:,} by all at once")
    print(f"late after a confirmed receipt: {tally.late}; overdue: {tally.overdue}")
    return 1 if tally.late or tally.overdue else 0


if __name__ == "__main__":
    raise SystemExit(main())
