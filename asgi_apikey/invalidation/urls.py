"""From a URL to the bus it names; each scheme's library is imported when the scheme is used."""

from __future__ import annotations

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.protocols import Bus

_REDIS = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
_POSTGRES = ("postgresql", "postgres")


def open_bus(url: str, *, secret: str | bytes, channel: str = "asgi-apikey") -> Bus:
    """Return the bus over the server that `url` names. Nothing is opened yet.

    Known are `redis:`, `rediss:` and `unix:` as redis-py reads them, `redis+cluster:` and `redis+sentinel:` as
    `redisaddress` says, and `postgresql:` as asyncpg reads it.

    Args:
        url: Of the server.
        secret: Shared by all workers, at least 32 bytes.
        channel: Workers of different channels do not hear each other.

    Raises:
        ConfigurationError: Another scheme, no secret or a short one. The message never repeats the URL, which may hold
            a password.
        MissingExtra: The scheme's library is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme in _REDIS:
        return _redis(url, secret, channel)
    if scheme in _POSTGRES:
        return _postgres(url, secret, channel)
    raise ConfigurationError(f"the bus's URL must start with one of {', '.join(f'{x}:' for x in _REDIS + _POSTGRES)}")


def _redis(url: str, secret: str | bytes, channel: str) -> Bus:
    try:
        from asgi_apikey.invalidation.redis import RedisBus
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise MissingExtra("redis", "a redis: URL") from error
    return RedisBus(url, secret=secret, channel=channel)


def _postgres(url: str, secret: str | bytes, channel: str) -> Bus:
    try:
        from asgi_apikey.invalidation.postgres import PostgresBus
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise MissingExtra("postgres", "a bus over PostgreSQL") from error
    return PostgresBus(url, secret=secret, channel=channel)
