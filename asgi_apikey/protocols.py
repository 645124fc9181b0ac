"""The plugs, as Protocols: what a repository, hasher, cache or invalidation must do to be one.

`asgi_apikey.testing` carries a contract suite for each; passing it is what makes an implementation one.
Every method that may suspend is `async`; a `_nowait` twin never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asgi_apikey.errors import InvalidKey
from asgi_apikey.models import (
    Change,
    Committed,
    Instant,
    KeyPage,
    KeyQuery,
    KeyRecord,
    Lane,
    Receipt,
    RecordPatch,
    Seconds,
    Usage,
    Verdict,
)


class Clock(Protocol):
    """Two readings of time. Tests inject their own."""

    def wall(self) -> Instant:
        """Unix seconds; may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> Seconds:
        """Seconds since some fixed moment; never goes back, counts while the machine is suspended if it can."""
        ...


class KeyReader(Protocol):
    """All that the request path needs of a store."""

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the record from the primary, read after this call began; None when there is none.

        Raises:
            StoreUnavailable: The store did not answer in time.
        """
        ...


class UsageSink(Protocol):
    """Where usage counts go. It can touch two columns and nothing else."""

    async def record_usage(self, batch: Sequence[Usage]) -> None:
        """Add `uses` and raise `last_used_at` (never lower it) of each named key; unknown ids are skipped.

        Never changes `version` nor any other column.

        Raises:
            StoreUnavailable: Nothing of the batch was written.
        """
        ...


class KeyRepository(KeyReader, UsageSink, Protocol):
    """Where records live. Every write is one transaction with its rows of the change feed.

    Every method raises StoreUnavailable when the store does not answer in time;
    `outcome_unknown` is set on it when a write may have been committed all the same.
    """

    async def open(self, *, create: bool) -> None:
        """Make ready, idempotently. Only with `create` may this bring a store into being, or migrate one."""
        ...

    async def close(self) -> None:
        """Release everything; a closed repository opens again on its next use."""
        ...

    async def add(self, record: KeyRecord) -> Committed:
        """Insert a new record. Creates the store when there is none.

        Raises:
            KeyExists: The id is taken.
        """
        ...

    async def update(self, key_id: str, patch: RecordPatch, *, version: int) -> Committed:
        """Set the patch's columns and raise the version by one, if the record is still at `version`.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """
        ...

    async def replace(self, key_id: str, patch: RecordPatch, successor: KeyRecord, *, version: int) -> Committed:
        """In one transaction: `update` the record and `add` its successor. The successor's record is returned.

        Raises:
            KeyNotFound: No record `key_id`.
            StaleRecord: It is at another version.
            KeyExists: The successor's id is taken.
        """
        ...

    async def delete(self, key_id: str, *, version: int) -> Committed:
        """Remove the record if it is still at `version`; its change row carries `version + 1`.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """
        ...

    async def replace_digest(self, key_id: str, *, old: str, new: str) -> bool:
        """Swap the stored digest if it is still `old`; not a security change: version and feed stay.

        Returns:
            Whether the row was changed.
        """
        ...

    async def find(self, query: KeyQuery, *, now: Instant) -> KeyPage:
        """Return one page, newest first, ties by key id.

        Raises:
            InvalidRequest: The cursor or the limit is not one of ours.
        """
        ...


class Hasher(Protocol):
    """Turns a whole presented key into a stored digest, and compares."""

    @property
    def decoy(self) -> str:
        """A digest of the current scheme and parameters that matches nothing: verified for unknown ids."""
        ...

    def accepts(self, digest: str) -> bool:
        """Whether `verify` could ever say yes to this digest: known scheme, known pepper, not retired for good."""
        ...

    def outdated(self, digest: str) -> bool:
        """Whether an accepted digest should be replaced by a new one after the next successful verify."""
        ...

    async def hash(self, presented: bytes) -> str:
        """Return a new digest of the whole key, self-describing.

        Raises:
            Overloaded: A slow hasher's queue is full.
        """
        ...

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time. A digest that is not accepted never matches.

        Raises:
            Overloaded: A slow hasher's queue for this lane is full; nothing was hashed.
        """
        ...


class VerdictCache(Protocol):
    """What one process remembers about presented keys, by fingerprint. Never suspends, never does I/O.

    A *mark* is taken before the record is read; whatever was read is only kept if the key has not been
    invalidated since the mark, so a slow read can never bring back what a change has removed.
    """

    def mark(self) -> int:
        """Return the present generation."""
        ...

    def settled(self, key_id: str, version: int | None, mark: int) -> bool:
        """Whether what was read about the key after `mark` is still the latest we know of.

        Args:
            key_id: The key.
            version: Of the record that was read; None when there was none.
            mark: Taken before the read began.
        """
        ...

    def get(self, fingerprint: bytes) -> Verdict | None:
        """Return the verdict, whose deadlines the caller checks."""
        ...

    def put(self, fingerprint: bytes, verdict: Verdict, mark: int) -> None:
        """Remember a verdict, unless it is no longer settled."""
        ...

    def rejection(self, fingerprint: bytes, now: Seconds) -> InvalidKey | None:
        """Return the remembered rejection, unless its deadline has passed at `now`."""
        ...

    def put_rejection(self, fingerprint: bytes, rejection: InvalidKey, deadline: Seconds, mark: int) -> None:
        """Remember a rejection until `deadline`, unless anything at all has changed since the mark."""
        ...

    def proof(self, fingerprint: bytes) -> str | None:
        """Return the digest that this fingerprint is known to match."""
        ...

    def put_proof(self, fingerprint: bytes, digest: str) -> None:
        """Remember that the fingerprint matches the digest: true for ever, whatever becomes of the record."""
        ...

    def invalidate(self, change: Change) -> None:
        """Forget the key's verdicts and all rejections, and refuse what was read before now."""
        ...

    def clear(self) -> None:
        """Forget everything but proofs, and refuse what was read before now."""
        ...


class Invalidation(Protocol):
    """How workers agree that a cached verdict is still the truth.

    The first three attributes are read on every request, without a call:
    a cached verdict may be used while `monotonic < fresh_until` and `counter[0] == seen`.
    """

    fresh_until: Seconds
    """End of the current lease on the worker's own monotonic clock; `inf` where nobody else writes."""
    counter: Sequence[int]
    """One number, perhaps shared with other processes, that differs from `seen` after a change."""
    seen: int
    """The value of the counter up to which all changes have been applied here."""

    @property
    def max_staleness(self) -> Seconds:
        """How long after its commit an unconfirmed change may be unknown somewhere."""
        ...

    async def renew(self) -> None:
        """Obtain a current lease, having applied all changes up to it.

        Raises:
            StoreUnavailable: That was not possible in time.
        """
        ...

    async def announce(self, committed: Committed) -> Receipt:
        """Tell every worker about committed changes and say what is known about their effect."""
        ...
