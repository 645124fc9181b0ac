"""Presented bytes in, principal out: what is read, hashed, remembered, shared, refused, and in which order."""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.authenticator import Limits
from asgi_apikey.errors import (
    APIKeyError,
    ConfigurationError,
    DisabledKey,
    ExpiredKey,
    InvalidKey,
    MalformedKey,
    NotYetValid,
    Overloaded,
    RateLimited,
    RevokedKey,
    StoreUnavailable,
    Undecidable,
    UnknownKey,
    WrongEnvironment,
    WrongSecret,
)
from asgi_apikey.failures import Allowance
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.keyformat import MAX_LENGTH, KeyFormat
from asgi_apikey.models import Change, IssuedKey, KeyRecord, Lane, Principal, RecordPatch
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import NOON, FakeClock, FakeInvalidation, together, until
from tests.wiring import LATER_PEPPER, PEPPER, Wired

pytestmark = pytest.mark.anyio

# Verdicts live for 90 to 100 % of `cache_ttl`: many keys read at once are not all read again at once.
TTL = 60.0
STILL_FRESH = 0.89 * TTL


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The pipeline promises both event loops."""
    name: str = request.param
    return name


# ---- from memory -----------------------------------------------------------------------------------------------------


async def test_a_key_speaks_for_whom_it_was_issued_to() -> None:
    """The principal carries what the record says, and nothing of the secret."""
    wired = Wired()
    issued = await wired.issue(
        "acme", tenant="eu", name="ci", scopes=frozenset({"orders:read"}), metadata={"plan": "gold"}, expires_in=90.0
    )

    principal = await wired.authenticate(issued.key)

    assert principal == Principal(
        key_id=issued.record.key_id,
        owner="acme",
        tenant="eu",
        environment="live",
        name="ci",
        scopes=frozenset({"orders:read"}),
        metadata={"plan": "gold"},
        expires_at=NOON + 90.0,
        method="api_key",
    )


async def test_the_second_request_is_answered_from_memory() -> None:
    """A verified key costs no read and no hash, and every request gets the same shared principal."""
    wired = Wired()
    issued = await wired.issue()
    principal = await wired.authenticate(issued.key)

    assert all(wired.remembered(issued.key) is principal for _ in range(3))
    assert await wired.authenticate(issued.key) is principal
    assert wired.store.calls["get"] == 1
    assert len(wired.hasher.verified) == 1


async def test_memory_knows_nothing_of_a_key_never_presented() -> None:
    """`authenticate_nowait` says None, which is not a rejection, and asks nobody."""
    wired = Wired()
    issued = await wired.issue()

    assert wired.remembered(issued.key) is None
    assert wired.store.calls["get"] == 0


async def test_memory_does_not_answer_for_rejected_keys() -> None:
    """A rejection is always told by `authenticate`, which says why in the log's class."""
    wired = Wired()
    key = wired.unissued()
    await wired.outcome(key)

    assert wired.remembered(key) is None


async def test_every_accepted_request_is_counted_once_and_no_other() -> None:
    """Cold and hot acceptances are counted at their monotonic instant; refused ones are not."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    wired.clock.advance(1.5)
    wired.remembered(issued.key)
    await wired.outcome(wired.forged(issued))
    await wired.outcome(wired.unissued())

    assert wired.usage.accepted == [(issued.record.key_id, 1_000.0), (issued.record.key_id, 1_001.5)]


async def test_stats_count_each_request_in_one_place() -> None:
    """Hits, acceptances, rejections (remembered ones too) and undecided requests add up to all requests."""
    wired = Wired()
    issued = await wired.issue()
    unknown = wired.unissued()
    for key in (issued.key, issued.key, unknown, unknown, "garbage", wired.unissued("test")):
        await wired.outcome(key)
    wired.store.failures["get"] = StoreUnavailable()
    await wired.outcome(wired.unissued())
    stats = wired.authenticator.stats

    assert (stats.hits, stats.accepted, stats.rejected, stats.undecided, stats.reads) == (1, 1, 4, 1, 3)


async def test_fingerprints_differ_between_processes() -> None:
    """A fingerprint is a digest under a random key of its process: one that leaks finds no key elsewhere."""
    one, another = Wired().authenticator, Wired().authenticator

    assert one.fingerprint(b"ak_live_x") == one.fingerprint(b"ak_live_x")
    assert len(one.fingerprint(b"ak_live_x")) == 32
    assert one.fingerprint(b"ak_live_x") != another.fingerprint(b"ak_live_x")


# ---- what never reaches the store ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "presented",
    [b"", b"_", b"garbage", b"ak_live_short_1x", b"\xff" * 64, b"\0" * 92, b"a" * MAX_LENGTH, b"a" * 1_000_000],
    ids=["empty", "underscore", "word", "short", "not ASCII", "NUL", "longest", "megabyte"],
)
async def test_malformed_keys_never_reach_the_store(presented: bytes) -> None:
    """What is not a key is rejected without a read, a hash, or a place in any cache."""
    wired = Wired()

    with pytest.raises(MalformedKey):
        await wired.authenticator.authenticate(presented)
    assert wired.authenticator.authenticate_nowait(presented) is None
    assert wired.store.calls["get"] == 0
    assert wired.hasher.verified == []


@given(presented=st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_rejection(presented: bytes) -> None:
    """Whatever is presented, the answer is a principal or one of the documented errors."""

    async def present() -> None:
        with pytest.raises(InvalidKey):
            await Wired().authenticator.authenticate(presented)

    anyio.run(present)


async def test_one_wrong_character_never_reaches_the_store() -> None:
    """Typing errors die at the checksum."""
    wired = Wired()
    key = (await wired.issue()).key
    wrong = key[:20] + ("a" if key[20] != "a" else "b") + key[21:]

    assert await wired.outcome(wrong) == "MalformedKey"
    assert wired.store.calls["get"] == 0


async def test_a_key_of_another_environment_never_reaches_the_store() -> None:
    """A `test` key is rejected where `live` ones are served, whatever its record says."""
    repository = MemoryRepository()
    test = Wired(repository=repository, environment="test")
    live = Wired(repository=repository)
    issued = await test.issue()

    assert await test.outcome(issued.key) == "acme"
    assert await live.outcome(issued.key) == "WrongEnvironment"
    assert live.store.calls["get"] == 0


async def test_the_record_decides_over_the_environment() -> None:
    """A record whose environment was changed by other means no longer passes where its key says it should."""
    wired = Wired()
    issued = await wired.issue()
    wired.repository._records[issued.record.key_id] = replace(issued.record, environment="test")

    with pytest.raises(WrongEnvironment):
        await wired.authenticate(issued.key)


# ---- how long a verdict is used --------------------------------------------------------------------------------------


async def test_a_verdict_is_used_for_cache_ttl_and_no_longer() -> None:
    """Up to 90 % of the lifetime always, from 100 % on never; then the record is read again."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    wired.clock.advance(STILL_FRESH)
    fresh = wired.remembered(issued.key)
    wired.clock.advance(TTL - STILL_FRESH)
    stale = wired.remembered(issued.key)
    await wired.authenticate(issued.key)

    assert fresh is not None
    assert stale is None
    assert wired.store.calls["get"] == 2


async def test_the_age_of_a_verdict_counts_from_before_the_read() -> None:
    """A read that took 50 seconds leaves 10 of the 60: the row may have changed right after it was read."""
    wired = Wired()
    issued = await wired.issue()
    wired.store.after["get"].shut()
    async with anyio.create_task_group() as group:
        group.start_soon(wired.authenticate, issued.key)
        await until(lambda: wired.store.after["get"].waiting)
        wired.clock.advance(50.0)
        wired.store.after["get"].open()

    wired.clock.advance(STILL_FRESH - 50.0)
    fresh = wired.remembered(issued.key)
    wired.clock.advance(TTL - STILL_FRESH)
    stale = wired.remembered(issued.key)

    assert fresh is not None
    assert stale is None


async def test_a_key_ends_on_time_inside_a_cache_hit() -> None:
    """A remembered verdict is not used from `expires_at` on, to the instant."""
    wired = Wired()
    issued = await wired.issue(expires_in=30.0)
    await wired.authenticate(issued.key)

    wired.clock.advance(29.999)
    before = wired.remembered(issued.key)
    wired.clock.advance(0.001)
    after = wired.remembered(issued.key)

    assert before is not None
    assert after is None
    with pytest.raises(ExpiredKey):
        await wired.authenticate(issued.key)


async def test_setting_the_wall_clock_forward_ends_keys_at_once() -> None:
    """The end of a key is looked at on the wall clock, not converted into a duration when it is cached."""
    wired = Wired()
    issued = await wired.issue(expires_in=30.0)
    await wired.authenticate(issued.key)

    wired.clock.set_wall(NOON + 3_600.0)

    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "ExpiredKey"


async def test_setting_the_wall_clock_back_prolongs_no_verdict() -> None:
    """The lifetime of a verdict runs on the monotonic clock."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    wired.clock.advance(TTL)
    wired.clock.set_wall(NOON - 3_600.0)

    assert wired.remembered(issued.key) is None


async def test_setting_the_wall_clock_leaves_keys_without_end_alone() -> None:
    """An hour forward or back costs a key that has no end neither its acceptance nor a read."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    for wall in (NOON + 3_600.0, NOON - 3_600.0):
        wired.clock.set_wall(wall)
        assert wired.remembered(issued.key) is not None


async def test_a_key_that_ends_while_it_is_hashed_is_not_accepted() -> None:
    """The last look is taken after everything that is awaited."""
    wired = Wired()
    issued = await wired.issue(expires_in=30.0)
    wired.hasher.before.shut()
    outcomes: list[str] = []

    async def present() -> None:
        outcomes.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as group:
        group.start_soon(present)
        await until(lambda: wired.hasher.before.waiting)
        wired.clock.set_wall(NOON + 30.0)
        wired.hasher.before.open()

    assert outcomes == ["ExpiredKey"]


async def test_a_key_that_ends_between_standing_and_the_last_look_is_not_accepted() -> None:
    """Acceptance is the instant of the last look: a waiter may get its turn long after standing was decided."""

    class Running(FakeClock):
        step = 0.0

        def wall(self) -> float:
            now = super().wall()
            self.advance(self.step)
            return now

    clock = Running()
    wired = Wired(clock=clock)
    issued = await wired.issue(expires_in=0.5)
    clock.step = 1.0

    assert await wired.outcome(issued.key) == "ExpiredKey"
    assert wired.usage.accepted == []


async def test_a_waiter_whose_turn_comes_after_the_end_of_the_key_is_refused() -> None:
    """Found in time and told too late: the key ends on the wall clock after its standing was decided."""
    wired = Wired()
    issued = await wired.issue(expires_in=30.0)
    outdated = wired.hasher.outdated

    def ending(digest: str) -> bool:
        # The last thing a look-up asks, after standing and after the verdict is remembered.
        wired.clock.set_wall(NOON + 30.0)
        return outdated(digest)

    wired.hasher.outdated = ending  # type: ignore[method-assign]

    outcomes = await together(*[partial(wired.outcome, issued.key) for _ in range(3)])

    assert outcomes == ["ExpiredKey"] * 3
    assert wired.usage.accepted == []
    assert wired.authenticator.stats.accepted == 0


@pytest.mark.parametrize("slow", ["read", "hash"])
async def test_the_shortest_lifetime_reads_every_key_anew_and_lets_it_in(slow: str) -> None:
    """`cache_ttl=0.001` means what its error message says, also where a read or a hash takes longer than that."""
    wired = Wired(limits=Limits(cache_ttl=0.001))
    issued = await wired.issue()
    gate = wired.store.after["get"] if slow == "read" else wired.hasher.before
    gate.shut()
    outcomes: list[str] = []

    async def present() -> None:
        outcomes.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as group:
        group.start_soon(present)
        await until(lambda: gate.waiting)
        wired.clock.advance(0.030)
        gate.open()

    assert outcomes == ["acme"]
    assert wired.store.calls["get"] == 1
    assert wired.remembered(issued.key) is None


async def test_what_was_read_too_long_ago_is_read_again() -> None:
    """An answer older than what receipts promise (`max_staleness`) is not given, though it was never in a cache."""
    wired = Wired()
    issued = await wired.issue()
    gate = wired.store.after["get"]
    gate.shut()
    outcomes: list[str] = []

    async def present() -> None:
        outcomes.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as group:
        group.start_soon(present)
        await until(lambda: gate.waiting)
        # Behind our back, as another process that we do not hear of would.
        await wired.repository.update(issued.record.key_id, RecordPatch(revoked_at=NOON), version=1)
        wired.clock.advance(Limits().max_staleness)
        gate.open()

    assert outcomes == ["RevokedKey"]
    assert wired.store.calls["get"] == 2


# ---- remembered rejections -------------------------------------------------------------------------------------------


async def test_a_rejection_is_remembered() -> None:
    """A known bad key costs no second read and no second hash, and is rejected for the same reason."""
    wired = Wired()
    issued = await wired.issue()
    for key, rejection in ((wired.unissued(), "UnknownKey"), (wired.forged(issued), "WrongSecret")):
        assert [await wired.outcome(key) for _ in range(3)] == [rejection] * 3

    assert wired.store.calls["get"] == 2
    assert len(wired.hasher.verified) == 2


async def test_a_remembered_rejection_is_raised_as_a_new_object() -> None:
    """Requests share no exception: one object would collect the tracebacks, and so the frames, of all of them."""
    wired = Wired()
    key = wired.unissued()
    caught: list[UnknownKey] = []
    for _ in range(3):
        with pytest.raises(UnknownKey) as info:
            await wired.authenticate(key)
        caught.append(info.value)
    depths = [len(traceback.extract_tb(error.__traceback__)) for error in caught]

    assert len({id(error) for error in caught}) == 3
    assert len({error.key_id for error in caught}) == 1
    assert len(set(depths[1:])) == 1


async def test_a_rejection_is_forgotten_after_negative_ttl() -> None:
    """Counted, like everything, from before the read, which took four of the five seconds here."""
    wired = Wired(limits=Limits(negative_ttl=5.0))
    key = wired.unissued()
    gate = wired.store.after["get"]
    gate.shut()
    async with anyio.create_task_group() as group:
        group.start_soon(wired.outcome, key)
        await until(lambda: gate.waiting)
        wired.clock.advance(4.0)
        gate.open()

    wired.clock.advance(0.999)
    await wired.outcome(key)
    remembered = wired.store.calls["get"]
    wired.clock.advance(0.001)
    await wired.outcome(key)

    assert remembered == 1
    assert wired.store.calls["get"] == 2


async def test_an_issued_key_works_at_once_although_it_was_rejected_before() -> None:
    """Whoever tried a key before it existed does not have to wait for the rejection to be forgotten."""
    wired = Wired()
    issued = await wired.issue()
    committed = await wired.repository.delete(issued.record.key_id, version=1)
    await wired.invalidation.announce(committed)
    rejected = await wired.outcome(issued.key)

    await wired.invalidation.announce(await wired.repository.add(issued.record))

    assert rejected == "UnknownKey"
    assert await wired.outcome(issued.key) == "acme"


async def test_an_enabled_key_works_at_once() -> None:
    """Enabling forgets that the key was rejected while it was disabled."""
    wired = Wired()
    issued = await wired.issue()
    await wired.issuer.disable(issued.record.key_id)
    rejected = await wired.outcome(issued.key)

    await wired.issuer.enable(issued.record.key_id)

    assert rejected == "DisabledKey"
    assert await wired.outcome(issued.key) == "acme"


@pytest.mark.parametrize("starts_in", [0.01, 0.05, 0.06, 3.0, 5.0, 5.02, 1_000.0])
async def test_a_key_works_from_its_start_on(starts_in: float) -> None:
    """That it was not yet valid is not remembered beyond the start."""
    wired = Wired()
    issued = await wired.issue(not_before=NOON + starts_in)
    at_once = await wired.outcome(issued.key)
    wired.clock.advance(starts_in * 0.9)
    shortly_before = await wired.outcome(issued.key)
    wired.clock.advance(starts_in * 0.1)
    wired.clock.set_wall(max(wired.clock.wall(), NOON + starts_in))

    assert at_once == shortly_before == "NotYetValid"
    assert await wired.outcome(issued.key) == "acme"


async def test_a_key_works_from_its_start_on_though_the_clocks_run_apart() -> None:
    """The start is on the wall clock and what is remembered ends on the monotonic one: 50 ms are left between them."""
    wired = Wired()
    issued = await wired.issue(not_before=NOON + 3.0)
    await wired.outcome(issued.key)
    wired.clock.advance(2.96)
    wired.clock.set_wall(NOON + 3.0)

    assert await wired.outcome(issued.key) == "acme"


@pytest.mark.parametrize("failing", ["store", "hasher", "store and lease"])
async def test_that_it_could_not_be_decided_is_never_remembered(failing: str) -> None:
    """An outage rejects nobody, and is over for everybody when it is over."""
    wired = Wired(lease=2.0)
    assert isinstance(wired.invalidation, FakeInvalidation)
    issued = await wired.issue()
    error = Overloaded() if failing == "hasher" else StoreUnavailable()
    if failing == "hasher":
        wired.hasher.failure = error
    else:
        wired.store.failures["get"] = error
        wired.invalidation.failing = "lease" in failing
        wired.clock.advance(2.0)
    during = [await wired.outcome(issued.key) for _ in range(2)]

    wired.store.failures.clear()
    wired.hasher.failure = None
    wired.invalidation.failing = False

    assert during == [type(error).__name__] * 2
    assert await wired.outcome(issued.key) == "acme"


# ---- order: the secret before standing, and a decoy for nobody's key -------------------------------------------------


async def revoke(wired: Wired, issued: IssuedKey) -> None:
    """Revoke a key."""
    await wired.issuer.revoke(issued.record.key_id)


async def disable(wired: Wired, issued: IssuedKey) -> None:
    """Disable a key."""
    await wired.issuer.disable(issued.record.key_id)


async def expire(wired: Wired, issued: IssuedKey) -> None:
    """Let a key end."""
    await wired.issuer.amend(issued.record.key_id, expires_at=wired.clock.wall() + 1.0)
    wired.clock.advance(1.0)


async def postpone(wired: Wired, issued: IssuedKey) -> None:
    """Let a key start tomorrow."""
    await wired.issuer.amend(issued.record.key_id, not_before=wired.clock.wall() + 86_400.0)


@pytest.mark.parametrize(
    ("change", "rejection"),
    [(revoke, RevokedKey), (disable, DisabledKey), (expire, ExpiredKey), (postpone, NotYetValid)],
)
async def test_the_secret_is_compared_before_standing(
    change: Callable[[Wired, IssuedKey], Awaitable[None]], rejection: type[InvalidKey]
) -> None:
    """Only who holds the key learns, in our log at least, why it does not work; a stranger has a wrong secret."""
    wired = Wired()
    issued = await wired.issue()
    await change(wired, issued)
    with pytest.raises(WrongSecret):
        await wired.authenticate(wired.forged(issued))

    with pytest.raises(rejection) as info:
        await wired.authenticate(issued.key)
    assert info.value.key_id == issued.record.key_id


async def test_an_unknown_id_costs_one_hash_as_a_known_one_does() -> None:
    """The decoy is verified in its place, as a stranger's: the time taken does not tell which ids exist."""
    wired = Wired()
    issued = await wired.issue()
    await wired.outcome(wired.unissued())
    await wired.outcome(wired.forged(issued))

    assert wired.hasher.verified == [(wired.hasher.decoy, Lane.STRANGER), (issued.record.digest, Lane.STRANGER)]


async def test_a_digest_moved_to_another_row_never_matches() -> None:
    """Digests cover the whole key, its id included: write access to one row gives nobody another's rights."""
    wired = Wired()
    mine, theirs = await wired.issue("mine"), await wired.issue("theirs")
    wired.repository._records[theirs.record.key_id] = replace(theirs.record, digest=mine.record.digest)
    moved = mine.key.replace(mine.record.key_id, theirs.record.key_id)

    assert await wired.outcome(moved) in {"MalformedKey", "WrongSecret"}
    assert await wired.outcome(theirs.key) == "WrongSecret"


# ---- one flight per key ----------------------------------------------------------------------------------------------


async def at_once(wired: Wired, key: str, requests: int) -> list[object]:
    """Present a key in this many requests, none of which is answered before all have asked."""
    gate = wired.store.before["get"]
    results: list[object] = []
    gate.shut()

    async def present() -> None:
        results.extend(await together(*[partial(wired.authenticate, key)] * requests))

    async with anyio.create_task_group() as group:
        group.start_soon(present)
        await anyio.wait_all_tasks_blocked()
        gate.open()
    return results


async def test_200_concurrent_requests_read_and_hash_once() -> None:
    """A key that everybody presents at once is looked up by one of them, and each request is counted."""
    wired = Wired()
    issued = await wired.issue()

    principals = await at_once(wired, issued.key, 200)

    assert [principal.owner for principal in principals if isinstance(principal, Principal)] == ["acme"] * 200
    assert wired.store.calls["get"] == wired.authenticator.stats.reads == 1
    assert len(wired.hasher.verified) == 1
    assert len(wired.usage.accepted) == wired.authenticator.stats.accepted == 200


async def test_200_concurrent_requests_with_a_bad_key_read_and_hash_once() -> None:
    """The same for rejections; each request gets an exception of its own."""
    wired = Wired()
    key = wired.unissued()

    errors = await at_once(wired, key, 200)

    assert {type(error) for error in errors} == {UnknownKey}
    assert len({id(error) for error in errors}) == 200
    assert wired.store.calls["get"] == len(wired.hasher.verified) == 1


async def test_200_concurrent_requests_share_one_failure() -> None:
    """A store that does not answer is asked once, not once by each waiter in turn; the driver's error stays visible."""
    wired = Wired()
    key = wired.unissued()
    failure = StoreUnavailable("gone", retry_after=3.0)
    failure.__cause__ = OSError("connection refused")
    wired.store.failures["get"] = failure

    errors = await at_once(wired, key, 200)

    assert wired.store.calls["get"] == 1
    assert len({id(error) for error in errors}) == 200
    for error in errors:
        assert isinstance(error, StoreUnavailable)
        assert error is not failure
        assert (str(error), error.retry_after, error.__cause__) == ("gone", 3.0, failure.__cause__)


async def test_a_plugs_own_kind_of_failure_is_passed_on_as_it_is() -> None:
    """Somebody else's subclass of StoreUnavailable keeps its class and attributes, whatever its `__init__` takes."""

    class ShardUnavailable(StoreUnavailable):
        def __init__(self, shard: int, reason: str) -> None:
            super().__init__(f"shard {shard}: {reason}")
            self.shard = shard

    wired = Wired()
    wired.store.failures["get"] = ShardUnavailable(7, "gone")

    with pytest.raises(ShardUnavailable, match="shard 7: gone") as info:
        await wired.authenticate(wired.unissued())
    assert info.value.shard == 7


async def test_a_cancelled_leader_hands_over() -> None:
    """Who looks a key up for everybody may go away: the others are let in all the same."""
    wired = Wired()
    issued = await wired.issue()
    gate = wired.store.before["get"]
    gate.shut()
    leader = anyio.CancelScope()
    owners: list[str] = []

    async def lead() -> None:
        with leader:
            await wired.authenticate(issued.key)

    async def follow() -> None:
        owners.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await until(lambda: gate.waiting)
        for _ in range(5):
            group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await until(lambda: wired.store.calls["get"] == 2)
        gate.open()

    assert leader.cancelled_caught
    assert owners == ["acme"] * 5
    assert wired.store.calls["get"] == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_leader_cancelled_by_asyncio_itself_hands_over() -> None:
    """The same for `Task.cancel`, which servers use when a client goes away."""
    wired = Wired()
    issued = await wired.issue()
    gate = wired.store.before["get"]
    gate.shut()
    leader = asyncio.create_task(wired.authenticate(issued.key))
    await until(lambda: gate.waiting)
    followers = [asyncio.create_task(wired.authenticate(issued.key)) for _ in range(5)]
    await asyncio.sleep(0)

    leader.cancel()
    await until(lambda: wired.store.calls["get"] == 2)
    gate.open()
    principals = await asyncio.gather(*followers)

    assert leader.cancelled()
    assert [principal.owner for principal in principals] == ["acme"] * 5


async def test_a_cancelled_waiter_disturbs_nobody() -> None:
    """The look-up goes on for those who still wait."""
    wired = Wired()
    issued = await wired.issue()
    gate = wired.store.before["get"]
    gate.shut()
    owners: list[str] = []
    impatient = anyio.CancelScope()

    async def present(scope: anyio.CancelScope) -> None:
        with scope:
            owners.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as group:
        group.start_soon(present, anyio.CancelScope())
        await until(lambda: gate.waiting)
        group.start_soon(present, impatient)
        group.start_soon(present, anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        impatient.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.open()

    assert owners == ["acme"] * 2
    assert wired.store.calls["get"] == 1


async def test_200_concurrent_requests_share_one_unexpected_error(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a plug is met once, not by one request after the other; the log names its place and quotes nothing."""
    wired = Wired()
    issued = await wired.issue()
    wired.store.failures["get"] = ZeroDivisionError(f"while reading {issued.key}")

    wired.store.before["get"].shut()
    errors: list[object] = []

    async def present() -> None:
        errors.extend(await together(*[partial(wired.authenticate, issued.key) for _ in range(200)]))

    async with anyio.create_task_group() as group:
        group.start_soon(present)
        await until(lambda: wired.store.before["get"].waiting)
        wired.store.before["get"].open()
    wired.store.failures.clear()

    assert {type(error) for error in errors} == {Undecidable}
    assert len({id(error) for error in errors}) == 200
    assert all(
        error.__cause__ is None and error.__context__ is None for error in errors if isinstance(error, APIKeyError)
    )
    assert wired.store.calls["get"] == 1
    assert wired.authenticator.stats.undecided == 200
    assert [each.levelno for each in caplog.records].count(logging.ERROR) == 1
    assert "ZeroDivisionError" in caplog.text
    assert "in watched" in caplog.text
    assert issued.key not in caplog.text
    assert await wired.outcome(issued.key) == "acme"


async def test_a_bug_that_is_met_again_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """Once in each place: what strangers can set off must not fill the log."""
    wired = Wired()
    for failure in (ZeroDivisionError("a"), ZeroDivisionError("b"), LookupError("c")):
        wired.store.failures["get"] = failure
        assert await wired.outcome(wired.unissued()) == "Undecidable"

    logged = [each.message for each in caplog.records if each.levelno == logging.ERROR]

    assert ["ZeroDivisionError" in each for each in logged] == [True, False]


async def test_a_mistake_in_the_configuration_is_told_as_it_is() -> None:
    """It is for whoever runs the program, who cannot mend what is called undecidable."""
    wired = Wired()
    wired.store.failures["get"] = ConfigurationError("this database is of a later version")

    errors = await together(*[partial(wired.authenticate, wired.unissued()) for _ in range(2)])

    assert [str(error) for error in errors] == ["this database is of a later version"] * 2
    assert {type(error) for error in errors} == {ConfigurationError}


# ---- proofs ----------------------------------------------------------------------------------------------------------


async def test_a_slow_hash_is_paid_once_per_process_and_key() -> None:
    """After the lifetime of a verdict only the record is read again: that the key matches never goes stale."""
    wired = Wired()
    issued = await wired.issue()
    for _ in range(5):
        await wired.authenticate(issued.key)
        wired.clock.advance(TTL)

    assert wired.store.calls["get"] == 5
    assert len(wired.hasher.verified) == 1


async def test_a_proof_says_nothing_about_standing() -> None:
    """A proven key that was revoked is rejected, without another hash."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    await wired.issuer.revoke(issued.record.key_id)

    assert await wired.outcome(issued.key) == "RevokedKey"
    assert len(wired.hasher.verified) == 1


async def test_the_hash_is_paid_again_when_the_digest_changes() -> None:
    """A proof counts for the very digest it was made with; and the key, having matched once, is no stranger."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    newer = await HMACSHA256Hasher(PEPPER).hash(issued.key.encode())
    stored = wired.repository._records[issued.record.key_id]
    wired.repository._records[issued.record.key_id] = replace(
        stored, digest=await wired.hasher.hash(b"another key altogether")
    )
    wired.clock.advance(TTL)
    rejected = await wired.outcome(issued.key)
    wired.repository._records[issued.record.key_id] = replace(stored, digest=newer)
    wired.clock.advance(TTL)

    assert rejected == "WrongSecret"
    assert await wired.outcome(issued.key) == "acme"
    assert [lane for _, lane in wired.hasher.verified] == [Lane.STRANGER, Lane.PROVEN]


async def test_a_new_digest_gets_a_new_proof() -> None:
    """After a digest was replaced by a newer one of the same key, one more hash is paid, and only one."""
    old, both = HMACSHA256Hasher(PEPPER), HMACSHA256Hasher([PEPPER, LATER_PEPPER])
    wired = Wired(hasher=both)
    issued = await wired.issue()
    outdated = await old.hash(issued.key.encode())
    wired.repository._records[issued.record.key_id] = replace(issued.record, digest=outdated)
    await wired.authenticate(issued.key)
    await wired.repository.replace_digest(issued.record.key_id, old=outdated, new=issued.record.digest)
    for _ in range(3):
        wired.clock.advance(TTL)
        await wired.authenticate(issued.key)

    assert wired.hasher.verified == [(outdated, Lane.STRANGER), (issued.record.digest, Lane.PROVEN)]


async def test_a_proof_ends_when_its_scheme_or_pepper_is_no_longer_accepted() -> None:
    """Dropping a pepper drops every key under it, proven or not."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    wired.hasher.refused.add(issued.record.digest)
    wired.clock.advance(TTL)

    assert await wired.outcome(issued.key) == "WrongSecret"


async def test_a_proof_lets_no_other_secret_in() -> None:
    """Proofs are kept by fingerprint: that the true key is proven helps no forged one."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    assert await wired.outcome(wired.forged(issued)) == "WrongSecret"


# ---- a change while a look-up is under way ---------------------------------------------------------------------------


async def during_a_look_up(
    wired: Wired, issued: IssuedKey, stage: str, change: Callable[[], Awaitable[object]], *, requests: int = 3
) -> list[str]:
    """Start requests with a key, let the change happen while they are at `stage`, return their outcomes."""
    gate = {
        "before the read": wired.store.before["get"],
        "after the read": wired.store.after["get"],
        "while it is hashed": wired.hasher.before,
    }[stage]
    outcomes: list[str] = []
    gate.shut()

    async def present() -> None:
        outcomes.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as group:
        for _ in range(requests):
            group.start_soon(present)
        await until(lambda: gate.waiting)
        release = gate.bypass()
        await change()
        release()
    return outcomes


STAGES = ["before the read", "after the read", "while it is hashed"]


@pytest.mark.parametrize("stage", STAGES)
async def test_a_key_revoked_during_the_look_up_is_neither_accepted_nor_remembered(stage: str) -> None:
    """Once `revoke` has returned, nobody is let in, however long ago the record was read; those who joined included."""
    wired = Wired()
    issued = await wired.issue()

    outcomes = await during_a_look_up(wired, issued, stage, partial(wired.issuer.revoke, issued.record.key_id))

    assert outcomes == ["RevokedKey"] * 3
    assert wired.remembered(issued.key) is None
    assert wired.authenticator.stats.accepted == 0
    assert wired.usage.accepted == []


@pytest.mark.parametrize("stage", STAGES)
async def test_a_key_deleted_during_the_look_up_is_unknown(stage: str) -> None:
    """The same for a deletion, which leaves no record to have a standing."""
    wired = Wired()
    issued = await wired.issue()

    outcomes = await during_a_look_up(wired, issued, stage, partial(wired.issuer.delete, issued.record.key_id))

    assert outcomes == ["UnknownKey"] * 3
    assert wired.remembered(issued.key) is None


@pytest.mark.parametrize("stage", STAGES)
async def test_a_key_enabled_during_the_look_up_is_accepted(stage: str) -> None:
    """Whoever joins a look-up that began before the change gets the answer from after it."""
    wired = Wired()
    issued = await wired.issue()
    await wired.issuer.disable(issued.record.key_id)

    outcomes = await during_a_look_up(wired, issued, stage, partial(wired.issuer.enable, issued.record.key_id))

    assert outcomes == ["acme"] * 3


@pytest.mark.parametrize("stage", STAGES)
async def test_a_rejection_that_was_overtaken_is_not_remembered(stage: str) -> None:
    """A key enabled during the look-up works from then on, also when its verdict has ended and must be made anew."""
    wired = Wired(limits=Limits(cache_ttl=1.0, negative_ttl=30.0))
    issued = await wired.issue()
    await wired.issuer.disable(issued.record.key_id)

    await during_a_look_up(wired, issued, stage, partial(wired.issuer.enable, issued.record.key_id))
    wired.clock.advance(2.0)

    assert await wired.outcome(issued.key) == "acme"


@pytest.mark.parametrize("stage", STAGES)
async def test_amended_scopes_are_never_overtaken_by_older_ones(stage: str) -> None:
    """A scope taken away during the look-up is not on the principal, nor on the remembered one."""
    wired = Wired()
    issued = await wired.issue(scopes=frozenset({"read", "write"}))
    change = partial(wired.issuer.amend, issued.record.key_id, scopes={"read"})

    await during_a_look_up(wired, issued, stage, change)
    remembered = wired.remembered(issued.key)

    assert remembered is not None
    assert remembered.scopes == {"read"}


async def test_changes_of_other_keys_do_not_disturb_a_look_up() -> None:
    """Only the key's own changes send a look-up back; its verdict is remembered."""
    wired = Wired()
    issued, other = await wired.issue(), await wired.issue()

    outcomes = await during_a_look_up(
        wired, issued, "after the read", partial(wired.issuer.revoke, other.record.key_id)
    )

    assert outcomes == ["acme"] * 3
    assert wired.store.calls["get"] == 2  # one of them by `revoke`
    assert wired.remembered(issued.key) is not None


async def test_a_revoked_key_is_refused_at_once_from_memory() -> None:
    """When `revoke` has returned, the hot path knows."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    receipt = await wired.issuer.revoke(issued.record.key_id)

    assert receipt.confirmed
    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "RevokedKey"


async def test_a_key_that_keeps_changing_is_given_up_on() -> None:
    """After a handful of look-ups that were each overtaken the answer is 503, not an endless loop."""
    wired = Wired()
    issued = await wired.issue()
    real = wired.repository.get

    async def restless(key_id: str) -> KeyRecord | None:
        record = await real(key_id)
        wired.cache.invalidate(Change(0, key_id, 1))
        return record

    wired.repository.get = restless  # type: ignore[method-assign]

    with pytest.raises(StoreUnavailable, match="keeps changing"):
        await wired.authenticate(issued.key)
    assert wired.store.calls["get"] == 4
    assert wired.remembered(issued.key) is None


async def test_forget_drops_a_verdict_that_was_overtaken_behind_our_back() -> None:
    """Who changes rows by raw SQL can tell this process at once; others hear of it when `cache_ttl` is over."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    await wired.repository.update(issued.record.key_id, RecordPatch(revoked_at=NOON), version=1)
    overlooked = wired.remembered(issued.key)

    wired.authenticator.forget(issued.record.key_id)

    assert overlooked is not None
    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "RevokedKey"


async def test_a_forgotten_key_that_did_not_change_works_as_before() -> None:
    """Forgetting costs one read and is no rejection."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    wired.authenticator.forget(issued.record.key_id)

    assert await wired.outcome(issued.key) == "acme"
    assert wired.remembered(issued.key) is not None


# ---- leases: where other workers change keys -------------------------------------------------------------------------


async def leased(lease: float = 2.0) -> tuple[Wired, FakeInvalidation, IssuedKey]:
    """A process among others, and a key that it has let in."""
    wired = Wired(lease=lease)
    assert isinstance(wired.invalidation, FakeInvalidation)
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    return wired, wired.invalidation, issued


async def changed_elsewhere(wired: Wired, issued: IssuedKey) -> Callable[[], None]:
    """Revoke a key in another process; the returned function is how this one hears of it."""
    committed = await wired.repository.update(issued.record.key_id, RecordPatch(revoked_at=NOON), version=1)
    return lambda: [wired.cache.invalidate(change) for change in committed.changes] and None


async def test_without_a_current_lease_memory_is_not_trusted() -> None:
    """Silence is not taken for "nothing happened": at the end of the lease the memory stops answering."""
    wired, invalidation, issued = await leased()

    wired.clock.advance(1.999)
    before = wired.remembered(issued.key)
    wired.clock.advance(0.001)
    after = wired.remembered(issued.key)

    assert before is not None
    assert after is None
    assert await wired.outcome(issued.key) == "acme"
    assert invalidation.renewals == 1
    assert wired.remembered(issued.key) is not None


async def test_a_moved_counter_stops_the_memory_until_the_changes_are_applied() -> None:
    """Equality is asked for, not order: the counter of another file may be lower."""
    wired, invalidation, issued = await leased(lease=math.inf)
    for value in (1, -1):
        invalidation.moving[0] = value
        assert wired.remembered(issued.key) is None
    invalidation.on_renew = await changed_elsewhere(wired, issued)

    assert await wired.outcome(issued.key) == "RevokedKey"


async def test_without_a_lease_to_be_had_only_the_repository_is_believed() -> None:
    """Every request reads the record, remembered or not, so a revoke elsewhere is seen by the next one."""
    wired, invalidation, issued = await leased()
    invalidation.failing = True
    wired.clock.advance(2.0)
    before = wired.store.calls["get"]

    outcomes = [await wired.outcome(issued.key) for _ in range(3)]
    await changed_elsewhere(wired, issued)

    assert outcomes == ["acme"] * 3
    assert wired.store.calls["get"] == before + 3
    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "RevokedKey"


async def test_a_lease_is_refreshed_by_the_traffic_before_it_ends() -> None:
    """Once past `refresh_at`, one request starts the poll, and all go on being answered from memory."""
    wired, invalidation, issued = await leased()
    invalidation.refresh_at = wired.clock.monotonic() + 0.5
    wired.clock.advance(0.4)
    early = wired.remembered(issued.key)
    wired.clock.advance(0.1)

    late = [wired.remembered(issued.key) for _ in range(3)]

    assert None not in (early, *late)
    assert invalidation.refreshes == 1


async def test_a_waiter_is_not_let_in_by_a_read_from_before_it_arrived() -> None:
    """Without a lease, who joins the flight of an earlier request asks the repository once more."""
    wired, invalidation, issued = await leased()
    invalidation.failing = True
    wired.clock.advance(2.0)
    wired.store.after["get"].shut()
    outcomes: list[str] = []

    async def request() -> None:
        outcomes.append(await wired.outcome(issued.key))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(request)
        await until(lambda: wired.store.after["get"].waiting)
        await changed_elsewhere(wired, issued)
        wired.clock.advance(0.1)
        tasks.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        wired.store.after["get"].open()

    assert sorted(outcomes) == ["RevokedKey", "acme"]


@pytest.mark.parametrize("signal", ["the lease ends", "the counter moves"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_lease_that_breaks_during_the_look_up_is_renewed_before_anybody_is_let_in(
    stage: str, signal: str
) -> None:
    """A record read under one lease lets nobody in after its end: the key was revoked elsewhere meanwhile."""
    wired = Wired(lease=2.0)
    assert isinstance(wired.invalidation, FakeInvalidation)
    invalidation = wired.invalidation
    issued = await wired.issue()

    async def change() -> None:
        invalidation.on_renew = await changed_elsewhere(wired, issued)
        if signal == "the lease ends":
            wired.clock.advance(2.0)
        else:
            invalidation.moving[0] += 1

    outcomes = await during_a_look_up(wired, issued, stage, change)

    assert outcomes == ["RevokedKey"] * 3
    assert wired.remembered(issued.key) is None


async def test_without_a_current_lease_rejections_are_not_trusted_either() -> None:
    """A key enabled elsewhere is not held up by what was remembered before."""
    wired, invalidation, issued = await leased(lease=math.inf)
    await wired.issuer.disable(issued.record.key_id)
    rejected = await wired.outcome(issued.key)
    committed = await wired.repository.update(issued.record.key_id, RecordPatch(disabled_at=None), version=2)
    invalidation.on_renew = lambda: [wired.cache.invalidate(change) for change in committed.changes]

    invalidation.moving[0] += 1

    assert rejected == "DisabledKey"
    assert await wired.outcome(issued.key) == "acme"


# ---- two lanes -------------------------------------------------------------------------------------------------------


NARROW = Limits(stranger_slots=2, queue=4, per_key=3, patience=60.0)


async def test_strangers_never_delay_a_proven_key() -> None:
    """With every place of the strangers taken, a key that has matched before is read and let in at once."""
    wired = Wired(limits=NARROW)
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    wired.clock.advance(TTL)
    wired.hasher.before.shut()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(wired.outcome, wired.unissued())
        await until(lambda: wired.authenticator.stats.undecided == 14)
        owner = await wired.outcome(issued.key)
        wired.hasher.before.open()

    assert owner == "acme"


async def test_strangers_beyond_the_queue_are_told_to_come_back() -> None:
    """Two at work and four waiting; everybody else is answered 503 at once, with nothing read or hashed for them."""
    wired = Wired(limits=NARROW)
    wired.hasher.before.shut()
    outcomes: list[str] = []

    async def present(key: str) -> None:
        outcomes.append(await wired.outcome(key))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(present, wired.unissued())
        await until(lambda: len(outcomes) == 14)
        at_work = wired.hasher.before.waiting, wired.store.calls["get"]
        wired.hasher.before.open()

    assert at_work == (2, 2)
    assert outcomes == ["Overloaded"] * 14 + ["UnknownKey"] * 6


async def test_a_flood_on_one_key_id_leaves_room_for_the_others() -> None:
    """Strangers who name the same key id share a few places of the lane."""
    wired = Wired(limits=NARROW)
    target, other = await wired.issue("target"), await wired.issue("other")
    outcomes: list[str] = []
    wired.hasher.before.shut()

    async def present(key: str) -> None:
        outcomes.append(await wired.outcome(key))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(present, wired.forged(target))
        await until(lambda: len(outcomes) == 7)
        group.start_soon(present, other.key)
        await anyio.wait_all_tasks_blocked()
        wired.hasher.before.open()

    assert outcomes[:7] == ["Overloaded"] * 7
    assert sorted(outcomes[7:]) == ["WrongSecret"] * 3 + ["other"]


async def test_nobody_waits_longer_than_patience() -> None:
    """A queue that does not move is left with 503."""
    wired = Wired(limits=replace(NARROW, stranger_slots=1, patience=0.01))
    wired.hasher.before.shut()
    async with anyio.create_task_group() as group:
        group.start_soon(wired.outcome, wired.unissued())
        await until(lambda: wired.hasher.before.waiting)
        outcome = await wired.outcome(wired.unissued())
        wired.hasher.before.open()

    assert outcome == "Overloaded"


async def test_a_stranger_who_goes_away_gives_its_place_back() -> None:
    """Cancelled requests, at work and waiting, leave the lane as they found it."""
    wired = Wired(limits=NARROW)
    wired.hasher.before.shut()
    for _ in range(3):
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(wired.outcome, wired.unissued())
            await until(lambda: wired.hasher.before.waiting == 2)
            group.cancel_scope.cancel()
    wired.hasher.before.open()

    outcomes = await together(*[partial(wired.outcome, wired.unissued()) for _ in range(6)])

    assert outcomes == ["UnknownKey"] * 6


# ---- the failure budget ----------------------------------------------------------------------------------------------


HOSTILE, FRIENDLY = "203.0.113.9", "198.51.100.7"
STRICT = Limits(address=Allowance(burst=5, per=1_000.0), pair=Allowance(burst=3, per=1_000.0), patience=60.0)


async def at_work(wired: Wired, keys: list[str], client: str | None) -> int:
    """How many of these keys, presented at once, are looked up side by side: two means the narrow queue."""
    gate = wired.hasher.before
    gate.shut()
    async with anyio.create_task_group() as group:
        for key in keys:
            group.start_soon(partial(wired.outcome, key, client=client))
        await anyio.wait_all_tasks_blocked()
        count = gate.waiting
        gate.open()
    return count


def unissued(wired: Wired, count: int) -> list[str]:
    """Well-formed keys that nobody has."""
    return [wired.unissued() for _ in range(count)]


async def test_who_presents_too_many_wrong_keys_queues_behind_everybody_else() -> None:
    """Two at a time for such clients; others do not notice."""
    wired = Wired(limits=STRICT)
    for key in unissued(wired, 5):
        await wired.outcome(key, client=HOSTILE)

    assert await at_work(wired, unissued(wired, 4), HOSTILE) == 2
    assert await at_work(wired, unissued(wired, 4), FRIENDLY) == 4
    assert await at_work(wired, unissued(wired, 4), None) == 4


async def test_who_fills_that_queue_as_well_is_rate_limited() -> None:
    """429 with a time to come back, without anything read or hashed."""
    wired = Wired(limits=STRICT)
    issued = await wired.issue()
    for key in [wired.forged(issued) for _ in range(3)]:
        await wired.outcome(key, client=HOSTILE)
    before = wired.store.calls["get"]
    wired.hasher.before.shut()
    errors: list[object] = []

    async def present(key: str) -> None:
        errors.extend(await together(partial(wired.authenticate, key, client=HOSTILE)))

    async with anyio.create_task_group() as group:
        for key in [wired.forged(issued) for _ in range(70)]:
            group.start_soon(present, key)
        await until(lambda: len(errors) == 6)
        reads = wired.store.calls["get"] - before
        wired.hasher.before.open()

    assert {type(error) for error in errors[:6]} == {RateLimited}
    assert all(isinstance(error, RateLimited) and error.retry_after > 0 for error in errors[:6])
    assert reads == 2
    assert [type(error) for error in errors[6:]] == [WrongSecret] * 64


@pytest.mark.parametrize(("forgers", "ids"), [(60, 1), (200, 60)], ids=["one key id", "many key ids"])
async def test_forgers_at_the_same_address_only_make_the_true_holder_wait(forgers: int, ids: int) -> None:
    """They never pause, and name its key id or those of many; it presents its key for the first time in between."""
    wired = Wired(limits=replace(STRICT, stranger_slots=1, queue=1, per_key=1))
    targets = [await wired.issue() for _ in range(ids)]
    for _ in range(5):
        for target in targets[:3]:
            await wired.outcome(wired.forged(target), client=HOSTILE)
    outcomes: list[str] = []
    forged = ["WrongSecret"]
    wired.hasher.before.shut()

    async def forge(target: IssuedKey) -> None:
        while not outcomes and set(forged) == {"WrongSecret"}:
            forged.append(await wired.outcome(wired.forged(target), client=HOSTILE))

    async def hold() -> None:
        outcomes.append(await wired.outcome(targets[0].key, client=HOSTILE))

    async with anyio.create_task_group() as group:
        for number in range(forgers):
            group.start_soon(forge, targets[number % ids])
        await anyio.wait_all_tasks_blocked()
        group.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        wired.hasher.before.open()

    assert outcomes == ["acme"]
    assert set(forged) == {"WrongSecret"}


async def test_a_proven_key_is_not_asked_for_its_clients_failures() -> None:
    """The true holder behind a hostile address is let in while the narrow queue is full."""
    wired = Wired(limits=STRICT)
    issued = await wired.issue()
    await wired.authenticate(issued.key, client=HOSTILE)
    for key in unissued(wired, 5):
        await wired.outcome(key, client=HOSTILE)
    wired.clock.advance(TTL)
    wired.hasher.before.shut()
    async with anyio.create_task_group() as group:
        for key in unissued(wired, 4):
            group.start_soon(partial(wired.outcome, key, client=HOSTILE))
        await anyio.wait_all_tasks_blocked()
        owner = await wired.outcome(issued.key, client=HOSTILE)
        wired.hasher.before.open()

    assert owner == "acme"


async def test_an_unproven_key_of_an_overdrawn_client_only_waits() -> None:
    """The true holder is never locked out: with a place in the narrow queue, the right key gets in."""
    wired = Wired(limits=STRICT)
    issued = await wired.issue()
    for _ in range(10):
        await wired.outcome(wired.forged(issued), client=HOSTILE)

    assert await wired.outcome(issued.key, client=HOSTILE) == "acme"
    assert await wired.outcome(issued.key, client=FRIENDLY) == "acme"


async def test_guessing_at_one_key_does_not_cost_the_client_its_other_keys() -> None:
    """Three wrong secrets overdraw the pair of address and key id, not the address."""
    wired = Wired(limits=STRICT)
    target = await wired.issue()
    for _ in range(3):
        await wired.outcome(wired.forged(target), client=HOSTILE)

    assert await at_work(wired, [wired.forged(target) for _ in range(3)], HOSTILE) == 2
    assert await at_work(Wired(limits=STRICT), unissued(wired, 3), HOSTILE) == 3


async def test_a_known_bad_key_is_charged_once() -> None:
    """A misconfigured client that repeats the same wrong key does not overdraw everybody's address."""
    wired = Wired(limits=STRICT)
    key = wired.unissued()
    for _ in range(50):
        await wired.outcome(key, client=HOSTILE)

    assert await at_work(wired, unissued(wired, 4), HOSTILE) == 4


@pytest.mark.parametrize("presented", ["garbage", "other environment", "accepted", "undecided"])
async def test_only_rejections_that_cost_a_look_up_are_charged(presented: str) -> None:
    """What died before the store, what was accepted and what could not be decided is not held against the client."""
    wired = Wired(limits=STRICT)
    keys = {
        "garbage": ["garbage"] * 9,
        "other environment": [wired.unissued("test") for _ in range(9)],
        "accepted": [(await wired.issue()).key for _ in range(9)],
        "undecided": unissued(wired, 9),
    }[presented]
    if presented == "undecided":
        wired.store.failures["get"] = StoreUnavailable()
    for key in keys:
        await wired.outcome(key, client=HOSTILE)
    wired.store.failures.clear()

    assert await at_work(wired, unissued(wired, 4), HOSTILE) == 4


async def test_a_budget_refills() -> None:
    """After `per` seconds for each failure the client is as everybody else."""
    wired = Wired(limits=STRICT)
    for key in unissued(wired, 5):
        await wired.outcome(key, client=HOSTILE)
    wired.clock.advance(5_000.0)

    assert await at_work(wired, unissued(wired, 4), HOSTILE) == 4


async def test_an_overloaded_hasher_is_not_the_clients_fault() -> None:
    """Also for an overdrawn client it is 503, not 429: nobody can say that it presented too much."""
    wired = Wired(limits=STRICT)
    for key in unissued(wired, 5):
        await wired.outcome(key, client=HOSTILE)
    wired.hasher.failure = Overloaded("every place for hashing is taken", retry_after=7.0)

    with pytest.raises(Overloaded) as info:
        await wired.authenticate(wired.unissued(), client=HOSTILE)
    assert info.value.retry_after == 7.0


# ---- outdated digests ------------------------------------------------------------------------------------------------


async def test_an_outdated_digest_is_asked_to_be_replaced_after_the_key_matched() -> None:
    """Once per read of the record, and never for a key that is rejected."""
    old = Wired()
    new = Wired(repository=old.repository, hasher=HMACSHA256Hasher([PEPPER, LATER_PEPPER]))
    issued, revoked, current = await old.issue(), await old.issue(), await new.issue()
    await old.issuer.revoke(revoked.record.key_id)
    for key in (issued.key, issued.key, revoked.key, current.key, old.forged(issued)):
        await new.outcome(key)

    assert new.rehashes.asked == [issued.record.key_id]


# ---- nothing leaks ---------------------------------------------------------------------------------------------------


async def test_no_secret_stands_in_any_error_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    """On every way out, the presented key is in no message, attribute, repr, log line or cache."""
    caplog.set_level(logging.DEBUG)
    wired = Wired(limits=NARROW)
    assert isinstance(wired.format, KeyFormat)
    issued, revoked = await wired.issue(), await wired.issue()
    await wired.issuer.revoke(revoked.record.key_id)
    keys = [issued.key, revoked.key, wired.unissued(), wired.forged(issued), wired.unissued("test"), issued.key + "x"]
    failing = [wired.unissued(), wired.unissued()]
    told: list[str] = []

    async def present(key: str) -> None:
        try:
            told.append(repr(await wired.authenticate(key, client=HOSTILE)))
        except APIKeyError as error:
            told.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))

    for key in keys:
        await present(key)
    wired.store.failures["get"] = StoreUnavailable()
    await present(failing[0])
    wired.store.failures.clear()
    wired.hasher.failure = Overloaded()
    await present(failing[1])
    everything = "\n".join(
        [*told, caplog.text, repr(issued), repr(vars(wired.cache)), repr(vars(wired.authenticator)), repr(wired.store)]
    )

    assert len(told) == 8
    for key in (*keys, *failing):
        assert key not in everything
        assert key.rpartition("_")[2] not in everything


# ---- for decisions that no memory is good enough for -----------------------------------------------------------------


async def test_verifying_reads_the_store_and_hashes_each_time() -> None:
    """Neither a verdict nor a proof stands in for it."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    hashed, read = len(wired.hasher.verified), wired.store.calls["get"]

    first = await wired.authenticator.verify(issued.key.encode())
    second = await wired.authenticator.verify(issued.key.encode())

    assert first == second == issued.record
    assert len(wired.hasher.verified) == hashed + 2
    assert wired.store.calls["get"] == read + 2
    assert {lane for _, lane in wired.hasher.verified[hashed:]} == {Lane.PROVEN}


async def test_verifying_believes_the_store_and_not_what_is_remembered() -> None:
    """A key that was changed behind our back is refused at once, for the reason that it has now."""
    wired = Wired()
    issued = await wired.issue()
    other = await wired.issue()
    await wired.authenticate(issued.key)
    told = []
    for record in (
        None,
        replace(issued.record, revoked_at=NOON),
        replace(issued.record, disabled_at=NOON),
        replace(issued.record, environment="test"),
        replace(issued.record, digest=other.record.digest),
        replace(issued.record, digest="unknown$x"),
    ):
        wired.repository._records.pop(issued.record.key_id, None)
        if record is not None:
            wired.repository._records[record.key_id] = record
        with pytest.raises(InvalidKey) as refused:
            await wired.authenticator.verify(issued.key.encode())
        told.append(type(refused.value))

    assert wired.remembered(issued.key) is not None
    assert told == [UnknownKey, RevokedKey, DisabledKey, WrongEnvironment, WrongSecret, WrongSecret]


async def test_verifying_is_counted_and_bounded_like_any_other_request() -> None:
    """So a flood of bad keys at the management API is one of strangers."""
    wired = Wired()
    issued = await wired.issue()

    await wired.authenticator.verify(issued.key.encode())
    for bad in (b"nonsense", wired.forged(issued).encode(), wired.unissued().encode()):
        with pytest.raises(InvalidKey):
            await wired.authenticator.verify(bad)

    assert wired.authenticator.stats.accepted == 1
    assert wired.authenticator.stats.rejected == 3
    # Each of the two well-formed ones was read once, in the strangers' lane; nothing was read a second time for them.
    assert wired.authenticator.stats.reads == 2 + 2


async def test_verifying_without_the_store_is_undecided() -> None:
    """Also a key that is remembered."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    wired.store.failures["get"] = StoreUnavailable()

    with pytest.raises(StoreUnavailable):
        await wired.authenticator.verify(issued.key.encode())


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cache_ttl", "negative_ttl"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_lifetime_that_never_or_always_ends_is_refused(name: str, seconds: float) -> None:
    """NaN above all: no instant is ever past it, so a revoked key would be served for ever."""
    with pytest.raises(ConfigurationError, match=r"write cache_ttl=0\.001"):
        Limits(**{name: seconds})


@pytest.mark.parametrize("bound", [{"proven_slots": 0}, {"stranger_slots": 0}, {"queue": -1}, {"per_key": 0}])
def test_a_lane_that_admits_nobody_is_refused(bound: dict[str, int]) -> None:
    """Bounds are checked when the parts are wired."""
    with pytest.raises(ConfigurationError, match="a lane needs"):
        Wired(limits=Limits(**bound))  # type: ignore[arg-type]


def test_the_promise_of_a_receipt_follows_from_the_limits() -> None:
    """The longer of the two lifetimes; never less than what one slow look-up may take."""
    assert Limits(cache_ttl=60.0, negative_ttl=5.0).max_staleness == 60.0
    assert Limits(cache_ttl=2.0, negative_ttl=5.0).max_staleness == 5.0
    assert Limits(cache_ttl=0.001, negative_ttl=0.001).max_staleness == 1.0


def test_both_clocks_of_the_tests_stand_still() -> None:
    """What the tests above rest on."""
    clock = FakeClock()
    clock.advance(1.5)

    assert (clock.wall(), clock.monotonic()) == (NOON + 1.5, 1_001.5)
