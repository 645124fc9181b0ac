"""What the errors of asyncpg and PostgreSQL mean for us.

Classes of SQLSTATE: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg  # type: ignore[import-untyped]  # it ships no types

from asgi_apikey.errors import ConfigurationError, StoreUnavailable

# asyncpg says what it finds wrong itself by InterfaceError and InternalClientError, and passes on what the socket,
# TLS and the resolver say (OSError, which TimeoutError is too).
ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_MEANINGS: Final = {
    "25006": "the database is read-only",
    "25P03": "the change took too long between two statements",
    "28000": "PostgreSQL refuses this user",
    "28P01": "PostgreSQL refuses this user or password",
    "3D000": "there is no such database",
    "40001": "other changes kept coming in between",
    "40P01": "other changes kept coming in between",
    "42501": "the database's user may not do this to the tables of the key store",
    "42P01": "the database holds no key store (any more); `asgi-apikey init` makes one",
    "53100": "the disk of PostgreSQL is full",
    "53300": "PostgreSQL has no connection left for us",
    "55P03": "another process is changing keys",
    "57014": "PostgreSQL took too long",
    "57P01": "PostgreSQL is being shut down",
    "57P02": "PostgreSQL has crashed",
    "57P03": "PostgreSQL is starting up or shutting down",
}

_TRANSIENT: Final = frozenset({"40001", "40P01"})


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg raises into StoreUnavailable, with the original as its cause.

    Raises:
        ConfigurationError: The URL or its options cannot be used.
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise ConfigurationError(f"the PostgreSQL URL cannot be used: {error}") from error
    except ERRORS as error:
        raise StoreUnavailable(_meaning(error)) from error


def is_transient(error: StoreUnavailable) -> bool:
    """Whether the same transaction may well succeed when it is begun anew.

    A deadlock, a serialization failure, or a prepared statement that a migration has made obsolete (asyncpg prepares
    it anew by itself, but not inside a transaction).
    """
    cause = error.__cause__
    return isinstance(cause, asyncpg.InvalidCachedStatementError) or _state(cause) in _TRANSIENT


def is_read_only(error: StoreUnavailable) -> bool:
    """Whether the server takes no writes: after a failover, the one that was the primary."""
    return _state(error.__cause__) == "25006"


def is_lost(error: StoreUnavailable) -> bool:
    """Whether the connection is gone: what it was asked last may or may not have been done.

    After an ERROR the session goes on, and the transaction is known to have failed; FATAL and PANIC end the session,
    and can come after a commit (an administrator ends a session that waits for its standby).
    """
    return getattr(error.__cause__, "severity_en", None) != "ERROR"


def _meaning(error: BaseException) -> str:
    known = _MEANINGS.get(_state(error))
    if known is not None:
        return known
    if isinstance(error, TimeoutError):
        return "PostgreSQL did not answer in time"
    if isinstance(error, OSError):
        return "PostgreSQL cannot be reached"
    if getattr(error, "severity_en", None) == "ERROR":
        return "PostgreSQL refused the statement"
    return "the connection to PostgreSQL was lost"


def _state(error: BaseException | None) -> str:
    # The cause of a lost connection, where the server gave one before it hung up.
    state = getattr(error, "sqlstate", None)
    if state == "08003" and error is not None and error.__cause__ is not None:
        return _state(error.__cause__)
    return str(state or "")
