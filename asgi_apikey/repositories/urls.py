"""From a URL to the repository it names; each scheme's library is imported when the scheme is used."""

from __future__ import annotations

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.repositories.sql import SQLRepository


def open_repository(url: str) -> KeyRepository:
    """Return the repository that `url` names. Nothing is opened yet, and no file is made.

    Known are `memory:`; `sqlite:///relative/path.db` and `sqlite:////absolute/path.db` (also spelled
    `sqlite+aiosqlite:`), whose path is taken as it is, without percent-decoding, as SQLAlchemy does; and
    `postgresql://user:password@host:port/database` (also `postgres:`, `postgresql+asyncpg:`) with libpq's options,
    `pool_size=20` for more connections than 10, and `statement_cache_size=0` for a pooler of transactions such as
    PgBouncer.

    Raises:
        ConfigurationError: Another scheme, or a part that the scheme does not have. The message never repeats the
            URL, which may hold a password.
        MissingExtra: The scheme's library is not installed.
    """
    scheme, _, rest = url.partition(":")
    makers = {
        "memory": _memory,
        "sqlite": _sqlite,
        "sqlite+aiosqlite": _sqlite,
        "postgresql": _postgres,
        "postgres": _postgres,
        "postgresql+asyncpg": _postgres,
    }
    if scheme not in makers or scheme == url:
        raise ConfigurationError(f"the store's URL must start with one of {', '.join(f'{each}:' for each in makers)}")
    return makers[scheme](rest)


def _memory(rest: str) -> KeyRepository:
    if rest not in ("", "//"):
        raise ConfigurationError("write 'memory:': it has no path and no options")
    return MemoryRepository()


def _sqlite(rest: str) -> KeyRepository:
    if not rest.startswith("///") or len(rest) == 3:
        raise ConfigurationError("write 'sqlite:///relative/path.db' or 'sqlite:////absolute/path.db'")
    if "?" in rest or "#" in rest:
        raise ConfigurationError(
            "an sqlite: URL has no options; pass SQLRepository(SQLiteDriver(path, busy_timeout=...)) instead"
        )
    try:
        from asgi_apikey.repositories.sqlite import SQLiteDriver
    except ModuleNotFoundError as error:
        if error.name != "aiosqlite":
            raise
        raise MissingExtra("sqlite", "an sqlite: URL") from error
    return SQLRepository(SQLiteDriver(rest.removeprefix("///")))


def _postgres(rest: str) -> KeyRepository:
    try:
        from asgi_apikey.repositories.postgres import PostgresDriver
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise MissingExtra("postgres", "a postgresql: URL") from error
    return SQLRepository(PostgresDriver(f"postgresql:{rest}"))
