"""From a URL to the meters that it names; each scheme's library is imported when the scheme is used."""

from __future__ import annotations

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.metering import MemoryMeters
from asgi_apikey.protocols import Meters

_REDIS = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
_LIMITS = "async+"


def open_meters(url: str) -> Meters:
    """Return the meters that `url` names. Nothing is opened yet.

    Known are `redis:`, `rediss:`, `unix:`, `redis+cluster:` and `redis+sentinel:` as `redisaddress` says; `memory:`,
    which counts in each process for itself; and, for one rate per key, `async+memcached://…`, `async+mongodb://…` and
    whatever else the library `limits` reads.

    Raises:
        ConfigurationError: Another scheme. The message never repeats the URL, which may hold a password.
        MissingExtra: The scheme's library is not installed.
    """
    scheme = url.partition(":")[0]
    if url in ("memory:", "memory://"):
        return MemoryMeters()
    if scheme in _REDIS:
        return _redis(url)
    if scheme.startswith(_LIMITS):
        return _rates(url)
    raise ConfigurationError(
        f"the URL of meters= must start with one of {', '.join(f'{x}:' for x in ('memory', *_REDIS))} "
        f"or, for one rate per key, {_LIMITS}<what the library limits reads>:"
    )


def _redis(url: str) -> Meters:
    try:
        from asgi_apikey.limiters.redis import RedisMeters
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise MissingExtra("redis", "meters= with a redis: URL") from error
    return RedisMeters(url)


def _rates(url: str) -> Meters:
    try:
        from asgi_apikey.limiters.rates import RateMeters
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "limits":
            raise
        raise MissingExtra("limits", f"meters= with an {_LIMITS}…: URL") from error
    return RateMeters(url)
