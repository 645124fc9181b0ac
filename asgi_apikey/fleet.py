"""What processes that share a store have in common beside it: a bus, a shared cache, and one secret between them."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.hashers.peppers import checked_pepper
from asgi_apikey.invalidation.host import HostBus
from asgi_apikey.invalidation.poll import NoBus
from asgi_apikey.invalidation.urls import open_bus
from asgi_apikey.models import Instant, KeyRecord, Seconds
from asgi_apikey.protocols import Bus, Clock, KeyReader, SharedCache
from asgi_apikey.sealing import SharedSeal
from asgi_apikey.sharing import SharedProofs, SharedRecords

_log = logging.getLogger("asgi_apikey")

_BUS_SECRET_LABEL: Final = b"asgi-apikey bus secret 1\0"


@runtime_checkable
class _Checked(Protocol):
    """A plug that can tell at the start that it will never work."""

    async def check(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fleet:
    """The parts that were asked for.

    Attributes:
        bus: Makes changes spread fast.
        cache: What processes know, for each other; None without one.
        seal: Makes that believable; there is one where there is a cache.
    """

    bus: Bus
    cache: SharedCache | None = None
    seal: SharedSeal | None = None

    def proofs(self, shareable: Callable[[bytes], bool]) -> SharedProofs | None:
        """Return the shared proofs; None without a cache."""
        if self.cache is None or self.seal is None:
            return None
        return SharedProofs(self.cache, self.seal, shareable=shareable)

    def records(
        self,
        reader: KeyReader,
        *,
        position: Callable[[], int | None],
        store: Callable[[], Awaitable[str]],
        clock: Clock,
        usable: Callable[[KeyRecord, Instant], bool],
        ttl: Seconds,
        ended_ttl: Seconds,
    ) -> SharedRecords:
        """Return the shared records in front of the repository; see `SharedRecords`.

        Raises:
            ConfigurationError: There is no cache.
        """
        if self.cache is None or self.seal is None:
            raise ConfigurationError("share_records=True needs redis= or shared_cache=, and cache_secret=")
        return SharedRecords(
            reader,
            self.cache,
            self.seal,
            position=position,
            store=store,
            clock=clock,
            usable=usable,
            ttl=ttl,
            ended_ttl=ended_ttl,
        )

    async def check(self) -> None:
        """Find out whether the bus can work; one that is out of reach now may.

        Raises:
            ConfigurationError: It never will; the message says what to do.
        """
        if isinstance(self.bus, _Checked):
            await self.bus.check()

    async def close(self) -> None:
        """Release the cache; the bus belongs to the invalidation."""
        if self.cache is not None:
            await self.cache.close()


def fleet_of(
    url: str | None,
    *,
    redis: str | None,
    bus: Bus | str | None,
    shared_cache: SharedCache | None,
    cache_secret: str | bytes | None,
    peppers: Sequence[bytes],
) -> Fleet:
    """Return what these arguments of `APIKeys` ask for.

    Args:
        url: Of the store; None for a repository of the user's.
        redis: URL of a Redis for both.
        bus: A bus, or the URL of one.
        shared_cache: Another cache than one in that Redis.
        cache_secret: Seals what goes through all of these.
        peppers: Newest last; a bus over PostgreSQL, which nobody has asked for, takes its secret from the newest.

    Raises:
        ConfigurationError: There is no secret, or one that somebody could guess, or that is a pepper.
        MissingExtra: A library is not installed.
    """
    secret = _secret(cache_secret, peppers)
    if secret is None and (redis or shared_cache is not None or isinstance(bus, str)):
        raise ConfigurationError(
            "redis=, shared_cache= and the URL of a bus need cache_secret=, the same in all processes, or whoever can "
            "write to that server could make keys; `asgi-apikey pepper` prints a good one"
        )
    if secret is None:
        return Fleet(bus if bus is not None and not isinstance(bus, str) else _default_bus(url, peppers))
    cache = shared_cache if shared_cache is not None or not redis else _redis_cache(redis)
    seal = None if cache is None else SharedSeal(secret)
    if isinstance(bus, str) or (bus is None and redis):
        bus = open_bus(bus or redis or "", secret=secret)
    return Fleet(bus or _default_bus(url, (secret,)), cache, seal)


def _secret(cache_secret: str | bytes | None, peppers: Sequence[bytes]) -> bytes | None:
    if not cache_secret:
        return None
    secret = checked_pepper(cache_secret, "cache_secret")
    if secret in peppers:
        raise ConfigurationError("cache_secret must not be a pepper too: make another with `asgi-apikey pepper`")
    return secret


def _default_bus(url: str | None, secrets: Sequence[bytes]) -> Bus:
    """The bus that comes with a store, at no cost and without another server."""
    scheme = "" if url is None else url.partition(":")[0].partition("+")[0]
    if url is not None and scheme == "sqlite":
        return HostBus(url.partition("///")[2])
    if url is not None and scheme in ("postgresql", "postgres"):
        return _postgres_bus(url, secrets)
    return NoBus()


def _postgres_bus(url: str, secrets: Sequence[bytes]) -> Bus:
    from asgi_apikey.repositories.postgres.address import address_of

    address = address_of(url)
    if not secrets:
        _log.warning(
            "without a pepper or a cache_secret there is no bus, so revokes wait until the leases have ended",
            extra={"event": "no_bus"},
        )
        return NoBus()
    if address.statement_cache_size == 0:
        _log.warning(
            "the store is behind a pooler of transactions, where no notification arrives, so revokes wait until the "
            "leases have ended; bus='postgresql://…' may name the server itself",
            extra={"event": "no_bus"},
        )
        return NoBus()
    # Its own key: nothing that is sealed with it says anything about the pepper.
    return open_bus(address.dsn, secret=hmac.digest(secrets[-1], _BUS_SECRET_LABEL, "sha256"))


def _redis_cache(url: str) -> SharedCache:
    try:
        from asgi_apikey.caches.redis import RedisCache
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise MissingExtra("redis", "redis=") from error
    return RedisCache(url)
