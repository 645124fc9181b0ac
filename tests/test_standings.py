"""Whether a key that was let in would be let in again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asgi_apikey.errors import DisabledKey, ExpiredKey, RevokedKey, StoreUnavailable, UnknownKey, WrongSecret
from asgi_apikey.models import Change, IssuedKey
from asgi_apikey.standings import Standings
from tests.fakes import FakeInvalidation
from tests.wiring import Wired

pytestmark = pytest.mark.anyio


def standings(wired: Wired) -> Standings:
    """Wired as `APIKeys` does it."""
    return Standings(
        wired.authenticator.recheck,
        cache=wired.cache,
        invalidation=wired.invalidation,
        clock=wired.clock,
        ttl=60.0,
    )


async def test_it_holds_until_the_key_changes() -> None:
    """Not until any key does."""
    wired = Wired()
    issued = await wired.issue()
    stands = standings(wired)
    since = stands.look()
    key_id = issued.record.key_id
    wired.cache.invalidate(Change(1, "another", 1))
    before = stands.holds(key_id, since)
    wired.cache.invalidate(Change(2, key_id, 2))

    assert before
    assert not stands.holds(key_id, since)
    assert stands.holds(key_id, stands.look())


async def test_it_holds_not_after_everything_was_forgotten() -> None:
    """A change of many keys, or a feed that does not go on."""
    wired = Wired()
    stands = standings(wired)
    since = stands.look()
    wired.cache.clear()

    assert not stands.holds("any", since)


async def test_it_holds_for_a_time() -> None:
    """What was changed behind our back is found as late as for requests."""
    wired = Wired()
    stands = standings(wired)
    since = stands.look()
    wired.clock.advance(59.9)
    before = stands.holds("any", since)
    wired.clock.advance(0.1)

    assert before
    assert not stands.holds("any", since)


async def test_without_a_lease_it_does_not_hold() -> None:
    """Until one is obtained: then it is known that nothing has changed."""
    wired = Wired(lease=2.0)
    stands = standings(wired)
    since = stands.look()
    wired.clock.advance(2.0)
    before = stands.holds("any", since)
    renewed = await stands.renewed("any", since)

    assert (before, renewed) == (False, True)


async def test_a_counter_that_has_moved_is_a_change_we_have_not_read() -> None:
    """The bus of one host tells so."""
    wired = Wired(lease=2.0)
    assert isinstance(wired.invalidation, FakeInvalidation)
    stands = standings(wired)
    since = stands.look()
    wired.invalidation.moving[0] += 1

    assert not stands.holds("any", since)
    assert await stands.renewed("any", since)


async def test_it_asks_for_the_next_lease_ahead_of_time() -> None:
    """Who stays drives the polls, as requests do."""
    wired = Wired(lease=2.0)
    assert isinstance(wired.invalidation, FakeInvalidation)
    stands = standings(wired)
    since = stands.look()
    wired.invalidation.refresh_at = wired.clock.monotonic() + 0.5
    stands.holds("any", since)
    early = wired.invalidation.refreshes
    wired.clock.advance(0.5)
    stands.holds("any", since)

    assert (early, wired.invalidation.refreshes) == (0, 1)


class TestRecheck:
    """Verifying a key anew, for those who stay."""

    async def test_it_finds_the_key_as_it_is_now(self) -> None:
        """In the store, not in memory."""
        wired = Wired()
        issued = await wired.issue(scopes=frozenset({"a"}))
        await wired.authenticate(issued.key)
        reads = wired.store.calls["get"]
        principal = await wired.authenticator.recheck(issued.key.encode())

        assert principal == await wired.authenticate(issued.key)
        assert wired.store.calls["get"] == reads + 1

    async def test_it_is_counted_nowhere(self) -> None:
        """Neither as a use nor as a refusal: nobody presents the key."""
        wired = Wired()
        issued = await wired.issue()
        await wired.authenticate(issued.key)
        counted = list(wired.usage.accepted)
        await wired.authenticator.recheck(issued.key.encode())
        await wired.issuer.revoke(issued.record.key_id)
        with pytest.raises(RevokedKey):
            await wired.authenticator.recheck(issued.key.encode())

        assert wired.usage.accepted == counted
        assert wired.usage.refused == []
        assert (wired.authenticator.stats.rejected, wired.authenticator.stats.refusals) == (0, {})

    @pytest.mark.parametrize(
        ("end", "error"),
        [("revoke", RevokedKey), ("disable", DisabledKey), ("delete", UnknownKey), ("expire", ExpiredKey)],
    )
    async def test_it_refuses_what_a_request_would_be_refused(self, end, error) -> None:
        """With the same reason."""
        wired = Wired()
        issued = await wired.issue(expires_in=60.0)
        await wired.authenticate(issued.key)
        if end == "expire":
            wired.clock.advance(60)
        else:
            await getattr(wired.issuer, end)(issued.record.key_id)

        with pytest.raises(error):
            await wired.authenticator.recheck(issued.key.encode())

    async def test_another_key_with_the_same_id_is_another_key(self) -> None:
        """Whoever has the one is not let in for the other."""
        wired = Wired()
        issued = await wired.issue()
        await wired.authenticate(issued.key)
        other: IssuedKey = await wired.issue()
        await wired.issuer.delete(issued.record.key_id)
        added = await wired.repository.add(replace(other.record, key_id=issued.record.key_id))
        wired.cache.invalidate(added.changes[0])

        with pytest.raises(WrongSecret):
            await wired.authenticator.recheck(issued.key.encode())

    async def test_cannot_tell_is_not_no(self) -> None:
        """The store is away."""
        wired = Wired()
        issued = await wired.issue()
        await wired.authenticate(issued.key)
        wired.store.failures["get"] = StoreUnavailable("away")

        with pytest.raises(StoreUnavailable):
            await wired.authenticator.recheck(issued.key.encode())
