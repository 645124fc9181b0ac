"""The one table of what the management API can do: the routes and the OpenAPI description are both made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from asgi_apikey.errors import (
    AmbiguousCredential,
    APIKeyError,
    BodyTooLarge,
    GrantExceeded,
    IdempotencyConflict,
    InvalidKey,
    InvalidRequest,
    KeyExists,
    KeyLimitReached,
    KeyNotFound,
    MissingCredential,
    MissingScope,
    NetworkNotAllowed,
    OriginNotAllowed,
    Overloaded,
    RateLimited,
    RouteNotAllowed,
    StaleRecord,
    StoreUnavailable,
)
from asgi_apikey.management import asking, changing, making, reading, schemas
from asgi_apikey.management.callers import Action
from asgi_apikey.management.calls import Call, Reply
from asgi_apikey.management.decoding import decoded_body, decoded_query
from asgi_apikey.management.managed import ManagedKeys

B = TypeVar("B", bound=Struct)

Verb: TypeAlias = Callable[[ManagedKeys, Call, B], Awaitable[Reply]]
Run: TypeAlias = Callable[[ManagedKeys, Call, bytes], Awaitable[Reply]]
"""A verb together with the decoding of its input: of the query string where there is no body."""

_REFUSALS: Final = (
    MissingCredential,
    InvalidKey,
    AmbiguousCredential,
    MissingScope,
    NetworkNotAllowed,
    OriginNotAllowed,
    RouteNotAllowed,
    RateLimited,
    StoreUnavailable,
    Overloaded,
)
_OF_A_KEY: Final = (KeyNotFound, StaleRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One row.

    Attributes:
        name: Unique; the `operationId`.
        method: In capitals.
        path: Below wherever the API is mounted; `{key_id}` stands for the id of a key.
        summary: One line for people.
        action: What the caller must be allowed; None: everybody who is somebody.
        public: Nobody is asked who he is.
        query: The query parameters. Fields of a struct among them stand beside the others.
        body: The body, in JSON; None: there is none.
        body_required: Without a body, all of its fields are left out.
        matches: Whether `If-Match` is honoured, and an `ETag` sent.
        repeats: Whether `Idempotency-Key` is honoured.
        presents: Whether a whole key belongs into the body. Anywhere else it is a slip, and is refused before it goes
            into the store's log.
        answers: The schema of each status that is no error.
        errors: What may go wrong; `asgi.problems` knows their statuses.
        run: Does it.
    """

    name: str
    method: str
    path: str
    summary: str
    action: Action | None
    public: bool
    query: type[Struct]
    body: type[Struct] | None
    body_required: bool
    matches: bool
    repeats: bool
    presents: bool
    answers: Mapping[int, type[Struct]]
    errors: tuple[type[APIKeyError], ...]
    run: Run


def _asking(
    name: str,
    path: str,
    verb: Verb[B],
    summary: str,
    *,
    action: Action | None,
    query: type[B],
    answer: type[Struct],
    public: bool = False,
    matches: bool = False,
    errors: tuple[type[APIKeyError], ...] = (),
) -> Operation:
    """Return the row of a verb that changes nothing and takes its input from the query string."""

    async def run(keys: ManagedKeys, call: Call, given: bytes) -> Reply:
        return await verb(keys, call, decoded_query(given, query))

    return Operation(
        name=name,
        method="GET",
        path=path,
        summary=summary,
        action=action,
        public=public,
        query=query,
        body=None,
        body_required=False,
        matches=matches,
        repeats=False,
        presents=False,
        answers={200: answer},
        errors=(*(() if public else _REFUSALS), *errors),
        run=run,
    )


def _telling(
    name: str,
    method: str,
    path: str,
    verb: Verb[B],
    summary: str,
    *,
    action: Action,
    body: type[B],
    answers: Mapping[int, type[Struct]],
    changes: bool = True,
    required: bool = False,
    matches: bool = False,
    repeats: bool = False,
    presents: bool = False,
    errors: tuple[type[APIKeyError], ...] = (),
) -> Operation:
    """Return the row of a verb that takes its input from a body."""

    async def run(keys: ManagedKeys, call: Call, given: bytes) -> Reply:
        return await verb(keys, call, decoded_body(given, body))

    return Operation(
        name=name,
        method=method,
        path=path,
        summary=summary,
        action=action,
        public=False,
        query=schemas.Waiting if changes else schemas.Nothing,
        body=None if body is schemas.Nothing else body,
        body_required=required,
        matches=matches,
        repeats=repeats,
        presents=presents,
        answers=answers,
        errors=(*_REFUSALS, InvalidRequest, BodyTooLarge, *errors),
        run=run,
    )


_CHANGED: Final = {200: schemas.Changed, 202: schemas.Changed}

OPERATIONS: Final[tuple[Operation, ...]] = (
    _telling(
        "issue_key",
        "POST",
        "/",
        making.issue,
        "Make a key; it is shown this once",
        action=Action.WRITE,
        body=schemas.NewKey,
        answers={201: schemas.Issued, 200: schemas.Issued},
        required=True,
        changes=False,
        repeats=True,
        errors=(GrantExceeded, KeyLimitReached, KeyExists, IdempotencyConflict),
    ),
    _asking(
        "list_keys",
        "/",
        reading.find,
        "List keys, newest first",
        action=Action.READ,
        query=schemas.Search,
        answer=schemas.Page,
        errors=(InvalidRequest,),
    ),
    _telling(
        "search_keys",
        "POST",
        "/search",
        reading.find,
        "List keys, asked for in a body",
        action=Action.READ,
        body=schemas.Search,
        answers={200: schemas.Page},
        changes=False,
    ),
    _telling(
        "count_keys",
        "POST",
        "/count",
        reading.count,
        "Count keys",
        action=Action.READ,
        body=schemas.Counting,
        answers={200: schemas.Count},
        changes=False,
    ),
    _telling(
        "revoke_keys",
        "POST",
        "/revoke",
        changing.revoke_where,
        "End all keys that filters match",
        action=Action.REVOKE,
        body=schemas.BulkEnding,
        answers={200: schemas.BulkChanged, 202: schemas.BulkChanged},
        required=True,
    ),
    _telling(
        "verify_key",
        "POST",
        "/verify",
        asking.verify,
        "Ask whether a presented key may be used",
        action=Action.VERIFY,
        body=schemas.Presented,
        presents=True,
        answers={200: schemas.Introspection},
        required=True,
        changes=False,
    ),
    _asking(
        "me",
        "/me",
        asking.me,
        "Ask who one is, and what one may do",
        action=None,
        query=schemas.Nothing,
        answer=schemas.Me,
        errors=(InvalidRequest,),
    ),
    _asking(
        "test_auth",
        "/test-auth",
        asking.test_auth,
        "Ask whether one is anybody",
        action=None,
        query=schemas.Nothing,
        answer=schemas.State,
        errors=(InvalidRequest,),
    ),
    _asking(
        "audit",
        "/audit",
        reading.audit,
        "Read who did what, newest first",
        action=Action.AUDIT,
        query=schemas.AuditQuery,
        answer=schemas.Audit,
        errors=(InvalidRequest, GrantExceeded, KeyNotFound),
    ),
    _asking(
        "changes",
        "/changes",
        reading.changes,
        "Follow the change feed",
        action=Action.AUDIT,
        query=schemas.ChangesQuery,
        answer=schemas.Changes,
        errors=(InvalidRequest, GrantExceeded),
    ),
    _asking(
        "health",
        "/health",
        asking.health,
        "Ask whether the process is up",
        action=None,
        public=True,
        query=schemas.Nothing,
        answer=schemas.State,
        errors=(InvalidRequest,),
    ),
    _asking(
        "ready",
        "/ready",
        asking.ready,
        "Ask whether the store answers",
        action=None,
        public=True,
        query=schemas.Nothing,
        answer=schemas.State,
        errors=(InvalidRequest, StoreUnavailable),
    ),
    _asking(
        "get_key",
        "/{key_id}",
        reading.get,
        "Read a key",
        action=Action.READ,
        query=schemas.Nothing,
        answer=schemas.Key,
        matches=True,
        errors=(InvalidRequest, KeyNotFound),
    ),
    _telling(
        "amend_key",
        "PATCH",
        "/{key_id}",
        changing.amend,
        "Change a key",
        action=Action.WRITE,
        body=schemas.KeyPatch,
        answers=_CHANGED,
        required=True,
        matches=True,
        errors=(*_OF_A_KEY, GrantExceeded, KeyLimitReached),
    ),
    _telling(
        "delete_key",
        "DELETE",
        "/{key_id}",
        changing.delete,
        "Remove a key and its record",
        action=Action.REVOKE,
        body=schemas.Nothing,
        answers=_CHANGED,
        matches=True,
        errors=_OF_A_KEY,
    ),
    _telling(
        "rotate_key",
        "POST",
        "/{key_id}/rotate",
        making.rotate,
        "Make a successor; it is shown this once",
        action=Action.WRITE,
        body=schemas.Rotation,
        answers={201: schemas.Issued, 200: schemas.Issued},
        matches=True,
        repeats=True,
        errors=(*_OF_A_KEY, GrantExceeded, KeyLimitReached, KeyExists, IdempotencyConflict),
    ),
    _telling(
        "revoke_key",
        "POST",
        "/{key_id}/revoke",
        changing.revoke,
        "End a key, and its lineage, for good",
        action=Action.REVOKE,
        body=schemas.Ending,
        answers=_CHANGED,
        matches=True,
        errors=_OF_A_KEY,
    ),
    _telling(
        "disable_key",
        "POST",
        "/{key_id}/disable",
        changing.disable,
        "Switch a key off",
        action=Action.WRITE,
        body=schemas.Nothing,
        answers=_CHANGED,
        matches=True,
        errors=_OF_A_KEY,
    ),
    _telling(
        "enable_key",
        "POST",
        "/{key_id}/enable",
        changing.enable,
        "Switch a key on again",
        action=Action.WRITE,
        body=schemas.Nothing,
        answers=_CHANGED,
        matches=True,
        errors=(*_OF_A_KEY, GrantExceeded),
    ),
    _asking(
        "key_usage",
        "/{key_id}/usage",
        reading.usage,
        "See how much a key is used, by the hour",
        action=Action.READ,
        query=schemas.Span,
        answer=schemas.Usage,
        errors=(InvalidRequest, KeyNotFound),
    ),
)
