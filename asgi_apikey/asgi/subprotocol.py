"""A key among the subprotocols of a WebSocket handshake: all that a page in a browser can send along without a URL.

`apikey.<key>`, or `base64url.apikey.<the key in base64url without padding>` for keys with other characters than those
of a token (RFC 6455 section 4.1). The precedent is Kubernetes, `base64url.bearer.authorization.k8s.io.<token>`.

A server should answer with one of the offered names, and browsers insist. Never with the one that is a secret: it
would be in the headers of the response, which get logged. So clients offer another one beside it: that of the
application, or plain `apikey`, which means nothing else.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable
from typing import Final

from asgi_apikey.asgi.types import Headers, Scope

NAME: Final = "apikey"
"""Offered by clients that have nothing else to offer; known to us alone, so the application never sees it."""

_FIELD: Final = b"sec-websocket-protocol"
_PLAIN: Final = b"apikey."
_ENCODED: Final = b"base64url.apikey."
_BLANKS: Final = b" \t"


def credentials_in(offered: Iterable[str]) -> list[bytes]:
    """Return the key of each subprotocol that is one; empty bytes for one that cannot be decoded.

    The list that ASGI has of them is read, not the header: wsproto takes that out.
    """
    names = [each.encode() for each in offered]
    return [_key(each) for each in names if each.startswith((_PLAIN, _ENCODED))]


def without_ours(headers: Headers) -> Headers:
    """Return the header lines without subprotocols that are for us; a line with nothing else in it is left out."""
    kept: Headers = []
    for name, value in headers:
        rest = _others(value) if name.lower() == _FIELD else value
        if rest is value or rest:
            kept.append((name, rest))
    return kept


def offers_ours(scope: Scope) -> bool:
    """Whether the handshake offers anything that is for us, and not for the application."""
    return any(_is_ours(each.encode()) for each in scope.get("subprotocols") or ())


def harmless(scope: Scope) -> list[str]:
    """Return the offered subprotocols that are not ours, in the client's order."""
    return [each for each in scope.get("subprotocols") or () if not _is_ours(each.encode())]


def stand_in(scope: Scope) -> str | None:
    """Return the subprotocol to be chosen where the application chooses none; None if only a key was offered."""
    return NAME if NAME in (scope.get("subprotocols") or ()) else next(iter(harmless(scope)), None)


def _others(line: bytes) -> bytes:
    names = (each.strip(_BLANKS) for each in line.split(b","))
    return b", ".join(each for each in names if each and not _is_ours(each))


def _is_ours(name: bytes) -> bool:
    return name == NAME.encode() or name.startswith((_PLAIN, _ENCODED))


def _key(name: bytes) -> bytes:
    if not name.startswith(_ENCODED):
        return name[len(_PLAIN) :]
    text = name[len(_ENCODED) :]
    try:
        # `validate` refuses what is not of the alphabet instead of skipping it: one key has one spelling.
        key = b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return b""
    return key if _encoded(key) == text else b""


def _encoded(key: bytes) -> bytes:
    return binascii.b2a_base64(key, newline=False).translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"=")
