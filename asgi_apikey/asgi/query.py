"""A key in the query string: found strictly, redacted always.

Fields are separated by `&` alone and compared after percent-decoding, as the WHATWG URL standard has it
(https://url.spec.whatwg.org/#urlencoded-parsing); a `;` is an ordinary byte, or half of the world would see two
fields where the other half sees one.
"""

from __future__ import annotations

from asgi_apikey.errors import AmbiguousCredential, ConfigurationError

REDACTED = b"REDACTED"
"""What stands in the place of a key afterwards. It is nobody's key, so a layer further in reads it as "no key here"."""

MAX_FIELDS = 1_000
"""Fields beyond which a query string is refused instead of searched: what Django allows in a form, for its reason."""

MAX_VALUE = 4_096
"""Bytes of a value beyond which it is not decoded: no key comes near."""

_UNRESERVED = frozenset("-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")


class QueryParameter:
    """One parameter of the query string, by exact name.

    Args:
        name: Unreserved characters only (RFC 3986 section 2.3), so that it has one plain spelling.

    Raises:
        ConfigurationError: The name has other characters, or none.
    """

    def __init__(self, name: str) -> None:
        if not _is_plain_name(name):
            raise ConfigurationError(
                f"query_param={name!r} needs escapes in a URL; use letters, digits, '-', '.', '_' and '~' only"
            )
        self._name = name.encode()
        self._longest = 3 * len(self._name)  # every character as a %XX escape

    def values(self, query_string: bytes) -> list[bytes]:
        """Return the decoded value of each occurrence; empty bytes for one that cannot be decoded.

        Raises:
            AmbiguousCredential: There are more fields than `MAX_FIELDS`, so nobody can say what they hold.
        """
        if not self._worth_a_look(query_string):
            return []
        if _too_many(query_string):
            raise AmbiguousCredential
        raw = [field.partition(b"=")[2] for field in query_string.split(b"&") if self._is_ours(field)]
        if raw == [REDACTED]:
            return []
        return [_decoded(value) for value in raw]

    def redacted(self, query_string: bytes) -> bytes:
        """Return the query string with the value of each occurrence replaced by `REDACTED`."""
        if not self._worth_a_look(query_string):
            return query_string
        if _too_many(query_string):
            return REDACTED
        placeholder = self._name + b"=" + REDACTED
        return b"&".join(placeholder if self._is_ours(field) else field for field in query_string.split(b"&"))

    def removed(self, query_string: bytes) -> bytes:
        """Return the query string without the occurrences."""
        if not self._worth_a_look(query_string):
            return query_string
        if _too_many(query_string):
            return REDACTED
        return b"&".join(field for field in query_string.split(b"&") if not self._is_ours(field))

    def _worth_a_look(self, query_string: bytes) -> bool:
        """Whether the name can be in there at all, plainly or in escapes."""
        return self._name in query_string or b"%" in query_string

    def _is_ours(self, field: bytes) -> bool:
        name = field.partition(b"=")[0]
        if b"%" not in name:
            return name == self._name
        return len(name) <= self._longest and _decoded(name) == self._name


def _is_plain_name(name: object) -> bool:
    return isinstance(name, str) and name != "" and _UNRESERVED.issuperset(name)


def _too_many(query_string: bytes) -> bool:
    return query_string.count(b"&") >= MAX_FIELDS


def _decoded(text: bytes) -> bytes:
    """Percent-decode; empty bytes for text that is too long or has a `%` that starts no escape."""
    if len(text) > MAX_VALUE:
        return b""
    plain, *pieces = text.replace(b"+", b" ").split(b"%")
    decoded = bytearray(plain)
    for piece in pieces:
        if len(piece) < 2 or piece[0] not in _HEX_DIGITS or piece[1] not in _HEX_DIGITS:
            return b""
        decoded.append(int(piece[:2], 16))
        decoded += piece[2:]
    return bytes(decoded)
