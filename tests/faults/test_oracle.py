"""A sample of the oracle's work on every plug; `make faults` does all of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.oracle import Ground, watching
from tests.faults.plugs import PLUGS
from tests.servers import PostgresServer, RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def ground(tmp_path: Path, postgres: PostgresServer, redis: RedisServer) -> Ground:
    """Where to deploy."""
    return Ground(tmp_path, _postgres=postgres, _redis=redis)


@pytest.mark.parametrize("plug", PLUGS)
async def test_a_confirmed_revoke_is_final_on_every_worker(plug: str, ground: Ground) -> None:
    """Under load from outside, no worker accepts a key in a request that was sent after its revoke was confirmed."""
    fast = PLUGS[plug].fast
    site = await ground.site(plug)
    async with watching(site, ground.folder) as oracle:
        await oracle.lives(50 if fast else 5, slots=4 if fast else 5)

    assert oracle.ledger.violations == {}, oracle.ledger.examples
    assert all(each.confirmed for each in oracle.ledger.revocations)
    assert oracle.ledger.probes_after > 4 * len(oracle.ledger.revocations)


async def test_the_oracle_catches_a_confirmation_that_is_not_true(ground: Ground) -> None:
    """Workers that each believe to be alone confirm at once and go on accepting: that is reported."""
    site = await ground.site("alone")
    async with watching(site, ground.folder, workers=2) as oracle:
        await oracle.lives(2, slots=2)

    assert oracle.ledger.late > 0
    assert oracle.ledger.violations["I1 late"] == oracle.ledger.late


@pytest.mark.parametrize("plug", ["host", "poll-sqlite"])
async def test_a_worker_that_was_stopped_refuses_when_it_wakes(plug: str, ground: Ground) -> None:
    """Requests that waited in the socket of a worker stopped by SIGSTOP are refused if they came after the receipt."""
    site = await ground.site(plug, poll=0.1, lease=0.4)
    async with watching(site, ground.folder, workers=2) as oracle:
        sleeper = oracle.fleet.workers[1]
        targets = [await oracle.issue() for _ in range(3)]
        oracle.load.targets += targets
        await oracle.warm(*targets)
        sleeper.freeze()
        revocations = [await oracle.revoke(target) for target in targets]
        waiting = [await oracle.mail(sleeper, target) for target in targets]
        sleeper.thaw()
        await asyncio.gather(*waiting)
        for target in targets:
            await oracle.probe(target)

    assert oracle.ledger.violations == {}, oracle.ledger.examples
    assert all(each.confirmed and each.workers == 2 for each in revocations)


async def test_a_worker_that_was_killed_only_costs_time(ground: Ground) -> None:
    """After `kill -9` of one of three, revokes are confirmed when its last lease has ended, and hold everywhere."""
    site = await ground.site("poll-sqlite", poll=0.1, lease=0.4)
    async with watching(site, ground.folder, workers=3) as oracle:
        await oracle.lives(1, slots=1)
        oracle.fleet.workers[0].kill()
        revocation = await oracle.life()
        await oracle.fleet.restart(oracle.fleet.workers[0])
        await oracle.lives(1, slots=1)

    assert oracle.ledger.violations == {}, oracle.ledger.examples
    assert revocation.confirmed
    assert 0.4 <= revocation.elapsed < 2.0
