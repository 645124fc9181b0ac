"""What a browser sends before it lets a page of another origin send its request: a CORS preflight."""

from __future__ import annotations

from asgi_apikey.asgi.extract import BLANKS, TOKEN
from asgi_apikey.asgi.types import Headers

_ORIGIN = b"origin"
_METHOD = b"access-control-request-method"
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"


def is_preflight(headers: Headers) -> bool:
    """Whether an `OPTIONS` request without credentials is a preflight, as browsers make them, and nothing else.

    One origin, one method, no body (https://fetch.spec.whatwg.org/#cors-preflight-fetch). A request that only looks
    like one must not get past authentication.
    """
    origins, methods, lengths, codings = (_values(headers, name) for name in (_ORIGIN, _METHOD, _LENGTH, _CODING))
    return (
        len(origins) == 1
        and origins[0] != b""
        and len(methods) == 1
        and methods[0] != b""
        and TOKEN.issuperset(methods[0])
        # Some servers and proxies write that there is none.
        and all(length == b"0" for length in lengths)
        and not codings
    )


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value.strip(BLANKS) for each, value in headers if each.lower() == name]
