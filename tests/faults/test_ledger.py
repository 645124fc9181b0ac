"""The ledger's judgement, on answers that are made up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.faults.client import Reply
from tests.faults.fleet import WorkerProcess
from tests.faults.ledger import Kind, Ledger, Presented

CONFIRMED = {"confirmed": True, "elapsed": 0.0, "workers": 1, "acknowledged": 1, "max_staleness": 0.0}
UNCONFIRMED = {**CONFIRMED, "confirmed": False, "max_staleness": 2.0}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker of which only the number matters."""
    with subprocess.Popen(["true"]) as process:
        yield WorkerProcess(0, 0, tmp_path / "log", process)


def answer(status: int, *, sent: float, took: float = 0.01, body: str = "key", retry_after: bool = True) -> Reply:
    """An answer to a request sent at this instant."""
    return Reply(status, body.encode(), sent, sent + took, retry_after)


def revoked(receipt: Mapping[str, Any], at: float) -> tuple[Ledger, Presented]:
    """A ledger that has seen one key revoked."""
    ledger = Ledger()
    target = ledger.expect(Kind.TARGET, "ak_live_key_secret", "key")
    target.refusable_from = at - 0.1
    ledger.revoked(target, dict(receipt), began=at - 0.1, now=at)
    return ledger, target


@pytest.mark.parametrize(("sent", "late"), [(9.999, 0), (10.0, 1), (11.0, 1)])
def test_late_is_what_was_sent_after_a_confirmed_receipt(sent: float, late: int, worker: WorkerProcess) -> None:
    """Not what was sent before and answered after it."""
    ledger, target = revoked(CONFIRMED, at=10.0)

    ledger.note(worker, target, answer(200, sent=sent, took=5.0))

    assert ledger.late == late


@pytest.mark.parametrize(("sent", "late"), [(11.9, 0), (12.0, 1)])
def test_an_unconfirmed_revoke_holds_after_max_staleness(sent: float, late: int, worker: WorkerProcess) -> None:
    """Until then it may be accepted."""
    ledger, target = revoked(UNCONFIRMED, at=10.0)

    ledger.note(worker, target, answer(200, sent=sent))

    assert ledger.late == late


@pytest.mark.parametrize(
    ("kind", "reply", "violation"),
    [
        (Kind.FORGED, answer(200, sent=1.0), "I2 a forged key was accepted"),
        (Kind.GOOD, answer(200, sent=1.0, body="other"), "I2 accepted as somebody else"),
        (Kind.GOOD, answer(401, sent=1.0), "I3 a good key was rejected"),
        (Kind.GOOD, answer(500, sent=1.0), "I3 unexpected status"),
        (Kind.GOOD, answer(503, sent=1.0, retry_after=False), "I3 no Retry-After"),
        (Kind.GOOD, answer(200, sent=1.0, took=6.0), "I3 too slow"),
    ],
)
def test_each_invariant_is_watched(kind: Kind, reply: Reply, violation: str, worker: WorkerProcess) -> None:
    """An answer that breaks one is a violation of it and of no other."""
    ledger = Ledger(slowest=5.0)

    ledger.note(worker, ledger.expect(kind, "ak_live_key_secret", "key"), reply)

    assert dict(ledger.violations) == {violation: 1}


def test_what_a_fault_has_touched_may_be_slow(worker: WorkerProcess) -> None:
    """A worker that was stopped on purpose owes nobody a quick answer to what was sent before it went on."""
    ledger = Ledger(slowest=1.0)
    good = ledger.expect(Kind.GOOD, "ak_live_key_secret", "key")
    worker.owes_since = 20.0

    ledger.note(worker, good, answer(200, sent=10.0, took=10.0))
    ledger.dropped(worker, sent=19.0)

    assert ledger.violations == {}
