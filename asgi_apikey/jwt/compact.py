"""Presented bytes, taken apart as strictly as can be: compact serialization, base64url and JSON.

Whatever two readers could understand differently is refused, not repaired: a name twice in one object, base64 with
bits to spare, UTF-16, `NaN`. Nothing here is verified; only the header is read, to learn which key the token claims.

Source: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practice).
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, cast

from asgi_apikey.errors import InvalidToken
from asgi_apikey.jwt.faults import Fault
from asgi_apikey.models import JSONValue

MAX_KID: Final = 256
"""Characters of a key's name beyond which no key has it."""

REFUSED: Final = frozenset({"b64", "crit", "jku", "jwk", "x5c", "x5u"})
"""Members of a header that end the matter.

`jku`, `jwk`, `x5c` and `x5u` bring a key along: the bearer's, not the issuer's (RFC 8725 section 3.10). `crit` lists
what must be understood, and we understand none of it (RFC 7515 section 4.1.11); `b64` is one of those (RFC 7797).
"""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says about itself. None of it is believed: it only selects among what is trusted already.

    Attributes:
        kid: Name of the key, or None.
        typ: Media type in lower case, without `application/` (RFC 7515 section 4.1.9), or None.
    """

    algorithm: str
    kid: str | None
    typ: str | None


@dataclass(frozen=True, slots=True)
class Compact:
    """A token in its parts.

    Attributes:
        signed: What the signature is about: the first two parts with the dot between them.
        payload: The second part, still encoded: nobody reads it before the signature is verified.
    """

    header: Header
    signed: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(presented: bytes) -> Compact:
    """Take a token apart.

    Raises:
        InvalidToken: It is malformed, or its header has a member of `REFUSED`.
    """
    parts = presented.split(b".")
    if len(parts) != 3 or not all(parts):
        raise InvalidToken(Fault.MALFORMED)
    return Compact(
        header=_header(json_object(decoded(parts[0]))),
        signed=presented[: len(parts[0]) + 1 + len(parts[1])],
        payload=parts[1],
        signature=decoded(parts[2]),
    )


def decoded(part: bytes) -> bytes:
    """Decode base64url without padding, in its one spelling (RFC 7515 section 2).

    Raises:
        InvalidToken: Padding, a foreign character, an impossible length, or bits to spare that are not zero.
    """
    if part.translate(None, _ALPHABET):
        raise InvalidToken(Fault.MALFORMED)
    try:
        plain = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except Base64Error as error:
        raise InvalidToken(Fault.MALFORMED) from error
    if urlsafe_b64encode(plain).rstrip(b"=") != part:
        raise InvalidToken(Fault.MALFORMED)
    return plain


def json_object(text: bytes) -> Mapping[str, JSONValue]:
    """Read one JSON object in UTF-8.

    Raises:
        InvalidToken: Something else, a name twice in an object, a number that JSON does not have, half a character,
            or more nesting or digits than Python reads.
    """
    try:
        value: object = json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
        if b"\\u" in text:
            # An escaped half of a surrogate pair is text that no log and no database takes.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidToken(Fault.MALFORMED) from error
    if not isinstance(value, dict):
        raise InvalidToken(Fault.MALFORMED)
    return cast("dict[str, JSONValue]", value)


def _object(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _header(members: Mapping[str, JSONValue]) -> Header:
    algorithm, kid, typ = members.get("alg"), members.get("kid"), members.get("typ")
    if not REFUSED.isdisjoint(members) or not isinstance(algorithm, str):
        raise InvalidToken(Fault.HEADER)
    if "kid" in members and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise InvalidToken(Fault.HEADER)
    # A nested token would have to be verified once more, inside (RFC 7519 section 5.2).
    if "cty" in members or ("typ" in members and not isinstance(typ, str)):
        raise InvalidToken(Fault.HEADER)
    return Header(
        algorithm,
        kid if isinstance(kid, str) else None,
        media_type(typ) if isinstance(typ, str) else None,
    )


def media_type(typ: str) -> str:
    """Return a `typ` in the spelling that is compared: media types know no case, and leave `application/` out."""
    return typ.lower().removeprefix("application/")
