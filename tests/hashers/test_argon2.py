"""Argon2id within bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial

import anyio
import pytest
from argon2 import PasswordHasher

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.hashers.argon2 import (
    OWASP_MINIMUM,
    OWASP_MORE_MEMORY,
    RFC_9106_LOW_MEMORY,
    Argon2Hasher,
    Argon2Profile,
)
from asgi_apikey.models import Lane
from tests.contracts.hasher import KEY, HasherContract

MIB = 1024 * 1024
CHEAP = Argon2Profile(memory=8, passes=1, parallelism=1)
OLD = "7Zp3mQ0wX9vKc2LrT5sNbH8yJ4dF6gAe1uRiOoWq"
NEW = "nC4xV8bT1yQ6kP3fJ9wZ2sL7hR5gD0mAeUiOqWxY"


class TestArgon2(HasherContract):
    """Without a pepper it passes the contract."""

    @pytest.fixture
    def hasher(self) -> Argon2Hasher:
        """The cheapest parameters there are."""
        return Argon2Hasher(profile=CHEAP)


class TestArgon2Peppered(HasherContract):
    """With peppers it passes the contract."""

    @pytest.fixture
    def hasher(self) -> Argon2Hasher:
        """A ring, plain digests accepted."""
        return Argon2Hasher(profile=CHEAP, peppers=(OLD, NEW), accept_plain=True)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_runs_on_both_event_loops() -> None:
    """Hashing and verifying are the same under asyncio and trio."""
    hasher = Argon2Hasher(profile=CHEAP)

    assert await hasher.verify(KEY, await hasher.hash(KEY), lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_golden_digests_verify_for_ever() -> None:
    """Digests of released versions: a table written by any of them stays readable."""
    plain = "$argon2id$v=19$m=8,t=1,p=1$+NBdt9jCKNS3r7I3YFONBQ$J356MCEgeGq6ZnbQPrwkFW9nloDcdAyZFRpGxDaMJ/g"
    keyed = (
        "hmac-sha256+argon2$a64b9e1b$argon2id$v=19$m=8,t=1,p=1$VqH6EgNwl4mRUVAlxcAxFg"
        "$0puFEB39ACPv8NiFMxaTKv7faCXuC9e2fsYHcwIFswg"
    )

    assert await Argon2Hasher(profile=CHEAP).verify(b"ak_live_golden", plain, lane=Lane.STRANGER)
    assert await Argon2Hasher(profile=CHEAP, peppers=OLD).verify(b"ak_live_golden", keyed, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_the_default_is_owasps_minimum() -> None:
    """19 MiB, two passes, one lane, written into the digest."""
    digest = await Argon2Hasher().hash(KEY)

    assert digest.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.anyio
async def test_the_input_is_labelled() -> None:
    """Our digest of a key is not Argon2 of the bare key: another system's row is not one of ours."""
    hasher = Argon2Hasher(profile=CHEAP)
    bare = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(KEY)

    assert not await hasher.verify(KEY, bare, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_other_parameters_verify_and_are_outdated() -> None:
    """A change of profile keeps old digests alive, and marks them for replacement."""
    before = await Argon2Hasher(profile=Argon2Profile(memory=16, passes=2, parallelism=2)).hash(KEY)
    hasher = Argon2Hasher(profile=CHEAP)

    assert hasher.accepts(before)
    assert hasher.outdated(before)
    assert await hasher.verify(KEY, before, lane=Lane.STRANGER)


@pytest.mark.parametrize(
    "change",
    [{"memory": 9}, {"passes": 2}, {"salt_length": 17}, {"digest_length": 33}, {"memory": 16, "parallelism": 2}],
)
def test_every_parameter_counts_as_outdated(change: dict[str, int]) -> None:
    """Not only the three costs: lengths too."""
    changed = Argon2Profile(**{"memory": 8, "passes": 1, "parallelism": 1, **change})

    assert Argon2Hasher(profile=CHEAP).outdated(Argon2Hasher(profile=changed).decoy)


@pytest.mark.anyio
async def test_peppers_rotate() -> None:
    """Old peppers verify and are outdated; dropped ones, and none at all, match nothing."""
    before = await Argon2Hasher(profile=CHEAP, peppers=OLD).hash(KEY)
    plain = await Argon2Hasher(profile=CHEAP).hash(KEY)
    rotated, dropped = Argon2Hasher(profile=CHEAP, peppers=[OLD, NEW]), Argon2Hasher(profile=CHEAP, peppers=NEW)
    retired = Argon2Hasher(profile=CHEAP, peppers=NEW, accept_plain=True)

    assert rotated.outdated(before)
    assert await rotated.verify(KEY, before, lane=Lane.STRANGER)
    assert not await dropped.verify(KEY, before, lane=Lane.STRANGER)
    assert not await dropped.verify(KEY, plain, lane=Lane.STRANGER)
    assert not await Argon2Hasher(profile=CHEAP).verify(KEY, before, lane=Lane.STRANGER)
    assert await retired.verify(KEY, plain, lane=Lane.STRANGER)
    assert retired.outdated(plain)


@pytest.mark.parametrize(
    "parameters",
    ["m=1048576,t=1,p=1", "m=8,t=17,p=1", "m=4294967295,t=4294967295,p=1", "m=256,t=1,p=17", "m=8,t=1,p=2"],
)
def test_a_row_cannot_ask_for_unbearable_work(parameters: str) -> None:
    """Who can write one row does not decide over memory and threads: digests beyond the limits are not accepted."""
    digest = f"$argon2id$v=19${parameters}${'A' * 22}${'A' * 43}"

    assert not Argon2Hasher(workers=2).accepts(digest)


def test_short_salts_and_digests_are_not_accepted() -> None:
    """A row with a digest of 8 bytes could be hit by trying."""
    assert not Argon2Hasher().accepts(f"$argon2id$v=19$m=8,t=1,p=1${'A' * 22}${'A' * 11}")
    assert not Argon2Hasher().accepts(f"$argon2id$v=19$m=8,t=1,p=1${'A' * 6}${'A' * 43}")


def test_other_kinds_of_argon2_are_not_accepted() -> None:
    """Only Argon2id, version 1.3."""
    rest = f"m=8,t=1,p=1${'A' * 22}${'A' * 43}"

    assert Argon2Hasher().accepts(f"$argon2id$v=19${rest}")
    for other in ("$argon2i$v=19$", "$argon2d$v=19$", "$argon2id$v=16$", "$argon2id$"):
        assert not Argon2Hasher().accepts(other + rest)


def test_a_budget_that_all_threads_exceed_is_refused() -> None:
    """The numbers and the fix are in the message; what just fits is taken."""
    with pytest.raises(
        ConfigurationError, match=r"5 hashing threads x 64 MiB = 320 MiB .*256 MiB.*memory_budget=335544320"
    ):
        Argon2Hasher(profile=RFC_9106_LOW_MEMORY, workers=5)

    Argon2Hasher(profile=RFC_9106_LOW_MEMORY, workers=5, memory_budget=320 * MIB)
    for profile in (OWASP_MINIMUM, OWASP_MORE_MEMORY, RFC_9106_LOW_MEMORY):
        Argon2Hasher(profile=profile)


@pytest.mark.parametrize(
    "profile",
    [
        Argon2Profile(memory=7, passes=1, parallelism=1),
        Argon2Profile(memory=8, passes=0, parallelism=1),
        Argon2Profile(memory=8, passes=1, parallelism=0),
        Argon2Profile(memory=8, passes=1, parallelism=2),
        Argon2Profile(memory=8, passes=1, parallelism=1, salt_length=4),
        Argon2Profile(memory=8, passes=1, parallelism=1, digest_length=8),
    ],
)
def test_impossible_parameters_are_refused(profile: Argon2Profile) -> None:
    """They would fail with the first key; they fail while wiring."""
    with pytest.raises(ConfigurationError, match="OWASP_MINIMUM"):
        Argon2Hasher(profile=profile)


@pytest.mark.anyio
async def test_a_flood_of_strangers_stops_neither_hashing_nor_proven_keys() -> None:
    """With every stranger's place taken, strangers are refused; new digests and proven keys have a thread left."""
    hasher = Argon2Hasher(profile=CHEAP, workers=2, queue=0)
    gate = threading.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(hasher._pool.run, partial(gate.wait, 30), lane=Lane.STRANGER))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await hasher.verify(KEY, hasher.decoy, lane=Lane.STRANGER)
        digest = await hasher.hash(KEY)

        assert await hasher.verify(KEY, digest, lane=Lane.PROVEN)
        gate.set()


@pytest.mark.anyio
async def test_a_digest_nobody_accepts_costs_no_thread() -> None:
    """The answer is no before the queue is looked at."""
    hasher = Argon2Hasher(profile=CHEAP, workers=2, queue=0)
    gate = threading.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(hasher._pool.run, partial(gate.wait, 30), lane=Lane.STRANGER))
        await anyio.wait_all_tasks_blocked()

        assert not await hasher.verify(KEY, "$argon2id$", lane=Lane.STRANGER)
        gate.set()


SHORTAGE = """
import anyio, os, resource
from asgi_apikey.errors import Overloaded
from asgi_apikey.hashers.argon2 import Argon2Hasher, Argon2Profile
from asgi_apikey.models import Lane

hasher = Argon2Hasher(profile=Argon2Profile(memory=128 * 1024, passes=1, parallelism=1), workers=2)
cheap = Argon2Hasher(profile=Argon2Profile(memory=8, passes=1, parallelism=1)).decoy

async def main():
    for lane in Lane:
        await hasher.verify(b"starts the threads", cheap, lane=lane)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + 32 * 2**20,) * 2)
    for attempt in (hasher.verify(b"key", hasher.decoy, lane=Lane.STRANGER), hasher.hash(b"key")):
        try:
            print("answered", await attempt)
        except Overloaded:
            print("overloaded")

anyio.run(main)
"""


def test_no_memory_is_no_answer() -> None:
    """When the system gives no memory, a key is neither right nor wrong."""
    done = subprocess.run(
        [sys.executable, "-c", SHORTAGE], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    )

    assert done.stdout.split() == ["overloaded", "overloaded"]


def test_no_pepper_shows() -> None:
    """A hasher in a log, or everything it holds, gives no pepper away."""
    hasher = Argon2Hasher(profile=CHEAP, peppers=NEW)

    assert NEW not in f"{hasher!r} {vars(hasher)!r}"
