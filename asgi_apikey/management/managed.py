"""What the management API needs to know about keys; `APIKeys` does all of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, Unpack

from asgi_apikey.grants import Grant
from asgi_apikey.models import (
    Actor,
    BulkReceipt,
    Criteria,
    HourlyUsage,
    Instant,
    IssuedKey,
    KeyPage,
    KeyRecord,
    Metadata,
    Receipt,
    Seconds,
    Unset,
)
from asgi_apikey.protocols import AuditLog, KeyArchive

# The verbs are explained where they are made: in `issuer` and `apikeys`.
# ruff: noqa: D102


class Stored(Protocol):
    """The part of a repository that is read as it is."""

    @property
    def archive(self) -> KeyArchive:
        """All records, by key id."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The audit, and the change feed."""
        ...


class ManagedKeys(Protocol):
    """The verbs. Each reads the repository, never what a process remembers."""

    @property
    def repository(self) -> Stored:
        """Where the keys live."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def verify(self, presented: bytes, *, client: str | None = None) -> KeyRecord: ...

    async def get(self, key_id: str, *, owner: str | None = None, tenant: str | None = None) -> KeyRecord: ...

    async def find(self, *, limit: int = 50, cursor: str | None = None, **criteria: Unpack[Criteria]) -> KeyPage: ...

    async def count(self, **criteria: Unpack[Criteria]) -> int: ...

    async def usage(
        self, key_id: str, *, since: Instant | None = None, until: Instant | None = None
    ) -> Sequence[HourlyUsage]: ...

    async def issue(
        self,
        *,
        owner: str,
        tenant: str = "",
        environment: str | None = None,
        name: str = "",
        description: str = "",
        scopes: Iterable[str] = (),
        not_before: Instant | None = None,
        expires_at: Instant | None = None,
        expires_in: Seconds | None = None,
        created_by: str = "",
        metadata: Metadata = ...,
        tags: Iterable[str] = (),
        networks: Iterable[str] = (),
        routes: Iterable[str] = (),
        limits: Iterable[str] = (),
        origins: Iterable[str] = (),
        key_id: str | None = None,
        granter: Grant | None = None,
        actor: Actor = ...,
    ) -> IssuedKey: ...

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
        actor: Actor = ...,
    ) -> IssuedKey: ...

    async def amend(
        self,
        key_id: str,
        *,
        name: str | Unset = ...,
        description: str | Unset = ...,
        scopes: Iterable[str] | Unset = ...,
        metadata: Metadata | Unset = ...,
        not_before: Instant | Unset | None = ...,
        expires_at: Instant | Unset | None = ...,
        tags: Iterable[str] | Unset = ...,
        networks: Iterable[str] | Unset = ...,
        routes: Iterable[str] | Unset = ...,
        limits: Iterable[str] | Unset = ...,
        origins: Iterable[str] | Unset = ...,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        granter: Grant | None = None,
        wait: bool = True,
        actor: Actor = ...,
    ) -> Receipt: ...

    async def disable(
        self,
        key_id: str,
        *,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        wait: bool = True,
        actor: Actor = ...,
    ) -> Receipt: ...

    async def enable(
        self,
        key_id: str,
        *,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        granter: Grant | None = None,
        wait: bool = True,
        actor: Actor = ...,
    ) -> Receipt: ...

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
        actor: Actor = ...,
    ) -> Receipt: ...

    async def revoke_where(
        self,
        *,
        by: str = "",
        reason: str = "",
        dry_run: bool = False,
        wait: bool = True,
        actor: Actor = ...,
        **criteria: Unpack[Criteria],
    ) -> BulkReceipt: ...

    async def delete(
        self,
        key_id: str,
        *,
        version: int | None = None,
        owner: str | None = None,
        tenant: str | None = None,
        wait: bool = True,
        actor: Actor = ...,
    ) -> Receipt: ...
