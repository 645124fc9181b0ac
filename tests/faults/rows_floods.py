"""Floods: unknown keys, wrong secrets of a slow hasher, a thousand first uses at once, a log that nobody reads."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from asgi_apikey.keyformat import KeyFormat
from tests.faults.client import Connection, connect, page
from tests.faults.fleet import Fleet
from tests.faults.ledger import Kind, percentile
from tests.faults.oracle import Ground, Oracle, watching
from tests.faults.rows import Row, Scale, Seen, seen
from tests.wiring import forged

_ATTACKERS: Final = 12
_MIB: Final = 2**20


async def _flood(fleet: Fleet, request: Callable[[], bytes], until: float, source: str) -> Counter[int]:
    """Present keys on many connections, from one address, until the time is over."""
    answers: Counter[int] = Counter()

    async def attacker(number: int) -> None:
        connection = await connect(fleet.workers[number % len(fleet.workers)].port, source=source)
        try:
            while time.monotonic() < until:
                answers[(await connection.request(request())).status] += 1
        finally:
            connection.close()

    await asyncio.gather(*(attacker(number) for number in range(_ATTACKERS)))
    return answers


async def _good(oracle: Oracle, until: float) -> list[float]:
    """Present good keys at 50 a second, from another address; return how long each answer took, in milliseconds."""
    took: list[float] = []
    connections = [await connect(worker.port, source="127.0.0.2") for worker in oracle.fleet.workers]
    good = oracle.load.good
    turn = 0
    while time.monotonic() < until:
        worker = oracle.fleet.workers[turn % len(connections)]
        presented = good[turn % len(good)]
        reply = await connections[turn % len(connections)].request(presented.request)
        oracle.ledger.note(worker, presented, reply)
        took.append((reply.done - reply.sent) * 1e3)
        turn += 1
        await asyncio.sleep(0.02)
    for connection in connections:
        connection.close()
    return took


async def _flooded(oracle: Oracle, scale: Scale, bad: Callable[[], bytes]) -> tuple[str, list[str]]:
    """Compare the answers to good keys under a flood of bad keys with those under an equal flood of good ones."""
    fleet = oracle.fleet
    good = [each.request for each in oracle.load.good]
    for request in good:
        for worker in fleet.workers:
            connection = await connect(worker.port)
            await connection.request(request)
            connection.close()
    before = [int((await worker.call("stats"))["rss"]) for worker in fleet.workers]
    turn = iter(range(10**9))
    until = time.monotonic() + scale.seconds
    _, calm = await asyncio.gather(
        _flood(fleet, lambda: good[next(turn) % len(good)], until, "127.0.0.3"), _good(oracle, until)
    )
    until = time.monotonic() + scale.seconds
    answers, attacked = await asyncio.gather(_flood(fleet, bad, until, "127.0.0.66"), _good(oracle, until))
    after = [int((await worker.call("stats"))["rss"]) for worker in fleet.workers]
    grown = max(b - a for a, b in zip(before, after, strict=True)) / _MIB
    calm_p99, attacked_p99 = percentile(calm, 0.99), percentile(attacked, 0.99)
    broken = []
    if answers[200] or answers[500]:
        broken.append(f"bad keys were answered {dict(answers)}")
    if attacked_p99 > max(2 * calm_p99, 50.0):
        broken.append(f"good p99 {attacked_p99:.1f} ms")
    if grown > 64:
        broken.append(f"{grown:.0f} MiB more")
    said = ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))
    text = (
        f"flood: {said} ({answers.total() / scale.seconds:.0f}/s); good keys p99 {attacked_p99:.1f} ms, "
        f"{calm_p99:.1f} ms under as many good ones; {grown:.0f} MiB more in the largest worker"
    )
    return text, broken


async def unknown_keys(ground: Ground, scale: Scale) -> Seen:
    """Random keys of the right form against the default limits."""
    site = await ground.site("host", limits="default")
    keys = KeyFormat()
    async with watching(site, ground.folder, connections=0) as oracle:
        oracle.load.good += [await oracle.issue(Kind.GOOD) for _ in range(20)]
        # Made beforehand: making one takes longer than presenting it.
        made = [page(keys.generate("live").key) for _ in range(20_000)]
        turn = iter(range(10**9))
        text, broken = await _flooded(oracle, scale, lambda: made[next(turn) % len(made)])
    return seen(oracle.ledger, text, broken=broken)


async def wrong_secrets(ground: Ground, scale: Scale) -> Seen:
    """Wrong secrets of one existing id, with Argon2."""
    site = await ground.site("host", limits="default", hasher="argon2")
    keys = KeyFormat()
    async with watching(site, ground.folder, connections=0) as oracle:
        oracle.load.good += [await oracle.issue(Kind.GOOD) for _ in range(2)]
        victim = oracle.load.good[0]
        made = [page(forged(keys, victim.key_id)) for _ in range(2_000)]
        turn = iter(range(10**9))
        text, broken = await _flooded(oracle, scale, lambda: made[next(turn) % len(made)])
    return seen(oracle.ledger, text, broken=broken)


async def stampede(ground: Ground, scale: Scale) -> Seen:
    """A thousand first uses of one key, at once, over four workers."""
    site = await ground.site("host")
    async with watching(site, ground.folder, connections=0) as oracle:
        fresh = await oracle.issue(Kind.GOOD)
        before = [int((await worker.call("stats"))["reads"]) for worker in oracle.fleet.workers]
        ports = [worker.port for worker in oracle.fleet.workers]
        connections = [(number % 4, await connect(ports[number % 4])) for number in range(1_000)]

        async def use(number: int, connection: Connection) -> None:
            oracle.ledger.note(oracle.fleet.workers[number], fresh, await connection.request(fresh.request))
            connection.close()

        await asyncio.gather(*(use(*each) for each in connections))
        after = [int((await worker.call("stats"))["reads"]) for worker in oracle.fleet.workers]
    reads = [b - a for a, b in zip(before, after, strict=True)]
    accepted = fresh.accepted.total()
    broken = [f"reads {reads}"] if max(reads) > 2 else []
    broken += [f"{accepted} of 1000 accepted"] if accepted != 1_000 else []
    return seen(oracle.ledger, f"{accepted} of 1000 first uses accepted; reads per worker {reads}", broken=broken)


async def silent_sink(ground: Ground, scale: Scale) -> Seen:
    """Workers whose standard output and error are a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"." * 4_096)
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    site = await ground.site("host")
    try:
        async with watching(site, ground.folder, sink=writing) as oracle:
            await oracle.lives(scale.revokes, slots=4)
    finally:
        os.close(reading)
        os.close(writing)
    return seen(oracle.ledger)


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "F25",
        "Flood of unknown keys of the right form",
        f"{_ATTACKERS} connections from one address, 50 good requests a second from another, default limits",
        "good p99 at most twice that under an equal flood of good keys, or 50 ms; at most 64 MiB more",
        unknown_keys,
    ),
    Row(
        "F26",
        "Flood of wrong secrets of one id, Argon2",
        "as F25",
        "as F25; the excess is 429 or 503; the owner is served from memory",
        wrong_secrets,
    ),
    Row(
        "F27",
        "Stampede: 1,000 first uses of one key",
        "1,000 connections to 4 workers",
        "one read per worker, or one more where a change came in between",
        stampede,
    ),
    Row(
        "F34",
        "Nobody reads the log",
        "standard output and error are a full pipe",
        "authentication and revokes go on: nothing is logged on their way",
        silent_sink,
    ),
)
