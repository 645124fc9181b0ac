"""Taking in a key that was made elsewhere: its holder has it already, and here only a digest of it is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from asgi_apikey import lifecycle
from asgi_apikey.background import Background
from asgi_apikey.errors import KeyExists
from asgi_apikey.grants import Grant, check_grant
from asgi_apikey.models import Action, Actor, KeyRecord, KeyRequest, Lane, Note, Seal
from asgi_apikey.protocols import Clock, Hasher, Invalidation, KeyRepository

_NOBODY = Actor()
_HINT = 4


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of a key that was to be adopted.

    Attributes:
        record: What the store holds of it.
        added: Whether it was not there before.
    """

    record: KeyRecord
    added: bool


class Adopter:
    """Stores keys that exist already; doing so again changes nothing.

    Args:
        repository: Where records live.
        hasher: Makes and compares digests.
        invalidation: Told about every new key.
        clock: Tells when.
        environment: Of keys that are adopted without naming one.
        background: Where the changes run, so that a cancelled caller leaves nothing unannounced.
        seal: Chains the entries of the audit; None: with plain SHA-256.
        told: Is called when a key is stored, with what the audit keeps of it and the record; must not suspend or raise.
        rights: Makes of a record one with all that it might do, for whoever judges what may be handed on.
    """

    def __init__(
        self,
        repository: KeyRepository,
        hasher: Hasher,
        *,
        invalidation: Invalidation,
        clock: Clock,
        environment: str,
        background: Background,
        seal: Seal | None = None,
        told: Callable[[Note, Sequence[KeyRecord]], None] | None = None,
        rights: Callable[[KeyRecord], KeyRecord] | None = None,
    ) -> None:
        self._repository = repository
        self._hasher = hasher
        self._invalidation = invalidation
        self._clock = clock
        self._environment = environment
        self._background = background
        self._seal = seal
        self._told = told
        self._rights = rights

    async def adopt(
        self,
        key_id: str,
        key: str,
        request: KeyRequest,
        *,
        granter: Grant | None = None,
        actor: Actor = _NOBODY,
    ) -> Adopted:
        """Store a key, or find it stored: then its record stays as it is, also if it was revoked or amended.

        Args:
            key_id: Its public id.
            key: The whole key; whoever has it is let in, so it must not be one that can be guessed.
            request: Whose it is and what it may do.
            granter: What the key may do at most; None: anything.
            actor: Who wants it, for the audit; without a name, `created_by` is.

        Raises:
            KeyExists: Another key has this id.
            InvalidRequest: A value that a key cannot have.
            GrantExceeded: It could do more than the granter.
            StoreUnavailable: The repository did not answer.
            Overloaded: The queue of a slow hasher is full.
        """
        return await self._background.run(partial(self._adopt, key_id, key, request, granter, actor))

    async def _adopt(self, key_id: str, key: str, request: KeyRequest, granter: Grant | None, actor: Actor) -> Adopted:
        found = await self._repository.get(key_id)
        if found is None:
            try:
                return Adopted(await self._added(key_id, key, request, granter, actor), added=True)
            except KeyExists:
                # Another process that starts at this moment has the same keys to adopt.
                found = await self._repository.get(key_id)
        if found is None or not await self._hasher.verify(key.encode(), found.digest, lane=Lane.PROVEN):
            raise KeyExists(key_id)
        return Adopted(found, added=False)

    async def _added(
        self, key_id: str, key: str, request: KeyRequest, granter: Grant | None, actor: Actor
    ) -> KeyRecord:
        now = self._clock.wall()
        record = lifecycle.record_of(
            request,
            key_id=key_id,
            digest=await self._hasher.hash(key.encode()),
            hint=key[-_HINT:],
            environment=lifecycle.environment(request.environment or self._environment),
            now=now,
            lineage=key_id,
        )
        check_grant(record if self._rights is None else self._rights(record), granter)
        name = lifecycle.line(actor.name, "actor", most=lifecycle.MAX_NAME) or request.created_by
        occasion = lifecycle.line(actor.correlation_id, "correlation_id", most=lifecycle.MAX_NAME)
        note = Note(action=Action.ADOPT, actor=Actor(name, occasion), at=now, seal=self._seal)
        committed = await self._repository.add(record, note=note)
        if self._told is not None:
            self._told(note, (committed.record,))
        await self._invalidation.tell(committed)
        return committed.record
