"""Faults of the workers themselves: killed, stopped, stalled, with a wrong clock, mid-change."""

# ruff: noqa: ASYNC110, ASYNC220 - other processes send us no events, and may block the loop for a moment.

from __future__ import annotations

import asyncio
import math
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import anyio

from asgi_apikey.errors import APIKeyError
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from tests.faults.fleet import ROOT, Refused
from tests.faults.ledger import Kind
from tests.faults.oracle import Ground, Oracle, watching
from tests.faults.rows import Row, Run, Scale, Seen, amid, seen, tests

_PAUSED: Final = 3


@asynccontextmanager
async def killed(oracle: Oracle) -> AsyncIterator[None]:
    """`kill -9` one worker after the other, at any moment, and start it again."""
    until = time.monotonic() + oracle.scale_seconds
    while time.monotonic() < until:
        worker = random.choice(oracle.fleet.workers)
        await asyncio.sleep(random.uniform(0.0, 0.3))
        await asyncio.to_thread(worker.kill)
        await oracle.fleet.restart(worker)
    yield


@asynccontextmanager
async def paused(oracle: Oracle) -> AsyncIterator[None]:
    """SIGSTOP a worker; revoke; put requests into its sockets; SIGCONT."""
    sleeper = oracle.fleet.workers[_PAUSED]
    targets = [await oracle.issue() for _ in range(5)]
    oracle.load.targets += targets
    await oracle.warm(*targets)
    # Not within a change: it would keep SQLite's write lock in its sleep, and nobody could change anything (F22d).
    sleeper.excused = True
    while sleeper.verbs:
        await asyncio.sleep(0.01)
    sleeper.freeze()
    for target in targets[:-1]:
        await oracle.revoke(target)
    waiting = [await oracle.mail(sleeper, target) for target in targets[:-1] for _ in range(5)]
    await asyncio.sleep(oracle.scale_seconds)
    # The last one while it has been asleep for longer than any lease.
    await oracle.revoke(targets[-1])
    waiting += [await oracle.mail(sleeper, targets[-1]) for _ in range(5)]
    sleeper.thaw()
    await asyncio.gather(*waiting)
    for target in targets:
        await oracle.probe(target)
        oracle.load.retire(target)
    yield


@asynccontextmanager
async def stalled(oracle: Oracle) -> AsyncIterator[None]:
    """Block the event loop of a worker for 2 s, over and over."""
    worker = oracle.fleet.workers[0]
    for _ in range(max(1, int(oracle.scale_seconds / 2))):
        worker.excused = True
        await worker.call("stall", seconds=2.0)
        worker.forgive()
        await asyncio.sleep(0.2)
    yield


@asynccontextmanager
async def jumped(oracle: Oracle) -> AsyncIterator[None]:
    """Set all wall clocks an hour forward, and back, and an hour back."""
    said = await oracle.call("issue", ttl=1800)
    short = oracle.ledger.expect(Kind.TARGET, str(said["key"]), str(said["key_id"]))
    oracle.load.targets.append(short)
    for shift in (3600.0, 0.0, -3600.0, 0.0):
        before = short.accepted.copy()
        if shift > 0:
            short.refusable_from = time.monotonic()
        else:
            short.late_from = math.inf
        await asyncio.gather(*(worker.call("shift", seconds=shift) for worker in oracle.fleet.workers))
        if shift > 0:
            short.late_from = time.monotonic()
            await oracle.probe(short)
        else:
            await short.until(
                lambda before=before: all(short.accepted[each] > before[each] for each in range(4)),  # type: ignore[misc]
                within=oracle.patience,
            )
        await asyncio.sleep(oracle.scale_seconds / 4)
    oracle.load.targets.remove(short)
    yield


@asynccontextmanager
async def skewed(oracle: Oracle) -> AsyncIterator[None]:
    """Set one worker's wall clock 30 s forward and another's 30 s back."""
    await oracle.fleet.workers[0].call("shift", seconds=30)
    await oracle.fleet.workers[1].call("shift", seconds=-30)
    await asyncio.sleep(oracle.scale_seconds)
    yield


@asynccontextmanager
async def joining(oracle: Oracle) -> AsyncIterator[None]:
    """End workers in good order, one after the other, and start them again: a deployment."""
    for worker in oracle.fleet.workers:
        await asyncio.to_thread(worker.terminate)
        await oracle.fleet.restart(worker)
    yield


@asynccontextmanager
async def mixed(oracle: Oracle) -> AsyncIterator[None]:
    """Replace two workers by ones that trust their memory in other ways, and later put them right again."""
    strict, timed = oracle.fleet.workers[:2]
    for plug in ("strict", "ttl", oracle.fleet.site.plug):
        oracle.fleet.environ["FAULTS_PLUG"] = plug
        for worker in {"strict": (strict,), "ttl": (timed,)}.get(plug, (strict, timed)):
            await asyncio.to_thread(worker.terminate)
            await oracle.fleet.restart(worker)
        await asyncio.sleep(oracle.scale_seconds / 2)
    yield


async def stopped_in_a_change(ground: Ground, scale: Scale) -> Seen:
    """A worker is stopped while it holds SQLite's write lock; it is killed, not woken."""
    site = await ground.site("host")
    async with watching(site, ground.folder) as oracle:
        await oracle.lives(2, slots=2)
        sleeper, other = oracle.fleet.workers[_PAUSED], oracle.fleet.workers[0]
        refused, began = 0, time.monotonic()
        while not refused and time.monotonic() - began < 60:
            changing = asyncio.create_task(sleeper.call("issue"))
            await asyncio.sleep(random.uniform(0.000_5, 0.004))
            sleeper.freeze()
            try:
                await other.call("issue")
            except Refused:
                refused += 1
            else:
                sleeper.thaw()
            if not refused:
                await changing
        await asyncio.sleep(scale.seconds)
        await asyncio.to_thread(sleeper.kill)
        await asyncio.gather(changing, return_exceptions=True)
        began = time.monotonic()
        await oracle.call("issue", by=other)
        back = time.monotonic() - began
        await oracle.fleet.restart(sleeper)
        await oracle.lives(3, slots=3)
    broken = [] if refused else ["it was never stopped within a change"]
    return seen(
        oracle.ledger, f"changes were refused with 503; possible again {back:.2f} s after the kill", broken=broken
    )


async def rehash_killed(ground: Ground, scale: Scale) -> Seen:
    """A pepper is added while workers, which re-hash every key with it, are killed."""
    old = await ground.site("host")
    new = replace(old, pepper=f"{old.pepper} {secrets.token_urlsafe(32)}")
    async with old.keys() as keys:
        issued = [await keys.issue(owner="acme") for _ in range(scale.revokes)]
    async with watching(new, ground.folder) as oracle:
        oracle.load.good += [oracle.ledger.expect(Kind.GOOD, each.key, each.record.key_id) for each in issued]
        oracle.scale_seconds = scale.seconds
        async with killed(oracle):
            pass
        good = oracle.load.good
        await asyncio.gather(*(each.until(lambda each=each: each.accepted.total() > 0, within=60) for each in good))  # type: ignore[misc]
        await oracle.lives(3, slots=3)
    ring = HMACSHA256Hasher(new.pepper.split())
    async with new.keys() as keys:
        records = [await keys.get(each.record.key_id) for each in issued]
    upgraded = sum(not ring.outdated(each.digest) for each in records)
    versions = {each.version for each in records}
    broken = [] if versions == {1} else [f"versions moved: {versions}"]
    return seen(oracle.ledger, f"{upgraded} of {len(records)} digests are new, all keys work", broken=broken)


_MIGRATION: Final = """
import asyncio, sys
from asgi_apikey.repositories import open_repository
async def main():
    repository = open_repository(sys.argv[1])
    print("go", flush=True)
    await repository.open(create=True)
    await repository.close()
asyncio.run(main())
"""


async def migration_killed(ground: Ground, scale: Scale) -> Seen:
    """Processes that make a store are killed at random points; the next one finishes their work."""
    rounds, finished = max(6, scale.revokes // 10), 0
    for number in range(rounds):
        if number % 2:
            url = ground.postgres.url_of(ground.postgres.new_database())
        else:
            url = f"sqlite:///{ground.folder}/migration-{number}.db"
        for _ in range(3):
            maker = subprocess.Popen([sys.executable, "-c", _MIGRATION, url], cwd=ROOT, stdout=subprocess.PIPE)
            assert maker.stdout is not None
            await asyncio.to_thread(maker.stdout.readline)
            await asyncio.sleep(random.uniform(0.0, 0.15))
            maker.kill()
            maker.communicate()
            finished += maker.returncode == 0
        site = replace(await ground.site("host"), url=url)
        async with site.keys() as keys:
            await keys.repository.open(create=True)
            issued = await keys.issue(owner="acme")
            await keys.authenticate(issued.key.encode())
    return Seen(f"{3 * rounds} makers, {finished} of them quicker than the kill; {rounds} of {rounds} stores whole")


async def ended_in_good_order(ground: Ground, scale: Scale) -> Seen:
    """SIGTERM under load: every accepted request is in the counts."""
    site = await ground.site("host", usage_interval=600.0)
    async with watching(site, ground.folder) as oracle:
        await oracle.lives(2, slots=2)
        await asyncio.sleep(scale.seconds)
        began = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(worker.terminate) for worker in oracle.fleet.workers))
        took = time.monotonic() - began
    good = oracle.load.good[0]
    async with site.keys() as keys:
        uses = (await keys.get(good.key_id)).uses
    accepted, lost = good.accepted.total(), oracle.ledger.lost
    held = accepted <= uses <= accepted + lost
    text = (
        f"{accepted} requests of one key were accepted, {uses} are counted, {lost} answers lost; ended in {took:.2f} s"
    )
    return seen(oracle.ledger, text, broken=[] if held else [f"{accepted - uses} uses lost"])


def cancel_storm(store: str) -> Run:
    """Return a run that cancels operations of one process at random points, natively and by anyio."""

    async def run(ground: Ground, scale: Scale) -> Seen:
        site = await ground.site(store)
        async with site.keys() as keys:
            issued = [await keys.issue(owner="acme") for _ in range(20)]
            revoked = [await keys.issue(owner="acme") for _ in range(20)]
            for each in (*issued, *revoked):
                await keys.authenticate(each.key.encode())
            for each in revoked[:10]:
                await keys.revoke(each.record.key_id)
            await asyncio.sleep(0.5)
            tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
            cancelled = 0

            async def one(number: int) -> None:
                each = issued[number % len(issued)]
                with suppress(APIKeyError):
                    if number % 3 == 0:
                        await keys.amend(each.record.key_id, name=str(number))
                    elif number % 3 == 1:
                        keys.forget(each.record.key_id)
                        await keys.authenticate(each.key.encode())
                    else:
                        await keys.find(owner="acme")

            async def native(number: int) -> None:
                nonlocal cancelled
                task = asyncio.create_task(one(number))
                await asyncio.sleep(random.uniform(0.0, 0.01))
                cancelled += task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            async def scoped(number: int) -> None:
                nonlocal cancelled
                with anyio.move_on_after(random.uniform(0.0, 0.01)) as scope:
                    await one(number)
                cancelled += scope.cancelled_caught

            for first in range(0, scale.storm, 50):
                await asyncio.gather(
                    *(native(number) if number % 2 else scoped(number) for number in range(first, first + 50))
                )
            # What a cancelled caller left behind goes on, at most for a deadline or a lease.
            began = time.monotonic()
            while len(asyncio.all_tasks()) > tasks and time.monotonic() - began < 10.0:
                await asyncio.sleep(0.05)
            left = len(asyncio.all_tasks()) - tasks
            broken = [f"{left} tasks left"] if left > 0 else []
            # Idle connections of the pools are no leak: readers and writers are bounded.
            more = len(os.listdir("/proc/self/fd")) - descriptors
            if more > 10:
                broken.append(f"{more} descriptors left")
            if site.url.startswith("postgresql"):
                [[idle]] = await asyncio.to_thread(
                    ground.postgres.execute,
                    "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
                )
                broken += [f"{idle} idle in transaction"] if idle else []
            for each in issued:
                await keys.authenticate(each.key.encode())
            back = 0
            for each in revoked[:10]:
                with suppress(APIKeyError):
                    await keys.authenticate(each.key.encode())
                    back += 1
            broken += [f"{back} revoked keys came back"] if back else []
        async with site.keys() as keys:
            report = await keys.audit.verify()
        broken += [] if report.sound else [str(report.findings[0])]
        text = (
            f"{cancelled} of {scale.storm} cancelled; {max(left, 0)} tasks, {max(more, 0)} descriptors more than before"
        )
        return Seen(text, tuple(broken))

    return run


def _races() -> tuple[str, ...]:
    nodes = ("tests/model", "tests/properties/test_lifecycle_machine.py", "tests/properties/test_repository_model.py")
    return tuple(node for node in nodes if (ROOT / node).exists())


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "F13b",
        "Cancel storm over the whole library, SQLite",
        "amend, verify and search cancelled within 10 ms, natively and by anyio",
        "tasks and descriptors as before; every key works; the audit is whole",
        cancel_storm("host"),
    ),
    Row(
        "F13c",
        "Cancel storm over the whole library, PostgreSQL",
        "as F13b",
        "as F13b; no session idle in transaction",
        cancel_storm("poll-postgres"),
    ),
    Row(
        "F18a",
        "Workers killed during revokes, SQLite",
        "`kill -9` at random moments, restarted",
        "nothing half written; confirmations wait for the leases of the dead",
        amid("host", killed),
    ),
    Row(
        "F18b",
        "Workers killed during revokes, PostgreSQL",
        "as F18a",
        "as F18a",
        amid("poll-postgres", killed),
    ),
    Row(
        "F18c",
        "Processes killed within issues, rotations and revokes",
        "`kill -9` at random lines of what they acknowledge, SQLite and PostgreSQL",
        "0 half written, 0 acknowledged and lost, 0 changes without audit and feed rows",
        tests("tests/faults/test_kill_nine.py"),
    ),
    Row(
        "F19a",
        "Workers killed while a new pepper spreads",
        "ring of two peppers, every key re-hashed, `kill -9`",
        "old and new digests both verify; versions do not move",
        rehash_killed,
    ),
    Row(
        "F19b",
        "Killed while a store is made or migrated",
        "`kill -9` within 150 ms of the start, three times, both dialects",
        "the next one finishes it",
        migration_killed,
    ),
    Row(
        "F20a",
        "SIGTERM with requests in flight",
        "all workers at once, under load, usage written only at the end",
        "no accepted request is missing in the counts",
        ended_in_good_order,
    ),
    Row(
        "F20b",
        "Workers replaced one by one",
        "SIGTERM, start, next",
        "who leaves deregisters: confirmations stay fast",
        amid("host", joining),
    ),
    Row(
        "F20c",
        "Modes of consistency mixed on one store",
        "one worker restarted with `strict`, one with `ttl` of 1 s, all of them revoking",
        "receipts that are confirmed are true; who trusts memory for a time is waited for",
        amid("host", mixed, slots=20),
    ),
    Row(
        "F21a",
        "Event loop stalled 2 s (bus)",
        "a handler that blocks",
        "changes are applied before the first answer from memory",
        amid("host", stalled),
    ),
    Row("F21b", "Event loop stalled 2 s (poll)", "a handler that blocks", "as F21a", amid("poll-sqlite", stalled)),
    Row(
        "F22a",
        "Worker stopped (bus)",
        "SIGSTOP, revokes, requests into its sockets, SIGCONT",
        "on waking, nothing that was revoked is accepted; others were confirmed after its last lease",
        amid("host", paused),
    ),
    Row("F22b", "Worker stopped (poll)", "as F22a", "as F22a", amid("poll-sqlite", paused)),
    Row("F22c", "Worker stopped (poll, PostgreSQL)", "as F22a", "as F22a", amid("poll-postgres", paused)),
    Row(
        "F22d",
        "Worker stopped within a change, SQLite",
        "SIGSTOP while it holds the write lock; later `kill -9`",
        "keys are verified all the time; no change is possible until it goes on or dies: 503",
        stopped_in_a_change,
    ),
    Row(
        "F23",
        "Wall clock jumps 1 h, both ways",
        "injected clock, all workers",
        "a key that ends in half an hour is refused and accepted again; lifetimes in memory do not move",
        amid("host", jumped),
    ),
    Row(
        "F24a",
        "Wall clocks 60 s apart (bus)",
        "injected clock, one worker +30 s, one -30 s, both revoke",
        "as without",
        amid("host", skewed),
    ),
    Row("F24b", "Wall clocks 60 s apart (poll)", "as F24a", "as without", amid("poll-sqlite", skewed)),
    Row(
        "F28",
        "Races of verify, revoke, rotate, fill, poll, join",
        "explicit-state model, scheduled real coroutines, state machines",
        "no late acceptance in any interleaving",
        tests(*_races()) if len(_races()) == 3 else None,
        "tests/model is not in this tree yet; the oracle's rows run the same races unscheduled",
    ),
)
