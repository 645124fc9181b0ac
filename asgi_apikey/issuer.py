"""The verbs of a key's life: issue, rotate, amend, disable, enable, revoke, delete; and finding keys.

Each verb reads the record, decides (`lifecycle`), writes one guarded transaction, and announces the change. All of
that runs in a task of its own, so that a cancelled request never leaves a change unannounced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol, TypeVar

from asgi_apikey import lifecycle
from asgi_apikey.background import Background
from asgi_apikey.errors import KeyExists, KeyNotFound, StaleRecord, StoreUnavailable
from asgi_apikey.models import (
    DAY,
    UNSET,
    Change,
    Committed,
    Instant,
    IssuedKey,
    KeyPage,
    KeyQuery,
    KeyRecord,
    KeyRequest,
    Metadata,
    Receipt,
    RecordPatch,
    Seconds,
    Unset,
)
from asgi_apikey.protocols import Clock, Hasher, Invalidation, KeyRepository

T = TypeVar("T")

_COLLISIONS = 5
_RACES = 20


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

    def generate(self, environment: str) -> NewKey:
        """Make up a new random key of this environment."""
        ...


_Decide = Callable[[KeyRecord, Instant], RecordPatch | None]


class Issuer:
    """Makes, finds and changes keys.

    Every method raises StoreUnavailable when the repository does not answer; its `outcome_unknown` tells whether
    the change may have been made all the same. Where a `version` can be given, the change is made only if the
    record is still at it (StaleRecord otherwise); without one, whatever version is current is changed.

    Args:
        repository: Where records live.
        hasher: Makes the digests of new keys.
        generator: Makes up new keys.
        invalidation: Told about every change.
        clock: Tells when.
        environment: Of keys that are issued without naming one.
        background: Where the changes run.
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
    ) -> None:
        self._repository = repository
        self._hasher = hasher
        self._generator = generator
        self._invalidation = invalidation
        self._clock = clock
        self._environment = environment
        self._background = background

    async def issue(self, request: KeyRequest) -> IssuedKey:
        """Make a new key. The returned value is the only place where the whole key ever stands.

        Raises:
            InvalidRequest: A value that a key cannot have.
            Overloaded: The queue of a slow hasher is full.
        """
        return await self._background.run(partial(self._issue, request))

    async def rotate(
        self, key_id: str, *, grace: Seconds = DAY, created_by: str = "", version: int | None = None
    ) -> IssuedKey:
        """Make a successor with the same rights.

        The replaced key works for `grace` more seconds, but never longer than it would have. The
        successor gets the lifetime that the replaced key was given. After a leak, rotate with `grace=0`.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key is not active, or the grace is negative.
            StaleRecord: The key is no longer at `version`.
        """
        return await self._background.run(partial(self._rotate, key_id, grace, created_by, version))

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
        version: int | None = None,
    ) -> Receipt:
        """Change what is given and leave the rest; `None` removes an instant.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: A value that a key cannot have, or the key is revoked.
            StaleRecord: The key is no longer at `version`.
        """
        patch = RecordPatch(
            name=name,
            description=description,
            scopes=scopes if isinstance(scopes, Unset) else lifecycle.scopes(scopes),
            metadata=metadata,
            not_before=not_before,
            expires_at=expires_at,
        )
        return await self._change(key_id, lambda record, now: lifecycle.amendment(record, patch, now), version)

    async def disable(self, key_id: str, *, version: int | None = None) -> Receipt:
        """Switch a key off until it is enabled again.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key is revoked.
            StaleRecord: The key is no longer at `version`.
        """
        return await self._change(key_id, lifecycle.disabling, version)

    async def enable(self, key_id: str, *, version: int | None = None) -> Receipt:
        """Switch a disabled key on.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key is revoked.
            StaleRecord: The key is no longer at `version`.
        """
        return await self._change(key_id, lifecycle.enabling, version)

    async def revoke(self, key_id: str, *, by: str = "", reason: str = "", version: int | None = None) -> Receipt:
        """End a key for good; the record stays. Revoking it again announces it again.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: A reason or actor that cannot be kept.
            StaleRecord: The key is no longer at `version`.
        """
        return await self._change(key_id, partial(lifecycle.revocation, by=by, reason=reason), version)

    async def delete(self, key_id: str, *, version: int | None = None) -> Receipt:
        """Remove a key and its record. To end a key, revoke it: that keeps the record.

        Raises:
            KeyNotFound: No such key.
            StaleRecord: The key is no longer at `version`.
        """
        return await self._background.run(partial(self._delete, key_id, version))

    async def get(self, key_id: str) -> KeyRecord:
        """Return the record of a key.

        Raises:
            KeyNotFound: No such key.
        """
        record = await self._repository.get(key_id)
        if record is None:
            raise KeyNotFound(key_id)
        return record

    async def find(self, query: KeyQuery) -> KeyPage:
        """Return one page of records, newest first.

        Raises:
            InvalidRequest: The cursor or the limit is not a possible one.
        """
        return await self._repository.find(query, now=self._clock.wall())

    async def _issue(self, request: KeyRequest) -> IssuedKey:
        issued, committed = await self._stored(request, self._repository.add)
        await self._invalidation.announce(committed)
        return issued

    async def _rotate(self, key_id: str, grace: Seconds, created_by: str, version: int | None) -> IssuedKey:
        async def attempt(record: KeyRecord) -> IssuedKey:
            now = self._clock.wall()
            ending = lifecycle.succession(record, now, grace=grace)
            request = lifecycle.successor(record, now, created_by=created_by)
            store = partial(self._repository.replace, key_id, ending, version=record.version)
            issued, committed = await self._stored(request, store, replaces=key_id)
            receipt = await self._invalidation.announce(committed)
            return IssuedKey(issued.key, committed.record, receipt)

        return await self._at_version(key_id, attempt, version)

    async def _delete(self, key_id: str, version: int | None) -> Receipt:
        async def attempt(record: KeyRecord) -> Receipt:
            committed = await self._repository.delete(key_id, version=record.version)
            return await self._invalidation.announce(committed)

        return await self._at_version(key_id, attempt, version)

    async def _change(self, key_id: str, decide: _Decide, version: int | None) -> Receipt:
        async def attempt(record: KeyRecord) -> Receipt:
            patch = decide(record, self._clock.wall())
            if patch is None:
                # It is so already, perhaps by somebody whose announcement was lost: announce it again.
                return await self._invalidation.announce(_again(record))
            committed = await self._repository.update(key_id, patch, version=record.version)
            return await self._invalidation.announce(committed)

        return await self._background.run(partial(self._at_version, key_id, attempt, version))

    async def _at_version(self, key_id: str, attempt: Callable[[KeyRecord], Awaitable[T]], version: int | None) -> T:
        """Run `attempt` on the current record; again when another change came between, unless a version is named."""
        for _ in range(_RACES):
            record = await self.get(key_id)
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
                    await self._invalidation.announce(_again(record))
                raise
        raise StoreUnavailable("the key keeps changing")

    async def _stored(
        self,
        request: KeyRequest,
        store: Callable[[KeyRecord], Awaitable[Committed]],
        *,
        replaces: str | None = None,
    ) -> tuple[IssuedKey, Committed]:
        """Make up a key and store its record; an id that is taken (one in 62**12) is made up anew."""
        environment = lifecycle.environment(request.environment or self._environment)
        for _ in range(_COLLISIONS):
            new = self._generator.generate(environment)
            record = lifecycle.record_of(
                request,
                key_id=new.key_id,
                digest=await self._hasher.hash(new.key.encode()),
                hint=new.hint,
                environment=environment,
                now=self._clock.wall(),
                replaces=replaces,
            )
            try:
                committed = await store(record)
            except KeyExists:
                continue
            return IssuedKey(new.key, committed.record), committed
        raise StoreUnavailable("no free key id was found")


def _again(record: KeyRecord) -> Committed:
    return Committed(record, (Change(0, record.key_id, record.version),))
