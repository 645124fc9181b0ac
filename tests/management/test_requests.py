"""What is read of a request beside who sent it."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.management import Caller
from asgi_apikey.management.requests import check_no_key, idempotency_key_of, is_json, version_of, with_occasion
from asgi_apikey.models import Actor
from tests.asgi.driver import http
from tests.wiring import forged


def request(*headers: tuple[bytes, bytes]) -> Request:
    """A request with these headers."""
    return Request(http(*headers, method="POST"))


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ([], None),
        ([b"*"], None),
        ([b'"1"'], 1),
        ([b'"007"'], 7),
        ([b"1"], 0),
        ([b'W/"1"'], 0),
        ([b'"1", "2"'], 0),
        ([b'"1"', b'"1"'], 0),
        ([b"*", b"*"], 0),
        ([b'"-1"'], 0),
        ([b'"' + b"9" * 19 + b'"'], 0),
        ([b""], 0),
        ([b'"\xd9\xa1"'], 0),
    ],
)
def test_if_match_names_one_version_or_none_that_there_is(told: list[bytes], version: int | None) -> None:
    """What is not understood must not let a change pass."""
    assert version_of(request(*((b"if-match", each) for each in told))) == version


def test_an_occasion_is_taken_from_the_request_if_the_authoriser_named_none() -> None:
    """For the audit, so that other logs can be found."""
    caller = Caller(actor=Actor("a"))
    named = Caller(actor=Actor("a", "job-1"))

    assert with_occasion(caller, request((b"x-request-id", b"req-1"))).actor == Actor("a", "req-1")
    assert with_occasion(named, request((b"x-request-id", b"req-1"))) is named
    for odd in (b"", b"a b", b"a\xe9", b"x" * 65, b"a_b", b"a\tb", forged(KeyFormat(), "AAAAAAAAAAAA").encode()):
        assert with_occasion(caller, request((b"x-request-id", odd))) is caller
    assert with_occasion(caller, request((b"x-request-id", b"a"), (b"x-request-id", b"b"))) is caller


def test_an_idempotency_key_is_one_line_of_visible_characters() -> None:
    """Or there is none."""
    assert idempotency_key_of(request()) is None
    assert idempotency_key_of(request((b"idempotency-key", b'"8e03978e-40d5"'))) == '"8e03978e-40d5"'
    with pytest.raises(InvalidRequest):
        idempotency_key_of(request((b"idempotency-key", b"")))


@pytest.mark.parametrize(
    ("kinds", "body", "json"),
    [
        ([], b"", True),
        ([], b"{}", False),
        ([b"application/json"], b"", True),
        ([b"application/json"], b"{}", True),
        ([b"application/json", b"application/json"], b"{}", False),
        ([b"application/json, text/plain"], b"{}", False),
        ([b"text/plain; x=application/json"], b"{}", False),
        ([b"application/jsonp"], b"{}", False),
    ],
)
def test_a_body_is_said_to_be_json(kinds: list[bytes], body: bytes, json: bool) -> None:
    """Once; what is not there needs not be said to be anything."""
    assert is_json(request(*((b"content-type", each) for each in kinds)), body) is json


def test_a_whole_key_is_found_however_it_is_spelled() -> None:
    """Its parts are not: an id, and a masked key, may stand anywhere."""
    key = forged(KeyFormat(), "AAAAAAAAAAAA")

    for text in (key, f"x={key}&y", key.replace("_", "%5f"), "é" + key):
        with pytest.raises(InvalidRequest):
            check_no_key(b"", text.encode())
    check_no_key(b"ak_live_AAAAAAAAAAAA_\xe2\x80\xa6Bcde", b"AAAAAAAAAAAA", b"\xff\x00")
