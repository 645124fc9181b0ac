"""The agreement, explored: no way of events leads to an accept that is too late, and every guard is needed for that."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

import pytest

from asgi_apikey.invalidation.announcer import CLOCK_RATE
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.invalidation.register import _BEAT, _DEAD, _VALID
from tests.model import protocol
from tests.model.exploration import explore
from tests.model.protocol import LEASE, STEP, Poll, Registration, State, World, warm

OTHER = ((1, "issue"), (2, "other"))

WORLDS = {
    "a poll": World(start=warm(agenda=("revoke",), polls=1, requests=1, jumps=4)),
    "a first poll": World(start=State(agenda=("revoke",), polls=1, requests=2, jumps=1)),
    "two polls": World(
        start=State(
            register=(Registration(1, 1, 0),),
            next_worker=2,
            worker=1,
            bus=1,
            poll=Poll("look", 0, 0, 1, 0, joined=1),
            verdict=True,
            agenda=("revoke",),
            polls=1,
            requests=1,
            jumps=2,
        )
    ),
    "a request that joins another": World(start=warm(verdict=False, agenda=("revoke",), polls=1, requests=2, jumps=1)),
    "told by somebody else": World(start=warm(agenda=("killed", "again"), polls=1, requests=1, jumps=3)),
    "taken for dead": World(start=warm(agenda=("look", "look", "revoke"), polls=1, requests=1, jumps=2)),
    "another file": World(start=warm(agenda=("revoke",), polls=1, requests=1, jumps=1, replacements=1), bus="host"),
    "killed before the counter": World(
        start=warm(agenda=("killed", "again"), polls=2, requests=1, jumps=1), bus="host"
    ),
    "messages": World(start=warm(agenda=("killed", "again"), polls=2, requests=1, jumps=1, evictions=1), bus="acks"),
    "a fork": World(start=warm(agenda=("revoke",), polls=1, requests=1, jumps=1, forks=1)),
    "closing": World(start=warm(agenda=("revoke",), polls=1, requests=1, jumps=1, closes=1)),
    "put back": World(
        start=warm(feed=OTHER, newest=(2, "other"), agenda=("revoke",), polls=2, requests=1, jumps=2, restores=1)
    ),
    "put back and not listed": World(
        start=warm(
            now=LEASE,
            fresh_until=0,
            verdict=False,
            register=(),
            newest=(2, "other"),
            quiet_until=LEASE + 1,
            agenda=("revoke",),
            polls=1,
            requests=2,
            jumps=1,
        )
    ),
    "a longer lease": World(
        start=warm(fresh_until=2 * LEASE, agenda=("revoke",), polls=1, requests=1, jumps=3), lease=2 * LEASE
    ),
    "coarse clocks": World(start=warm(agenda=("revoke",), polls=1, requests=1, jumps=4), step=STEP),
    "memory for a time": World(
        start=warm(fresh_until=63, verdict_until=21, agenda=("revoke",), polls=1, requests=2, jumps=3), timed=True
    ),
    "memory for a time, not registered": World(
        start=State(agenda=("revoke",), polls=1, requests=2, jumps=1), timed=True
    ),
    "a failure": World(
        start=warm(fresh_until=2 * LEASE, agenda=("revoke",), polls=1, requests=1, jumps=3, failures=2), lease=2 * LEASE
    ),
}

GUARDS = {
    # The lease.
    "memory is trusted under a lease only": "a poll",
    "a lease begins when the poll began": "a poll",
    "clocks may run at different rates": "a poll",
    "clocks may be coarse": "coarse clocks",
    "the longest lease is waited for": "a longer lease",
    "the workers are listed after the commit": "a first poll",
    "who could not be listed is listed later": "a failure",
    # The register.
    "join before the position is read": "a first poll",
    "the position is read before the flush": "two polls",
    "starting over flushes": "a first poll",
    "a lease ends with the registration's validity": "taken for dead",
    "a beat is a sign of life": "taken for dead",
    "a dismissal names the beat": "taken for dead",
    "no lease while not registered": "another file",
    "no lease from a poll that began before closing": "closing",
    "a child begins anew": "a fork",
    # The feed.
    "the row at our position is compared": "put back",
    "who finds another store registers anew": "put back and not listed",
    # The buses.
    "who listens to another bus is waited for": "another file",
    "the counter is compared": "killed before the counter",
    "the counter is noted before the read": "killed before the counter",
    "the counter moves after the commit": "killed before the counter",
    "acknowledge only what was applied": "messages",
    "what is told again has a position": "messages",
    # Memory for a time.
    "who trusts memory for a time is registered": "memory for a time, not registered",
    "who has joined forgets": "memory for a time, not registered",
    "what was read is used for its time": "memory for a time",
    # The memory.
    "only what is settled is remembered": "a first poll",
    "an invalidation leaves a tombstone": "a request that joins another",
    "a flush refuses what was read before": "a first poll",
    "a last look at the tombstones": "a request that joins another",
    "what was read before the request needs a lease": "a request that joins another",
}
"""Each guard of the protocol, and a world in which it is needed."""


@pytest.mark.parametrize("name", WORLDS)
def test_no_request_is_accepted_too_late(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither after a confirmed receipt, nor longer than a lease after the commit."""
    found = explore(WORLDS[name])
    with capsys.disabled():
        print(f"\n{name}: {found.states:,} states", end=" ")

    assert found.trace is None


@pytest.mark.parametrize("guard", GUARDS)
def test_every_guard_is_needed(guard: str) -> None:
    """Without it, there is a way to an accept that is too late."""
    found = explore(replace(WORLDS[GUARDS[guard]], without=guard))

    assert found.trace is not None


def test_every_guard_is_taken_away_once() -> None:
    """None of the model's guards is forgotten here."""
    named = set(re.findall(r'\.has\(\s*"([^"]+)"\s*\)', inspect.getsource(protocol)))

    assert named == set(GUARDS)


def test_the_numbers_of_the_code_keep_their_distance() -> None:
    """What the model counts in ticks is what the code counts in seconds; the slowest clock changes no order."""
    assert round(LEASE * CLOCK_RATE) == LEASE * CLOCK_RATE
    assert LeaseTimes().poll * 2 <= LeaseTimes().lease
    assert _BEAT + 1 <= _VALID
    assert _VALID * CLOCK_RATE < _DEAD
