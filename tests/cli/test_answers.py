"""What a server says, as the errors that the store itself would have led to."""

from __future__ import annotations

import json

import pytest

from asgi_apikey import errors
from asgi_apikey.asgi.problems import Answers, problem_of
from asgi_apikey.cli.answers import document_of, error_of
from asgi_apikey.cli.wire import Answer
from asgi_apikey.errors import APIKeyError, ConfigurationError, Undecidable
from asgi_apikey.management.operations import OPERATIONS

KEY_ID = "EKjzlXrUIG06"
SAME = [
    errors.KeyNotFound(KEY_ID),
    errors.StaleRecord(KEY_ID, 3),
    errors.KeyExists(KEY_ID),
    errors.KeyLimitReached("there are as many live keys as there may be", 3),
    errors.GrantExceeded(("scopes", "until")),
    errors.InvalidRequest("a key cannot be like this"),
    errors.BodyTooLarge(7),
    errors.MissingScope(frozenset({"apikeys:read"})),
    errors.NetworkNotAllowed(),
    errors.RouteNotAllowed(),
    errors.RateLimited(),
]


def answered(error: APIKeyError) -> Answer:
    """What a server answers."""
    answer = Answers(realm="API keys", bearer=True, api_key=True).detailed_answer_to(error)
    challenge = ", ".join(value.decode() for name, value in answer.headers if name == b"www-authenticate")
    return Answer(answer.status, answer.body, challenge)


@pytest.mark.parametrize("error", SAME, ids=lambda error: error.code)
def test_an_error_is_the_same_through_a_server(error: APIKeyError) -> None:
    """Class, code and message."""
    told = error_of(answered(error), key_id=KEY_ID, version=3)

    assert (type(told), told.code, str(told)) == (type(error), error.code, str(error))


def test_every_error_that_a_server_answers_is_understood() -> None:
    """None of them is taken for the answer of something else; idempotency keys are not sent."""
    for kind in {error for each in OPERATIONS for error in each.errors} - {errors.IdempotencyConflict}:
        problem = problem_of(kind.__new__(kind))
        assert "not the management API" not in str(error_of(Answer(problem.status, problem.body()))), kind


@pytest.mark.parametrize("error", [errors.InvalidKey(), errors.MissingCredential(), errors.AmbiguousCredential()])
def test_a_token_that_is_refused_is_a_matter_of_configuration(error: APIKeyError) -> None:
    """It says which variable to look at."""
    told = error_of(answered(error))

    assert isinstance(told, ConfigurationError)
    assert "ASGI_APIKEY_TOKEN" in str(told)


@pytest.mark.parametrize(
    ("answer", "unknown"),
    [
        (answered(errors.StoreUnavailable()), False),
        (answered(errors.Overloaded()), False),
        (answered(errors.StoreUnavailable(outcome_unknown=True)), True),
        (answered(Undecidable()), True),
        (Answer(502, b"<html>Bad Gateway"), True),
    ],
)
def test_who_cannot_tell_may_have_changed_something(answer: Answer, unknown: bool) -> None:
    """Only where the request was to change something."""
    told, asked = error_of(answer, changes=True), error_of(answer)

    assert isinstance(told, errors.StoreUnavailable)
    assert isinstance(asked, errors.StoreUnavailable)
    assert (told.outcome_unknown, asked.outcome_unknown) == (unknown, False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"[" * 100_000, b"\xff"])
def test_what_is_no_management_api_is_told_as_such(body: bytes) -> None:
    """Whatever it says, with a good status or not."""
    for status in (301, 404, 405):
        assert "not the management API" in str(error_of(Answer(status, body)))
    with pytest.raises(ConfigurationError, match="not the management API"):
        document_of(Answer(200, body))


def test_what_a_server_says_cannot_rewrite_the_screen() -> None:
    """Controls in its words are shown, not obeyed."""
    problem = {"code": "invalid_request", "detail": "\x1b[2J", "errors": [{"path": "\x07"}], "exceeds": ["\x1b"]}
    told = str(error_of(Answer(422, json.dumps(problem).encode())))
    exceeded = str(error_of(Answer(403, json.dumps(problem | {"code": "grant_exceeded"}).encode())))

    assert told == "\\x07: \\x1b[2J"
    assert "\x1b" not in exceeded


def test_a_field_that_is_to_blame_is_named() -> None:
    """Before what is wrong with it."""
    assert str(error_of(answered(errors.InvalidRequest("required", path="name")))) == "name: required"
