"""Four processes and one quota: exactly as many requests are let in as there are, wherever it is counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.limits import limit_rule
from tests.servers import PostgresServer, RedisServer

pytestmark = [pytest.mark.anyio, pytest.mark.faults]

ROOT = Path(__file__).parents[2]
PROCESSES = 4
LONG = 1_000
"""Rounds from which on it is the long run."""


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where the keys are, and where it is counted if it is elsewhere."""
    sqlite = f"sqlite:///{tmp_path / 'keys.db'}"
    if request.param == "sqlite":
        return sqlite, ""
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        redis.execute("FLUSHALL")
        return sqlite, redis.url
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url_of(server.new_database()), ""


async def test_exactly_what_there_is_is_let_in(places: tuple[str, str], fault_rounds: int) -> None:
    """Of 4 x 300 requests 100; in the long run, of 4 x 10,000 a thousand."""
    url, meters = places
    times, quota = (10_000, 1_000) if fault_rounds >= LONG else (300, 100)
    async with APIKeys(url, pepper=None) as keys:
        # The rate would let in more, and must not lose a thing to the requests that the quota refuses.
        limits = [f"quota {quota}/month", f"{10 * quota}/31 days", f"credits {quota + 1}"]
        issued = await keys.issue(owner="acme", limits=limits)
    outcomes = _spent([url, meters, str(times)], issued.key)
    async with APIKeys(url, pepper=None, meters=meters or None) as keys:
        left = {each.meter.rule: each.remaining for each in await keys.remaining(issued.record.key_id)}

    let_in, refused, undecided = (sum(each) for each in zip(*outcomes, strict=True))
    # Whoever was answered 503 may have paid; nobody else has for nothing, and nobody twice.
    assert quota - undecided <= let_in <= quota
    assert let_in + refused + undecided == PROCESSES * times
    assert [left[limit_rule(each)] for each in (limits[0], limits[2])] == [0, 1]
    # A few come back while this runs.
    assert 9 * quota <= left[limit_rule(limits[1])] <= 9 * quota + quota // 10


def _spent(arguments: list[str], key: str) -> list[tuple[int, int, int]]:
    """Have them all start at the same time; return what each of them counted."""
    spenders = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.limiters.spender", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(PROCESSES)
    ]
    outcomes = []
    for each in spenders:
        assert each.stdin is not None
        each.stdin.write(f"{key}\n")
        each.stdin.flush()
    for each in spenders:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in spenders:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in spenders:
        output, _ = each.communicate(timeout=600)
        accepted, refused, undecided = map(int, output.split())
        outcomes.append((accepted, refused, undecided))
    return outcomes
