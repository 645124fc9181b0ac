"""Presented bytes in, principal out: the verification pipeline.

`authenticate_nowait` answers from memory and never suspends. `authenticate` does the rest, in this order:
parse, remembered rejections, lane, one flight per key, record, digest, standing, last look.
"""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

import anyio

from asgi_apikey.errors import (
    APIKeyError,
    ConfigurationError,
    InvalidKey,
    InvalidRequest,
    MalformedKey,
    Overloaded,
    RateLimited,
    StoreUnavailable,
    Undecidable,
    UnknownKey,
    WrongEnvironment,
    WrongSecret,
)
from asgi_apikey.failures import Allowance, FailureBudget
from asgi_apikey.keyformat import MAX_LENGTH
from asgi_apikey.lanes import BoundedLane
from asgi_apikey.measures import Meter
from asgi_apikey.models import Account, Change, KeyRecord, Lane, Metadata, Principal, Seconds, Tally, Verdict
from asgi_apikey.protocols import Clock, Hasher, Invalidation, KeyReader, VerdictCache
from asgi_apikey.recall import recalling
from asgi_apikey.singleflight import SingleFlight
from asgi_apikey.tracebacks import described
from asgi_apikey.verification import next_turn, principal_of, rejection_of

_log = logging.getLogger("asgi_apikey")

_PER_ADDRESS = Allowance(burst=100, per=0.1)
_PER_PAIR = Allowance(burst=20, per=1.0)
_NO_ANSWER = (Undecidable, RateLimited, ConfigurationError)
"""What the plugs and lanes raise when a key was not looked up."""
_FAULTS_LOGGED = 100
_LAST_LOOKS = 4
_PROMPT: Seconds = 0.02
_SHORTEST_READ: Seconds = 0.1
_SILENT: Seconds = 0.25
"""A read that fails after so long has failed of silence, not of an error."""
_RESOLUTION: Seconds = 0.05
_SLOWEST_LOOK_UP: Seconds = 1.0


class ParsedKey(Protocol):
    """What the authenticator needs to know about a well-formed key."""

    @property
    def key_id(self) -> str:
        """The public id."""
        ...

    @property
    def environment(self) -> str:
        """The environment named in the key."""
        ...


class KeyParser(Protocol):
    """The part of a key format that reads keys."""

    def parse(self, presented: bytes) -> ParsedKey:
        """Take a presented key apart.

        Raises:
            MalformedKey: It is not of this format, or its checksum is wrong.
        """
        ...


class UsageCounter(Protocol):
    """Who is told about accepted and refused requests."""

    def count(self, tally: Tally, now: Seconds) -> None:
        """Count one accepted request in a tally, and open it for more; must not suspend."""
        ...

    def counted(self) -> int:
        """Return how many accepted requests were counted, since the start of the process."""
        ...

    def refuse(self, key_id: str, reason: str) -> None:
        """Count one refused request of a key that exists; must not suspend."""
        ...


class OwnerAccounts(Protocol):
    """Who knows about the owners of keys."""

    async def of(self, owner: str, tenant: str) -> Account:
        """Return what is known about an owner.

        Raises:
            StoreUnavailable: That cannot be told now.
        """
        ...

    def forget(self, owner: str, tenant: str | None = None) -> None:
        """Drop what is remembered of an owner, in all tenants or in one."""
        ...


class FoundRecord(Protocol):
    """A record as it was some seconds ago."""

    @property
    def record(self) -> KeyRecord | None:
        """None: the repository has just said that there is none."""
        ...

    @property
    def age(self) -> Seconds:
        """Seconds since somebody began to read it from the repository; 0: it was read for this call."""
        ...


class Records(Protocol):
    """Where records are read when other processes share theirs."""

    async def read(self, key_id: str, *, settled: Callable[[int], bool]) -> FoundRecord:
        """Return the record, of a version that is `settled`, or else straight from the repository.

        Raises:
            StoreUnavailable: The repository did not answer.
        """
        ...

    def forget(self, key_id: str) -> None:
        """Use nothing any more that was read before now."""
        ...


class Proofs(Protocol):
    """What other processes know about presented keys. Neither method raises."""

    async def known(self, presented: bytes, digest: str) -> bool:
        """Whether one of them has found that the key matches the digest."""
        ...

    async def tell(self, presented: bytes, digest: str) -> None:
        """Let them know that it does."""
        ...


Rehash: TypeAlias = Callable[[KeyRecord, bytes], None]
LimitsOf: TypeAlias = Callable[[KeyRecord], tuple[Meter, ...] | None]
Rights: TypeAlias = Callable[[KeyRecord], KeyRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds that keep floods of bad keys away from everybody else.

    Attributes:
        cache_ttl: Seconds a verdict may be used, counted from before the record was read.
        negative_ttl: Seconds a rejection is remembered; a known bad key costs nothing meanwhile.
        unknown_ttl: The same for keys of which there is no record; None: `negative_ttl`.
        wrong_secret_ttl: The same for keys that do not match their record.
        ended_ttl: The same for keys that match, but may not be used: revoked, expired, disabled, not yet valid.
        proven_slots: Concurrent look-ups reserved for keys that have matched before.
        stranger_slots: Concurrent look-ups of all other keys together.
        queue: Strangers waiting for a slot.
        per_key: Strangers at work or waiting that name the same key id.
        patience: Seconds anybody waits for a slot before the answer is 503.
        store_patience: Seconds a request waits for a store that is silent: what it has waited for a lease, its look-up
            has less. More than the store's own deadline is of no use.
        address: Failures one client address has before its strangers queue behind all others.
        pair: The same for one client address and one key id.
    """

    cache_ttl: Seconds = 60.0
    negative_ttl: Seconds = 5.0
    unknown_ttl: Seconds | None = None
    wrong_secret_ttl: Seconds | None = None
    ended_ttl: Seconds | None = None
    proven_slots: int = 32
    stranger_slots: int = 8
    queue: int = 256
    per_key: int = 16
    patience: Seconds = 2.0
    store_patience: Seconds = 0.9
    address: Allowance = _PER_ADDRESS
    pair: Allowance = _PER_PAIR

    def __post_init__(self) -> None:
        # Not NaN: no time is ever past it, so a verdict would be served for ever.
        if not all(0 < each < math.inf for each in (self.cache_ttl, *self._negative_ttls())):
            raise ConfigurationError(
                "cache_ttl and negative_ttl must be positive, finite seconds, and so must the ttl of any one outcome; "
                "write cache_ttl=0.001 to read every key anew"
            )
        if not 0 < self.store_patience < math.inf:
            raise ConfigurationError("store_patience must be positive, finite seconds, such as store_patience=0.9")

    def ttl_of(self, rejection: InvalidKey) -> Seconds:
        """Return for how many seconds a rejection is remembered."""
        if isinstance(rejection, UnknownKey):
            ttl = self.unknown_ttl
        elif isinstance(rejection, WrongSecret):
            ttl = self.wrong_secret_ttl
        else:
            ttl = self.ended_ttl
        return self.negative_ttl if ttl is None else ttl

    def _negative_ttls(self) -> tuple[Seconds, ...]:
        each = (self.negative_ttl, self.unknown_ttl, self.wrong_secret_ttl, self.ended_ttl)
        return tuple(ttl for ttl in each if ttl is not None)

    @property
    def max_staleness(self) -> Seconds:
        """Seconds after which nobody is answered any more with what was read before a change.

        The longest of the lifetimes, but never less than a second: an answer that was never in the cache
        is used once, even if reading and hashing took longer than `cache_ttl`.
        """
        return max(self.cache_ttl, *self._negative_ttls(), _SLOWEST_LOOK_UP)


@dataclass(slots=True)
class Stats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        hits: Requests accepted from memory, as of when this was asked for.
        reads: Records asked of the repository.
        accepted: Keys verified against their record.
        rejected: Keys rejected, remembered rejections included.
        undecided: Requests answered "cannot decide".
        refusals: Both of them by reason, such as `revoked`, or by code, such as `overloaded`.
    """

    hits: int = 0
    reads: int = 0
    accepted: int = 0
    rejected: int = 0
    undecided: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one look-up found.

    Attributes:
        version: Of the record; None when there was none.
        mark: Taken before it was read.
        turn: When the read began, as `Authenticator._next_turn` counts; 0: it was another process's, at some time.
        until: On the monotonic clock; nobody is answered with this any more from then on.
    """

    found: Verdict | APIKeyError
    key_id: str
    version: int | None
    mark: int
    turn: int
    until: Seconds


class Authenticator:
    """Verifies presented keys.

    Args:
        reader: Where records are read, on a miss only.
        hasher: Compares a key with a stored digest.
        parser: Takes a presented key apart.
        cache: What this process remembers.
        invalidation: Tells whether the memory may be trusted.
        usage: Told about every accepted request.
        clock: Wall and monotonic time.
        environment: Keys of any other environment are rejected.
        limits: See `Limits`.
        rehash: Called after a successful verify of a digest that the hasher calls outdated; must not suspend.
        accounts: Asked about the owner of each accepted key, on the cold path; None: nobody is.
        records: Read instead of `reader`, when processes share what they have read.
        proofs: Asked before a slow hash is computed, when processes share what they know.
        limits_of: Tells what is counted for a key; None: nothing is.
        rights: Makes scopes of a record's roles; None: it has none.
    """

    def __init__(
        self,
        reader: KeyReader,
        hasher: Hasher,
        *,
        parser: KeyParser,
        cache: VerdictCache,
        invalidation: Invalidation,
        usage: UsageCounter,
        clock: Clock,
        environment: str,
        limits: Limits,
        rehash: Rehash,
        accounts: OwnerAccounts | None = None,
        records: Records | None = None,
        proofs: Proofs | None = None,
        limits_of: LimitsOf | None = None,
        rights: Rights | None = None,
    ) -> None:
        self._reader = reader
        self._hasher = hasher
        self._parser = parser
        self._cache = cache
        self._invalidation = invalidation
        self._environment = environment
        self._limits = limits
        self._rehash = rehash
        self._accounts = accounts
        self._records = records
        self._proofs = proofs
        self._limits_of = limits_of
        self._rights = rights
        self._flights: SingleFlight[bytes, _Outcome] = SingleFlight()
        self._proven = BoundedLane(limits.proven_slots, 8 * limits.queue, patience=limits.patience)
        self._strangers = BoundedLane(
            limits.stranger_slots, limits.queue, patience=limits.patience, per_key=limits.per_key
        )
        # Few slots for all who have used up their failures, but room to wait: among fewer than 64 forgers at a time
        # the true holder, whom nothing tells from them yet, is served in turn.
        self._penalty = BoundedLane(2, 256, patience=limits.patience, per_key=64)
        self._failures = FailureBudget(address=limits.address, pair=limits.pair)
        self._turn = 0
        self._stats = Stats()
        self._in_trouble = False
        self._faults: set[str] = set()
        self._warned_of_unreadable = False
        self._usage = usage
        self._monotonic = clock.monotonic
        self._wall = clock.wall
        self.authenticate_nowait, self.fingerprint = recalling(cache, invalidation, count=usage.count, clock=clock)

    @property
    def stats(self) -> Stats:
        """The counters. Hits are worked out here: counted on the way, they would cost every request a fiftieth."""
        self._stats.hits = self._usage.counted() - self._stats.accepted
        return self._stats

    async def authenticate(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Return the principal that this key speaks for.

        Args:
            presented: The bytes the request carried.
            client: Address of the peer, for its failure budget; None if there is none.

        Raises:
            InvalidKey: The key authenticates nobody; which subclass is for logs only.
            RateLimited: Too many failures from this client are queued already.
            Overloaded: Too many strangers are queued already.
            StoreUnavailable: The repository did not answer.
        """
        turn, arrived = self._next_turn(), self._monotonic()
        principal = self.authenticate_nowait(presented)
        if principal is None and not self._leased(arrived):
            await self._invalidation.renew()
            principal = self.authenticate_nowait(presented)
        if principal is not None:
            return principal
        try:
            return await self._authenticate(presented, client, turn, self._monotonic() - arrived)
        except InvalidKey as error:
            self._stats.rejected += 1
            self._stats.refusals[error.reason] += 1
            raise
        except Undecidable as error:
            self._stats.undecided += 1
            self._stats.refusals[error.code] += 1
            if isinstance(error, StoreUnavailable):
                # Not Overloaded: in a flood it would alternate with answers, and strangers would write our log.
                self._note(error)
            raise
        except RateLimited as error:
            self._stats.undecided += 1
            self._stats.refusals[error.code] += 1
            raise

    async def recheck(self, presented: bytes) -> Principal:
        """Return what `authenticate` would, of a key that was accepted before, from the store.

        For connections that stay open. Counted nowhere, neither as a use nor as a refusal: nobody presents the key.

        Raises:
            InvalidKey: It would be accepted no more.
            Undecidable: As `authenticate` does.
        """
        turn, key_id = self._next_turn(), self._parser.parse(presented).key_id
        fingerprint = self.fingerprint(presented)
        work = partial(self._admitted, presented, fingerprint, key_id, None, 0.0)
        found = (await self._found(fingerprint, work, turn)).found
        if isinstance(found, Verdict):
            return found.principal
        raise _fresh(found)

    async def verify(self, presented: bytes, *, client: str | None = None) -> KeyRecord:
        """Return the record of a key that may be used, as it stands in the repository after this call began.

        Where its scopes name roles, it has what those stand for instead.

        For decisions that no memory is good enough for, such as who may make keys. Counted, and bounded against floods,
        like any other presented key; but what `authenticate` says only names the record.

        Raises:
            AuthenticationError: As `authenticate` does.
            Undecidable: The same.
        """
        key_id = (await self.authenticate(presented, client=client)).key_id
        self._stats.reads += 1
        record = await self._reader.get(key_id)
        if record is None:
            raise UnknownKey(key_id)
        # The record may be another one than was remembered, so no proof counts.
        if not await self._matches_now(presented, record):
            raise WrongSecret(key_id)
        rejection = rejection_of(record, environment=self._environment, now=self._wall())
        if rejection is not None:
            raise rejection
        return self._effective(record)

    async def reaffirm(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Return the principal as it is now, for a request that was let in and counted, and that had to wait since.

        Raises:
            AuthenticationError: As `authenticate` does.
            Undecidable: The same.
        """
        principal = await self.authenticate(presented, client=client)
        with suppress(KeyError):
            # Nothing was awaited since this was counted; what has been dropped meanwhile stays counted twice.
            self._cache.recall(self.fingerprint(presented)).tally.uses -= 1.0
        return principal

    def forget(self, key_id: str) -> None:
        """Drop what this process remembers of a key whose record was changed by other means than ours."""
        self._cache.invalidate(Change(0, key_id, 0))
        if self._records is not None:
            self._records.forget(key_id)

    def forget_owner(self, owner: str, *, tenant: str | None = None) -> None:
        """Ask about an owner anew from the next request on, in this process; other processes do at the next `ttl`.

        Args:
            owner: Whose account has changed.
            tenant: In which tenant; None: in all.
        """
        if self._accounts is not None:
            self._accounts.forget(owner, tenant)
        for key_id in self._cache.held_by(owner, tenant):
            self.forget(key_id)

    async def _authenticate(self, presented: bytes, client: str | None, arrived: int, waited: Seconds) -> Principal:
        if len(presented) > MAX_LENGTH:
            raise MalformedKey
        parsed = self._parser.parse(presented)
        if parsed.environment != self._environment:
            raise WrongEnvironment(parsed.key_id)
        fingerprint = self.fingerprint(presented)
        now = self._monotonic()
        rejection = self._cache.rejection(fingerprint, now)
        if rejection is not None and self._leased(now):
            self._refused(rejection)
            raise _fresh(rejection)
        work = partial(self._admitted, presented, fingerprint, parsed.key_id, client, waited)
        return self._concluded(await self._found(fingerprint, work, arrived), client)

    async def _found(self, fingerprint: bytes, work: Callable[[], Awaitable[_Outcome]], arrived: int) -> _Outcome:
        """Return what a look-up has found that is still true at this instant.

        Raises:
            StoreUnavailable: The key changes faster than it can be read.
        """
        for _ in range(_LAST_LOOKS):
            outcome = await self._flights.run(fingerprint, work)
            if not isinstance(outcome.found, _NO_ANSWER) and not self._leased(self._monotonic()):
                await self._invalidation.renew()
            if self._last_look(outcome, arrived):
                return outcome
        raise StoreUnavailable("the key keeps changing")

    def _next_turn(self) -> int:
        """Number what happens here in order. A clock will not do: two readings of a coarse one may be equal."""
        self._turn += 1
        return self._turn

    def _last_look(self, outcome: _Outcome, arrived: int) -> bool:
        """Whether what was found is still true at this instant. A failure to find out is always true.

        Without a lease we hear of no changes, so then only what was read since this request arrived counts:
        whoever joined the flight of an earlier request flies again.
        """
        if isinstance(outcome.found, _NO_ANSWER):
            return True
        now = self._monotonic()
        if now >= outcome.until or (outcome.turn < arrived and not self._leased(now)):
            return False
        if not self._cache.settled(outcome.key_id, outcome.version, outcome.mark):
            return False
        if isinstance(outcome.found, APIKeyError):
            return True
        ends_at = outcome.found.ends_at
        return ends_at is None or self._wall() < ends_at

    def _leased(self, now: Seconds) -> bool:
        """Whether every change that this process must know of by `now` has been applied here."""
        invalidation = self._invalidation
        return now < invalidation.fresh_until and invalidation.counter[0] == invalidation.seen

    def _concluded(self, outcome: _Outcome, client: str | None) -> Principal:
        found = outcome.found
        if isinstance(found, Verdict | InvalidKey):
            self._note(None)
        if isinstance(found, Verdict):
            self._stats.accepted += 1
            self._usage.count(found.tally, self._monotonic())
            return found.principal
        if isinstance(found, InvalidKey):
            self._refused(found)
            if client is not None:
                self._failures.charge(client, outcome.key_id, self._monotonic())
        raise _fresh(found)

    def _refused(self, rejection: InvalidKey) -> None:
        """Count a rejection of a key that exists: made-up ids must not fill the memory, nor the store."""
        if rejection.key_id is not None and not isinstance(rejection, UnknownKey):
            self._usage.refuse(rejection.key_id, rejection.reason)

    async def _admitted(
        self, presented: bytes, fingerprint: bytes, key_id: str, client: str | None, waited: Seconds
    ) -> _Outcome:
        """Look the key up once a lane has room; every failure is returned, for the waiters to share.

        Also one that no plug should raise: raised, it would send them to the same plug one after the other.
        """
        try:
            return await self._in_lane(presented, fingerprint, key_id, client, waited)
        except _NO_ANSWER as error:
            failure: APIKeyError = error
        except Exception as error:
            # Denies the request. Not chained: its text may quote the presented key.
            self._note_fault(error)
            failure = Undecidable()
        return _Outcome(failure, key_id, None, 0, 0, math.inf)

    async def _in_lane(
        self, presented: bytes, fingerprint: bytes, key_id: str, client: str | None, waited: Seconds
    ) -> _Outcome:
        proof = self._cache.proof(fingerprint)
        look_up: Callable[[], Awaitable[_Outcome]] = partial(
            self._look_up, presented, fingerprint, key_id, proof, waited
        )
        if proof is not None:
            async with self._proven.slot(key_id):
                return await look_up()
        if client is None or not self._failures.overdrawn(client, key_id, self._monotonic()):
            async with self._strangers.slot(key_id):
                return await look_up()
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._penalty.slot((client, key_id)))
            except Overloaded as error:
                raise RateLimited(self._limits.pair.per) from error
            # Outside the `try`: that the hasher is overloaded is not this client's doing.
            return await look_up()

    async def _look_up(
        self, presented: bytes, fingerprint: bytes, key_id: str, proof: str | None, waited: Seconds
    ) -> _Outcome:
        mark, turn, began = self._cache.mark(), self._next_turn(), self._monotonic()
        record, age = await self._read_patiently(key_id, mark, waited)
        # What another process has read for us goes on ageing from when it did.
        if age:
            turn, began = 0, began - age
        if record is None:
            await self._hasher.verify(presented, self._hasher.decoy, lane=Lane.STRANGER)
            return self._rejected(UnknownKey(key_id), fingerprint, None, mark, turn, began)
        if not await self._matches(presented, record, proof):
            return self._rejected(WrongSecret(key_id), fingerprint, record, mark, turn, began)
        if proof != record.digest:
            self._cache.put_proof(fingerprint, record.digest)
        now = self._wall()
        rejection = rejection_of(record, environment=self._environment, now=now)
        if rejection is not None:
            return self._rejected(rejection, fingerprint, record, mark, turn, began)
        # Jitter only shortens: many keys read at once must not all be read again at once.
        ttl = self._limits.cache_ttl * (1.0 - 0.1 * random.random())  # noqa: S311
        deadline, facts = began + ttl, None
        if self._accounts is not None:
            account = await self._accounts.of(record.owner, record.tenant)
            deadline, facts = min(deadline, account.deadline), account.facts
        ends_at = next_turn(record, now)
        principal = _principal(self._effective(record), facts, self._limits_of)
        verdict = Verdict(principal, record.version, deadline, ends_at, Tally(record.key_id))
        self._cache.put(fingerprint, verdict, mark)
        if self._hasher.outdated(record.digest):
            self._rehash(record, presented)
        return _Outcome(verdict, key_id, record.version, mark, turn, began + self._limits.max_staleness)

    def _effective(self, record: KeyRecord) -> KeyRecord:
        return record if self._rights is None else self._rights(record)

    async def _read_patiently(self, key_id: str, mark: int, waited: Seconds) -> tuple[KeyRecord | None, Seconds]:
        """Do what `_read` does in the time that is left of the request's patience with the store.

        Raises:
            StoreUnavailable: It did not answer in that time, nor, of its own accord, at all.
        """
        began = self._monotonic()
        try:
            if waited < _PROMPT:
                # The store's own deadline is enough, and another one would cost every look-up a tenth.
                return await self._read(key_id, mark)
            with anyio.fail_after(max(self._limits.store_patience - waited, _SHORTEST_READ)):
                return await self._read(key_id, mark)
        except TimeoutError as error:
            self._refuse_waiting()
            raise StoreUnavailable("the store is silent") from error
        except StoreUnavailable:
            if self._monotonic() - began >= _SILENT:
                self._refuse_waiting()
            raise

    def _refuse_waiting(self) -> None:
        """Have nobody who waits for a slot wait for the silent store as well, one after the other."""
        for lane in (self._proven, self._strangers, self._penalty):
            lane.refuse_waiting()

    async def _read(self, key_id: str, mark: int) -> tuple[KeyRecord | None, Seconds]:
        """Return the record, and how many seconds ago it was read."""
        if self._records is not None:
            found = await self._records.read(key_id, settled=lambda each: self._cache.settled(key_id, each, mark))
            self._stats.reads += found.age == 0.0
            return found.record, found.age
        self._stats.reads += 1
        return await self._reader.get(key_id), 0.0

    async def _matches(self, presented: bytes, record: KeyRecord, proof: str | None) -> bool:
        """A proof stands in for the hash only while it names the very digest stored now, under an accepted scheme."""
        if not self._hasher.accepts(record.digest):
            self._warn_of_unreadable(record)
            # As long as a wrong secret takes, so that nobody can tell the two apart.
            await self._hasher.verify(presented, self._hasher.decoy, lane=Lane.STRANGER)
            return False
        if proof == record.digest:
            return True
        if self._proofs is not None and await self._proofs.known(presented, record.digest):
            return True
        lane = Lane.STRANGER if proof is None else Lane.PROVEN
        matches = await self._hasher.verify(presented, record.digest, lane=lane)
        if matches and self._proofs is not None:
            await self._proofs.tell(presented, record.digest)
        return matches

    async def _matches_now(self, presented: bytes, record: KeyRecord) -> bool:
        accepts, verify = self._hasher.accepts, self._hasher.verify
        return accepts(record.digest) and await verify(presented, record.digest, lane=Lane.PROVEN)

    def _warn_of_unreadable(self, record: KeyRecord) -> None:
        if not self._warned_of_unreadable:
            _log.warning(
                "key %s cannot be verified: its digest is under a pepper or scheme that this process was not given; "
                "more of this is not logged",
                record.key_id,
                extra={"event": "digest_unreadable"},
            )
        self._warned_of_unreadable = True

    def _note_fault(self, error: Exception) -> None:
        """Log an error that no plug should raise, the first time that it is raised in this place."""
        place = described(error, frames=1)
        if place not in self._faults and len(self._faults) < _FAULTS_LOGGED:
            self._faults.add(place)
            _log.error(
                "keys could not be decided because a part failed; more of this is not logged: %s",
                described(error),
                extra={"event": "part_failed"},
            )

    def _note(self, trouble: Undecidable | None) -> None:
        """Log the first of a streak of requests for which the store did not answer, and its end."""
        if trouble is not None and not self._in_trouble:
            _log.warning(
                "keys cannot be decided, requests are answered 503: %s", trouble, extra={"event": "store_lost"}
            )
        if trouble is None and self._in_trouble:
            _log.warning("keys can be decided again", extra={"event": "store_back"})
        self._in_trouble = trouble is not None

    def _rejected(
        self, rejection: InvalidKey, fingerprint: bytes, record: KeyRecord | None, mark: int, turn: int, began: Seconds
    ) -> _Outcome:
        ttl = self._limits.ttl_of(rejection)
        ends_at = None if record is None else next_turn(record, now := self._wall())
        if ends_at is not None:
            ttl = min(ttl, ends_at - now - _RESOLUTION)
        if ttl > 0:
            self._cache.put_rejection(fingerprint, rejection, began + ttl, mark)
        version = None if record is None else record.version
        return _Outcome(rejection, rejection.key_id or "", version, mark, turn, began + self._limits.max_staleness)


def _principal(record: KeyRecord, account: Metadata | None, limits_of: LimitsOf | None) -> Principal:
    try:
        limits = None if limits_of is None else limits_of(record)
        return principal_of(record, account=account, limits=limits)
    except InvalidRequest as error:
        # Without its restrictions the key could be used where, and more than, it must not be.
        raise StoreUnavailable("the key's restrictions cannot be read; were they changed by other means?") from error


def _fresh(error: APIKeyError) -> APIKeyError:
    """A copy to raise: one exception object raised by many requests would collect all their tracebacks.

    Made without calling `__init__`, as a plug's own subclass may take other arguments; `copy.copy` does call it.
    """
    fresh = type(error).__new__(type(error), *error.args)
    fresh.__dict__.update(error.__dict__)
    fresh.__cause__ = error.__cause__
    return fresh
