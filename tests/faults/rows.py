"""What a row of the fault matrix is, and the experiment that most of them share."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.faults.fleet import ROOT
from tests.faults.ledger import Kind, Ledger
from tests.faults.oracle import Ground, Oracle, watching
from tests.faults.plugs import PLUGS

BACK_WITHIN: Final = 3.0
"""Seconds after the end of a fault in which every worker must serve again (I6)."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a run takes.

    Attributes:
        revokes: In each row.
        seconds: Of each fault that lasts.
        storm: Operations of a storm.
    """

    revokes: int
    seconds: float
    storm: int


SAMPLE: Final = Scale(revokes=12, seconds=3.0, storm=1_000)
WHOLE: Final = Scale(revokes=200, seconds=10.0, storm=10_000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row has shown.

    Attributes:
        text: For the table.
        broken: What must not have happened, and has; empty when the row held.
    """

    text: str
    broken: tuple[str, ...] = ()


Run: TypeAlias = Callable[[Ground, Scale], Awaitable[Seen]]
Fault: TypeAlias = Callable[[Oracle], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the matrix.

    Attributes:
        ident: `F10`; a letter follows where a fault is tried on several plugs.
        fault: What goes wrong.
        injected: How.
        expected: What must hold, besides I1 to I6.
        run: The run itself; None for one that was not made yet.
        reason: Why not.
    """

    ident: str
    fault: str
    injected: str
    expected: str
    run: Run | None = None
    reason: str = ""


def seen(ledger: Ledger, *more: str, broken: Sequence[str] = ()) -> Seen:
    """Say what the oracle saw, and what of it breaks an invariant."""
    statuses: Counter[int] = Counter()
    for (_, status), count in ledger.statuses.items():
        statuses[status] += count
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    parts = [
        f"{len(ledger.revocations)} revokes, {sum(each.confirmed for each in ledger.revocations)} confirmed",
        f"{ledger.late} late of {ledger.probes_after} requests after a receipt",
        answers,
    ]
    if ledger.latencies:
        parts.append(f"slowest answer {max(ledger.latencies):.2f} s")
    found = [f"{count} x {what}" for what, count in ledger.violations.items()]
    return Seen("; ".join((*parts, *more)), (*found, *ledger.examples[: 3 if found else 0], *broken))


def amid(
    plug: str,
    fault: Fault,
    *,
    slowest: float = 5.0,
    margin: float = 0.0,
    patience: float = 60.0,
    slots: int | None = None,
    check: Callable[[Oracle], Sequence[str]] = lambda oracle: (),
    bus: str | None = None,
    grace: float = 0.0,
) -> Run:
    """Return a run in which keys live and die before, during and after a fault.

    Args:
        plug: How workers hear of changes.
        fault: Over when it yields; what it raises fails the row.
        slowest: Seconds in which a worker that the fault has not touched must answer.
        margin: Seconds; see `Ledger`.
        patience: Seconds in which a verb must succeed: the fault may be over by then.
        slots: Keys at a time; default: 4, and 20 where each waits for a lease to end.
        check: Looks at the end; returns what is broken.
        bus: URL of the bus, if not that of its server.
        grace: Seconds for which memory is trusted in an outage.
    """
    at_once = slots or (4 if PLUGS[plug].fast else 20)

    async def run(ground: Ground, scale: Scale) -> Seen:
        site = await ground.site(plug, outage_grace=grace, **({} if bus is None else {"bus": bus}))
        async with watching(site, ground.folder, slowest=slowest, margin=margin) as oracle:
            oracle.patience = patience
            oracle.scale_seconds = scale.seconds
            await oracle.lives(max(1, scale.revokes // 5), slots=at_once)
            over = asyncio.Event()
            lives = asyncio.create_task(oracle.lives(scale.revokes, slots=at_once, until=over))
            try:
                async with fault(oracle):
                    over.set()
                back = await oracle.recovered()
                await lives
            finally:
                lives.cancel()
            await oracle.lives(max(1, scale.revokes // 5), slots=at_once)
            broken = [*check(oracle)]
        if back > BACK_WITHIN:
            broken.append(f"I6 back after {back:.1f} s")
        again = ", ".join(f"{count} x {why}" for why, count in oracle.refusals.most_common(3))
        more = f"verbs repeated: {again or 'none'}; all back {back:.2f} s after the fault"
        return seen(oracle.ledger, more, broken=broken)

    return run


def tests(*nodes: str) -> Run:
    """Return a run of tests of the suite, in a process of their own; all must pass, and there must be some."""

    async def run(ground: Ground, scale: Scale) -> Seen:
        began = time.monotonic()
        rounds = f"--fault-rounds={5 * scale.revokes}"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", rounds, *nodes]
        ended = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=1_800, check=False
        )
        passed = re.search(r"(\d+) passed", ended.stdout)
        last = ended.stdout.strip().splitlines()[-1:]
        text = f"{passed[1] if passed else 0} tests passed in {time.monotonic() - began:.0f} s"
        return Seen(text, () if ended.returncode == 0 and passed else tuple(last or [ended.stderr[-300:]]))

    return run


def good_statuses(oracle: Oracle) -> Counter[int]:
    """Return how the good key was answered."""
    return Counter({status: count for (kind, status), count in oracle.ledger.statuses.items() if kind is Kind.GOOD})
