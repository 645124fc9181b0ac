"""A thousand workers: nobody accepts a key after its revocation was confirmed."""

from __future__ import annotations

import secrets

import pytest

from tests.model.simulation import Simulation


@pytest.mark.faults
def test_a_thousand_workers_agree(fault_rounds: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut off, stopped, killed, joining, with clocks of different rates and messages that get lost."""
    seed = secrets.randbits(32)
    tally = Simulation(1_000, seed).run(10_000 * fault_rounds)
    with capsys.disabled():
        print(f"\nseed {seed}: {tally}", end=" ")

    assert (tally.late, tally.overdue) == (0, 0)
    assert tally.confirmed > 0


def test_a_small_fleet_confirms_by_acknowledgements_too() -> None:
    """So both ways to a receipt are tried."""
    tally = Simulation(5, 7).run(100_000)

    assert (tally.late, tally.overdue) == (0, 0)
    assert 0 < tally.acknowledged < tally.confirmed


def test_the_simulation_notices_an_early_receipt() -> None:
    """A revoker that waits for half a lease confirms what does not hold."""
    tally = Simulation(50, 1, waits=0.5).run(200_000)

    assert tally.late > 0
