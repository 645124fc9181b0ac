"""What an answer of the management API means: a document, or one of our errors."""

from __future__ import annotations

import json
import re
from typing import Final

from asgi_apikey.cli.documents import Document
from asgi_apikey.cli.output import visible
from asgi_apikey.cli.wire import Answer
from asgi_apikey.errors import (
    APIKeyError,
    BodyTooLarge,
    ConfigurationError,
    GrantExceeded,
    InvalidRequest,
    KeyExists,
    KeyLimitReached,
    KeyNotFound,
    MissingScope,
    NetworkNotAllowed,
    OriginNotAllowed,
    RateLimited,
    RouteNotAllowed,
    StaleRecord,
    StoreUnavailable,
)
from asgi_apikey.settings import PREFIX

_TOKEN_REFUSED: Final = frozenset({"missing_credential", "invalid_key", "ambiguous_credential"})
_NOTHING_DONE: Final = frozenset({"store_unavailable", "overloaded"})
"""Unless the answer says that it cannot be known."""
_SCOPE: Final = re.compile(r'\bscope="([^"]*)"')


def document_of(answer: Answer) -> Document:
    """Return what a good answer says.

    Raises:
        ConfigurationError: That is no JSON object.
    """
    document = _object(answer.body)
    if document is None:
        raise stranger(answer.status)
    return document


def error_of(answer: Answer, *, key_id: str = "", version: int | None = None, changes: bool = False) -> APIKeyError:
    """Return the error that an answer stands for, the same that the store itself would have led to.

    Args:
        answer: Whose status is not one of success.
        key_id: The key that was asked about.
        version: At which it was to be.
        changes: Whether the request was to change something.
    """
    problem = _object(answer.body) or {}
    code, detail = problem.get("code"), visible(str(problem.get("detail", "")))
    match code:
        case "key_not_found":
            return KeyNotFound(key_id)
        case "stale_record":
            return StaleRecord(key_id, version or 0)
        case "key_exists":
            return KeyExists(key_id)
        case "key_limit_reached":
            return KeyLimitReached("there are as many live keys as there may be", _count(problem.get("most")))
        case "grant_exceeded":
            return GrantExceeded(tuple(visible(str(each)) for each in _list(problem.get("exceeds"))))
        case "invalid_request":
            return InvalidRequest(_with_path(detail, problem))
        case "body_too_large":
            return BodyTooLarge(_count(problem.get("most")))
        case "missing_scope":
            return MissingScope(frozenset(_scopes(answer.challenge)))
        case "network_not_allowed":
            return NetworkNotAllowed()
        case "origin_not_allowed":
            return OriginNotAllowed()
        case "route_not_allowed":
            return RouteNotAllowed()
        case "rate_limited":
            return RateLimited()
    if code in _TOKEN_REFUSED:
        return ConfigurationError(f"the server does not accept the token; is it the right one in {PREFIX}TOKEN?")
    if answer.status >= 500:
        unknown = changes and bool(problem.get("outcome_unknown", code not in _NOTHING_DONE))
        return StoreUnavailable(f"the server cannot tell now, it answers {answer.status}", outcome_unknown=unknown)
    return stranger(answer.status)


def stranger(status: int) -> ConfigurationError:
    """Return the error for an answer that no management API would give."""
    return ConfigurationError(
        f"this is not the management API, it answers {status}: give the URL of `asgi-apikey serve`, or the whole path "
        "below which the API is mounted"
    )


def _object(body: bytes) -> Document | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _with_path(detail: str, problem: Document) -> str:
    faults = _list(problem.get("errors"))
    path = faults[0].get("path") if faults and isinstance(faults[0], dict) else None
    return f"{visible(str(path))}: {detail}" if path else detail


def _scopes(challenge: str) -> list[str]:
    match = _SCOPE.search(challenge)
    return visible(match[1]).split() if match else []


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
