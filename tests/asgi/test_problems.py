"""Errors as HTTP sees them."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from asgi_apikey.asgi.problems import TABLE, Answers, plain_answer, problem_of
from asgi_apikey.errors import (
    AmbiguousCredential,
    APIKeyError,
    AuthenticationError,
    BodyTooLarge,
    ConfigurationError,
    DisabledKey,
    ExpiredKey,
    GrantExceeded,
    IdempotencyConflict,
    InvalidKey,
    InvalidRequest,
    InvalidToken,
    KeyExists,
    KeyLimitReached,
    KeyNotFound,
    LifecycleError,
    LimitExceeded,
    MalformedKey,
    MissingCredential,
    MissingExtra,
    MissingScope,
    NetworkNotAllowed,
    NotYetValid,
    OriginNotAllowed,
    Overloaded,
    QuotaExceeded,
    RateExceeded,
    RateLimited,
    RevokedKey,
    RouteNotAllowed,
    StaleRecord,
    StoreUnavailable,
    TooManyConnections,
    Undecidable,
    UnknownKey,
    WrongEnvironment,
    WrongSecret,
)
from tests.asgi.driver import every_error

WANTED: dict[type[APIKeyError], tuple[int, str]] = {
    MissingCredential: (401, "missing_credential"),
    AmbiguousCredential: (400, "ambiguous_credential"),
    AuthenticationError: (401, "invalid_key"),
    InvalidKey: (401, "invalid_key"),
    MalformedKey: (401, "invalid_key"),
    UnknownKey: (401, "invalid_key"),
    WrongSecret: (401, "invalid_key"),
    RevokedKey: (401, "invalid_key"),
    ExpiredKey: (401, "invalid_key"),
    DisabledKey: (401, "invalid_key"),
    NotYetValid: (401, "invalid_key"),
    WrongEnvironment: (401, "invalid_key"),
    InvalidToken: (401, "invalid_key"),
    MissingScope: (403, "missing_scope"),
    NetworkNotAllowed: (403, "network_not_allowed"),
    OriginNotAllowed: (403, "origin_not_allowed"),
    RouteNotAllowed: (403, "route_not_allowed"),
    RateLimited: (429, "rate_limited"),
    LimitExceeded: (429, "limit_exceeded"),
    RateExceeded: (429, "rate_exceeded"),
    QuotaExceeded: (429, "quota_exceeded"),
    Undecidable: (503, "undecidable"),
    StoreUnavailable: (503, "store_unavailable"),
    Overloaded: (503, "overloaded"),
    KeyNotFound: (404, "key_not_found"),
    KeyExists: (409, "key_exists"),
    KeyLimitReached: (409, "key_limit_reached"),
    StaleRecord: (412, "stale_record"),
    GrantExceeded: (403, "grant_exceeded"),
    IdempotencyConflict: (409, "idempotency_conflict"),
    BodyTooLarge: (413, "body_too_large"),
    TooManyConnections: (429, "too_many_connections"),
    InvalidRequest: (422, "invalid_request"),
    APIKeyError: (503, "undecidable"),
    LifecycleError: (503, "undecidable"),
    ConfigurationError: (503, "undecidable"),
    MissingExtra: (503, "undecidable"),
}

BOTH = Answers(realm="api", bearer=True, api_key=True)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_and_code(kind) -> None:
    """The table, written out; an error that is new in the tree has to be added here."""
    problem = problem_of(kind.__new__(kind))

    assert (problem.status, problem.code) == WANTED[kind]


@pytest.mark.parametrize("problem", TABLE.values(), ids=lambda problem: problem.code)
def test_bodies_are_problem_details(problem) -> None:
    """RFC 9457: type, title, status, detail, and the code as an extension."""
    body = json.loads(problem.body())

    assert list(body) == ["type", "title", "status", "detail", "code"]
    assert body["type"] == f"urn:asgi-apikey:error:{problem.code}"
    assert body["status"] == problem.status


def challenges(answers: Answers, error: APIKeyError) -> list[bytes]:
    """The values of `WWW-Authenticate`."""
    return [value for name, value in answers.answer_to(error).headers if name == b"www-authenticate"]


@pytest.mark.parametrize(
    ("error", "api_key", "bearer"),
    [
        (MissingCredential(), True, ""),
        (UnknownKey(), True, ', error="invalid_token"'),
        (AmbiguousCredential(), False, ', error="invalid_request"'),
        (MissingScope(frozenset({"b", "a"})), False, ', error="insufficient_scope", scope="a b"'),
        (StoreUnavailable(), False, None),
        (RateLimited(), False, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_challenges_name_the_enabled_schemes(error, api_key, bearer) -> None:
    """An ApiKey challenge with 401, a Bearer challenge with RFC 6750's error codes."""
    ours = [b'ApiKey realm="api"'] if api_key else []
    theirs = [] if bearer is None else [f'Bearer realm="api"{bearer}'.encode()]

    assert challenges(BOTH, error) == ours + theirs
    assert challenges(Answers(realm="api", bearer=False, api_key=True), error) == ours
    assert challenges(Answers(realm="api", bearer=True, api_key=False), error) == theirs


def test_the_realm_is_quoted() -> None:
    """RFC 9110 section 5.6.4."""
    answers = Answers(realm='a"b\\c', bearer=False, api_key=True)

    assert challenges(answers, MissingCredential()) == [b'ApiKey realm="a\\"b\\\\c"']


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a b", "a\r\nX: y", "\u00e9", ""])
def test_a_scope_that_would_break_the_header_is_left_out(name) -> None:
    """Wherever the error came from."""
    assert challenges(BOTH, MissingScope(frozenset({name}))) == [b'Bearer realm="api", error="insufficient_scope"']


@pytest.mark.parametrize(
    ("seconds", "header"),
    [(0, b"1"), (-5, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (60, b"60"), (1e9, b"3600"),
     (float("inf"), b"3600"), (float("nan"), b"1")],
)  # fmt: skip
def test_retry_after_is_whole_seconds(seconds, header) -> None:
    """Rounded up, between one second and one hour."""
    for error in (RateLimited(seconds), StoreUnavailable(retry_after=seconds)):
        assert (b"retry-after", header) in BOTH.answer_to(error).headers


@pytest.mark.parametrize("error", [MissingCredential(), UnknownKey("x"), RateLimited(), StoreUnavailable()], ids=repr)
def test_answers_are_not_stored_and_have_their_length(error) -> None:
    """Every answer says so."""
    answer = BOTH.answer_to(error)

    assert dict(answer.headers)[b"content-length"] == str(len(answer.body)).encode()
    assert dict(answer.headers)[b"content-type"] == b"application/problem+json"
    assert dict(answer.headers)[b"cache-control"] == b"no-store"


def test_answers_of_the_same_class_are_rendered_once() -> None:
    """A flood of bad keys renders nothing."""
    assert BOTH.answer_to(UnknownKey("a")) is BOTH.answer_to(RevokedKey("b"))


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (InvalidRequest("a key has no wings"), {"detail": "a key has no wings", "errors": []}),
        (
            InvalidRequest("no wings", path="scopes[0]"),
            {"detail": "no wings", "errors": [{"path": "scopes[0]", "detail": "no wings"}]},
        ),
        (GrantExceeded(("scopes", "until")), {"exceeds": ["scopes", "until"]}),
        (KeyLimitReached("too many", 3), {"most": 3}),
        (BodyTooLarge(64), {"most": 64}),
        (StoreUnavailable("words", outcome_unknown=True), {"outcome_unknown": True}),
        (StoreUnavailable("words"), {}),
        (KeyNotFound("abc"), {}),
        (KeyExists("abc"), {}),
        (StaleRecord("abc", 3), {}),
        (RevokedKey("abc"), {}),
    ],
    ids=repr,
)
def test_who_was_let_in_is_told_more(error, more) -> None:
    """What there is beyond the row, as further members; never an id, nor words that may quote something."""
    answer, problem = BOTH.detailed_answer_to(error), problem_of(error)
    body = json.loads(answer.body)

    assert answer.status == problem.status
    assert body == json.loads(problem.body()) | more
    assert dict(answer.headers)[b"content-length"] == str(len(answer.body)).encode()
    assert ((b"retry-after", b"1") in answer.headers) is (problem.status == 503)


def test_a_plain_problem_says_no_more_than_its_status() -> None:
    """RFC 9457 section 4.2.1: of no type, titled as the status is."""
    answer = plain_answer(HTTPStatus.METHOD_NOT_ALLOWED, (b"allow", b"GET"))

    body = json.loads(answer.body)
    assert (answer.status, body["status"], body["type"]) == (405, 405, "about:blank")
    assert (body["title"], body["code"]) == ("Method Not Allowed", "method_not_allowed")
    assert (b"allow", b"GET") in answer.headers
    assert (b"cache-control", b"no-store") in answer.headers
