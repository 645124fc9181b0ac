"""What is read of a request beside who sent it: the body, within its bounds, and the headers that mean something."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from asgi_apikey.errors import BodyTooLarge, InvalidRequest
from asgi_apikey.keyformat import holds_a_key
from asgi_apikey.management.callers import Caller
from asgi_apikey.models import Actor

_VERSION: Final = re.compile(r'"([0-9]{1,18})"')
_KEY: Final = re.compile(r"[!-~]{1,255}")
# No underscore: whatever somebody puts there, it is no key, which goes into the audit and into logs.
_REQUEST_ID: Final = re.compile(r"[0-9A-Za-z.:-]{1,64}")
_JSON: Final = re.compile(r"application/(?:json|[a-z0-9.-]+\+json)\s*(?:;.*)?", re.IGNORECASE)

NO_VERSION: Final = 0
"""At which no key ever is."""


async def body_of(request: Request, *, most: int) -> bytes:
    """Return the body.

    Raises:
        BodyTooLarge: It has more bytes than `most`; no more than that were read.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BodyTooLarge(most)
    return bytes(body)


def check_no_key(*texts: bytes) -> None:
    """See that nobody writes a whole key where it does not belong: it would go on into stores and logs.

    Raises:
        InvalidRequest: Somebody does.
    """
    if any(holds_a_key(unquote_to_bytes(text).decode("latin-1")) for text in texts):
        raise InvalidRequest("a whole key stands in the request; name it by its id, and better rotate it")


def is_json(request: Request, body: bytes) -> bool:
    """Whether the body is said to be JSON. One that is not there needs not be, but must not be said to be a form."""
    told = request.headers.getlist("content-type")
    return _JSON.fullmatch(told[0]) is not None if len(told) == 1 else not told and not body


def version_of(request: Request) -> int | None:
    """Return the version that `If-Match` names (RFC 9110 section 13.1.1); None: any.

    Whatever is not one version of ours, a weak one and a list included, matches none.
    """
    told = request.headers.getlist("if-match")
    if not told or told == ["*"]:
        return None
    match = _VERSION.fullmatch(told[0]) if len(told) == 1 else None
    return NO_VERSION if match is None else int(match[1])


def idempotency_key_of(request: Request) -> str | None:
    """Return the `Idempotency-Key`; None: there is none.

    Raises:
        InvalidRequest: There are several, or it is not 1 to 255 visible ASCII characters.
    """
    told = request.headers.getlist("idempotency-key")
    if not told:
        return None
    if len(told) > 1 or not _KEY.fullmatch(told[0]):
        raise InvalidRequest("one, of 1 to 255 visible ASCII characters", path="Idempotency-Key")
    return told[0]


def with_occasion(caller: Caller, request: Request) -> Caller:
    """Return the caller, on the occasion that `X-Request-ID` names, unless the authoriser has named one."""
    told = request.headers.getlist("x-request-id")
    if caller.actor.correlation_id or len(told) != 1 or not _REQUEST_ID.fullmatch(told[0]):
        return caller
    return replace(caller, actor=Actor(caller.actor.name, told[0]))
