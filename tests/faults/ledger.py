"""What the oracle knows to be true, and every answer that was not.

The rule is one comparison: a request whose first byte was sent after the oracle had read "confirmed" must not be
accepted. Both instants are taken in one process, so no two clocks are compared.
"""

from __future__ import annotations

import asyncio
import enum
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.client import Reply, page
from tests.faults.fleet import WorkerProcess

_KEPT = 20


class Kind(enum.Enum):
    """What is known about a presented key before anything is sent."""

    GOOD = "good"
    """Issued, and never revoked."""
    FORGED = "forged"
    """Never issued, or another secret of an issued one."""
    TARGET = "target"
    """Issued, and to be revoked."""


@dataclass(eq=False, slots=True)
class Presented:
    """One key that is presented to workers, and what came of it.

    Attributes:
        kind: See `Kind`.
        key: The whole of it.
        key_id: What an accepting worker must answer with.
        refusable_from: No worker may reject it in an answer to a request that was answered before.
        late_from: No worker may accept it in a request that is sent from then on.
        accepted: How often each worker has accepted it.
        refused: How often each worker has rejected it.
        probed: How often each worker has answered a request that was sent from `late_from` on.
        last_accepted: When the last request that each worker has accepted was sent.
        first_refused: When the first request that each worker has rejected was sent.
    """

    kind: Kind
    key: str = field(repr=False)
    key_id: str
    refusable_from: float = math.inf
    late_from: float = math.inf
    accepted: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    probed: Counter[int] = field(default_factory=Counter)
    last_accepted: dict[int, float] = field(default_factory=dict)
    first_refused: dict[int, float] = field(default_factory=dict)
    request: bytes = field(init=False, repr=False)
    _moved: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def __post_init__(self) -> None:
        self.request = page(self.key)

    def moved(self) -> None:
        """Wake who waits in `until`."""
        self._moved.set()

    async def until(self, reached: Callable[[], bool], *, within: float) -> None:
        """Wait until what came back has made it so.

        Raises:
            TimeoutError: It has not in time.
        """
        async with asyncio.timeout(within):
            while not reached():
                self._moved.clear()
                await self._moved.wait()


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revoke, as the oracle saw it.

    Attributes:
        took: Seconds from the request to the receipt.
        elapsed: Seconds from the commit to the receipt, as the receipt says.
        confirmed: As the receipt says.
        workers: As the receipt says.
        acknowledged: As the receipt says.
    """

    took: float
    elapsed: float
    confirmed: bool
    workers: int
    acknowledged: int


class Ledger:
    """Every answer goes through here.

    Args:
        slowest: Seconds within which a worker that is not excused must answer.
        margin: Seconds after a receipt before an acceptance is late: more than none only for a fault that is known to
            make confirmations untrue.
    """

    def __init__(self, *, slowest: float = 5.0, margin: float = 0.0) -> None:
        self.slowest = slowest
        self.margin = margin
        self.presented: list[Presented] = []
        self.revocations: list[Revocation] = []
        self.statuses: Counter[tuple[Kind, int]] = Counter()
        self.violations: Counter[str] = Counter()
        self.examples: list[str] = []
        self.latencies: list[float] = []
        self.lost = 0
        self.late = 0
        self.probes_after = 0

    def expect(self, kind: Kind, key: str, key_id: str) -> Presented:
        """Begin to know a key."""
        presented = Presented(kind, key, key_id)
        self.presented.append(presented)
        return presented

    def revoked(self, target: Presented, said: dict[str, Any], *, began: float, now: float) -> None:
        """Note a receipt. From `now` on, or `max_staleness` later where nothing was confirmed, accepting is late."""
        target.late_from = now + self.margin + (0.0 if said["confirmed"] else float(said["max_staleness"]))
        self.revocations.append(
            Revocation(
                now - began, float(said["elapsed"]), said["confirmed"], int(said["workers"]), int(said["acknowledged"])
            )
        )

    def note(self, worker: WorkerProcess, presented: Presented, reply: Reply) -> None:
        """Judge one answer."""
        number, status = worker.number, reply.status
        self.statuses[presented.kind, status] += 1
        if reply.sent >= presented.late_from:
            presented.probed[number] += 1
            self.probes_after += 1
        if status == 200:
            self._accepted(number, presented, reply)
        elif status == 401:
            presented.refused[number] += 1
            presented.first_refused.setdefault(number, reply.sent)
            if presented.kind is not Kind.FORGED and reply.done < presented.refusable_from:
                self.violate("I3 a good key was rejected", f"worker {number}, {presented.key_id}")
        elif status not in (403, 429, 503):
            self.violate("I3 unexpected status", f"worker {number}: {status}")
        elif not reply.retry_after and status != 403:
            self.violate("I3 no Retry-After", f"worker {number}: {status}")
        took = reply.done - reply.sent
        # Only those that no fault has touched: what a frozen worker owes is not a latency.
        if not worker.excused and reply.sent > worker.owes_since:
            self.latencies.append(took)
            if took > self.slowest:
                self.violate("I3 too slow", f"worker {number}: {took:.2f} s for {status}")
        presented.moved()

    def dropped(self, worker: WorkerProcess, sent: float) -> None:
        """Note a request that got no answer."""
        self.lost += 1
        if not worker.excused and sent > worker.owes_since:
            self.violate("I3 no answer", f"worker {worker.number} has closed the connection")

    def violate(self, what: str, example: str) -> None:
        """Note that something that must never happen has."""
        self.violations[what] += 1
        if len(self.examples) < _KEPT:
            self.examples.append(f"{what}: {example}")

    def secrets(self) -> Sequence[str]:
        """Return every text that must not be in any log: the secret parts of all keys."""
        return [presented.key.rpartition("_")[2] for presented in self.presented]

    def _accepted(self, number: int, presented: Presented, reply: Reply) -> None:
        presented.accepted[number] += 1
        presented.last_accepted[number] = max(reply.sent, presented.last_accepted.get(number, 0.0))
        if presented.kind is Kind.FORGED:
            self.violate("I2 a forged key was accepted", f"worker {number}, {presented.key_id}")
        elif reply.body != presented.key_id.encode():
            self.violate("I2 accepted as somebody else", f"worker {number}, {presented.key_id}: {reply.body!r}")
        if reply.sent >= presented.late_from:
            self.late += 1
            after = reply.sent - presented.late_from
            self.violate("I1 late", f"worker {number}, {presented.key_id}: sent {after * 1000:.1f} ms too late")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all is at most; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def median(values: Sequence[float]) -> float:
    """Return the median; NaN of none."""
    return statistics.median(values) if values else math.nan
