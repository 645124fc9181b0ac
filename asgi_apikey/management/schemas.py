"""What goes over the wire: the bodies, query parameters and answers of every verb.

Closed: a field that is not here is refused. Instants are RFC 3339 with an offset, durations are seconds. Where
`lifecycle` knows the limit of a value, it is not repeated here, but for what this API alone demands: a name that is not
blank, and days between 1 and 365.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from asgi_apikey.models import SortBy, Status

Time: TypeAlias = Annotated[datetime, Meta(tz=True, description="RFC 3339, with an offset.")]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S", description="Not blank.")]
Days: TypeAlias = Annotated[int, Meta(ge=1, le=365)]
Labels: TypeAlias = list[str]
# What the values of an application's own metadata are is its own affair; `lifecycle.metadata` bounds them.
JSONObject: TypeAlias = dict[str, Any]


# ---- what is asked for ----


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No field at all."""


class Waiting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of every change.

    Attributes:
        wait: Answer when it is confirmed. `0`: when it is committed (202); it spreads in the background.
    """

    wait: bool = True


class NewKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be issued.

    Attributes:
        owner: Left out: the caller, if it is one.
        tenant: Left out: the caller's, else the default one.
        environment: Left out: the one that is served.
        expires_in: Seconds from now; one of the three at most.
    """

    name: Name
    owner: str | None = None
    tenant: str | None = None
    environment: str | None = None
    description: str = ""
    scopes: Labels = []
    not_before: Time | None = None
    expires_at: Time | None = None
    expires_in: float | None = None
    expires_in_days: Days | None = None
    metadata: JSONObject = {}
    tags: Labels = []
    networks: Labels = []
    routes: Labels = []
    limits: Labels = []
    origins: Labels = []


class KeyPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change, as a JSON merge patch (RFC 7396): what is left out stays, `null` empties.

    Attributes:
        metadata: Merged into what is there, all the way down.
    """

    name: Name | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    scopes: Labels | None | UnsetType = UNSET
    not_before: Time | None | UnsetType = UNSET
    expires_at: Time | None | UnsetType = UNSET
    metadata: JSONObject | None | UnsetType = UNSET
    tags: Labels | None | UnsetType = UNSET
    networks: Labels | None | UnsetType = UNSET
    routes: Labels | None | UnsetType = UNSET
    limits: Labels | None | UnsetType = UNSET
    origins: Labels | None | UnsetType = UNSET


class Rotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to rotate.

    Attributes:
        grace: Seconds for which the replaced key still works; left out: a day. After a leak: 0.
    """

    grace: float | None = None


class Ending(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why to revoke.

    Attributes:
        only: Leave the other keys of the lineage alone.
    """

    reason: str = ""
    only: bool = False


class Filters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys: all of these must hold; what is left out is not asked about. `KeyQuery` explains each."""

    owner: str | None = None
    tenant: str | None = None
    environment: str | None = None
    status: Status | None = None
    created_by: str | None = None
    lineage: str | None = None
    name: str | None = None
    name_contains: str | None = None
    tags: Labels = []
    scopes: Labels = []
    any_scopes: Labels = []
    created_after: Time | None = None
    created_before: Time | None = None
    expires_after: Time | None = None
    expires_before: Time | None = None
    last_used_after: Time | None = None
    last_used_before: Time | None = None
    revoked: bool | None = None
    endless: bool | None = None
    never_used: bool | None = None
    idle_for: float | None = None


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys, in which order, from where on. In a query string, the fields of `where` stand beside the others.

    Attributes:
        sort: Newest first, unless something else is asked for.
        cursor: `next_cursor` of the page before; all but `limit` must be the same.
    """

    where: Filters = Filters()
    sort: SortBy = SortBy.CREATED_AT
    ascending: bool = False
    limit: int = 50
    cursor: str | None = None


class Counting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys to count."""

    where: Filters = Filters()


class BulkEnding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys to revoke, and why.

    Attributes:
        where: At least one filter.
        dry_run: Only count them.
    """

    where: Filters
    reason: str = ""
    dry_run: bool = False


class Presented(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that somebody has presented to another service, and what for.

    Attributes:
        key: The whole key.
        scopes: What it is needed for.
        address: Of who has presented it; a key that is bound to networks is not active without.
        method: Of the request that carried it; a key that is bound to routes is not active without both.
        path: The same; decoded, without the query.
        origin: What its one `Origin` said; a key that is bound to origins is not active without.
    """

    key: str
    scopes: Labels = []
    address: Annotated[str, Meta(max_length=64)] | None = None
    method: Annotated[str, Meta(max_length=32)] | None = None
    path: Annotated[str, Meta(max_length=8_192)] | None = None
    origin: Annotated[str, Meta(max_length=512)] | None = None


class Span(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which hours.

    Attributes:
        since: Left out: 24 hours before the end.
        until: Left out: now.
    """

    since: Time | None = None
    until: Time | None = None


class AuditQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which entries of the audit, newest first.

    Attributes:
        key_id: Only about this key; who sees only an owner's keys has to name one.
        after: Only entries with a higher number.
        before: Only entries with a lower number; `next_before` of the page before.
        limit: Entries of a page, 1 to 1,000.
    """

    key_id: str | None = None
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    before: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class ChangesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows of the change feed, oldest first.

    Attributes:
        since: The first position.
        limit: Rows of a page, 1 to 1,000.
    """

    since: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


# ---- what is answered ----


class Key(Struct, frozen=True, kw_only=True):
    """A key, without its secret and without its digest."""

    key_id: str
    version: int
    owner: str
    tenant: str
    environment: str
    name: str
    description: str
    hint: str
    status: Status
    scopes: Labels
    tags: Labels
    networks: Labels
    routes: Labels
    limits: Labels
    origins: Labels
    created_at: Time
    created_by: str
    not_before: Time | None
    expires_at: Time | None
    disabled_at: Time | None
    revoked_at: Time | None
    revoked_by: str
    revoke_reason: str
    replaces: str | None
    lineage: str
    last_used_at: Time | None
    uses: int
    metadata: JSONObject


class Receipt(Struct, frozen=True, kw_only=True):
    """What is known about the effect of a change.

    Attributes:
        confirmed: No worker accepts any more what the change forbids.
        workers: How many could have held an older verdict.
        acknowledged: How many of them said that they have dropped it.
        elapsed: Seconds between the commit and this.
        max_staleness: Seconds after the commit within which an unconfirmed change holds everywhere.
    """

    confirmed: bool
    workers: int
    acknowledged: int
    elapsed: float
    max_staleness: float


class Issued(Struct, frozen=True, kw_only=True):
    """A new key.

    Attributes:
        key: The whole key, this once; null when the request is a repetition (`Idempotency-Key`).
        shown_before: Whether it is one: then the secret was in the answer to the first, and is nowhere else.
        record: What is stored of it.
        receipt: Of the change to the replaced key, after a rotation.
    """

    key: str | None
    shown_before: bool
    record: Key
    receipt: Receipt | None = None


class Changed(Struct, frozen=True, kw_only=True):
    """A key after a change; after a deletion, as it was."""

    record: Key
    receipt: Receipt


class BulkChanged(Struct, frozen=True, kw_only=True):
    """Many keys after a change.

    Attributes:
        matched: How many were changed; on a dry run, how many would have been.
        key_ids: Theirs; empty on a dry run.
    """

    matched: int
    key_ids: list[str]
    dry_run: bool
    receipt: Receipt


class Page(Struct, frozen=True, kw_only=True):
    """One page of keys.

    Attributes:
        next_cursor: Null on the last page.
    """

    keys: list[Key]
    next_cursor: str | None


class Count(Struct, frozen=True, kw_only=True):
    """How many keys there are on all pages."""

    count: int


class Introspection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a presented key may be used for what was asked.

    Attributes:
        active: It may. Everything else is there only if the key is one of the caller's side and good.
        refusal: Why a good key may not: `missing_scope`, `network_not_allowed`, `origin_not_allowed` or
            `route_not_allowed`.
    """

    active: bool
    refusal: str | None = None
    key_id: str | None = None
    owner: str | None = None
    tenant: str | None = None
    environment: str | None = None
    name: str | None = None
    scopes: Labels | None = None
    expires_at: Time | None = None
    metadata: JSONObject | None = None


class Me(Struct, frozen=True, kw_only=True):
    """Who the caller is.

    Attributes:
        actor: As the audit names it.
        owner: Whose keys it sees; null: everybody's.
        tenant: In which tenant; null: in all.
        actions: What it may do.
        scopes: Which scopes it may hand on.
        until: Until when the keys that it makes may live at most; null: for ever.
        key: The API key that it came with.
    """

    actor: str
    owner: str | None
    tenant: str | None
    actions: list[str]
    scopes: Labels
    until: Time | None
    key: Key | None


class Hour(Struct, frozen=True, kw_only=True):
    """Requests of one key within one hour; refusals by reason."""

    hour: Time
    accepted: int
    refused: dict[str, int]


class Usage(Struct, frozen=True, kw_only=True):
    """The hours in which a key was presented, oldest first."""

    hours: list[Hour]


class Entry(Struct, frozen=True, kw_only=True):
    """One key changed once. `AuditEntry` explains each field."""

    number: int
    seq: int
    at: Time
    actor: str
    action: str
    key_id: str
    tenant: str
    version: int
    fields: list[str]
    reason: str
    correlation_id: str
    mac: str


class Audit(Struct, frozen=True, kw_only=True):
    """A page of the audit, newest first. It may hold fewer entries than asked for, even none, and not be the last.

    Attributes:
        next_before: Null on the last page.
    """

    entries: list[Entry]
    next_before: int | None


class FeedRow(Struct, frozen=True, kw_only=True):
    """A key is at this version since this position; an empty key id stands for every key."""

    seq: int
    key_id: str
    version: int


class Changes(Struct, frozen=True, kw_only=True):
    """A page of the change feed, oldest first.

    Attributes:
        next_since: Where the next page begins.
    """

    changes: list[FeedRow]
    next_since: int


class State(Struct, frozen=True, kw_only=True):
    """How things are: `healthy`, `ready`, `success`."""

    status: str
