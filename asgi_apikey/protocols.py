"""The plugs, as Protocols: what a repository, hasher, cache or invalidation must do to be one.

`tests/contracts` has a suite for each kind; passing it is what makes an implementation one.
Every method that may suspend is `async`; a `_nowait` twin never does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias

from asgi_apikey.errors import InvalidKey
from asgi_apikey.measures import Charge, Reading
from asgi_apikey.models import (
    Acknowledgement,
    At,
    AuditAnchor,
    AuditEntry,
    Ceiling,
    Change,
    Committed,
    CommittedMany,
    DeadLetter,
    Held,
    HourlyUsage,
    Imported,
    Instant,
    KeyPage,
    KeyQuery,
    KeyRecord,
    Lane,
    Note,
    Receipt,
    RecordPatch,
    Revocation,
    Seconds,
    Usage,
    Verdict,
    Worker,
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
    """Where usage counts go. Of a record it can touch two columns and nothing else."""

    async def record_usage(self, batch: Sequence[Usage], *, resolution: Seconds = 0.0) -> Collection[str]:
        """Add `uses` and raise `last_used_at` (never lower it) of each named key; unknown ids are skipped.

        Adds all outcomes to their hours too. Never changes `version` nor any other column.

        Args:
            batch: Any number of entries for a key.
            resolution: `last_used_at` is left as it is while it lags behind by less than so many seconds.

        Returns:
            Ids of keys that somebody else holds locked: nothing of theirs was written, try again later.

        Raises:
            StoreUnavailable: Nothing of the batch was written; or, with `outcome_unknown`, perhaps all of it: then
                it must not be written again, for it would be counted twice.
        """
        ...


class UsageHistory(Protocol):
    """What the hours were like. Every method raises StoreUnavailable when the store does not answer in time."""

    async def hours(self, key_id: str, *, since: Instant, until: Instant) -> Sequence[HourlyUsage]:
        """Return the hours in which the key was presented, oldest first.

        Args:
            key_id: The key.
            since: The hour that this instant is in is the first.
            until: Only hours that begin before.
        """
        ...

    async def prune(self, before: Instant) -> None:
        """Remove, for all keys, the hours that ended at this instant or before."""
        ...


class KeyArchive(Protocol):
    """All records, in and out, many at a time.

    Every method raises StoreUnavailable when the store does not answer in time.
    """

    async def records(self, after: str, *, limit: int) -> Sequence[KeyRecord]:
        """Return the records with a higher key id, by key id, at most `limit`."""
        ...

    async def put(self, records: Sequence[KeyRecord], *, note: Note = ...) -> Imported:
        """Add, in one transaction, those that are not there, each above its tombstone, and leave what is there.

        Creates the store when there is none.

        Raises:
            InvalidRequest: A value cannot be stored; nothing was added.
        """
        ...


class Meters(Protocol):
    """What has been used of limits. Every method raises StoreUnavailable when that cannot be told in time."""

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """Take all charges or, where one of the meters has not as much, none; atomically, whoever else does so too.

        Costs of 0 only ask; lower ones give back, which always succeeds.

        Args:
            charges: Of different meters of one group.
            now: By the wall clock. Where processes share meters, their clocks should agree: one that is ahead gives
                back too early by as much, once, and then makes the others wait.

        Returns:
            What each meter shows afterwards, in any order; `refused` on those for which nothing was taken.
        """
        ...

    async def prune(self, now: Instant) -> None:
        """Drop what says no more than that nothing was used."""
        ...

    async def close(self) -> None:
        """Release everything; may be used again."""
        ...


class AuditLog(Protocol):
    """Reads the audit: entries are only ever written by changes, in their transactions.

    Every method raises StoreUnavailable when the store does not answer in time.
    """

    async def anchor(self) -> AuditAnchor:
        """Return where the audit begins and how far it goes, all read at one instant."""
        ...

    async def entries(self, after: int, *, limit: int) -> Sequence[AuditEntry]:
        """Return the entries after number `after`, oldest first, at most `limit`."""
        ...

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """Return the rows of the change feed from position `since` on, oldest first, at most `limit`."""
        ...

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """Return ids of keys at a version of which neither the feed nor the audit tells: changed behind our back."""
        ...


class KeyRepository(KeyReader, UsageSink, Protocol):
    """Where records live. Every write is one transaction with its rows of the change feed and of the audit.

    A write's `note` says what the audit keeps about it beside what is changed.

    Every method raises StoreUnavailable when the store does not answer in time;
    `outcome_unknown` is set on it when a write may have been committed all the same.
    """

    @property
    def history(self) -> UsageHistory:
        """The usage of the same store's keys."""
        ...

    @property
    def archive(self) -> KeyArchive:
        """All records of the same store."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The audit of the same store."""
        ...

    @property
    def meters(self) -> Meters:
        """What has been used of the limits of the same store's keys."""
        ...

    async def open(self, *, create: bool) -> None:
        """Make ready, idempotently. Only with `create` may this bring a store into being, or migrate one."""
        ...

    async def close(self) -> None:
        """Release everything; a closed repository opens again on its next use."""
        ...

    async def add(self, record: KeyRecord, *, note: Note = ..., ceilings: Sequence[Ceiling] = ...) -> Committed:
        """Insert a new record. Creates the store when there is none.

        Raises:
            KeyExists: The id is taken.
            KeyLimitReached: With it, there would be more keys than one of the ceilings allows.
        """
        ...

    async def update(
        self,
        key_id: str,
        patch: RecordPatch,
        *,
        version: int,
        note: Note = ...,
        ceilings: Sequence[Ceiling] = ...,
    ) -> Committed:
        """Set the patch's columns and raise the version by one, if the record is still at `version`.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
            KeyLimitReached: After it, there would be more keys than one of the ceilings allows.
        """
        ...

    async def replace(
        self,
        key_id: str,
        patch: RecordPatch,
        successor: KeyRecord,
        *,
        version: int,
        note: Note = ...,
        ceilings: Sequence[Ceiling] = ...,
        retired: Sequence[At] = ...,
        retirement: Revocation | None = ...,
    ) -> Committed:
        """In one transaction: `update` the record and `add` its successor. The successor's record is returned.

        The `retired` are revoked in it too, with the `retirement`; each must be at its version and never have been
        used. The changes are told in this order: the record, the retired ones, the successor.

        Raises:
            KeyNotFound: No record `key_id`, or none of a retired id.
            StaleRecord: One is at another version, or one to be retired has been used.
            KeyExists: The successor's id is taken.
            KeyLimitReached: After it, there would be more keys than one of the ceilings allows.
        """
        ...

    async def delete(self, key_id: str, *, version: int, note: Note = ...) -> Committed:
        """Remove the record if it is still at `version`; its change row carries `version + 1`.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """
        ...

    async def revoke_all(
        self,
        query: KeyQuery,
        revocation: Revocation,
        *,
        now: Instant,
        guard: At | None = ...,
        note: Note = ...,
    ) -> CommittedMany:
        """Revoke, in one transaction, every record that the query matches, on all pages, and that is not yet revoked.

        Their records are returned by key id. More than `FLUSH_ALL_FROM` are told as one change of all keys.

        Args:
            query: Which; its order, limit and cursor are of no account.
            revocation: When, by whom and why.
            now: The instant at which the query is answered.
            guard: A record that must be at this version; else nothing is revoked.
            note: For the audit.

        Raises:
            KeyNotFound: There is no record of the guard's id.
            StaleRecord: It is at another version.
            InvalidRequest: A part of the query is not a possible one.
        """
        ...

    async def prune(self, dead_since: Instant, *, limit: int, note: Note = ...) -> CommittedMany:
        """Delete, in one transaction, at most `limit` records of keys that were revoked, or had ended, by then.

        What is left of each is its tombstone: the row of the change feed with the version above its last one.
        """
        ...

    async def replace_digest(self, key_id: str, *, old: str, new: str) -> bool:
        """Swap the stored digest if it is still `old`; not a security change: version and feed stay.

        Returns:
            Whether the row was changed.
        """
        ...

    async def find(self, query: KeyQuery, *, now: Instant) -> KeyPage:
        """Return one page in the order that the query asks for, ties by key id, ascending.

        Raises:
            InvalidRequest: A part of the query is not a possible one, or the cursor is not of this search.
        """
        ...

    async def count(self, query: KeyQuery, *, now: Instant) -> int:
        """Return how many records the query matches, on all pages.

        Raises:
            InvalidRequest: A part of the query is not a possible one.
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

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return a new digest of the whole key, self-describing.

        Args:
            presented: The key.
            lane: Whose threads do it: those that strangers never get, so that keys can be issued during a flood; or,
                for what can wait, the strangers'.

        Raises:
            Overloaded: A slow hasher's queue for this lane is full.
        """
        ...

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time. A digest that is not accepted never matches.

        Raises:
            Overloaded: A slow hasher's queue for this lane is full; nothing was hashed.
        """
        ...

    def close(self) -> None:
        """Let go of threads and the like without waiting for them; may be used again. Idempotent."""
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

    def recall(self, fingerprint: bytes) -> Verdict:
        """Return the verdict, whose deadlines the caller checks.

        Raises:
            KeyError: There is none. An exception costs nothing where there is one, unlike a test for None.
        """
        ...

    def touch(self, key_id: str) -> None:
        """Note that a verdict is in use, so that others are evicted first: told now and then, not for every use."""
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

    def held_by(self, owner: str, tenant: str | None) -> Sequence[str]:
        """Return the ids of an owner's keys with a verdict here, in all tenants (None) or in one."""
        ...

    def invalidate(self, change: Change) -> None:
        """Forget the key's verdicts and all rejections, and refuse what was read before now.

        A change without a key id is one of every key.
        """
        ...

    def clear(self) -> None:
        """Forget everything but proofs, and refuse what was read before now."""
        ...


class SharedCache(Protocol):
    """Bytes that processes keep for each other, by name. Nobody relies on it, and nobody believes it.

    It may forget anything at any time. What fails is a miss: `get` and `put` never raise, and never take longer than
    anybody would mind on the way to a store, also while the cache does not answer.
    """

    async def get(self, name: str) -> Held | None:
        """Return what is held under the name; None if nothing is, or that cannot be told now."""
        ...

    async def put(self, name: str, value: bytes, ttl: Seconds) -> None:
        """Hold the value for `ttl` seconds, instead of what was held under the name; or not."""
        ...

    async def clear(self) -> None:
        """Drop everything that was put here, by any process, and nothing else that the same server holds.

        Raises:
            StoreUnavailable: That could not be done, or not completely.
        """
        ...

    async def close(self) -> None:
        """Release everything; may be used again."""
        ...


class ChangeFeed(Protocol):
    """The rows that tell what has changed, in commit order, and the register of who reads them.

    Every method raises StoreUnavailable when the store does not answer in time.
    """

    async def position(self) -> int:
        """Return the newest feed position, 0 when nothing has ever changed."""
        ...

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """Return the changes from position `since` on, that one included, oldest first, at most `limit`."""
        ...

    async def join(self, worker_id: str, bus: str, *, lease: Seconds) -> None:
        """Register a worker; committed when this returns.

        Args:
            worker_id: Not registered yet.
            bus: What it listens to.
            lease: Seconds for which it trusts what it has read.
        """
        ...

    async def beat(self, worker_id: str) -> bool:
        """Show that the worker lives; False when its registration is gone."""
        ...

    async def leave(self, worker_id: str) -> None:
        """Remove the worker's registration, if there is one."""
        ...

    async def workers(self) -> Sequence[Worker]:
        """Return everybody who is registered, read after this call began."""
        ...

    async def dismiss(self, worker: Worker) -> None:
        """Remove a registration whose beat is still the given one."""
        ...


class DeadLetters(Protocol):
    """Messages that no endpoint has taken: the newest 10,000.

    Every method raises StoreUnavailable when the store does not answer in time.
    """

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep them; one that is there already gets the new attempts, instant and reason."""
        ...

    async def page(self, after: str, *, limit: int) -> Sequence[DeadLetter]:
        """Return those with a higher id, by id, at most `limit`."""
        ...

    async def remove(self, letter_ids: Sequence[str]) -> int:
        """Remove them; return how many were there."""
        ...


class Notices(Protocol):
    """What was told once and is not told again, for 400 days.

    Every method raises StoreUnavailable when the store does not answer in time.
    """

    async def claim(self, notices: Sequence[tuple[str, str]], at: Instant) -> Collection[tuple[str, str]]:
        """Note, in one transaction, what is about to be told; return those that nobody has noted before.

        Args:
            notices: Ids of keys, and what is told of them.
            at: When.
        """
        ...


CatchUp: TypeAlias = Callable[[int], Awaitable[Acknowledgement]]
"""Reads and applies what is new in the feed, up to a position at least; tells how far it came."""


class Bus(Protocol):
    """Makes an invalidation fast. Nothing about its safety rests on this: leases see to that."""

    counter: Sequence[int]
    """One number that differs from what it was after a wake-up; constant where the bus has no such thing."""

    @property
    def name(self) -> str:
        """What a worker registers with: whoever names the same bus hears our wake-ups. Empty: nobody does."""
        ...

    async def open(self, catch_up: CatchUp) -> None:
        """Start to listen; on a wake-up, call `catch_up` with its position and pass on what it acknowledges.

        Idempotent. A bus that cannot be reached now is no error: it listens when it can.
        """
        ...

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """Wake the named workers and return those known to have applied position `seq`.

        Returns as soon as all have, at the latest after `patience` seconds. Never raises.
        """
        ...

    async def close(self) -> None:
        """Stop listening and release everything; may be opened again."""
        ...


class Invalidation(Protocol):
    """How workers agree that a cached verdict is still the truth.

    The first four attributes are read on every request, without a call: a cached verdict may be used
    while `monotonic < fresh_until` and `counter[0] == seen`.
    """

    fresh_until: Seconds
    """End of the current lease on the worker's own monotonic clock; `inf` where nobody else writes."""
    refresh_at: Seconds
    """From then on, requests should call `refresh`; never later than `fresh_until`."""
    counter: Sequence[int]
    """One number, perhaps shared with other processes, that differs from `seen` after a change."""
    seen: int
    """The value of the counter up to which all changes have been applied here."""

    @property
    def max_staleness(self) -> Seconds:
        """How long after its commit an unconfirmed change may be unknown somewhere."""
        ...

    def refresh(self) -> None:
        """Start renewing the lease in the background; must not suspend."""
        ...

    async def renew(self) -> None:
        """Try to obtain a current lease, having applied all changes up to it. Never raises.

        Without one afterwards, only what was read from the repository since is to be believed.
        """
        ...

    async def tell(self, committed: Committed) -> None:
        """Spread a change that forbids nothing (a new key), without waiting for anybody."""
        ...

    async def announce(self, committed: Committed) -> Receipt:
        """Tell every worker about committed changes and say what is known about their effect."""
        ...

    async def close(self) -> None:
        """Give back the lease and everything held for it; the next request begins anew."""
        ...
