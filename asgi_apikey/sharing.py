"""What processes learn from each other through a shared cache, and when it may be believed.

The cache itself is never believed: see `sealing`. Whatever it does wrong is a miss, and costs a hash or a read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from asgi_apikey.errors import ConfigurationError, Undecidable
from asgi_apikey.models import DAY, Instant, KeyRecord, Seconds
from asgi_apikey.protocols import Clock, KeyReader, SharedCache
from asgi_apikey.sealing import SharedRecord, SharedSeal

_log = logging.getLogger("asgi_apikey")

FAST_SCHEMES: Final = ("hmac-sha256$", "sha256$")
"""What digests begin with that are compared in microseconds: less than it takes to ask anybody."""

_AHEAD: Final[Seconds] = 1.0
"""How far in the future an entry may seem to have been read; beyond that, one of two clocks is wrong."""
_NO_TIME: Final[Seconds] = 1e-6
_FORGOTTEN: Final = 10_000


@dataclass(slots=True)
class SharedStats:
    """Counters since the start of the process.

    Attributes:
        hits: Entries that were used.
        misses: Looks that found nothing to use.
        unsealed: Entries that nobody with our secret had written for this place. More than none: somebody else writes
            to the cache, or another secret is used.
    """

    hits: int = 0
    misses: int = 0
    unsealed: int = 0


class SharedProofs:
    """Proofs that a presented key matches a digest, so that a fleet pays a slow hash once, not once per process.

    Args:
        cache: Where they are kept.
        seal: Shared by the processes.
        shareable: Whether a presented key is too random to be guessed. A keyed digest of one that a person chose would
            be a faster way to try guesses than the slow hash, for whoever gets hold of the cache and the secret; so
            those stay in the process.
        ttl: Seconds for which one is kept; it stays true for ever.
    """

    def __init__(
        self, cache: SharedCache, seal: SharedSeal, *, shareable: Callable[[bytes], bool], ttl: Seconds = 7 * DAY
    ) -> None:
        self._cache = cache
        self._seal = seal
        self._shareable = shareable
        self._ttl = _positive(ttl)
        self.stats = SharedStats()

    async def known(self, presented: bytes, digest: str) -> bool:
        """Whether some process has found that the key matches the digest. Never raises."""
        if not self._worthwhile(presented, digest):
            return False
        name = self._seal.proof_name(presented)
        held = await self._cache.get(name)
        if held is not None and self._seal.is_proof(held.value, name, digest):
            self.stats.hits += 1
            return True
        # Another value may be the proof of an older digest: that is not counted as a forgery.
        self.stats.misses += 1
        return False

    async def tell(self, presented: bytes, digest: str) -> None:
        """Let the others know that the key matches the digest. Never raises."""
        if self._worthwhile(presented, digest):
            name = self._seal.proof_name(presented)
            await self._cache.put(name, self._seal.proof(name, digest), self._ttl)

    def _worthwhile(self, presented: bytes, digest: str) -> bool:
        return not digest.startswith(FAST_SCHEMES) and self._shareable(presented)


@dataclass(frozen=True, slots=True)
class Reading:
    """A record as it was some seconds ago.

    Attributes:
        record: None: there is no such record, as the repository has just said.
        age: Seconds since somebody began to read it from the repository, at least; 0: it was read for this call.
    """

    record: KeyRecord | None
    age: Seconds


class SharedRecords:
    """Records that other processes have read lately, in front of a repository.

    An entry is used only while we hold a lease, and only if whoever read it had applied every change that we have: it
    may then be older than our last poll, but knows no less. Its age goes on from process to process, and adds up to no
    more than the `ttl`. Records that are not there are never shared: no stranger can fill the cache.

    Args:
        reader: The repository.
        cache: Where they are kept.
        seal: Shared by the processes.
        position: The feed position up to which everything is applied here; None without a current lease.
        store: Asks the repository which one it is: a copy of a database has the same keys.
        clock: Wall and monotonic time.
        ttl: Seconds that an entry may grow old.
        ended_ttl: The same for keys that may not be used, for good or for now.
        usable: Whether a record's key may be used at an instant.
    """

    def __init__(
        self,
        reader: KeyReader,
        cache: SharedCache,
        seal: SharedSeal,
        *,
        position: Callable[[], int | None],
        store: Callable[[], Awaitable[str]],
        clock: Clock,
        usable: Callable[[KeyRecord, Instant], bool],
        ttl: Seconds,
        ended_ttl: Seconds,
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._seal = seal
        self._position = position
        self._ask_store = store
        self._store = ""
        self._clock = clock
        self._usable = usable
        self._ttl = _positive(ttl)
        self._ended_ttl = _positive(ended_ttl)
        self._forgotten: LRUCache[str, Seconds] = LRUCache(_FORGOTTEN)
        self.stats = SharedStats()

    async def read(self, key_id: str, *, settled: Callable[[int], bool]) -> Reading:
        """Return the record, from the cache or the repository.

        Args:
            key_id: The key.
            settled: Whether a record of this version could be the latest that we know of; one that is not is read anew.

        Raises:
            StoreUnavailable: It is not in the cache, and the repository did not answer.
        """
        store = await self._known_store()
        found = await self._find(store, key_id, settled) if store else None
        if found is not None:
            self.stats.hits += 1
            return found
        self.stats.misses += 1
        # Before the read begins: what is applied here by now, the repository knows.
        position, read_at = self._position(), self._clock.wall()
        record = await self._reader.get(key_id)
        if store and record is not None and position is not None:
            await self._keep(SharedRecord(record, store, position, read_at, self._ttl_of(record)))
        return Reading(record, 0.0)

    def forget(self, key_id: str) -> None:
        """Use nothing any more that was read before now about a key that was changed behind our back."""
        self._forgotten[key_id] = self._clock.monotonic()

    async def _find(self, store: str, key_id: str, settled: Callable[[int], bool]) -> Reading | None:
        if self._position() is None:
            return None
        held = await self._cache.get(self._seal.record_name(store, key_id))
        if held is None:
            return None
        shared = self._seal.open_record(held.value, store, key_id)
        if shared is None:
            self._note_unsealed()
            return None
        ttl = self._ttl_of(shared.record)
        since = self._clock.wall() - shared.read_at
        if since < -_AHEAD or held.remaining < 0:
            return None
        # The cache tells how long ago by its own clock, the seal when by a clock of another machine. A cache may lie,
        # and a clock be wrong: the older of the two is believed.
        # It was read before this call, even if a coarse clock shows no time in between.
        age = max(shared.ttl - held.remaining, since, _NO_TIME)
        # Asked now, after the last `await`: what we have applied meanwhile counts, too.
        position = self._position()
        if position is None or shared.position < position or age >= ttl or not settled(shared.record.version):
            return None
        if self._clock.monotonic() - age <= self._forgotten.get(key_id, -math.inf):
            return None
        return Reading(shared.record, age)

    async def _keep(self, shared: SharedRecord) -> None:
        sealed = self._seal.seal_record(shared)
        remaining = shared.ttl - max(0.0, self._clock.wall() - shared.read_at)
        if sealed is not None and remaining > 0:
            name = self._seal.record_name(shared.store, shared.record.key_id)
            await self._cache.put(name, sealed, remaining)

    async def _known_store(self) -> str:
        """Which store this is, asked once; empty while it does not say."""
        if not self._store:
            try:
                self._store = await self._ask_store()
            except Undecidable:
                return ""
        return self._store

    def _ttl_of(self, record: KeyRecord) -> Seconds:
        return self._ttl if self._usable(record, self._clock.wall()) else self._ended_ttl

    def _note_unsealed(self) -> None:
        if not self.stats.unsealed:
            _log.warning(
                "the shared cache holds an entry that nobody with our cache_secret has written; it is ignored",
                extra={"event": "shared_cache_forged"},
            )
        self.stats.unsealed += 1


def _positive(ttl: Seconds) -> Seconds:
    if not 0 < ttl < math.inf:
        raise ConfigurationError("what is shared must be kept for a positive, finite number of seconds")
    return ttl
