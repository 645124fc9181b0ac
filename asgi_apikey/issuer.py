"""The verbs of a key's life: issue, rotate, amend, disable, enable, revoke, delete, prune; and finding keys.

Each verb reads the record, decides (`lifecycle`), writes one guarded transaction, and announces the change. All of
that runs in a task of its own, so that a cancelled request never leaves a change unannounced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from asgi_apikey import lifecycle
from asgi_apikey.background import Background
from asgi_apikey.errors import InvalidRequest, KeyExists, KeyNotFound, StaleRecord, StoreUnavailable
from asgi_apikey.expiry import ExpiryPolicy
from asgi_apikey.grants import Grant, check_grant
from asgi_apikey.keyformat import holds_a_key
from asgi_apikey.models import (
    DAY,
    UNSET,
    Action,
    Actor,
    At,
    BulkReceipt,
    Ceiling,
    Change,
    Committed,
    Instant,
    IssuedKey,
    KeyPage,
    KeyQuery,
    KeyRecord,
    KeyRequest,
    Metadata,
    Note,
    Receipt,
    RecordPatch,
    Revocation,
    Seal,
    Seconds,
    Status,
    Unset,
)
from asgi_apikey.protocols import Clock, Hasher, Invalidation, KeyRepository
from asgi_apikey.rotation import MOST_LIVE, is_retirable, lifetime_of, rotation
from asgi_apikey.verification import status_of

T = TypeVar("T")

_COLLISIONS = 5
_RACES = 20
_PRUNED_AT_ONCE = 500
_PAGE = 100
_REPLACED = "replaced before it was used"


class NewKey(Protocol):
    """A key just made up, not yet stored."""

    @property
    def key(self) -> str:
        """The whole key."""
        ...

    @property
    def key_id(self) -> str:
        """Its public id."""
        ...

    @property
    def hint(self) -> str:
        """Its last four characters."""
        ...


class KeyGenerator(Protocol):
    """The part of a key format that makes keys."""

    def generate(self, environment: str, *, key_id: str | None = None) -> NewKey:
        """Make up a new random key of this environment, and its id too unless one is given."""
        ...


_Decide = Callable[[KeyRecord, Instant], RecordPatch | None]
_NOBODY = Actor()


@dataclass(frozen=True, slots=True)
class _Whose:
    """Whose key it must be; None: anybody's."""

    owner: str | None = None
    tenant: str | None = None

    def has(self, record: KeyRecord) -> bool:
        return self.owner in (None, record.owner) and self.tenant in (None, record.tenant)


_ANYBODY = _Whose()
_OF_ALL = Change(0, "", 0)


class Issuer:
    """Makes, finds and changes keys.

    Every method raises StoreUnavailable when the repository does not answer; its `outcome_unknown` tells whether
    the change may have been made all the same. Where a `version` can be given, the change is made only if the
    record is still at it (StaleRecord otherwise); without one, whatever version is current is changed. Where an
    `owner` or a `tenant` can be given, a key of another one is not found: the same answer as for a key that does not
    exist. Where a `granter` can be given, GrantExceeded is raised if the key could do more afterwards than that. Where
    `wait` can be given, False returns when the change is committed: it is announced in the background, and the receipt
    is not confirmed.

    Args:
        repository: Where records live.
        hasher: Makes the digests of new keys.
        generator: Makes up new keys.
        invalidation: Told about every change.
        clock: Tells when.
        environment: Of keys that are issued without naming one.
        background: Where the changes run.
        seal: Chains the entries that the changes leave in the audit; None: with plain SHA-256.
        expiry: How long keys may live.
        max_keys_per_owner: Live keys that one owner may have in a tenant, a key and its successor counted as one;
            None: any number.
        flush_usage: Writes the usage counted in this process, before a key is taken for one that nobody has used.
        told: Is called when a change is committed, with what the audit keeps of it and the changed records; must not
            suspend, nor raise.
        rights: Makes of a record one with all that it might do, for whoever judges what may be handed on.
    """

    def __init__(
        self,
        repository: KeyRepository,
        hasher: Hasher,
        *,
        generator: KeyGenerator,
        invalidation: Invalidation,
        clock: Clock,
        environment: str,
        background: Background,
        seal: Seal | None = None,
        expiry: ExpiryPolicy | None = None,
        max_keys_per_owner: int | None = None,
        flush_usage: Callable[[], Awaitable[None]] | None = None,
        told: Callable[[Note, Sequence[KeyRecord]], None] | None = None,
        rights: Callable[[KeyRecord], KeyRecord] | None = None,
    ) -> None:
        self._repository = repository
        self._hasher = hasher
        self._generator = generator
        self._invalidation = invalidation
        self._clock = clock
        self._environment = environment
        self._background = background
        self._seal = seal
        self._expiry = ExpiryPolicy() if expiry is None else expiry
        self._max_keys_per_owner = max_keys_per_owner
        self._flush_usage = flush_usage
        self._told = _unheard if told is None else told
        self._rights = _as_it_is if rights is None else rights

    async def issue(
        self,
        request: KeyRequest,
        *,
        key_id: str | None = None,
        granter: Grant | None = None,
        actor: Actor = _NOBODY,
    ) -> IssuedKey:
        """Make a new key. The returned value is the only place where the whole key ever stands.

        Raises:
            InvalidRequest: A value that a key cannot have.
            GrantExceeded: It could do more than the granter.
            KeyExists: There is a key with the id that was asked for.
            KeyLimitReached: The owner has as many live keys as there may be.
            Overloaded: The queue of a slow hasher is full.
        """
        return await self._background.run(partial(self._issue, request, key_id, granter, actor))

    async def rotate(
        self,
        key_id: str,
        *,
        grace: Seconds | None = None,
        created_by: str = "",
        successor_id: str | None = None,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        granter: Grant | None = None,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> IssuedKey:
        """Make a successor with the same rights.

        The replaced key works for `grace` more seconds (default: a day), but never longer than it would have. The
        successor gets the lifetime that the replaced key was given. After a leak, rotate with `grace=0`.

        May be repeated, say because the answer got lost: as long as nobody has used the successor, it is revoked and
        another one made, while the replaced key keeps the grace of the first time, unless a shorter one is given.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key is not active, its successor is in use, or two keys of its lineage would stay
                live beside the new one; or the grace is negative.
            GrantExceeded: The successor could do more than the granter.
            KeyExists: There is a key with the id that was asked for.
            StaleRecord: The key is no longer at `version`.
        """
        note = self._note(Action.ROTATE, actor, by=created_by)
        attempt = partial(
            self._rotate_once,
            grace=grace,
            created_by=created_by,
            successor_id=successor_id,
            granter=granter,
            wait=wait,
            note=note,
        )
        whose = _Whose(owner, tenant)
        return await self._background.run(partial(self._at_version, key_id, attempt, version, whose, wait=wait))

    async def amend(
        self,
        key_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | Unset = UNSET,
        scopes: Iterable[str] | Unset = UNSET,
        metadata: Metadata | Unset = UNSET,
        not_before: Instant | Unset | None = UNSET,
        expires_at: Instant | Unset | None = UNSET,
        tags: Iterable[str] | Unset = UNSET,
        networks: Iterable[str] | Unset = UNSET,
        routes: Iterable[str] | Unset = UNSET,
        limits: Iterable[str] | Unset = UNSET,
        origins: Iterable[str] | Unset = UNSET,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        granter: Grant | None = None,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> Receipt:
        """Change what is given and leave the rest; `None` removes an instant.

        Giving an expired key a new end makes it live again, and counts like a new one.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: A value that a key cannot have, or the key is revoked.
            GrantExceeded: The key could do more than the granter.
            KeyLimitReached: The owner, or the key's lineage, has as many live keys as there may be.
            StaleRecord: The key is no longer at `version`.
        """
        patch = RecordPatch(
            name=name,
            description=description,
            scopes=scopes if isinstance(scopes, Unset) else lifecycle.scopes(scopes),
            metadata=metadata,
            not_before=not_before,
            expires_at=expires_at,
            tags=tags if isinstance(tags, Unset) else lifecycle.tags(tags),
            networks=networks if isinstance(networks, Unset) else lifecycle.networks(networks),
            routes=routes if isinstance(routes, Unset) else lifecycle.routes(routes),
            limits=limits if isinstance(limits, Unset) else lifecycle.limits(limits),
            origins=origins if isinstance(origins, Unset) else lifecycle.origins(origins),
        )

        def decide(record: KeyRecord, now: Instant) -> RecordPatch:
            checked = lifecycle.amendment(record, patch, now)
            if not isinstance(checked.expires_at, Unset):
                self._expiry.check(checked.expires_at, created_at=record.created_at)
            return checked

        note, whose = self._note(Action.AMEND, actor), _Whose(owner, tenant)
        return await self._change(key_id, decide, version, note, whose, granter=granter, wait=wait)

    async def disable(
        self,
        key_id: str,
        *,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> Receipt:
        """Switch a key off until it is enabled again.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key is revoked.
            StaleRecord: The key is no longer at `version`.
        """
        note, whose = self._note(Action.DISABLE, actor), _Whose(owner, tenant)
        return await self._change(key_id, lifecycle.disabling, version, note, whose, wait=wait)

    async def enable(
        self,
        key_id: str,
        *,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        granter: Grant | None = None,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> Receipt:
        """Switch a disabled key on.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key is revoked.
            GrantExceeded: The key could do more than the granter.
            StaleRecord: The key is no longer at `version`.
        """
        note, whose = self._note(Action.ENABLE, actor), _Whose(owner, tenant)
        return await self._change(key_id, lifecycle.enabling, version, note, whose, granter=granter, wait=wait)

    async def revoke(
        self,
        key_id: str,
        *,
        by: str = "",
        reason: str = "",
        only: bool = False,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> Receipt:
        """End a key for good, and with it its lineage: the keys that it replaced and those that replaced it.

        The records stay. Revoking it again announces it again.

        Args:
            key_id: The key; its record is that of the receipt.
            by: Who, for the record.
            reason: Why, for the record.
            only: Leave the other keys of the lineage alone.
            version: Only if the key's record is still at it.
            owner: Whose key it must be; None: anybody's.
            tenant: In which tenant; None: in any.
            wait: Return when it is confirmed, not when it is committed.
            actor: Who, for the audit.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: A reason or actor that cannot be kept.
            StaleRecord: The key is no longer at `version`.
        """
        note, whose = self._note(Action.REVOKE, actor, by=by, reason=reason), _Whose(owner, tenant)
        if only:
            decide = partial(lifecycle.revocation, by=by, reason=reason)
            return await self._change(key_id, decide, version, note, whose, wait=wait)
        revocation = lifecycle.revoked(self._clock.wall(), by=by, reason=reason)
        attempt = partial(self._revoke_lineage, revocation=revocation, note=note, wait=wait)
        return await self._background.run(
            partial(self._at_version, key_id, attempt, version, whose, flush=True, wait=wait)
        )

    async def revoke_where(
        self,
        query: KeyQuery,
        *,
        by: str = "",
        reason: str = "",
        dry_run: bool = False,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> BulkReceipt:
        """End, in one transaction, every key that the query matches; those that are revoked already stay as they are.

        More than 1,000 keys at once make every worker drop all that it remembers, and read it again.

        Args:
            query: Which keys; at least one filter. Its limit is of no account, and a cursor makes no sense here.
            by: Who, for the records.
            reason: Why, for the records.
            dry_run: Only count them.
            wait: Return when it is confirmed, not when it is committed.
            actor: Who, for the audit.

        Raises:
            InvalidRequest: No filter, a cursor, or a value that cannot be.
        """
        plain = KeyQuery(revoked=False)
        asked = replace(query, revoked=False, limit=plain.limit, sort=plain.sort, ascending=False)
        # Every name contains a blank part.
        if replace(asked, cursor=None, name_contains=query.name_contains or None) == plain or query.cursor is not None:
            raise InvalidRequest("name the keys to revoke by at least one filter, and without a cursor")
        now = self._clock.wall()
        revocation = lifecycle.revoked(now, by=by, reason=reason)
        if dry_run:
            matched = await self._repository.count(asked, now=now)
            return BulkReceipt(
                matched=matched,
                key_ids=(),
                dry_run=True,
                confirmed=False,
                workers=0,
                acknowledged=0,
                elapsed=0.0,
                max_staleness=self._invalidation.max_staleness,
            )
        note = self._note(Action.REVOKE, actor, by=by, reason=reason)
        return await self._background.run(partial(self._revoke_where, asked, revocation, note, wait))

    async def prune(self, *, dead_for: Seconds = 90 * DAY, actor: Actor = _NOBODY) -> int:
        """Delete the records of keys that were revoked, or ended, at least so long ago; return how many.

        Done in transactions of 500, each complete in itself. Tombstones stay, so an id that comes back is still newer
        than everything that was ever remembered of it.

        Raises:
            InvalidRequest: Not a number of seconds, 0 or more.
        """
        dead_since = lifecycle.past(self._clock.wall(), dead_for)
        note = self._note(Action.PRUNE, actor)
        return await self._background.run(partial(self._prune, dead_since, note))

    async def delete(
        self,
        key_id: str,
        *,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        wait: bool = True,
        actor: Actor = _NOBODY,
    ) -> Receipt:
        """Remove a key and its record. To end a key, revoke it: that keeps the record.

        Raises:
            KeyNotFound: No such key.
            StaleRecord: The key is no longer at `version`.
        """
        attempt = partial(self._delete_once, note=self._note(Action.DELETE, actor), wait=wait)
        whose = _Whose(owner, tenant)
        return await self._background.run(partial(self._at_version, key_id, attempt, version, whose, wait=wait))

    async def get(self, key_id: str, *, owner: str | None = None, tenant: str | None = None) -> KeyRecord:
        """Return the record of a key.

        Raises:
            KeyNotFound: No such key, or not of this owner, or not in this tenant.
            InvalidRequest: Not an id, but a whole key.
        """
        return await self._get(key_id, _Whose(owner, tenant))

    async def find(self, query: KeyQuery) -> KeyPage:
        """Return one page of records.

        Raises:
            InvalidRequest: A part of the query is not a possible one, or the cursor is of another search.
        """
        return await self._repository.find(query, now=self._clock.wall())

    async def count(self, query: KeyQuery) -> int:
        """Return how many records a query matches, on all pages.

        Raises:
            InvalidRequest: A part of the query is not a possible one.
        """
        return await self._repository.count(query, now=self._clock.wall())

    def _note(self, action: Action, actor: Actor, *, by: str = "", reason: str = "") -> Note:
        """Return what the audit is to keep of a change; `by` and `reason` are checked where the record takes them.

        Raises:
            InvalidRequest: An actor that cannot be kept.
        """
        name = lifecycle.line(actor.name, "actor", most=lifecycle.MAX_NAME)
        occasion = lifecycle.line(actor.correlation_id, "correlation_id", most=lifecycle.MAX_NAME)
        return Note(
            action=action, actor=Actor(name or by, occasion), reason=reason, at=self._clock.wall(), seal=self._seal
        )

    async def _get(self, key_id: str, whose: _Whose) -> KeyRecord:
        if holds_a_key(key_id):
            # It would go on into the store's log, and into the text of the error.
            raise InvalidRequest("a whole key was given where its id belongs")
        record = await self._repository.get(key_id)
        # A key never changes hands under one version, and what is written names the version that is read here.
        if record is None or not whose.has(record):
            raise KeyNotFound(key_id)
        return record

    async def _issue(self, request: KeyRequest, key_id: str | None, granter: Grant | None, actor: Actor) -> IssuedKey:
        now = self._clock.wall()
        note = self._note(Action.ISSUE, actor, by=request.created_by)
        store = partial(
            self._repository.add, note=note, ceilings=self._owner_ceiling(request.owner, request.tenant, now)
        )
        request = self._expiry.applied(request, now)
        issued, committed = await self._stored(request, store, key_id=key_id, granter=granter)
        self._told(note, (committed.record,))
        await self._invalidation.tell(committed)
        return issued

    async def _rotate_once(
        self,
        record: KeyRecord,
        *,
        grace: Seconds | None,
        created_by: str,
        successor_id: str | None,
        granter: Grant | None,
        wait: bool,
        note: Note,
    ) -> IssuedKey:
        lineage = await self._lineage(record)
        if self._flush_usage is not None and any(is_retirable(record, each) for each in lineage):
            await self._flush_usage()
            lineage = await self._lineage(record)
        now = self._clock.wall()
        plan = rotation(record, lineage, now, grace=grace)
        store = partial(
            self._repository.replace,
            record.key_id,
            plan.ending,
            version=record.version,
            note=note,
            ceilings=_lineage_ceiling(record, now),
            retired=plan.retired,
            retirement=lifecycle.revoked(now, by=created_by, reason=_REPLACED),
        )
        renewed = self._expiry.renewed(lifetime_of(record, lineage))
        request = lifecycle.successor(record, now, created_by=created_by)
        request = replace(request, expires_at=None, expires_in=renewed)
        issued, committed = await self._stored(request, store, replaces=record, key_id=successor_id, granter=granter)
        self._told(note, (committed.record,))
        self._told_of_retired(note, [each for each in lineage if At(each.key_id, each.version) in plan.retired])
        receipt = await self._announce(committed, wait=wait)
        return IssuedKey(issued.key, committed.record, receipt)

    def _told_of_retired(self, note: Note, retired: Sequence[KeyRecord]) -> None:
        self._told(replace(note, action=Action.REVOKE, reason=_REPLACED), retired)

    async def _lineage(self, record: KeyRecord, *, revoked: bool | None = None) -> list[KeyRecord]:
        """Return the keys of a lineage: all, those that are revoked, or those that are not."""
        query = KeyQuery(tenant=record.tenant, lineage=record.lineage, revoked=revoked, limit=_PAGE)
        found: list[KeyRecord] = []
        while True:
            page = await self._repository.find(query, now=self._clock.wall())
            found += page.records
            if page.next_cursor is None:
                return found
            query = replace(query, cursor=page.next_cursor)

    async def _revoke_lineage(self, record: KeyRecord, *, revocation: Revocation, note: Note, wait: bool) -> Receipt:
        query = KeyQuery(tenant=record.tenant, lineage=record.lineage)
        guard = At(record.key_id, record.version)
        done = await self._repository.revoke_all(query, revocation, now=revocation.at, guard=guard, note=note)
        self._told(note, done.records)
        named = next((each for each in done.records if each.key_id == record.key_id), None)
        changes = list(done.changes)
        if named is None:
            # It was revoked already, perhaps by somebody whose announcement was lost, and the others together with it.
            told = {each.key_id for each in done.changes}
            lineage = await self._lineage(record, revoked=True)
            changes += [change for each in lineage if each.key_id not in told for change in _again(each).changes]
        return await self._announce(Committed(named or record, tuple(changes)), wait=wait)

    async def _revoke_where(self, query: KeyQuery, revocation: Revocation, note: Note, wait: bool) -> BulkReceipt:
        try:
            done = await self._repository.revoke_all(query, revocation, now=revocation.at, note=note)
        except StoreUnavailable as error:
            if error.outcome_unknown:
                await self._announce_all(query, (), wait=wait)
            raise
        self._told(note, done.records)
        # Nothing to do may mean that it was done, by somebody whose announcement was lost.
        receipt = await self._announce_all(query, done.records, done.changes or (_OF_ALL,), wait=wait)
        return BulkReceipt(
            matched=len(done.records),
            key_ids=tuple(each.key_id for each in done.records),
            dry_run=False,
            confirmed=receipt is None or receipt.confirmed,
            workers=0 if receipt is None else receipt.workers,
            acknowledged=0 if receipt is None else receipt.acknowledged,
            elapsed=0.0 if receipt is None else receipt.elapsed,
            max_staleness=0.0 if receipt is None else receipt.max_staleness,
        )

    async def _announce_all(
        self,
        query: KeyQuery,
        records: Sequence[KeyRecord],
        changes: tuple[Change, ...] = (_OF_ALL,),
        *,
        wait: bool,
    ) -> Receipt | None:
        """Announce a change of many keys; None where the query matches none at all, revoked or not."""
        if not records:
            query = replace(query, revoked=None, limit=1)
            records = (await self._repository.find(query, now=self._clock.wall())).records
        return await self._announce(Committed(records[0], changes), wait=wait) if records else None

    async def _prune(self, dead_since: Instant, note: Note) -> int:
        pruned = 0
        while True:
            done = await self._repository.prune(dead_since, limit=_PRUNED_AT_ONCE, note=note)
            pruned += len(done.records)
            if done.records:
                # Nobody let these keys in for a long time, so nobody has to be waited for.
                await self._invalidation.tell(Committed(done.records[-1], done.changes))
            if len(done.records) < _PRUNED_AT_ONCE:
                return pruned

    async def _delete_once(self, record: KeyRecord, *, note: Note, wait: bool) -> Receipt:
        committed = await self._repository.delete(record.key_id, version=record.version, note=note)
        self._told(note, (committed.record,))
        return await self._announce(committed, wait=wait)

    async def _announce(self, committed: Committed, *, wait: bool) -> Receipt:
        if wait:
            return await self._invalidation.announce(committed)
        self._background.spawn(partial(self._invalidation.announce, committed))
        return Receipt(
            record=committed.record,
            confirmed=False,
            workers=0,
            acknowledged=0,
            elapsed=0.0,
            max_staleness=self._invalidation.max_staleness,
        )

    async def _change(
        self,
        key_id: str,
        decide: _Decide,
        version: int | None,
        note: Note,
        whose: _Whose,
        *,
        granter: Grant | None = None,
        wait: bool,
    ) -> Receipt:
        async def attempt(record: KeyRecord) -> Receipt:
            now = self._clock.wall()
            patch = decide(record, now)
            check_grant(self._rights(record if patch is None else _patched(record, patch)), granter)
            if patch is None:
                # It is so already, perhaps by somebody whose announcement was lost: announce it again.
                return await self._announce(_again(record), wait=wait)
            ceilings = self._revival_ceilings(record, patch, now)
            committed = await self._repository.update(
                key_id, patch, version=record.version, note=note, ceilings=ceilings
            )
            self._told(note, (committed.record,))
            return await self._announce(committed, wait=wait)

        return await self._background.run(partial(self._at_version, key_id, attempt, version, whose, wait=wait))

    def _revival_ceilings(self, record: KeyRecord, patch: RecordPatch, now: Instant) -> tuple[Ceiling, ...]:
        """Return what a new end for an expired key must not exceed. Every other change makes no key live."""
        if isinstance(patch.expires_at, Unset) or status_of(record, now) is not Status.EXPIRED:
            return ()
        return (*_lineage_ceiling(record, now), *self._owner_ceiling(record.owner, record.tenant, now))

    def _owner_ceiling(self, owner: str, tenant: str, now: Instant) -> tuple[Ceiling, ...]:
        most = self._max_keys_per_owner
        if most is None:
            return ()
        message = f"an owner has at most {most} live keys: revoke one first"
        within = KeyQuery(owner=owner, tenant=tenant)
        return (Ceiling(within=within, most=most, now=now, lineages=True, message=message),)

    async def _at_version(
        self,
        key_id: str,
        attempt: Callable[[KeyRecord], Awaitable[T]],
        version: int | None,
        whose: _Whose = _ANYBODY,
        *,
        flush: bool = False,
        wait: bool = True,
    ) -> T:
        """Run `attempt` on the current record; again when another change came between, unless a version is named.

        With `flush`, an attempt of unknown outcome may have changed other keys than this one.
        """
        for _ in range(_RACES):
            record = await self._get(key_id, whose)
            if version is not None and record.version != version:
                raise StaleRecord(key_id, version)
            try:
                return await attempt(record)
            except StaleRecord:
                if version is not None:
                    raise
            except StoreUnavailable as error:
                if error.outcome_unknown:
                    # It may have been made all the same, and then nobody else would ever tell the caches.
                    await self._announce(Committed(record, (_OF_ALL,)) if flush else _again(record), wait=wait)
                raise
        raise StoreUnavailable("the key keeps changing")

    async def _stored(
        self,
        request: KeyRequest,
        store: Callable[[KeyRecord], Awaitable[Committed]],
        *,
        replaces: KeyRecord | None = None,
        key_id: str | None = None,
        granter: Grant | None = None,
    ) -> tuple[IssuedKey, Committed]:
        """Make up a key and store its record; an id that is taken (one in 62**12) is made up anew, if it may be."""
        environment = lifecycle.environment(request.environment or self._environment)
        for _ in range(_COLLISIONS):
            new = self._generator.generate(environment, key_id=key_id)
            record = lifecycle.record_of(
                request,
                key_id=new.key_id,
                digest=await self._hasher.hash(new.key.encode()),
                hint=new.hint,
                environment=environment,
                now=self._clock.wall(),
                replaces=None if replaces is None else replaces.key_id,
                lineage="" if replaces is None else replaces.lineage,
            )
            check_grant(self._rights(record), granter)
            try:
                committed = await store(record)
            except KeyExists:
                if key_id is not None:
                    raise
                continue
            return IssuedKey(new.key, committed.record), committed
        raise StoreUnavailable("no free key id was found")


def _as_it_is(record: KeyRecord) -> KeyRecord:
    return record


def _unheard(note: Note, records: Sequence[KeyRecord]) -> None:
    """Nobody wants to know."""


def _patched(record: KeyRecord, patch: RecordPatch) -> KeyRecord:
    return replace(record, **cast("dict[str, Any]", patch.columns()))


def _lineage_ceiling(record: KeyRecord, now: Instant) -> tuple[Ceiling, ...]:
    within = KeyQuery(tenant=record.tenant, lineage=record.lineage)
    message = f"the lineage of a key has at most {MOST_LIVE} live keys"
    return (Ceiling(within=within, most=MOST_LIVE, now=now, message=message),)


def _again(record: KeyRecord) -> Committed:
    return Committed(record, (Change(0, record.key_id, record.version),))
