"""Presented bytes in, principal out: the verification pipeline.

`authenticate_nowait` answers from memory and never suspends. `authenticate` does the rest, in this order:
parse, remembered rejections, lane, one flight per key, record, digest, standing, last look.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Protocol, TypeAlias

from asgi_apikey.errors import (
    APIKeyError,
    ConfigurationError,
    InvalidKey,
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
from asgi_apikey.lanes import BoundedLane
from asgi_apikey.models import Change, KeyRecord, Lane, Principal, Seconds, Verdict
from asgi_apikey.protocols import Clock, Hasher, Invalidation, KeyReader, VerdictCache
from asgi_apikey.singleflight import SingleFlight
from asgi_apikey.verification import next_turn, principal_of, rejection_of

MAX_PRESENTED = 256
"""Bytes beyond which a credential is not even fingerprinted."""

_PER_ADDRESS = Allowance(burst=100, per=0.1)
_PER_PAIR = Allowance(burst=20, per=1.0)
_LAST_LOOKS = 4
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
    """Who is told about accepted requests."""

    def count(self, key_id: str, now: Seconds) -> None:
        """Count one accepted request; must not suspend."""
        ...


Rehash: TypeAlias = Callable[[KeyRecord, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds that keep floods of bad keys away from everybody else.

    Attributes:
        cache_ttl: Seconds a verdict may be used, counted from before the record was read.
        negative_ttl: Seconds a rejection is remembered; a known bad key costs nothing meanwhile.
        proven_slots: Concurrent look-ups reserved for keys that have matched before.
        stranger_slots: Concurrent look-ups of all other keys together.
        queue: Strangers waiting for a slot.
        per_key: Strangers at work or waiting that name the same key id.
        patience: Seconds anybody waits for a slot before the answer is 503.
        address: Failures one client address has before its strangers queue behind all others.
        pair: The same for one client address and one key id.
    """

    cache_ttl: Seconds = 60.0
    negative_ttl: Seconds = 5.0
    proven_slots: int = 32
    stranger_slots: int = 8
    queue: int = 256
    per_key: int = 16
    patience: Seconds = 2.0
    address: Allowance = _PER_ADDRESS
    pair: Allowance = _PER_PAIR

    def __post_init__(self) -> None:
        # Not NaN: no time is ever past it, so a verdict would be served for ever.
        if not (0 < self.cache_ttl < math.inf and 0 < self.negative_ttl < math.inf):
            raise ConfigurationError(
                "cache_ttl and negative_ttl must be positive, finite seconds; "
                "write cache_ttl=0.001 to read every key anew"
            )

    @property
    def max_staleness(self) -> Seconds:
        """Seconds after which nobody is answered any more with what was read before a change.

        The longer of the two lifetimes, but never less than a second: an answer that was never in the cache
        is used once, even if reading and hashing took longer than `cache_ttl`.
        """
        return max(self.cache_ttl, self.negative_ttl, _SLOWEST_LOOK_UP)


@dataclass(slots=True)
class Stats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        hits: Requests accepted from memory.
        reads: Records asked of the repository.
        accepted: Keys verified against their record.
        rejected: Keys rejected, remembered rejections included.
        undecided: Requests answered "cannot decide".
    """

    hits: int = 0
    reads: int = 0
    accepted: int = 0
    rejected: int = 0
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one look-up found.

    Attributes:
        version: Of the record; None when there was none.
        mark: Taken before it was read.
        until: On the monotonic clock; nobody is answered with this any more from then on.
    """

    found: Verdict | APIKeyError
    key_id: str
    version: int | None
    mark: int
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
    ) -> None:
        self._reader = reader
        self._hasher = hasher
        self._parser = parser
        self._cache = cache
        self._invalidation = invalidation
        self._environment = environment
        self._limits = limits
        self._rehash = rehash
        self._flights: SingleFlight[bytes, _Outcome] = SingleFlight()
        self._proven = BoundedLane(limits.proven_slots, 8 * limits.queue, patience=limits.patience)
        self._strangers = BoundedLane(
            limits.stranger_slots, limits.queue, patience=limits.patience, per_key=limits.per_key
        )
        # One slot and a short queue for all clients that have used up their failures.
        self._penalty = BoundedLane(1, 32, patience=limits.patience, per_key=4)
        self._failures = FailureBudget(address=limits.address, pair=limits.pair)
        self.stats = Stats()
        # Bound once: each saves an attribute look-up and a descriptor call per request.
        self._keyed = blake2b(digest_size=32, key=secrets.token_bytes(32))
        self._get = cache.get
        self._count = usage.count
        self._monotonic = clock.monotonic
        self._wall = clock.wall

    def fingerprint(self, presented: bytes) -> bytes:
        """Return the cache key of a presented key: BLAKE2b (RFC 7693) under a key of this process, 32 bytes."""
        keyed = self._keyed.copy()
        keyed.update(presented)
        return keyed.digest()

    def authenticate_nowait(self, presented: bytes) -> Principal | None:
        """Return the principal if it can be told from memory, else None: ask `authenticate`.

        Acceptance is the instant of the last comparison below; nothing may be awaited after it.
        """
        if len(presented) > MAX_PRESENTED:
            return None
        # `fingerprint`, written out: the call would cost a tenth of this function.
        keyed = self._keyed.copy()
        keyed.update(presented)
        verdict = self._get(keyed.digest())
        if verdict is None:
            return None
        now = self._monotonic()
        invalidation = self._invalidation
        if (
            now >= verdict.deadline
            or now >= invalidation.fresh_until
            or invalidation.counter[0] != invalidation.seen
            or (verdict.ends_at is not None and self._wall() >= verdict.ends_at)
        ):
            return None
        principal = verdict.principal
        self._count(principal.key_id, now)
        self.stats.hits += 1
        return principal

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
        principal = self.authenticate_nowait(presented)
        if principal is not None:
            return principal
        try:
            return await self._authenticate(presented, client)
        except InvalidKey:
            self.stats.rejected += 1
            raise
        except (Undecidable, RateLimited):
            self.stats.undecided += 1
            raise

    def forget(self, key_id: str) -> None:
        """Drop what this process remembers of a key whose record was changed by other means than ours."""
        self._cache.invalidate(Change(0, key_id, 0))

    async def _authenticate(self, presented: bytes, client: str | None) -> Principal:
        if len(presented) > MAX_PRESENTED:
            raise MalformedKey
        parsed = self._parser.parse(presented)
        if parsed.environment != self._environment:
            raise WrongEnvironment(parsed.key_id)
        fingerprint = self.fingerprint(presented)
        now = self._monotonic()
        rejection = self._cache.rejection(fingerprint, now)
        if rejection is not None and self._leased(now):
            raise _fresh(rejection)
        work = partial(self._admitted, presented, fingerprint, parsed.key_id, client)
        for _ in range(_LAST_LOOKS):
            outcome = await self._flights.run(fingerprint, work)
            if self._last_look(outcome):
                return self._concluded(outcome, client)
        raise StoreUnavailable("the key keeps changing")

    def _last_look(self, outcome: _Outcome) -> bool:
        """Whether what was found is still true at this instant. A failure to find out is always true."""
        if isinstance(outcome.found, Undecidable | RateLimited):
            return True
        now = self._monotonic()
        if now >= outcome.until or not self._leased(now):
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
        if isinstance(found, Verdict):
            self.stats.accepted += 1
            self._count(found.principal.key_id, self._monotonic())
            return found.principal
        if isinstance(found, InvalidKey) and client is not None:
            self._failures.charge(client, outcome.key_id, self._monotonic())
        raise _fresh(found)

    async def _admitted(self, presented: bytes, fingerprint: bytes, key_id: str, client: str | None) -> _Outcome:
        """Look the key up once a lane has room; every expected failure is returned, for the waiters to share."""
        try:
            return await self._in_lane(presented, fingerprint, key_id, client)
        except (Undecidable, RateLimited) as error:
            return _Outcome(error, key_id, None, 0, math.inf)

    async def _in_lane(self, presented: bytes, fingerprint: bytes, key_id: str, client: str | None) -> _Outcome:
        proof = self._cache.proof(fingerprint)
        look_up: Callable[[], Awaitable[_Outcome]] = partial(self._look_up, presented, fingerprint, key_id, proof)
        if proof is not None:
            async with self._proven.slot(key_id):
                return await look_up()
        if client is None or not self._failures.overdrawn(client, key_id, self._monotonic()):
            async with self._strangers.slot(key_id):
                return await look_up()
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._penalty.slot(client))
            except Overloaded as error:
                raise RateLimited(self._limits.pair.per) from error
            # Outside the `try`: that the hasher is overloaded is not this client's doing.
            return await look_up()

    async def _look_up(self, presented: bytes, fingerprint: bytes, key_id: str, proof: str | None) -> _Outcome:
        await self._invalidation.renew()
        mark, began = self._cache.mark(), self._monotonic()
        record = await self._read(key_id)
        if record is None:
            await self._hasher.verify(presented, self._hasher.decoy, lane=Lane.STRANGER)
            return self._rejected(UnknownKey(key_id), fingerprint, None, mark, began)
        if not await self._matches(presented, record, proof):
            return self._rejected(WrongSecret(key_id), fingerprint, record, mark, began)
        if proof != record.digest:
            self._cache.put_proof(fingerprint, record.digest)
        now = self._wall()
        rejection = rejection_of(record, environment=self._environment, now=now)
        if rejection is not None:
            return self._rejected(rejection, fingerprint, record, mark, began)
        # Jitter only shortens: many keys read at once must not all be read again at once.
        ttl = self._limits.cache_ttl * (1.0 - 0.1 * random.random())  # noqa: S311
        verdict = Verdict(principal_of(record), record.version, began + ttl, next_turn(record, now))
        self._cache.put(fingerprint, verdict, mark)
        if self._hasher.outdated(record.digest):
            self._rehash(record, presented)
        return _Outcome(verdict, key_id, record.version, mark, began + self._limits.max_staleness)

    async def _read(self, key_id: str) -> KeyRecord | None:
        self.stats.reads += 1
        return await self._reader.get(key_id)

    async def _matches(self, presented: bytes, record: KeyRecord, proof: str | None) -> bool:
        """A proof stands in for the hash only while it names the very digest stored now, under an accepted scheme."""
        if proof == record.digest and self._hasher.accepts(record.digest):
            return True
        return await self._hasher.verify(presented, record.digest, lane=Lane.STRANGER if proof is None else Lane.PROVEN)

    def _rejected(
        self, rejection: InvalidKey, fingerprint: bytes, record: KeyRecord | None, mark: int, began: Seconds
    ) -> _Outcome:
        ttl = self._limits.negative_ttl
        turn = None if record is None else next_turn(record, now := self._wall())
        if turn is not None:
            ttl = min(ttl, turn - now - _RESOLUTION)
        if ttl > 0:
            self._cache.put_rejection(fingerprint, rejection, began + ttl, mark)
        version = None if record is None else record.version
        return _Outcome(rejection, rejection.key_id or "", version, mark, began + self._limits.max_staleness)


def _fresh(error: APIKeyError) -> APIKeyError:
    """A copy to raise: one exception object raised by many requests would collect all their tracebacks.

    Made without calling `__init__`, as a plug's own subclass may take other arguments; `copy.copy` does call it.
    """
    fresh = type(error).__new__(type(error), *error.args)
    fresh.__dict__.update(error.__dict__)
    fresh.__cause__ = error.__cause__
    return fresh
