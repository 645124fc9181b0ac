"""Invalidation within one process: at once here, and honest about everywhere else."""

from __future__ import annotations

import math

import pytest

from asgi_apikey.caches.local import LocalCache
from asgi_apikey.invalidation.local import LocalInvalidation
from asgi_apikey.models import Change, Committed, Principal, Receipt, Tally, Verdict
from asgi_apikey.protocols import Invalidation
from tests.fakes import FakeClock
from tests.records import a_record, recalled

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


def remember(cache: LocalCache, key_id: str) -> None:
    """Put a verdict about the key."""
    cache.put(
        key_id.encode(), Verdict(Principal(key_id=key_id, owner="acme"), 1, 100.0, None, Tally(key_id)), cache.mark()
    )


async def test_a_process_alone_confirms_at_once() -> None:
    """When the receipt is there, nobody accepts the key any more."""
    cache, clock = LocalCache(), FakeClock()
    invalidation = LocalInvalidation(cache, clock, alone=True, cache_ttl=60.0)
    remember(cache, "k1")
    remember(cache, "k2")
    record = a_record("k1", version=2)
    receipt = await invalidation.announce(Committed(record, (Change(7, "k1", 2),)))

    assert recalled(cache, b"k1") is None
    assert recalled(cache, b"k2") is not None
    assert receipt == Receipt(record=record, confirmed=True, workers=1, acknowledged=1, elapsed=0.0, max_staleness=0.0)


async def test_with_others_about_nothing_is_confirmed() -> None:
    """It is done here at once all the same; elsewhere what is cached ends with its time, and the receipt says when."""
    cache = LocalCache()
    invalidation = LocalInvalidation(cache, FakeClock(), alone=False, cache_ttl=5.0)
    remember(cache, "k1")
    receipt = await invalidation.announce(Committed(a_record("k1", version=2), (Change(7, "k1", 2),)))

    assert recalled(cache, b"k1") is None
    assert (receipt.confirmed, receipt.max_staleness, invalidation.max_staleness) == (False, 5.0, 5.0)


async def test_every_change_of_a_commit_is_announced() -> None:
    """A rotation changes two keys in one commit."""
    cache = LocalCache()
    invalidation = LocalInvalidation(cache, FakeClock(), alone=True, cache_ttl=60.0)
    for key_id in ("k1", "k2", "k3"):
        remember(cache, key_id)
    await invalidation.announce(Committed(a_record("k2"), (Change(7, "k1", 2), Change(8, "k2", 1))))

    assert [recalled(cache, key) is None for key in (b"k1", b"k2", b"k3")] == [True, True, False]


async def test_a_receipt_says_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the monotonic clock, the invalidation included."""
    cache, clock = LocalCache(), FakeClock()
    invalidation = LocalInvalidation(cache, clock, alone=True, cache_ttl=60.0)
    monkeypatch.setattr(cache, "invalidate", lambda change: clock.advance(0.25))
    receipt = await invalidation.announce(Committed(a_record(), (Change(7, "k1", 2), Change(8, "k2", 1))))

    assert receipt.elapsed == 0.5


async def test_a_change_without_rows_is_still_answered() -> None:
    """There is nothing to drop."""
    invalidation = LocalInvalidation(LocalCache(), FakeClock(), alone=True, cache_ttl=60.0)

    receipt = await invalidation.announce(Committed(a_record(), ()))

    assert receipt.confirmed


async def test_the_lease_of_a_single_process_never_ends() -> None:
    """Nobody else writes, so there is nothing to ask; renewing it changes nothing."""
    invalidation: Invalidation = LocalInvalidation(LocalCache(), FakeClock(), alone=True, cache_ttl=60.0)
    await invalidation.renew()

    assert invalidation.fresh_until == math.inf
    assert invalidation.counter[0] == invalidation.seen
