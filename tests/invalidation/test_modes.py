"""Processes of one store that trust their memories in different ways: no receipt says more than is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.authenticator import Limits
from asgi_apikey.errors import ConfigurationError, RevokedKey, StoreUnavailable
from asgi_apikey.invalidation.announcer import CLOCK_RATE, CLOCK_STEP
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.repositories.memory import MemoryRepository
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

TIMES = LeaseTimes(poll=0.05, lease=0.2)
TTL = 0.3
"""Limits see to it that the bound is a second: an answer that was never remembered is used once."""
BOUND = 1.0

Start = Callable[..., Awaitable[APIKeys]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start one more process of the same store; all in this one, which is all the same to them."""
    async with AsyncExitStack() as stack:

        async def process(consistency: str, **kwargs: object) -> APIKeys:
            keys = APIKeys(
                f"sqlite:///{tmp_path}/keys.db",
                pepper=PEPPER,
                consistency=consistency,  # type: ignore[arg-type] # one of the three
                leases=TIMES,
                **kwargs,  # type: ignore[arg-type] # the test's business
            )
            return await stack.enter_async_context(keys)

        yield process


async def accepts(keys: APIKeys, key: str) -> bool:
    """Whether the process lets it in."""
    try:
        await keys.authenticate(key.encode())
    except RevokedKey:
        return False
    return True


@pytest.mark.parametrize("other", ["leases", "ttl", "strict"])
@pytest.mark.parametrize("revoker", ["leases", "strict"])
async def test_what_is_confirmed_holds_in_processes_of_every_mode(start: Start, revoker: str, other: str) -> None:
    """Whoever trusts its memory for a time is waited for as long."""
    brief = Limits(cache_ttl=TTL, negative_ttl=TTL)
    theirs = await start(other, limits=brief)
    ours = await start(revoker, limits=brief)
    issued = await ours.issue(owner="acme")
    assert await accepts(theirs, issued.key)
    receipt = await ours.revoke(issued.record.key_id)

    assert receipt.confirmed
    assert not await accepts(theirs, issued.key)
    if other == "ttl":
        assert receipt.elapsed >= BOUND * CLOCK_RATE + 2 * CLOCK_STEP


@pytest.mark.parametrize("revoker", ["leases", "strict"])
async def test_a_process_that_trusts_its_memory_for_long_is_never_confirmed_for(start: Start, revoker: str) -> None:
    """It goes on accepting, and the receipt says for how long."""
    theirs = await start("ttl", cache_ttl=60.0)
    ours = await start(revoker)
    issued = await ours.issue(owner="acme")
    assert await accepts(theirs, issued.key)
    receipt = await ours.revoke(issued.record.key_id)

    assert await accepts(theirs, issued.key)
    assert (receipt.confirmed, receipt.max_staleness) == (False, 60.0)


@pytest.mark.parametrize("other", ["leases", "ttl"])
async def test_who_trusts_its_memory_for_a_time_confirms_only_when_alone(start: Start, other: str) -> None:
    """It waits for nobody."""
    ours = await start("ttl", cache_ttl=3.0)
    first, second = await ours.issue(owner="acme"), await ours.issue(owner="acme")
    alone = await ours.revoke(first.record.key_id)
    theirs = await start(other, cache_ttl=4.0)
    await accepts(theirs, second.key)
    receipt = await ours.revoke(second.record.key_id)

    assert alone.confirmed
    assert receipt.confirmed == (other == "leases" and receipt.acknowledged == 2)
    assert other == "leases" or receipt.max_staleness == 5.0


async def test_a_strict_process_is_in_no_register(start: Start) -> None:
    """It remembers nothing that somebody would have to wait for."""
    strict = await start("strict")
    other = await start("strict")
    issued = await strict.issue(owner="acme")
    assert await accepts(other, issued.key)
    receipt = await strict.revoke(issued.record.key_id)

    assert (receipt.confirmed, receipt.workers) == (True, 1)
    assert not await accepts(other, issued.key)


@pytest.mark.parametrize("consistency", ["ttl", "strict"])
async def test_without_a_feed_nothing_is_confirmed(consistency: str) -> None:
    """Nobody can know who else there is; the promise of `single_process` is the user's."""
    repository = MemoryRepository()
    ours = APIKeys(repository=repository, pepper=PEPPER, consistency=consistency)  # type: ignore[arg-type]
    alone = APIKeys(
        repository=repository,
        pepper=PEPPER,
        consistency=consistency,  # type: ignore[arg-type] # one of the three
        single_process=True,
    )
    first, second = await ours.issue(owner="acme"), await ours.issue(owner="acme")

    assert (await ours.revoke(first.record.key_id)).confirmed is False
    assert (await alone.revoke(second.record.key_id)).confirmed is True


@pytest.mark.parametrize("consistency", ["ttl", "strict"])
async def test_a_grace_needs_leases(consistency: str, tmp_path: Path) -> None:
    """There is nothing else that it could prolong."""
    with pytest.raises(ConfigurationError, match="consistency='leases'"):
        APIKeys(f"sqlite:///{tmp_path}/keys.db", pepper=PEPPER, consistency=consistency, outage_grace=60.0)  # type: ignore[arg-type]


async def test_a_grace_needs_a_feed() -> None:
    """Without one there are no leases."""
    with pytest.raises(ConfigurationError, match="change feed"):
        APIKeys("memory:", pepper=PEPPER, outage_grace=60.0)


async def test_keys_in_use_outlast_an_outage_within_the_grace(tmp_path: Path) -> None:
    """With the store gone, remembered keys go on working, others are undecided; back again, all is as it was."""
    database = tmp_path / "keys.db"
    async with APIKeys(f"sqlite:///{database}", pepper=PEPPER, leases=TIMES, outage_grace=60.0) as keys:
        issued, other = await keys.issue(owner="acme"), await keys.issue(owner="acme")
        await keys.authenticate(issued.key.encode())
        hidden = [database.with_name(f"keys.db{suffix}") for suffix in ("", "-wal", "-shm")]
        for each in hidden:
            each.rename(f"{each}.away")
        await asyncio.sleep(2 * TIMES.lease)
        kept = await accepts(keys, issued.key)
        with pytest.raises(StoreUnavailable):
            await keys.authenticate(other.key.encode())
        for each in hidden:
            each.with_name(f"{each.name}.away").rename(each)
        receipt = await keys.revoke(issued.record.key_id)

        assert kept
        assert receipt.confirmed
        assert not await accepts(keys, issued.key)
