"""The nouns: what is stored about a key, what a request becomes, what the verbs take and give back.

All values are frozen and slotted, so caches may share one among many requests. Times are `Instant` (Unix
seconds) or `Seconds`; they become RFC 3339 text only at HTTP and at the command line.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Literal, Protocol, TypeAlias, TypedDict

from asgi_apikey.errors import AuthenticationError
from asgi_apikey.frozen import FrozenObject
from asgi_apikey.measures import Meter

Instant: TypeAlias = float
"""A point in time: Unix seconds, UTC, leap seconds ignored as POSIX does."""

Seconds: TypeAlias = float
"""A duration."""

MINUTE: Final[Seconds] = 60.0
HOUR: Final[Seconds] = 3_600.0
DAY: Final[Seconds] = 86_400.0

JSONValue: TypeAlias = "str | int | float | bool | None | Sequence[JSONValue] | Mapping[str, JSONValue]"
Metadata: TypeAlias = Mapping[str, JSONValue]

FLUSH_ALL_FROM: Final = 1_000
"""The most keys that one change tells about one by one."""

NO_METADATA: Final[Metadata] = FrozenObject()


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
    if isinstance(value, FrozenObject):
        return value
    return FrozenObject({key: frozen_json(item) for key, item in value.items()})


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
        lineage: Key id of the first key of the chain of rotations; left out, the key begins its own.
        tags: For finding keys and acting on many at once; they grant nothing.
        networks: Where the key may be used from, see `policy`; empty means everywhere.
        routes: What the key may be used for, see `policy`; empty means everything.
        limits: How much it may be used, see `limits`; empty means as much as the deployment lets any key be.
        origins: The web pages that the key may be used from, see `origins`; empty means all, and what is no page.
        last_used_at: Approximate, see `usage`.
        uses: Requests whose key was verified, approximate, see `usage`. What the key was then refused for, such as a
            missing scope, a network or a route (403), is counted too: the key was used.
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
    metadata: Metadata = NO_METADATA
    lineage: str = ""
    tags: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    limits: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.lineage:
            object.__setattr__(self, "lineage", self.key_id)


class Restricting(Protocol):
    """Where and for what a key may be used, ready to be asked; `policy` makes it."""

    def refusals(
        self, *, address: str | None, method: str, path: str | None, origin: str | None
    ) -> Sequence[AuthenticationError]:
        """Return each reason for which a request is refused; none: it is not.

        Args:
            address: Of the client; None if it has none, or it is unknown.
            method: In capitals; `WEBSOCKET` for a handshake.
            path: Decoded; None if its spelling is odd.
            origin: What the one `Origin` says; None if there is none, or more than one.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a request speaks for, after verification: the value in `scope["state"]["api_key"]`.

    It also answers what Starlette expects of `request.user`.

    Attributes:
        restrictions: Where and for what the key may be used; None means everywhere and everything, and no limits.
        limits: What is counted for each request; None means nothing.
        account: What `resolve_owner` said about the owner; None without such a hook.
    """

    key_id: str
    owner: str
    tenant: str = ""
    environment: str = "live"
    name: str = ""
    scopes: frozenset[str] = frozenset()
    metadata: Metadata = NO_METADATA
    expires_at: Instant | None = None
    method: Literal["api_key", "jwt"] = "api_key"
    restrictions: Restricting | None = field(default=None, repr=False)
    account: Metadata | None = None
    limits: tuple[Meter, ...] | None = field(default=None, repr=False)

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
class Account:
    """What the application said about an owner.

    Attributes:
        facts: For `Principal.account`.
        deadline: On the monotonic clock; not used from then on.
    """

    facts: Metadata | None
    deadline: Seconds


@dataclass(slots=True, eq=False)
class Tally:
    """What a key was used for since its uses were last written: the one thing a request changes.

    Attributes:
        key_id: The key.
        uses: Accepted requests; a float, which the interpreter adds without allocating a new kind.
        last: On the monotonic clock; the latest of them.
        open_until: On the monotonic clock; past it, whoever keeps the tallies must be told of the next use.
    """

    key_id: str
    uses: float = 0.0
    last: Seconds = 0.0
    open_until: Seconds = -math.inf


@dataclass(frozen=True, slots=True)
class Verdict:
    """The cached outcome of accepting a presented key.

    Attributes:
        version: Of the record it was read from.
        deadline: On the monotonic clock; not used from then on, whatever else happens.
        ends_at: On the wall clock: when the key itself ends, or None. Looked at separately,
            because the wall clock may be set forward while the verdict is cached.
        tally: Where its uses are counted.
    """

    principal: Principal
    version: int
    deadline: Seconds
    ends_at: Instant | None
    tally: Tally


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
    metadata: Metadata = NO_METADATA
    tags: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    limits: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()


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
    tags: frozenset[str] | Unset = UNSET
    networks: frozenset[str] | Unset = UNSET
    routes: frozenset[str] | Unset = UNSET
    limits: frozenset[str] | Unset = UNSET
    origins: frozenset[str] | Unset = UNSET

    def columns(self) -> dict[str, object]:
        """The set fields by name, in declaration order."""
        named = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in named if value is not UNSET}


class Action(enum.StrEnum):
    """What was done to a key, as the audit tells it. Names stay once released."""

    ISSUE = "issue"
    ROTATE = "rotate"
    AMEND = "amend"
    DISABLE = "disable"
    ENABLE = "enable"
    REVOKE = "revoke"
    DELETE = "delete"
    PRUNE = "prune"
    ADOPT = "adopt"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, and on which occasion, for the audit.

    Attributes:
        name: The person or program; up to 255 characters on one line.
        correlation_id: Of the request or job in which it happens, to find it in other logs; the same.
    """

    name: str = ""
    correlation_id: str = ""


Seal: TypeAlias = Callable[[str, bytes], str]
"""From the seal of the entry before and an entry's canonical bytes to its own seal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a change leaves in the audit beside what was changed.

    Attributes:
        action: What was done; None: what the repository's method usually is for.
        actor: Who did it.
        reason: Why.
        at: When; None: as the repository's own machine tells the time.
        seal: Chains the entry to the one before; None: with plain SHA-256.
    """

    action: Action | None = None
    actor: Actor = field(default_factory=Actor)
    reason: str = ""
    at: Instant | None = None
    seal: Seal | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of records that were to be imported.

    Attributes:
        changes: The feed rows of those that were added.
        present: Ids that were there already, with the same digest; left as they were.
        conflicting: Ids of which another key is there; left as they were.
    """

    changes: tuple[Change, ...]
    present: tuple[str, ...]
    conflicting: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the audit: one key changed once. Never a secret, a digest, nor any value of a field.

    Attributes:
        number: Counts from 1 without gaps.
        seq: The feed position of the change.
        at: When.
        actor: Who did it.
        action: One of `Action`, or what a later version calls it.
        key_id: The key.
        tenant: The key's.
        version: The key's, after the change.
        fields: Names of the fields that were set, sorted; empty for a new key.
        reason: Why, in the actor's words.
        correlation_id: On which occasion, to find it in other logs.
        mac: Seals this entry and, with the one before, the whole past.
    """

    number: int
    seq: int
    at: Instant
    actor: str
    action: str
    key_id: str
    tenant: str
    version: int
    fields: tuple[str, ...]
    reason: str
    correlation_id: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditAnchor:
    """Where the audit of a store begins and how far it goes, all read at one instant.

    Attributes:
        database_id: Of the store.
        after: The feed position after which the audit began.
        entries: The number of the newest entry; 0 when there is none.
        position: The newest feed position.
    """

    database_id: str
    after: int
    entries: int
    position: int


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the change feed: `key_id` is at `version` since feed position `seq`.

    Positions count from 1; 0 stands for a change that is only told again. An empty `key_id` stands for every key:
    what changes more keys at once than `FLUSH_ALL_FROM` is told as one such row.
    """

    seq: int
    key_id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message about an event that an endpoint has not taken.

    Attributes:
        letter_id: Of the message, the same each time that it is sent.
        endpoint: Which one, by an id that says nothing about its URL.
        event: The event's name.
        body: What is sent.
        at: When it was given up.
        attempts: How often it was sent.
        reason: Why it was given up; nothing that the endpoint has said but its status.
    """

    letter_id: str
    endpoint: str
    event: str
    body: str = field(repr=False)
    at: Instant
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """What a shared cache holds under a name.

    Attributes:
        value: Whoever wrote it; not to be believed without a seal.
        remaining: Seconds after which it is dropped.
    """

    value: bytes
    remaining: Seconds


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that may hold cached verdicts, as it is registered with the store.

    Attributes:
        worker_id: Random, new for every process and after every fork.
        bus: What it listens to; workers that name the same bus hear each other.
        beat: Counts up while the worker lives; only ever compared with itself.
        lease: Seconds for which it trusts what it has read of the change feed; others wait that long for it.
    """

    worker_id: str
    bus: str
    beat: int
    lease: Seconds


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a worker says when it has been woken.

    Attributes:
        worker_id: As it is registered now; empty if it is not.
        position: Every change up to this feed position has been applied; 0: none that we could be sure of.
    """

    worker_id: str
    position: int


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
    """Requests of one key within one hour, since the last flush.

    Attributes:
        uses: How many were accepted.
        last_used_at: When the newest of them was counted; without any, when something was refused.
        refusals: How many were refused, by the `reason` of the `InvalidKey`.
    """

    key_id: str
    uses: int
    last_used_at: Instant
    refusals: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class HourlyUsage:
    """Requests of one key within one hour.

    Attributes:
        hour: When it began.
        accepted: How many were let in.
        refused: How many were not, by the `reason` of the `InvalidKey`.
    """

    hour: Instant
    accepted: int
    refused: Mapping[str, int]


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


class SortBy(enum.StrEnum):
    """What a list of keys is ordered by. Equal ones follow each other by key id, ascending."""

    CREATED_AT = "created_at"
    EXPIRES_AT = "expires_at"
    """A key without an end ends after all others."""
    LAST_USED_AT = "last_used_at"
    """A key that was never used was used before all others."""
    NAME = "name"
    """By code point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuery:
    """Which records to find, and in which order; None, or an empty set, means "any". Newest first.

    A range includes its start and excludes its end.

    Attributes:
        created_by: Who asked for the key.
        lineage: The id of the first key of a chain of rotations.
        name: The whole name, exactly.
        name_contains: A part of it, up to 255 characters; ASCII letters in upper and lower case are the same.
        tags: Keys that have all of these.
        scopes: Keys that may do all of these, be it by a wildcard.
        any_scopes: Keys that may do at least one of these, be it by a wildcard.
        revoked: Whether it was revoked, be it expired or disabled besides.
        endless: Whether it has no end. With `expires_after` or `expires_before`, only keys that have one.
        never_used: Whether it was never used. With `last_used_*`, only keys that were.
        idle_for: Seconds; keys that were not used for so long, or, if never, made so long ago.
        ascending: Reverses the order, but not that of equal ones.
        limit: Page size, 1 to 100.
        cursor: `KeyPage.next_cursor` of the page before; everything but `limit` must be the same.
    """

    owner: str | None = None
    tenant: str | None = None
    environment: str | None = None
    status: Status | None = None
    created_by: str | None = None
    lineage: str | None = None
    name: str | None = None
    name_contains: str | None = None
    tags: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    any_scopes: frozenset[str] = frozenset()
    created_after: Instant | None = None
    created_before: Instant | None = None
    expires_after: Instant | None = None
    expires_before: Instant | None = None
    last_used_after: Instant | None = None
    last_used_before: Instant | None = None
    revoked: bool | None = None
    endless: bool | None = None
    never_used: bool | None = None
    idle_for: Seconds | None = None
    sort: SortBy = SortBy.CREATED_AT
    ascending: bool = False
    limit: int = 50
    cursor: str | None = None


class Criteria(TypedDict, total=False):
    """The filters and the order of a `KeyQuery`, as keyword arguments; its docstring explains them."""

    owner: str | None
    tenant: str | None
    environment: str | None
    status: Status | str | None
    created_by: str | None
    lineage: str | None
    name: str | None
    name_contains: str | None
    tags: Iterable[str]
    scopes: Iterable[str]
    any_scopes: Iterable[str]
    created_after: Instant | None
    created_before: Instant | None
    expires_after: Instant | None
    expires_before: Instant | None
    last_used_after: Instant | None
    last_used_before: Instant | None
    revoked: bool | None
    endless: bool | None
    never_used: bool | None
    idle_for: Seconds | None
    sort: SortBy | str
    ascending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How many keys there may be: checked in the transaction of the change that could make one too many.

    Attributes:
        within: Which keys are counted: of those, the ones neither revoked nor expired.
        most: How many there may be after the change.
        now: At which instant.
        lineages: Count a key and its successors as one.
        message: Of the error; it names no other key.
    """

    within: KeyQuery
    most: int
    now: Instant
    lineages: bool = False
    message: str = "there are as many live keys as there may be"


@dataclass(frozen=True, slots=True)
class Revocation:
    """What revokes a key. A key that is revoked already keeps its first one."""

    at: Instant
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class At:
    """A record at one version: what a change must find, or it is not made."""

    key_id: str
    version: int


@dataclass(frozen=True, slots=True)
class CommittedMany:
    """What one transaction on many keys left behind.

    Attributes:
        records: Those that were changed, as they are now; deleted ones with the versions of their tombstones.
        changes: The feed rows committed with it, oldest first: one per key, or one for more than `FLUSH_ALL_FROM`.
    """

    records: tuple[KeyRecord, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReceipt:
    """What is known about the effect of a change of many keys when the verb returns.

    Attributes:
        matched: How many keys were changed; on a dry run, how many would have been.
        key_ids: Theirs; empty on a dry run.
        dry_run: Nothing was changed.
        confirmed: As in `Receipt`, and so are the following.
        workers: How many workers could have held older verdicts.
        acknowledged: How many of them said that they have dropped them.
        elapsed: Seconds between the commit and this receipt.
        max_staleness: An unconfirmed change holds everywhere this many seconds after the commit. 0 when confirmed.
    """

    matched: int
    key_ids: tuple[str, ...]
    dry_run: bool
    confirmed: bool
    workers: int
    acknowledged: int
    elapsed: Seconds
    max_staleness: Seconds


@dataclass(frozen=True, slots=True)
class KeyPage:
    """One page of records.

    Attributes:
        next_cursor: Opaque; None on the last page.
    """

    records: tuple[KeyRecord, ...]
    next_cursor: str | None
