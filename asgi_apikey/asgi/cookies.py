"""A key in a cookie: the pairs of one `Cookie` line (RFC 6265 section 4.2.1)."""

from __future__ import annotations

from asgi_apikey.errors import AmbiguousCredential

MAX_PAIRS = 1_000
"""Pairs beyond which a line is refused instead of searched; browsers keep at most a few hundred per site."""

_BLANKS = b" \t"


def cookie_values(line: bytes, name: bytes) -> list[bytes]:
    """Return the value of each pair with exactly this name, blanks around it removed, quotes kept.

    Raises:
        AmbiguousCredential: The line has more than `MAX_PAIRS` pairs.
    """
    if name not in line:
        return []
    if line.count(b";") >= MAX_PAIRS:
        raise AmbiguousCredential
    return [pair.partition(b"=")[2].strip(_BLANKS) for pair in line.split(b";") if _name_of(pair) == name]


def without_cookie(line: bytes, name: bytes) -> bytes:
    """Return the line without the pairs of this name; empty if nothing else was in it."""
    if name not in line:
        return line
    return b";".join(pair for pair in line.split(b";") if _name_of(pair) != name).strip(_BLANKS)


def _name_of(pair: bytes) -> bytes:
    return pair.partition(b"=")[0].strip(_BLANKS)
