"""Errors as HTTP sees them: the only place where an error gets a status.

| error | status | outward code |
|---|---|---|
| MissingCredential | 401 | missing_credential |
| AmbiguousCredential | 400 | ambiguous_credential |
| InvalidKey and everything below it, any other AuthenticationError | 401 | invalid_key |
| MissingScope | 403 | missing_scope |
| NetworkNotAllowed, OriginNotAllowed, RouteNotAllowed | 403 | as named |
| TooManyConnections | 429 | too_many_connections |
| RateLimited | 429 | rate_limited |
| RateExceeded, QuotaExceeded, any other LimitExceeded | 429 | rate_exceeded, quota_exceeded, limit_exceeded |
| StoreUnavailable, Overloaded, any other Undecidable | 503 | store_unavailable, overloaded, undecidable |
| GrantExceeded | 403 | grant_exceeded |
| KeyNotFound | 404 | key_not_found |
| KeyExists, KeyLimitReached, IdempotencyConflict | 409 | as named |
| StaleRecord, BodyTooLarge, InvalidRequest | 412, 413, 422 | as named |

Bodies are RFC 9457 problem details, rendered once per class, so every InvalidKey is answered with the same bytes:
from outside nobody can tell an unknown key from a revoked one. Nothing a client sent is ever repeated to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from asgi_apikey.errors import (
    AmbiguousCredential,
    APIKeyError,
    AuthenticationError,
    BodyTooLarge,
    GrantExceeded,
    IdempotencyConflict,
    InvalidKey,
    InvalidRequest,
    KeyExists,
    KeyLimitReached,
    KeyNotFound,
    LimitExceeded,
    MissingCredential,
    MissingScope,
    NetworkNotAllowed,
    OriginNotAllowed,
    Overloaded,
    QuotaExceeded,
    RateExceeded,
    RateLimited,
    RouteNotAllowed,
    StaleRecord,
    StoreUnavailable,
    TooManyConnections,
    Undecidable,
)
from asgi_apikey.models import NO_METADATA, JSONValue, Metadata, Seconds
from asgi_apikey.policy import is_scope_name

TYPE_BASE: Final = "urn:asgi-apikey:error:"
"""What a problem's `type` starts with: a name that stays, and that nobody has to host."""

_LONGEST_RETRY: Final[Seconds] = 3_600.0


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the table.

    Attributes:
        status: HTTP status code.
        code: Stable name for programs; also the end of `type`.
        title: Short and the same each time (RFC 9457 section 3.1.4).
        detail: What the client can do about it.
        bearer_error: The error code of RFC 6750 section 3.1 that says the same to a Bearer client, or None.
    """

    status: int
    code: str
    title: str
    detail: str
    bearer_error: str | None = None

    def body(self, more: Mapping[str, JSONValue] = NO_METADATA) -> bytes:
        """Return the problem as JSON (RFC 9457 section 3.1), with `code` as an extension member.

        Args:
            more: Further members, or others instead of these.
        """
        members = {
            "type": TYPE_BASE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        return json.dumps({**members, **more}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response ready to be sent.

    Attributes:
        headers: In this order; whoever sends them makes a list of his own, because others may add to it.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


_UNDECIDABLE = Problem(503, "undecidable", "Cannot decide now", "The API key cannot be checked now. Try again.")

_REJECTED = Problem(401, "invalid_key", "API key rejected", "The API key is not accepted.", "invalid_token")

TABLE: Final[Mapping[type, Problem]] = {
    MissingCredential: Problem(401, "missing_credential", "API key required", "The request carries no API key."),
    AmbiguousCredential: Problem(
        400,
        "ambiguous_credential",
        "More than one credential",
        "Send the API key once, in one place.",
        "invalid_request",
    ),
    InvalidKey: _REJECTED,
    AuthenticationError: _REJECTED,
    MissingScope: Problem(
        403,
        "missing_scope",
        "Scope required",
        "The API key lacks a scope that this needs.",
        "insufficient_scope",
    ),
    NetworkNotAllowed: Problem(
        403, "network_not_allowed", "Address not allowed", "The API key may not be used from this address."
    ),
    OriginNotAllowed: Problem(
        403, "origin_not_allowed", "Origin not allowed", "The API key may not be used from this web page."
    ),
    RouteNotAllowed: Problem(
        403, "route_not_allowed", "Route not allowed", "The API key may not be used for this method and path."
    ),
    TooManyConnections: Problem(
        429, "too_many_connections", "Too many connections", "Close a connection of this API key before the next one."
    ),
    RateLimited: Problem(429, "rate_limited", "Too many failed attempts", "Wait before trying again."),
    LimitExceeded: Problem(429, "limit_exceeded", "Limit reached", "The API key has been used as much as it may be."),
    RateExceeded: Problem(429, "rate_exceeded", "Too many requests", "The API key is used too often. Slow down."),
    QuotaExceeded: Problem(429, "quota_exceeded", "Quota used up", "The API key has been used as much as it may be."),
    StoreUnavailable: Problem(503, "store_unavailable", _UNDECIDABLE.title, _UNDECIDABLE.detail),
    Overloaded: Problem(503, "overloaded", _UNDECIDABLE.title, _UNDECIDABLE.detail),
    Undecidable: _UNDECIDABLE,
    GrantExceeded: Problem(
        403, "grant_exceeded", "Beyond your grant", "This goes beyond what you may hand on; `exceeds` says where."
    ),
    KeyNotFound: Problem(404, "key_not_found", "No such key", "No key has this id."),
    KeyExists: Problem(409, "key_exists", "Key exists", "A key with this id exists already."),
    KeyLimitReached: Problem(409, "key_limit_reached", "Too many keys", "There are as many live keys as there may be."),
    IdempotencyConflict: Problem(
        409, "idempotency_conflict", "Idempotency key used before", "It was used for another request. Make a new one."
    ),
    StaleRecord: Problem(412, "stale_record", "Key has changed", "The key changed since it was read. Read it again."),
    BodyTooLarge: Problem(413, "body_too_large", "Body too large", "The body is longer than this reads."),
    InvalidRequest: Problem(
        422, "invalid_request", "Request refused", "This cannot be, or the key cannot be changed like this."
    ),
}


def problem_of(error: APIKeyError) -> Problem:
    """Return the row of the error's nearest class; an error without one means that we cannot decide."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return _UNDECIDABLE


def evidence_of(error: APIKeyError) -> Metadata:
    """Return what a client that was let in is told about an error beyond its row: nothing that it sent."""
    match error:
        case InvalidRequest():
            fault = {"path": error.path, "detail": str(error)}
            return {"detail": str(error), "errors": [fault] if error.path else []}
        case GrantExceeded():
            return {"exceeds": list(error.exceeds)}
        case KeyLimitReached() | BodyTooLarge():
            return {"most": error.most}
        case StoreUnavailable(outcome_unknown=True):
            return {"outcome_unknown": True}
    return NO_METADATA


def plain_answer(status: HTTPStatus, *headers: tuple[bytes, bytes]) -> Answer:
    """Return a problem that says no more than its status does (RFC 9457 section 4.2.1), such as for an unknown path."""
    problem = Problem(status, status.name.lower(), status.phrase, status.description or status.phrase)
    return _answer(status, problem.body({"type": "about:blank"}), headers)


class Answers:
    """The answers of one middleware, which differ from another's in their challenges.

    Args:
        realm: The protection space named in `WWW-Authenticate` (RFC 9110 section 11.5).
        bearer: Whether a Bearer challenge is made (RFC 6750 section 3).
        api_key: Whether an `ApiKey` challenge is made, for keys in any other place.
    """

    def __init__(self, *, realm: str, bearer: bool, api_key: bool) -> None:
        self._realm = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._bearer = bearer
        self._api_key = api_key
        self._ready = {problem: self._render(problem) for problem in TABLE.values()}

    def answer_to(self, error: APIKeyError) -> Answer:
        """Return the response that refuses a request because of `error`."""
        problem = problem_of(error)
        if isinstance(error, MissingScope) and self._bearer:
            return self._render(problem, scope=_scope_attribute(error.required))
        if isinstance(error, RateLimited | Undecidable):
            return self._later(problem, error.retry_after)
        if isinstance(error, LimitExceeded) and error.retry_after is not None:
            # Said as it is: a day's quota is not back in an hour.
            return self._later(problem, error.retry_after, longest=math.inf)
        return self._later(problem, 1.0) if problem is _UNDECIDABLE else self._ready[problem]

    def detailed_answer_to(self, error: APIKeyError) -> Answer:
        """Return the response to a request that was let in and could not be met because of `error`."""
        evidence = evidence_of(error)
        if not evidence:
            return self.answer_to(error)
        later = [(b"retry-after", _whole_seconds(error.retry_after))] if isinstance(error, Undecidable) else []
        problem = problem_of(error)
        return _answer(problem.status, problem.body(evidence), later)

    def _later(self, problem: Problem, seconds: Seconds, *, longest: Seconds = _LONGEST_RETRY) -> Answer:
        ready = self._ready[problem]
        return Answer(ready.status, (*ready.headers, (b"retry-after", _whole_seconds(seconds, longest))), ready.body)

    def _render(self, problem: Problem, *, scope: str = "") -> Answer:
        challenges = [(b"www-authenticate", each.encode()) for each in self._challenges(problem, scope)]
        return _answer(problem.status, problem.body(), challenges)

    def _challenges(self, problem: Problem, scope: str) -> list[str]:
        challenges = []
        if self._api_key and problem.status == 401:
            challenges.append(f'ApiKey realm="{self._realm}"')
        if self._bearer and (problem.status == 401 or problem.bearer_error):
            # RFC 6750 section 3.1: no error code where no credential was sent.
            error = f', error="{problem.bearer_error}"' if problem.bearer_error else ""
            challenges.append(f'Bearer realm="{self._realm}"{error}{scope}')
        return challenges


def _answer(status: int, body: bytes, more: Iterable[tuple[bytes, bytes]]) -> Answer:
    headers = (
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        # The address of a refused request may hold a key that nobody redacted: not ours to pass on.
        (b"referrer-policy", b"no-referrer"),
    )
    return Answer(status, (*headers, *more), body)


def _scope_attribute(required: frozenset[str]) -> str:
    # Names are checked where they are configured; this is the last border before a header line. What a name may have in
    # it is just what the attribute's quoted string may (RFC 6750 section 3).
    names = sorted(filter(is_scope_name, required))
    return f', scope="{" ".join(names)}"' if names else ""


def _whole_seconds(seconds: Seconds, longest: Seconds = _LONGEST_RETRY) -> bytes:
    """Seconds for `Retry-After` (RFC 9110 section 10.2.3): at least one, rounded up, usually an hour at most."""
    if not seconds > 1.0:  # also NaN
        return b"1"
    return b"%d" % math.ceil(min(seconds, longest))
