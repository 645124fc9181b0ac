"""The nouns: what is stored about a key, what a request becomes, what the verbs take and give back.

All values are frozen and slotted, so caches may share one among many requests. Times are `Instant` (Unix
seconds) or `Seconds`; they become RFC 3339 text only at HTTP and at the command line.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Instant: TypeAlias = float
"""A point in time: Unix seconds, UTC, leap seconds ignored as POSIX does."""

Seconds: TypeAlias = float
"""A duration."""

MINUTE: Final[Seconds] = 60.0
HOUR: Final[Seconds] = 3_600.0
DAY: Final[Seconds] = 86_400.0

JSONValue: TypeAlias = "str | int | float | bool | None | Sequence[JSONValue] | Mapping[str, JSONValue]"
Metadata: TypeAlias = Mapping[str, JSONValue]

NO_METADATA: Final[Metadata] = MappingProxyType({})


class Unset(enum.Enum):
    """The type of `UNSET`: "leave this as it is", where `None` already means "no value"."""

    UNSET = enum.auto()


UNSET: Final = Unset.UNSET


class Status(enum.StrEnum):
    """Where a key stands at one instant, for people and filters; the request path uses the facts instead."""

    ACTIVE = "active"
    NOT_YET_VALID = "not_yet_valid"
    DISABLED = "disabled"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Lane(enum.Enum):
    """Which share of the bounded resources a verification may use."""

    PROVEN = enum.auto()
    """The presented key has matched a stored digest before."""
    STRANGER = enum.auto()
    """Never seen, or never right."""


def frozen_json(value: JSONValue) -> JSONValue:
    """Return `value` with every mapping and list in it made read-only, so caches can share it."""
    if isinstance(value, Mapping):
        return frozen_metadata(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(frozen_json(item) for item in value)
    return value


def frozen_metadata(value: Metadata) -> Metadata:
    """Return a read-only copy of a JSON object, all the way down."""
    return MappingProxyType({key: frozen_json(item) for key, item in value.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What the repository holds about one key.

    Attributes:
        key_id: Public, unique, safe in logs.
        digest: The self-describing digest of the whole key; never in a repr.
        version: +1 with every change that matters for security; starts at 1.
        owner: The account the key belongs to.
        tenant: The isolation boundary around owners; "" is the default tenant.
        environment: `live`, `test`, …; a key works in its own environment only.
        hint: Last four characters of the key, to help a person tell keys apart.
        disabled_at: Set while the key is switched off (reversible).
        revoked_at: Set once, for good.
        not_before: The key does not work before this instant.
        expires_at: The key does not work from this instant on; None means no end.
        replaces: Key id of the key that this one succeeds.
        last_used_at: Approximate, see `usage`.
        uses: Accepted requests, approximate, see `usage`.
    """

    key_id: str
    digest: str = field(repr=False)
    version: int = 1
    owner: str
    tenant: str = ""
    environment: str = "live"
    name: str = ""
    description: str = ""
    hint: str = ""
    scopes: frozenset[str] = frozenset()
    created_at: Instant
    created_by: str = ""
    not_before: Instant | None = None
    expires_at: Instant | None = None
    disabled_at: Instant | None = None
    revoked_at: Instant | None = None
    revoked_by: str = ""
    revoke_reason: str = ""
    replaces: str | None = None
    last_used_at: Instant | None = None
    uses: int = 0
    metadata: Metadata = field(default_factory=lambda: NO_METADATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a request speaks for, after verification: the value in `scope["state"]["api_key"]`.

    It also answers what Starlette expects of `request.user`.
    """

    key_id: str
    owner: str
    tenant: str = ""
    environment: str = "live"
    name: str = ""
    scopes: frozenset[str] = frozenset()
    metadata: Metadata = field(default_factory=lambda: NO_METADATA)
    expires_at: Instant | None = None
    method: Literal["api_key", "jwt"] = "api_key"

    @property
    def is_authenticated(self) -> bool:
        """Always true: an anonymous request has no principal at all."""
        return True

    @property
    def display_name(self) -> str:
        """The key's name, else its owner."""
        return self.name or self.owner

    @property
    def identity(self) -> str:
        """The owner: stable across rotations of the key."""
        return self.owner


@dataclass(frozen=True, slots=True)
class Verdict:
    """The cached outcome of accepting a presented key.

    Attributes:
        version: Of the record it was read from.
        deadline: On the monotonic clock; not used from then on, whatever else happens.
        ends_at: On the wall clock: when the key itself ends, or None. Looked at separately,
            because the wall clock may be set forward while the verdict is cached.
    """

    principal: Principal
    version: int
    deadline: Seconds
    ends_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """What is asked for when a key is issued. `issuer` checks it.

    Attributes:
        expires_in: Seconds from now; at most one of this and `expires_at`.
        environment: None means the issuer's own.
    """

    owner: str
    tenant: str = ""
    environment: str | None = None
    name: str = ""
    description: str = ""
    scopes: frozenset[str] = frozenset()
    not_before: Instant | None = None
    expires_at: Instant | None = None
    expires_in: Seconds | None = None
    created_by: str = ""
    metadata: Metadata = field(default_factory=lambda: NO_METADATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPatch:
    """The columns of a record that one guarded update sets; `UNSET` ones stay as they are.

    There is no way to write a whole record back, so nothing can overwrite a field by accident.
    """

    name: str | Unset = UNSET
    description: str | Unset = UNSET
    scopes: frozenset[str] | Unset = UNSET
    not_before: Instant | None | Unset = UNSET
    expires_at: Instant | None | Unset = UNSET
    disabled_at: Instant | None | Unset = UNSET
    revoked_at: Instant | Unset = UNSET
    revoked_by: str | Unset = UNSET
    revoke_reason: str | Unset = UNSET
    metadata: Metadata | Unset = UNSET

    def columns(self) -> dict[str, object]:
        """The set fields by name, in declaration order."""
        named = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in named if value is not UNSET}


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the change feed: `key_id` is at `version` since feed position `seq`.

    Positions count from 1; 0 stands for a change that is only told again.
    """

    seq: int
    key_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What a write transaction left behind.

    Attributes:
        record: The record after the change; for a deletion, as it was, with the version of its tombstone.
        changes: The feed rows committed with it, oldest first.
    """

    record: KeyRecord
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """Accepted requests of one key since the last flush.

    Attributes:
        uses: How many, at least 1.
        last_used_at: When the newest of them was counted.
    """

    key_id: str
    uses: int
    last_used_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is known about a change's effect when the verb returns.

    Attributes:
        record: The record after the change.
        confirmed: True: no worker accepts what the change forbids in a request first sent after this.
        workers: How many workers could have held an older verdict.
        acknowledged: How many of them said that they have dropped it.
        elapsed: Seconds between the commit and this receipt.
        max_staleness: An unconfirmed change holds everywhere this many seconds after the commit. 0 when confirmed.
    """

    record: KeyRecord
    confirmed: bool
    workers: int
    acknowledged: int
    elapsed: Seconds
    max_staleness: Seconds


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. This is the only place where the whole key exists; it cannot be shown again.

    Attributes:
        key: The whole key; not in the repr.
        record: What the repository keeps of it.
        receipt: Of the change to the replaced key, when this came from a rotation.
    """

    key: str = field(repr=False)
    record: KeyRecord
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuery:
    """Which records to find; None means "any". Newest first.

    Attributes:
        limit: Page size, 1 to 100.
        cursor: `KeyPage.next_cursor` of the page before.
    """

    owner: str | None = None
    tenant: str | None = None
    environment: str | None = None
    status: Status | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of records.

    Attributes:
        next_cursor: Opaque; None on the last page.
    """

    records: tuple[KeyRecord, ...]
    next_cursor: str | None
