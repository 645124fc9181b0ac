"""What this process remembers: verdicts, rejections and proofs, bounded, under one generation guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from asgi_apikey.errors import ConfigurationError, InvalidKey
from asgi_apikey.models import Change, Seconds, Verdict

_TOMBSTONES = 10_000


@dataclass(frozen=True, slots=True)
class _Tombstone:
    """No version of the key below `min_version`, and nothing read before `generation`, may be kept."""

    min_version: int
    generation: int


class LocalCache:
    """A `VerdictCache` on `cachetools.LRUCache`.

    Entries carry their own deadlines, which the reader checks: `TTLCache.get` costs five times as much as
    `LRUCache.get`, because it looks for expired entries of others on every read.

    Rejections have a cache of their own: a flood of wrong keys can push out other rejections, never a verdict.

    Args:
        verdicts: Most keys remembered as good.
        rejections: Most presented keys remembered as bad.

    Raises:
        ConfigurationError: A size below 1.
    """

    recall: Callable[[bytes], Verdict]
    on_change: Callable[[], None]
    """Called after anything was forgotten, by whoever applies a change; must neither suspend nor raise."""

    def __init__(self, *, verdicts: int = 100_000, rejections: int = 10_000) -> None:
        if verdicts < 1 or rejections < 1:
            raise ConfigurationError("cache sizes must be at least 1; to do without a cache set cache_ttl to 1 second")
        self._verdicts: dict[bytes, Verdict] = {}
        # Finds the verdict of a key id, and the one to evict.
        self._fingerprints: LRUCache[str, bytes] = LRUCache(verdicts)
        self._rejections: LRUCache[bytes, tuple[InvalidKey, Seconds]] = LRUCache(rejections)
        self._proofs: LRUCache[bytes, str] = LRUCache(verdicts)
        self._tombstones: dict[str, _Tombstone] = {}
        self._generation = 0
        self._flushed_at = 0
        # The hot path calls this: a dictionary's own method. Moving the entry up in an LRUCache at every request, and
        # not in `touch` now and then, would cost four times as much.
        self.recall = self._verdicts.__getitem__
        self.on_change = _unheard

    def __len__(self) -> int:
        """The number of verdicts held."""
        return len(self._verdicts)

    def mark(self) -> int:
        """See `VerdictCache.mark`."""
        return self._generation

    def settled(self, key_id: str, version: int | None, mark: int) -> bool:
        """See `VerdictCache.settled`."""
        if mark < self._flushed_at:
            return False
        tombstone = self._tombstones.get(key_id)
        if tombstone is None:
            return True
        return mark >= tombstone.generation and (version is None or version >= tombstone.min_version)

    def put(self, fingerprint: bytes, verdict: Verdict, mark: int) -> None:
        """See `VerdictCache.put`."""
        key_id = verdict.principal.key_id
        if not self.settled(key_id, verdict.version, mark):
            return
        # One verdict per key: of two, the index would lose sight of one, and no invalidation would reach it.
        self._drop(key_id)
        if len(self._fingerprints) >= self._fingerprints.maxsize:
            # Evicted here and not by the container, so that no verdict ever outlives its entry in the index.
            _, fingerprint_of_oldest = self._fingerprints.popitem()
            self._verdicts.pop(fingerprint_of_oldest, None)
        self._verdicts[fingerprint] = verdict
        self._fingerprints[key_id] = fingerprint

    def touch(self, key_id: str) -> None:
        """See `VerdictCache.touch`."""
        # Reading moves an entry up.
        self._fingerprints.get(key_id)

    def rejection(self, fingerprint: bytes, now: Seconds) -> InvalidKey | None:
        """See `VerdictCache.rejection`."""
        held = self._rejections.get(fingerprint)
        return held[0] if held is not None and now < held[1] else None

    def put_rejection(self, fingerprint: bytes, rejection: InvalidKey, deadline: Seconds, mark: int) -> None:
        """See `VerdictCache.put_rejection`."""
        if mark == self._generation:
            self._rejections[fingerprint] = (rejection, deadline)

    def proof(self, fingerprint: bytes) -> str | None:
        """See `VerdictCache.proof`."""
        return self._proofs.get(fingerprint)

    def put_proof(self, fingerprint: bytes, digest: str) -> None:
        """See `VerdictCache.put_proof`."""
        self._proofs[fingerprint] = digest

    def held_by(self, owner: str, tenant: str | None) -> Sequence[str]:
        """See `VerdictCache.held_by`; looks at every verdict, which takes some 10 ms for 100,000."""
        principals = [verdict.principal for verdict in self._verdicts.values()]
        return [each.key_id for each in principals if each.owner == owner and tenant in (None, each.tenant)]

    def invalidate(self, change: Change) -> None:
        """See `VerdictCache.invalidate`.

        Tombstones are kept by count, not by time, so that no request can outlive one: when there are too many,
        everything is flushed instead, which refuses at least as much. A change without a key id is one of many keys
        at once, and flushes everything too.
        """
        if not change.key_id:
            self.clear()
            return
        if len(self._tombstones) >= _TOMBSTONES and change.key_id not in self._tombstones:
            self.clear()
        self._generation += 1
        earlier = self._tombstones.get(change.key_id)
        min_version = change.version if earlier is None else max(change.version, earlier.min_version)
        self._tombstones[change.key_id] = _Tombstone(min_version, self._generation)
        self._drop(change.key_id)
        self._rejections.clear()
        self.on_change()

    def clear(self) -> None:
        """See `VerdictCache.clear`."""
        self._generation += 1
        self._flushed_at = self._generation
        self._verdicts.clear()
        self._rejections.clear()
        self._fingerprints.clear()
        self._tombstones.clear()
        self.on_change()

    def _drop(self, key_id: str) -> None:
        fingerprint = self._fingerprints.pop(key_id, None)
        if fingerprint is not None:
            self._verdicts.pop(fingerprint, None)


def _unheard() -> None:
    """Tell nobody."""
