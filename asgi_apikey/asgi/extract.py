"""Where a request may present a key, and finding it there.

Works on the raw bytes of the ASGI scope, decides and does no I/O. At most one credential is accepted over all
enabled places together; a place that is not enabled does not exist (RFC 6750 section 2: clients must not use more
than one method). Nothing is split, folded or repaired: two proxies rarely agree on what a repaired request means.
"""

from __future__ import annotations

from collections.abc import Iterable

from asgi_apikey.asgi.cookies import cookie_values, without_cookie
from asgi_apikey.asgi.query import QueryParameter
from asgi_apikey.asgi.subprotocol import credentials_in
from asgi_apikey.asgi.types import Headers
from asgi_apikey.errors import AmbiguousCredential, ConfigurationError, MalformedKey

BLANKS = b" \t"
"""Optional whitespace (RFC 9110 section 5.6.3). `bytes.strip()` without it would also take VT, FF, CR and LF."""

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""The bytes of a token: header names, schemes, cookie names (RFC 9110 section 5.6.2)."""

_AUTHORIZATION = b"authorization"
_COOKIE = b"cookie"
_BEARER = b"bearer"
_MALFORMED = b""


class Extractor:
    """Finds, redacts and removes the credential of a request.

    Args:
        header: Name of the header whose whole value is the key; None for none.
        query_param: Name of the query parameter; None for none.
        bearer: Whether `Authorization: Bearer <key>` is read (RFC 6750 section 2.1).
        cookie: Name of the cookie; None for none. A browser sends cookies with requests that other sites start:
            whoever enables this must check `Origin`, above all on WebSockets, where no CORS rule helps.

    Raises:
        ConfigurationError: No place is enabled, a name cannot occur, or two places are the same field.
    """

    def __init__(
        self, *, header: str | None, query_param: str | None = None, bearer: bool = False, cookie: str | None = None
    ) -> None:
        if header is None and query_param is None and cookie is None and not bearer:
            raise ConfigurationError(
                "no place to look for a key; enable one: header='X-API-Key', bearer=True, cookie=… or query_param=…"
            )
        self.header = None if header is None else _field_name(header, bearer=bearer)
        self.bearer = bearer
        self._cookie = None if cookie is None else _token("cookie", cookie)
        self._query = None if query_param is None else QueryParameter(query_param)

    @property
    def only_header(self) -> bytes:
        """The header that is read, if a single one is the only enabled place; else empty."""
        if self._cookie is not None or self._query is not None or (self.bearer and self.header is not None):
            return b""
        return self.header or _AUTHORIZATION

    @property
    def other_places(self) -> bool:
        """Whether a place besides `Authorization: Bearer` is enabled."""
        return self.header is not None or self._cookie is not None or self._query is not None

    @property
    def reads_query(self) -> bool:
        """Whether the query string is an enabled place, so that it has to be redacted."""
        return self._query is not None

    def find(self, headers: Headers, query_string: bytes, offered: Iterable[str] = ()) -> bytes | None:
        """Return the presented key, or None if no enabled place carries a credential.

        Args:
            headers: The header lines.
            query_string: As it came.
            offered: Subprotocols of a WebSocket, where they are a place.

        Raises:
            AmbiguousCredential: A field occurs twice, even with equal values, or two enabled places carry something.
            MalformedKey: The one credential there is cannot be read: empty, or not written as its place demands.
        """
        found = self._in_all_places(headers, query_string) + credentials_in(offered)
        if not found:
            return None
        if len(found) > 1:
            raise AmbiguousCredential
        if found[0] == _MALFORMED:
            raise MalformedKey
        return found[0]

    def carries(self, headers: Headers, query_string: bytes) -> bool:
        """Whether any enabled place carries something, readable or not.

        Raises:
            AmbiguousCredential: There are several `Authorization` lines, whatever is in them.
        """
        return bool(self._in_all_places(headers, query_string))

    def is_bearer(self, headers: Headers) -> bool:
        """Whether the one credential that `find` has found in these headers stands in `Authorization: Bearer`."""
        return self.bearer and any(name.lower() == _AUTHORIZATION and _is_bearer(value) for name, value in headers)

    def redacted_query(self, query_string: bytes) -> bytes:
        """Return the query string with every value of the parameter replaced, for the server's access log."""
        return query_string if self._query is None else self._query.redacted(query_string)

    def stripped_query(self, query_string: bytes) -> bytes:
        """Return the query string without the parameter."""
        return query_string if self._query is None else self._query.removed(query_string)

    def stripped_headers(self, headers: Headers) -> Headers:
        """Return the header lines without credentials; cookies of other names and other schemes stay."""
        kept: Headers = []
        for name, value in headers:
            lowered = name.lower()
            if lowered == self.header or (self.bearer and lowered == _AUTHORIZATION and _is_bearer(value)):
                continue
            rest = value if self._cookie is None or lowered != _COOKIE else without_cookie(value, self._cookie)
            if rest is value or rest:
                kept.append((name, rest))
        return kept

    def _in_all_places(self, headers: Headers, query_string: bytes) -> list[bytes]:
        found = self._in_headers(headers)
        return found if self._query is None else found + self._query.values(query_string)

    def _in_headers(self, headers: Headers) -> list[bytes]:
        """Every credential in the headers; an unreadable one is there as empty bytes."""
        found: list[bytes] = []
        authorizations = 0
        for name, value in headers:
            # ASGI asks for lower-case names and does not promise them.
            lowered = name.lower()
            if lowered == self.header:
                found.append(value.strip(BLANKS))
            elif lowered == _AUTHORIZATION and self.bearer:
                authorizations += 1
                if _is_bearer(value):
                    found.append(_bearer_key(value))
            elif lowered == _COOKIE and self._cookie is not None:
                found += cookie_values(value, self._cookie)
        if authorizations > 1:
            # Whoever stands before or behind us may read the other line, whatever its scheme.
            raise AmbiguousCredential
        return found


def is_token(presented: bytes) -> bool:
    """Whether a Bearer value has the shape of a JSON Web Token: three parts, two dots (RFC 7515 section 3.1)."""
    return presented.count(b".") == 2


def _is_bearer(authorization: bytes) -> bool:
    """Whether the value names the Bearer scheme, or no readable scheme at all, which nobody else will claim."""
    value = authorization.strip(BLANKS)
    scheme, rest = value[: len(_BEARER)].lower(), value[len(_BEARER) :]
    return not value or (scheme == _BEARER and (not rest or rest[0] not in TOKEN))


def _bearer_key(authorization: bytes) -> bytes:
    """The key of a Bearer value, or empty bytes: `Bearer`, exactly one space, the key, nothing else."""
    rest = authorization.strip(BLANKS)[len(_BEARER) :]
    key = rest[1:]
    return key if rest[:1] == b" " and b" " not in key and b"\t" not in key else _MALFORMED


def _field_name(header: str, *, bearer: bool) -> bytes:
    name = _token("header", header).lower()
    if name == _COOKIE:
        raise ConfigurationError(
            "header='Cookie' would take the whole cookie line for a key; write cookie='<its name>'"
        )
    if name == _AUTHORIZATION and bearer:
        raise ConfigurationError(
            "header='Authorization' and bearer=True read the same field; with bearer=True write header=None"
        )
    return name


def _token(place: str, name: str) -> bytes:
    if not _is_token(name):
        raise ConfigurationError(
            f"{place}={name!r} cannot be the name of a {place}; use letters, digits and '-', as in 'X-API-Key'"
        )
    return name.encode()


def _is_token(name: object) -> bool:
    return isinstance(name, str) and name != "" and name.isascii() and TOKEN.issuperset(name.encode())
