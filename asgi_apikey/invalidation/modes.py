"""From a mode of consistency to the invalidation that keeps it, among processes that may each have another one."""

from __future__ import annotations

from functools import partial

from asgi_apikey.background import Background
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.invalidation.announcer import LONGEST_AWAITED, Announcer, deaf
from asgi_apikey.invalidation.leases import LeasedInvalidation, LeaseTimes
from asgi_apikey.invalidation.local import LocalInvalidation
from asgi_apikey.invalidation.register import Register
from asgi_apikey.invalidation.strict import StrictInvalidation
from asgi_apikey.invalidation.ttl import TimedInvalidation
from asgi_apikey.models import Seconds
from asgi_apikey.protocols import Bus, ChangeFeed, Clock, Invalidation, VerdictCache


def invalidation_of(
    consistency: str,
    feed: ChangeFeed | None,
    cache: VerdictCache,
    *,
    bus: Bus,
    clock: Clock,
    background: Background,
    times: LeaseTimes | None,
    outage_grace: Seconds,
    ttl: Seconds,
    alone: bool,
) -> Invalidation:
    """Return what keeps the promise of a mode.

    Args:
        consistency: `leases`, `ttl` or `strict`.
        feed: Of the repository; None where it has none, so that nobody can know who else is there.
        cache: This process's.
        bus: Makes changes spread fast.
        clock: Monotonic.
        background: Where polls run.
        times: Of leases.
        outage_grace: See `LeasedInvalidation`.
        ttl: Seconds after which nobody here is answered with what was read before.
        alone: No other process uses the store, says the user.

    Raises:
        ConfigurationError: An `outage_grace` without leases that it could prolong.
    """
    if outage_grace and (feed is None or consistency != "leases"):
        raise ConfigurationError(
            "outage_grace prolongs leases: it needs consistency='leases' and a store with a change feed. "
            "'ttl' goes on for cache_ttl anyway, and 'strict' never answers without the store"
        )
    local = LocalInvalidation(cache, clock, alone=alone, cache_ttl=ttl)
    if consistency == "strict":
        return _strict(feed, cache, local, bus=bus, clock=clock, lease=(times or LeaseTimes()).lease)
    if feed is None or (consistency == "ttl" and alone):
        return local
    if consistency == "ttl":
        return TimedInvalidation(feed, cache, bus=bus, clock=clock, background=background, ttl=ttl)
    return LeasedInvalidation(
        feed, cache, bus=bus, clock=clock, background=background, times=times, outage_grace=outage_grace
    )


def _strict(
    feed: ChangeFeed | None, cache: VerdictCache, local: LocalInvalidation, *, bus: Bus, clock: Clock, lease: Seconds
) -> StrictInvalidation:
    if feed is None:
        # Others may trust their memory, and nobody can know.
        return StrictInvalidation(cache, local.announce, close=bus.close)
    announcer = Announcer(feed, bus, clock=clock, lease=lease, patience=max(lease, LONGEST_AWAITED))
    # Only to see who else is there: we are in no register.
    register = Register(feed, clock, lease=lease)
    return StrictInvalidation(cache, partial(announcer.announce, register=register, catch_up=deaf), close=bus.close)
