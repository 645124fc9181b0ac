"""What commands work on: a store of their own, or a server that has one. The same questions, the same answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlencode

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.documents import change_of, entry_of, principal_of, record_of
from asgi_apikey.cli.output import record_fields
from asgi_apikey.cli.proving import proven_record
from asgi_apikey.cli.remote import RemoteKeys, read
from asgi_apikey.errors import ConfigurationError, InvalidKey, InvalidRequest, KeyNotFound, MissingScope
from asgi_apikey.models import AuditEntry, Change, JSONValue, KeyRecord, Principal
from asgi_apikey.paths import is_plain
from asgi_apikey.policy import missing_scopes, restrictions_of
from asgi_apikey.protocols import Clock
from asgi_apikey.verification import principal_of as principal_of_record
from asgi_apikey.verification import rejection_of

Verbs: TypeAlias = APIKeys | RemoteKeys
"""Whoever does what is to be done to keys."""

ACTIONS: Final = ("audit", "read", "revoke", "verify", "write")
_NO_KEY: Final = "ready"
"""Shorter than any key id."""
_PAGE: Final = 1_000
_RESTRICTED: Final = frozenset({"network_not_allowed", "origin_not_allowed", "route_not_allowed"})


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a presented key is needed for.

    Attributes:
        address: Of who has presented it.
        method: Of the request.
        path: The same.
        origin: What the request's `Origin` says.
    """

    scopes: tuple[str, ...] = ()
    address: str | None = None
    method: str | None = None
    path: str | None = None
    origin: str | None = None

    @property
    def somewhere(self) -> bool:
        """Whether something is known of the request; if not, where a key may be used is not asked."""
        return any(each is not None for each in (self.address, self.method, self.path, self.origin))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a presented key is accepted.

    Attributes:
        principal: Whom it speaks for; None: it was rejected before that could be told.
        reason: Why it is not accepted; None: it is.
        key_id: Its id, where it had a readable one.
    """

    principal: Principal | None
    reason: str | None
    key_id: str | None


class Desk(Protocol):
    """A store, or a server."""

    @property
    def keys(self) -> Verbs:
        """Does the verbs."""
        ...

    async def prove(self, presented: bytes) -> KeyRecord:
        """Return the record of a presented key, once the secret has matched.

        Raises:
            InvalidKey: It has not; a server says the same of keys that are not active.
        """
        ...

    async def judge(self, presented: bytes, occasion: Occasion) -> Judgement:
        """Say whether a presented key is accepted."""
        ...

    async def caller(self) -> Mapping[str, JSONValue]:
        """Return who asks, and what he may do."""
        ...

    async def ready(self) -> None:
        """Return if the store answers.

        Raises:
            StoreUnavailable: It does not.
        """
        ...

    async def entries(self, count: int, *, key_id: str | None) -> Sequence[AuditEntry]:
        """Return the newest entries of the audit, the newest last."""
        ...

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """Return rows of the change feed from a position on."""
        ...


class StoreDesk:
    """Works on the store itself.

    Args:
        keys: Opened.
        environment: Whose keys are accepted.
        clock: Tells when.
    """

    def __init__(self, keys: APIKeys, *, environment: str, clock: Clock) -> None:
        self._keys = keys
        self._environment = environment
        self._wall: Callable[[], float] = clock.wall

    @property
    def keys(self) -> Verbs:
        """Does the verbs."""
        return self._keys

    async def prove(self, presented: bytes) -> KeyRecord:
        """Return the record, whatever its standing."""
        return await proven_record(self._keys, presented)

    async def judge(self, presented: bytes, occasion: Occasion) -> Judgement:
        """Say whether a presented key is accepted, and if not, why."""
        try:
            record = await self.prove(presented)
        except InvalidKey as rejection:
            return Judgement(None, rejection.reason, rejection.key_id)
        rejection_ = rejection_of(record, environment=self._environment, now=self._wall())
        if rejection_ is not None:
            return Judgement(None, rejection_.reason, rejection_.key_id)
        return Judgement(principal_of_record(record), _refusal(record, occasion), record.key_id)

    async def caller(self) -> Mapping[str, JSONValue]:
        """Whoever has the store may do everything."""
        nobody: dict[str, JSONValue] = {"actor": "", "owner": None, "tenant": None}
        return nobody | {"actions": ACTIONS, "scopes": ["*", "apikeys:*"], "until": None, "key": None}

    async def ready(self) -> None:
        """Ask for a key that does not exist."""
        with suppress(KeyNotFound):
            await self._keys.get(_NO_KEY)

    async def entries(self, count: int, *, key_id: str | None) -> Sequence[AuditEntry]:
        """Return the newest entries."""
        return await self._keys.audit.tail(count, key_id=key_id)

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """Return rows of the change feed."""
        return await self._keys.repository.audit.changes(since, limit=limit)


class ServerDesk:
    """Asks a server.

    Args:
        keys: Of the server.
        clock: Tells how keys stand.
    """

    def __init__(self, keys: RemoteKeys, *, clock: Clock) -> None:
        self._keys = keys
        self._wall: Callable[[], float] = clock.wall

    @property
    def keys(self) -> Verbs:
        """Does the verbs."""
        return self._keys

    async def prove(self, presented: bytes) -> KeyRecord:
        """Return the record of an active key."""
        judgement = await self.judge(presented, Occasion())
        if judgement.key_id is None:
            raise InvalidKey
        return await self._keys.get(judgement.key_id)

    async def judge(self, presented: bytes, occasion: Occasion) -> Judgement:
        """Say whether a presented key is accepted. The server does not say why one is rejected."""
        body: dict[str, JSONValue] = {"key": presented.decode(errors="replace"), "scopes": occasion.scopes}
        body |= {"address": occasion.address, "method": occasion.method, "path": occasion.path}
        body |= {} if occasion.origin is None else {"origin": occasion.origin}
        document = await self._keys.ask("POST", "/verify", body)
        if "key_id" not in document:
            return Judgement(None, InvalidKey.reason, None)
        reason = document.get("refusal")
        if reason in _RESTRICTED and not occasion.somewhere:
            reason = None
        return Judgement(read(principal_of, document), reason, str(document["key_id"]))

    async def caller(self) -> Mapping[str, JSONValue]:
        """Return what the server knows of the token."""
        document = await self._keys.ask("GET", "/me")
        names = ("actor", "owner", "tenant", "actions", "scopes", "until")
        if not set(names) <= set(document):
            raise ConfigurationError("the server does not say who asks; is it the management API?")
        key = document.get("key")
        shown = None if key is None else record_fields(read(record_of, key), self._wall())
        return {name: document[name] for name in names} | {"key": shown}

    async def ready(self) -> None:
        """Ask the server whether its store answers; needs no token."""
        await self._keys.ask("GET", "/ready", anybody=True)

    async def entries(self, count: int, *, key_id: str | None) -> Sequence[AuditEntry]:
        """Return the newest entries, page by page."""
        found: list[AuditEntry] = []
        before: int | None = None
        while len(found) < count:
            query: dict[str, str | int] = {"limit": min(_PAGE, count - len(found))}
            query |= {} if before is None else {"before": before}
            query |= {} if key_id is None else {"key_id": key_id}
            document = await self._keys.ask("GET", f"/audit?{urlencode(query)}", key_id=key_id or "")
            found += read(lambda told: list(map(entry_of, told["entries"])), document)
            before = document.get("next_before")
            if before is None:
                break
        return found[::-1]

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """Return rows of the change feed."""
        document = await self._keys.ask("GET", f"/changes?{urlencode({'since': since, 'limit': limit})}")
        return read(lambda told: list(map(change_of, told["changes"])), document)


def _refusal(record: KeyRecord, occasion: Occasion) -> str | None:
    """Return why a good key is not accepted on this occasion, by the rule of the management API."""
    if missing_scopes(record.scopes, occasion.scopes):
        return MissingScope.code
    try:
        restrictions = restrictions_of(record.networks, record.routes, record.origins)
    except InvalidRequest as error:
        raise ConfigurationError(f"the restrictions of key {record.key_id} cannot be read") from error
    if restrictions is None or not occasion.somewhere:
        return None
    path = occasion.path if occasion.path is not None and is_plain(occasion.path) else None
    refusal = restrictions.refusal(
        address=occasion.address, method=occasion.method or "", path=path, origin=occasion.origin
    )
    return None if refusal is None else refusal.code
