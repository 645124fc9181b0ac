"""What is a CORS preflight, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.preflight import is_preflight

ORIGIN, METHOD = (b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT")
NOT_A_TOKEN = [
    b"",
    b" ",
    b"\t",
    b"PUT, GET",
    b"PUT GET",
    b"PUT\r\nX: y",
    b"P\0T",
    b'"PUT"',
    b"PUT;",
    b"\xc3\xa4",
    b"a/b",
]


@pytest.mark.parametrize(
    "lines",
    [
        (ORIGIN, METHOD),
        (METHOD, ORIGIN),
        ((b"Origin", b"null"), (b"Access-Control-Request-Method", b"GET")),
        (ORIGIN, (METHOD[0], b" PUT\t")),
        (ORIGIN, (METHOD[0], b"x-own.method!")),
        (ORIGIN, METHOD, (b"access-control-request-headers", b"x-api-key"), (b"host", b"api.example")),
        (ORIGIN, METHOD, (b"content-length", b"0")),
        (ORIGIN, METHOD, (b"Content-Length", b" 0 "), (b"content-type", b"text/plain")),
    ],
)
def test_what_browsers_send_is_a_preflight(lines) -> None:
    """One origin, one method, no body; servers and proxies may add that there is none."""
    assert is_preflight(list(lines))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (ORIGIN,),
        (METHOD,),
        (ORIGIN, ORIGIN, METHOD),
        (ORIGIN, (b"ORIGIN", b""), METHOD),
        ((b"origin", b""), METHOD),
        ((b"origin", b" \t"), METHOD),
        (ORIGIN, METHOD, METHOD),
        (ORIGIN, METHOD, (METHOD[0], b"")),
        *((ORIGIN, (METHOD[0], value)) for value in NOT_A_TOKEN),
        *((ORIGIN, METHOD, (b"content-length", value)) for value in (b"1", b"00", b"", b"-0", b"0, 0", b"0x0", b"+0")),
        (ORIGIN, METHOD, (b"content-length", b"0"), (b"Content-Length", b"5")),
        *((ORIGIN, METHOD, (b"Transfer-Encoding", value)) for value in (b"chunked", b"identity", b"")),
    ],
)
def test_what_they_do_not_send_is_none(lines) -> None:
    """A missing, empty or repeated line, a method that is none, or the promise of a body."""
    assert not is_preflight(list(lines))


@given(value=st.binary(max_size=8))
def test_no_method_but_a_token_will_do(value: bytes) -> None:
    """RFC 9110 section 5.6.2, for any bytes that a server lets through."""
    allowed = set(b"!#$%&'*+-.^_`|~") | set(range(48, 58)) | set(range(65, 91)) | set(range(97, 123))
    stripped = value.strip(b" \t")

    assert is_preflight([ORIGIN, (METHOD[0], value)]) == (stripped != b"" and set(stripped) <= allowed)
