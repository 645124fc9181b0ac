"""The URL of a PostgreSQL database: the spellings of several systems, and what is wrong with those that do not work.

A URL holds a password, so no message repeats any part of one, and no parser's error is chained to ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from asgi_apikey.errors import ConfigurationError

SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")
_SPELLING: Final = "write 'postgresql://user:password@host:5432/database'"
_ESCAPING: Final = (
    f"{_SPELLING}, with %XX for any of : / ? # [ ] @ inside the user's name, the password or the database"
)

# SQLAlchemy's asyncpg dialect calls two options by other names than libpq and asyncpg.
_SYNONYMS: Final = {"ssl": "sslmode", "prepared_statement_cache_size": "statement_cache_size"}
_SSL_WORDS: Final[Mapping[str, str]] = {"true": "require", "false": "disable"}

STATEMENTS: Final = 100
"""Prepared statements that each connection keeps: asyncpg's own default."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is.

    Attributes:
        dsn: The URL as asyncpg reads it; holds the password.
        statement_cache_size: Prepared statements that each connection keeps; 0 behind a pooler of transactions.
        pool_size: The most connections of one event loop; None for the default.
    """

    dsn: str = field(repr=False)
    statement_cache_size: int
    pool_size: int | None = None


def address_of(url: str, *, statement_cache_size: int | None = None) -> Address:
    """Return the address that `url` names.

    Options are libpq's (`sslmode`, `target_session_attrs`, …); what asyncpg does not know is set on each session, like
    `search_path`. With several hosts, only the primary is used unless `target_session_attrs` says otherwise: a standby
    answers with what was true a moment ago.

    Args:
        url: Begins with `postgresql:`, `postgres:` or `postgresql+asyncpg:`.
        statement_cache_size: Instead of the URL's option of that name.

    Raises:
        ConfigurationError: The URL cannot be read, or the size is not a natural number.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        # Not chained: these messages repeat pieces of what they could not read.
        raise ConfigurationError(_ESCAPING) from None
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(_SPELLING)
    _check(parts.netloc, parts.path, parts.fragment)
    options = {_SYNONYMS.get(name, name): value for name, value in options.items()}
    size = options.pop("statement_cache_size", str(STATEMENTS))
    pool_size = options.pop("pool_size", None)
    if "sslmode" in options:
        options["sslmode"] = _SSL_WORDS.get(options["sslmode"].lower(), options["sslmode"])
    if "," in parts.netloc + options.get("host", ""):
        options.setdefault("target_session_attrs", "primary")
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    # By hand: `urlunsplit` drops the slashes of an empty host, which stands for the socket of this machine.
    dsn = f"postgresql://{parts.netloc}{parts.path}{query}"
    size = size if statement_cache_size is None else str(statement_cache_size)
    return Address(dsn, _size(size), None if pool_size is None else _pool_size(pool_size))


def _check(netloc: str, path: str, fragment: str) -> None:
    """Refuse what two parsers may cut at different places: one of the pieces would be part of the password."""
    hosts = netloc.rpartition("@")[2].split(",")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    readable = netloc.count("@") <= 1 and "@" not in path and not fragment
    if not readable or not all(port.isascii() and (port.isdigit() or not port) for port in ports):
        raise ConfigurationError(_ESCAPING)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError("statement_cache_size must be 0 (behind a pooler of transactions) or more")
    return int(text)


def _pool_size(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError("pool_size must be a whole number of connections, 3 or more")
    return int(text)
