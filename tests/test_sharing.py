"""What processes learn from each other: believed while it is sealed, new enough, and known to miss nothing."""

from __future__ import annotations

import pytest

from asgi_apikey.authenticator import Authenticator, Limits
from asgi_apikey.errors import ConfigurationError, RevokedKey, StoreUnavailable, UnknownKey, WrongSecret
from asgi_apikey.models import Change, Held, Instant, KeyRecord, Seconds
from asgi_apikey.sealing import SharedSeal
from asgi_apikey.sharing import SharedProofs, SharedRecords
from tests.contracts.shared_cache import SharedCacheContract
from tests.fakes import FakeClock, Watched
from tests.records import a_record
from tests.wiring import Wired

pytestmark = pytest.mark.anyio

SECRET = "aB3-dE5_gH7.jK9+mN1=pQ2/sT4*vW6^yZ8"
SEAL = SharedSeal(SECRET)
SLOW = "$argon2id$digest"
TTL = 60.0


class SharedMemory:
    """A shared cache without a server; times by a clock of its own.

    Attributes:
        entries: What it holds, to tamper with.
        asked: How often.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.entries: dict[str, tuple[bytes, Seconds]] = {}
        self.asked = 0

    async def get(self, name: str) -> Held | None:
        """As the contract says."""
        self.asked += 1
        value, until = self.entries.get(name, (b"", -1.0))
        remaining = until - self.clock.monotonic()
        return Held(value, remaining) if remaining > 0 else None

    async def put(self, name: str, value: bytes, ttl: Seconds) -> None:
        """As the contract says."""
        if ttl > 0:
            self.entries[name] = (value, self.clock.monotonic() + ttl)

    async def clear(self) -> None:
        """As the contract says."""
        self.entries.clear()

    async def close(self) -> None:
        """Nothing to let go of."""


class Counted:
    """A repository of one process: records by id, and how often each was read."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {record.key_id: record for record in records}
        self.reads = 0

    async def get(self, key_id: str) -> KeyRecord | None:
        """Read it."""
        self.reads += 1
        return self.records.get(key_id)


class Reader:
    """One process: what it reads by way of the shared cache.

    Attributes:
        position: Up to where it has applied the feed; None without a lease.
    """

    def __init__(self, store: Counted, cache: SharedMemory, clock: FakeClock, *, name: str = "store") -> None:
        self.position: int | None = 7
        self.name = name
        self.failing = False
        self.records = SharedRecords(
            store,
            cache,
            SEAL,
            position=lambda: self.position,
            store=self.ask,
            clock=clock,
            usable=usable,
            ttl=TTL,
            ended_ttl=5.0,
        )

    async def ask(self) -> str:
        """Which store this is."""
        if self.failing:
            raise StoreUnavailable
        return self.name

    async def read(self, key_id: str = "k1", *, least: int = 0) -> tuple[KeyRecord | None, Seconds]:
        """Read a record, of this version at least."""
        found = await self.records.read(key_id, settled=lambda version: version >= least)
        return found.record, found.age


def usable(record: KeyRecord, now: Instant) -> bool:
    """Whether a key may be used."""
    return record.revoked_at is None


class TestSharedMemory(SharedCacheContract):
    """The fake of these tests keeps the contract, but for real time."""

    @pytest.fixture
    def cache(self) -> SharedMemory:
        """An empty one."""
        return SharedMemory(FakeClockThatTicks())


class FakeClockThatTicks(FakeClock):
    """Every look at it takes a millisecond."""

    def monotonic(self) -> Seconds:
        """The time, later than before."""
        self.advance(0.001)
        return super().monotonic()


class Fleet:
    """Two processes over one store, one clock and one cache."""

    def __init__(self, *records: KeyRecord) -> None:
        self.clock = FakeClock()
        self.store = Counted(*records)
        self.cache = SharedMemory(self.clock)
        self.one = Reader(self.store, self.cache, self.clock)
        self.two = Reader(self.store, self.cache, self.clock)


@pytest.fixture
def fleet() -> Fleet:
    """With one key."""
    return Fleet(a_record("k1"))


class TestRecords:
    """The record tier."""

    async def test_one_reads_for_all(self, fleet: Fleet) -> None:
        """The second process has the same record without asking the store; it is older, though no clock shows that."""
        first = await fleet.one.read()
        second = await fleet.two.read()

        assert first == (a_record("k1"), 0.0)
        assert second[0] == first[0]
        assert 0.0 < second[1] < 0.001
        assert fleet.store.reads == 1

    async def test_age_goes_on(self, fleet: Fleet) -> None:
        """Whoever gets a record from the cache gets it as old as it is, and after the ttl nobody does."""
        await fleet.one.read()
        fleet.clock.advance(40.0)
        later = await fleet.two.read()
        fleet.clock.advance(19.0)
        still = await fleet.one.read()
        fleet.clock.advance(2.0)
        anew = await fleet.two.read()

        assert [age for _, age in (later, still, anew)] == [40.0, 59.0, 0.0]
        assert fleet.store.reads == 2

    async def test_a_cache_that_lies_about_time_gains_little(self, fleet: Fleet) -> None:
        """An entry that is kept alive for ever is as old as its seal says."""
        await fleet.one.read()
        [(name, (value, _))] = fleet.cache.entries.items()
        fleet.cache.entries[name] = (value, 1e12)
        fleet.clock.advance(TTL + 1)
        await fleet.two.read()

        assert fleet.store.reads == 2

    async def test_a_clock_that_is_behind_gains_nothing(self, fleet: Fleet) -> None:
        """A reader whose wall clock is half an hour slow still hears from the cache how old an entry is."""
        await fleet.one.read()
        fleet.clock.advance(50.0)
        fleet.clock.set_wall(fleet.clock.wall() - 50.5)
        _, age = await fleet.two.read()
        fleet.clock.set_wall(fleet.clock.wall() - 1800.0)
        await fleet.two.read()

        assert age == 50.0
        assert fleet.store.reads == 2

    async def test_what_knows_less_than_we_do_is_not_used(self, fleet: Fleet) -> None:
        """An entry of somebody who had not applied a change that we have may be from before it."""
        await fleet.one.read()
        fleet.two.position = 8
        await fleet.two.read()

        assert fleet.store.reads == 2

    async def test_what_knows_more_is_used(self, fleet: Fleet) -> None:
        """It misses nothing that we know of."""
        fleet.one.position = 9
        await fleet.one.read()
        await fleet.two.read()

        assert fleet.store.reads == 1

    async def test_without_a_lease_the_store_is_read(self, fleet: Fleet) -> None:
        """Silence is never taken for "nothing happened", and what was read in it is not shared."""
        fleet.one.position = None
        await fleet.one.read()
        await fleet.two.read()
        fleet.one.position = None
        await fleet.one.read()

        assert fleet.store.reads == 3

    async def test_a_change_that_was_applied_while_the_cache_answered_counts(self, fleet: Fleet) -> None:
        """The position is looked at when the entry is there, not when it was asked for."""
        await fleet.one.read()
        get = fleet.cache.get

        async def slowly(name: str) -> Held | None:
            held = await get(name)
            fleet.two.position = 8
            return held

        fleet.cache.get = slowly  # type: ignore[method-assign]
        await fleet.two.read()

        assert fleet.store.reads == 2

    async def test_what_is_no_longer_the_latest_is_read_anew(self, fleet: Fleet) -> None:
        """A process that has just changed a key knows a version that its own position does not tell of yet."""
        await fleet.one.read()
        fleet.store.records["k1"] = a_record("k1", version=2)
        record, age = await fleet.one.read(least=2)

        assert (record, age) == (a_record("k1", version=2), 0.0)

    async def test_a_forgotten_key_is_read_anew(self, fleet: Fleet) -> None:
        """Whoever changes a row by hand and says so gets what is in the row, and others soon do."""
        await fleet.one.read()
        fleet.clock.advance(1.0)
        fleet.one.records.forget("k1")
        fleet.clock.advance(1.0)
        await fleet.one.read()
        reads = fleet.store.reads
        fleet.clock.advance(1.0)
        await fleet.one.read()

        assert (reads, fleet.store.reads) == (2, 2)

    async def test_unknown_keys_are_not_shared(self, fleet: Fleet) -> None:
        """No stranger fills the cache with made-up ids."""
        await fleet.one.read("made up")

        assert fleet.cache.entries == {}

    async def test_ended_keys_are_shared_for_a_shorter_time(self) -> None:
        """Each outcome has a time of its own."""
        fleet = Fleet(a_record("k1", revoked_at=1.0))
        await fleet.one.read()
        fleet.clock.advance(4.0)
        await fleet.two.read()
        within = fleet.store.reads
        fleet.clock.advance(2.0)
        await fleet.two.read()

        assert (within, fleet.store.reads) == (1, 2)

    async def test_a_copy_of_the_database_is_another_store(self, fleet: Fleet) -> None:
        """A key that is revoked here may be alive in the copy on which something is tried out."""
        await fleet.one.read()
        copy = Reader(fleet.store, fleet.cache, fleet.clock, name="copy")
        await copy.read()

        assert fleet.store.reads == 2

    async def test_a_store_that_does_not_say_who_it_is_shares_nothing(self, fleet: Fleet) -> None:
        """Until it does."""
        fleet.one.failing = True
        record, _ = await fleet.one.read()
        nothing = dict(fleet.cache.entries)
        fleet.one.failing = False
        await fleet.one.read()

        assert (record, nothing, len(fleet.cache.entries)) == (a_record("k1"), {}, 1)

    async def test_forgeries_are_counted(self, fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
        """And told once."""
        await fleet.one.read()
        [name] = fleet.cache.entries
        for _ in range(3):
            fleet.cache.entries[name] = (b"forged" * 20, 1e12)
            assert await fleet.two.read() == (a_record("k1"), 0.0)

        assert fleet.two.records.stats.unsealed == 3
        assert caplog.text.count("cache_secret") == 1

    async def test_a_time_to_live_must_be_one(self) -> None:
        """Not for ever, and not negative."""
        with pytest.raises(ConfigurationError):
            SharedProofs(SharedMemory(), SEAL, shareable=lambda _: True, ttl=float("inf"))


class TestProofs:
    """Who pays for a slow hash."""

    async def test_what_one_has_proven_the_others_know(self) -> None:
        """For this key and this digest."""
        cache = SharedMemory()
        one, two = (SharedProofs(cache, SEAL, shareable=lambda _: True) for _ in range(2))
        await one.tell(b"key", SLOW)

        assert await two.known(b"key", SLOW)
        assert not await two.known(b"another key", SLOW)
        assert not await two.known(b"key", SLOW + "2")
        assert (two.stats.hits, two.stats.misses) == (1, 2)

    @pytest.mark.parametrize("digest", ["hmac-sha256$ab$cd", "sha256$ab"])
    async def test_fast_digests_are_not_worth_asking(self, digest: str) -> None:
        """Comparing takes less than asking."""
        cache = SharedMemory()
        proofs = SharedProofs(cache, SEAL, shareable=lambda _: True)
        await proofs.tell(b"key", digest)

        assert not await proofs.known(b"key", digest)
        assert (cache.entries, cache.asked) == ({}, 0)

    async def test_guessable_keys_stay_in_the_process(self) -> None:
        """A keyed digest of what a person chose would be a faster way to guess it than the slow hash."""
        cache = SharedMemory()
        proofs = SharedProofs(cache, SEAL, shareable=lambda presented: presented != b"hunter2")
        await proofs.tell(b"hunter2", SLOW)

        assert not await proofs.known(b"hunter2", SLOW)
        assert (cache.entries, cache.asked) == ({}, 0)


class Process:
    """An authenticator that shares with others over the same store."""

    def __init__(self, wired: Wired, cache: SharedMemory, *, limits: Limits | None = None) -> None:
        self.hasher = wired.hasher
        self.store = Watched(wired.repository)
        local = Wired(repository=wired.repository, clock=wired.clock)
        self.records = SharedRecords(
            self.store,  # type: ignore[arg-type]
            cache,
            SEAL,
            position=lambda: 7,
            store=self.ask,
            clock=wired.clock,
            usable=usable,
            ttl=TTL,
            ended_ttl=5.0,
        )
        self.cache = local.cache
        self.authenticator = Authenticator(
            self.store,  # type: ignore[arg-type]
            local.hasher,
            parser=local.format,
            cache=local.cache,
            invalidation=local.invalidation,
            usage=local.usage,
            clock=wired.clock,
            environment="live",
            limits=limits or Limits(cache_ttl=TTL),
            rehash=local.rehashes,
            records=self.records,
        )

    async def ask(self) -> str:
        """Which store this is."""
        return "store"


async def test_a_verdict_ends_with_the_read_that_it_comes_from() -> None:
    """Read by one process, believed by the next just before the end: nobody believes it after the ttl."""
    clock = FakeClock()
    wired = Wired(clock=clock)
    issued = await wired.issue()
    cache = SharedMemory(clock)
    one, two = Process(wired, cache), Process(wired, cache)
    await one.authenticator.authenticate(issued.key.encode())
    clock.advance(50.0)
    await two.authenticator.authenticate(issued.key.encode())
    from_memory = two.authenticator.authenticate_nowait(issued.key.encode())
    clock.advance(10.0)

    assert two.store.calls["get"] == 0
    assert from_memory is not None
    assert two.authenticator.authenticate_nowait(issued.key.encode()) is None


async def test_a_change_here_beats_an_older_entry() -> None:
    """Right after a revoke of ours, when the feed has not been read since: the entry of before is not believed."""
    clock = FakeClock()
    wired = Wired(clock=clock)
    issued = await wired.issue()
    cache = SharedMemory(clock)
    one = Process(wired, cache)
    await one.authenticator.authenticate(issued.key.encode())
    await wired.issuer.revoke(issued.record.key_id)
    one.cache.invalidate(Change(2, issued.record.key_id, 2))

    with pytest.raises(RevokedKey):
        await one.authenticator.authenticate(issued.key.encode())


async def test_forgetting_reaches_through_the_cache() -> None:
    """A row that was changed by hand is read by the process that was told so."""
    clock = FakeClock()
    wired = Wired(clock=clock)
    issued = await wired.issue()
    one = Process(wired, SharedMemory(clock))
    await one.authenticator.authenticate(issued.key.encode())
    one.authenticator.forget(issued.record.key_id)
    await one.authenticator.authenticate(issued.key.encode())

    assert one.store.calls["get"] == 2


async def test_each_rejection_has_its_time() -> None:
    """Unknown, wrong and ended keys are remembered as long as each was asked to be."""
    limits = Limits(negative_ttl=5.0, unknown_ttl=1.0, ended_ttl=9.0)

    assert limits.ttl_of(UnknownKey("k")) == 1.0
    assert limits.ttl_of(WrongSecret("k")) == 5.0
    assert limits.ttl_of(RevokedKey("k")) == 9.0
    assert Limits(cache_ttl=1.0, ended_ttl=90.0).max_staleness == 90.0
    with pytest.raises(ConfigurationError):
        Limits(wrong_secret_ttl=0.0)
