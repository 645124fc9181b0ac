"""Plain rates on the library `limits`: for whoever counts in Memcached, MongoDB, Valkey, … and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError as UnknownStorage
from limits.errors import StorageError
from limits.storage import storage_from_string

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.measures import Charge, Rate, Reading
from asgi_apikey.models import Instant

_NAMESPACE: Final = "asgi-apikey"


class RateMeters:
    """`Meters` for one rate per request, in whatever storage `limits` reads; asyncio only.

    It counts in a sliding window: of the window before, as much as still overlaps with the last `per` seconds is added
    to this one. `limits` reads the clock itself, takes one count at a time, and knows no quotas: so a key may have one
    rate here and nothing else, or requests are answered 503.

    Args:
        storage: URL, `async+memcached://localhost:11211`, or an asynchronous storage of `limits`, made with
            `wrap_exceptions=True`. `async+memory://` counts in each process for itself.

    Raises:
        ConfigurationError: `limits` cannot read it. The message does not repeat it, as it may hold a password.
    """

    def __init__(self, storage: str | Storage) -> None:
        try:
            opened = storage_from_string(storage, wrap_exceptions=True) if isinstance(storage, str) else storage
        except (UnknownStorage, ValueError, AssertionError, ImportError) as error:
            raise ConfigurationError(
                f"limits cannot use the storage that meters= names ({type(error).__name__}); is its library installed? "
                "See https://limits.readthedocs.io/en/stable/storage.html"
            ) from None
        if not isinstance(opened, Storage):
            raise ConfigurationError("meters= must name an asynchronous storage of limits: write async+redis://…")
        self._per_process = isinstance(opened, MemoryStorage)
        self._limiter = SlidingWindowCounterRateLimiter(opened)

    def __repr__(self) -> str:
        return f"RateMeters({'per process' if self._per_process else 'shared'})"

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """See `Meters.take`; `now` is of no account.

        Raises:
            StoreUnavailable: The storage failed; or anything but one rate is asked for.
        """
        if len(charges) != 1 or not isinstance(rule := charges[0].meter.rule, Rate) or charges[0].cost < 0:
            raise StoreUnavailable(f"{self!r} counts one rate per key and no quotas; count those in the store or Redis")
        meter, cost = charges[0].meter, charges[0].cost
        item = RateLimitItemPerSecond(rule.amount, rule.per, namespace=_NAMESPACE)
        try:
            let_through = cost == 0 or await self._limiter.hit(item, meter.subject, cost=cost)
            shown = await self._limiter.get_window_stats(item, meter.subject)
        except StorageError as error:
            raise StoreUnavailable(
                f"what is left of a limit cannot be told ({type(error.storage_error).__name__})"
            ) from error
        left = max(0, shown.remaining)
        return (Reading(meter, left, max(0.001, shown.reset_time - now), refused=not let_through),)

    async def prune(self, now: Instant) -> None:
        """Do nothing: storages of `limits` drop what has expired."""

    async def close(self) -> None:
        """Do nothing: `limits` has no way to close a storage."""
