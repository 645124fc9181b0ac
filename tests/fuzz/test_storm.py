"""Mutated credentials in bulk: nobody gets in, nothing breaks, and whoever has a good key notices nothing."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter

import pytest

from tests.fuzz.forgery import MISUSES, SPOILERS, control, ended_key, misused_key, spoiled_key
from tests.fuzz.world import Answer, Request, World

_SAMPLE = 100_000
_CROWD = 64


@pytest.fixture
def rng(fuzz_rounds: int) -> random.Random:
    """The same input with each run of the suite, new input for each long run; a failure shows the whole request."""
    return random.Random(0 if fuzz_rounds < _SAMPLE else secrets.randbits(64))


@pytest.mark.fuzz
def test_one_after_the_other(runner: asyncio.Runner, world: World, rng: random.Random, fuzz_rounds: int) -> None:
    """Each mutated request is refused as the client's fault; each good one between them finds its own principal."""
    undecided = world.keys.stats.undecided

    tally = runner.run(storm(world, rng, fuzz_rounds))

    assert sum(tally.values()) == fuzz_rounds
    assert set(tally) == {each.__name__ for each in (*SPOILERS, *MISUSES)} | {"ended"}
    assert world.keys.stats.undecided == undecided


@pytest.mark.fuzz
def test_in_crowds(runner: asyncio.Runner, world: World, rng: random.Random, fuzz_rounds: int) -> None:
    """At once with a crowd of mutated requests, each good one is let in as itself and never as somebody else."""
    before = world.keys.stats.accepted

    for _ in range(max(1, fuzz_rounds // _CROWD // 10)):
        runner.run(crowd(world, rng))

    assert world.keys.stats.accepted > before


async def storm(world: World, rng: random.Random, rounds: int) -> Counter[str]:
    """Send mutated requests, with a good one after every eighth, and let time pass in between."""
    tally: Counter[str] = Counter()
    good = sorted(world.texts)
    for number in range(rounds):
        request = mutated(world, rng, good)
        answer = await asked(world, request)
        if not answer.refused:
            raise AssertionError(f"let in or broken: {answer} to {request}")
        tally[request.what] += 1
        if number % 8 == 0:
            await check_control(world, rng, good)
        if number % 50 == 0:
            # Past the time that rejections are remembered, and now and then past that of verdicts.
            world.clock.advance(rng.choice([0.1, 6.0, 61.0]))
    return tally


async def crowd(world: World, rng: random.Random) -> None:
    """Send many requests at once, a quarter of them good."""
    good = sorted(world.texts)
    for _ in range(len(good)):
        await check_control(world, rng, good)
    world.clock.advance(61.0)
    bad = [mutated(world, rng, good) for _ in range(_CROWD * 3 // 4)]
    asking = [check_control(world, rng, good) for _ in range(_CROWD // 4)] + [
        check_refused(world, each) for each in bad
    ]
    rng.shuffle(asking)
    await asyncio.gather(*asking)


def mutated(world: World, rng: random.Random, good: list[bytes]) -> Request:
    """Return a request that must not be let in."""
    draw = rng.random()
    if draw < 0.65:
        return spoiled_key(rng, good)
    if draw < 0.7:
        return ended_key(rng, [each.key.encode() for each in world.ended])
    return misused_key(rng, good)


async def check_refused(world: World, request: Request) -> None:
    """Ask, and insist on a no; when there is a crowd, a stranger may be told to come back later."""
    answer = await asked(world, request)
    if not answer.refused and (answer.called or answer.status not in {429, 503}):
        raise AssertionError(f"let in or broken: {answer} to {request}")


async def check_control(world: World, rng: random.Random, good: list[bytes]) -> None:
    """Ask with a good key, and insist on its own principal."""
    request, key = control(rng, good)
    [expected] = [each.record for each in world.good if each.key.encode() == key]
    answer = await asked(world, request)
    if not answer.called or answer.principal is None or answer.principal.key_id != expected.key_id:
        raise AssertionError(f"not let in as {expected.owner}: {answer} to {request}")


async def asked(world: World, request: Request) -> Answer:
    """Ask; whatever is raised is a failure that shows the request."""
    try:
        return await world.ask(request)
    except Exception as error:
        raise AssertionError(f"{error!r} for {request}") from error
