"""Tests of `asgi_apikey.recall`; what makes a verdict believable is tested with the authenticator."""

from __future__ import annotations

from asgi_apikey.caches.local import LocalCache
from asgi_apikey.models import Principal, Seconds, Tally, Verdict
from asgi_apikey.recall import recalling
from tests.fakes import FakeClock, FakeInvalidation

PRESENTED = b"a key"


class Known:
    """One key that is remembered, and who counts its uses."""

    def __init__(self, *, room: int = 10) -> None:
        self.clock = FakeClock()
        self.cache = LocalCache(verdicts=room)
        self.invalidation = FakeInvalidation(self.cache, self.clock, lease=10_000.0)
        self.told: list[tuple[str, Seconds]] = []
        self.recall, self.fingerprint = recalling(self.cache, self.invalidation, count=self.count, clock=self.clock)
        self.tally = self.remember("k1", PRESENTED)

    def count(self, tally: Tally, now: Seconds) -> None:
        """Open the tally for ten seconds, as a recorder does."""
        self.told.append((tally.key_id, now))
        tally.open_until = now + 10.0

    def remember(self, key_id: str, presented: bytes) -> Tally:
        """Put a verdict."""
        tally = Tally(key_id)
        verdict = Verdict(Principal(key_id=key_id, owner="acme"), 1, 5_000.0, None, tally)
        self.cache.put(self.fingerprint(presented), verdict, self.cache.mark())
        return tally


def test_the_first_use_is_told_and_later_ones_are_tallied() -> None:
    """While the tally is open, nobody is called."""
    known = Known()
    principals = {known.recall(PRESENTED) for _ in range(3)}

    assert principals == {Principal(key_id="k1", owner="acme")}
    assert known.told == [("k1", 1_000.0)]
    assert (known.tally.uses, known.tally.last) == (2.0, 1_000.0)


def test_a_closed_tally_is_told_of_again() -> None:
    """Or a process with one busy key would never notice that nobody writes its counts any more."""
    known = Known()
    known.recall(PRESENTED)
    known.clock.advance(10.5)
    known.recall(PRESENTED)

    assert [now for _, now in known.told] == [1_000.0, 1_010.5]


def test_a_key_in_use_is_not_the_one_that_makes_room() -> None:
    """The first use in a while moves its verdict up."""
    known = Known(room=2)
    known.remember("k2", b"another")
    known.recall(PRESENTED)
    known.remember("k3", b"a third")

    assert known.recall(PRESENTED) is not None
    assert known.recall(b"another") is None


def test_fingerprints_mean_nothing_to_another_process() -> None:
    """Each makes a key of its own."""
    assert Known().fingerprint(PRESENTED) != Known().fingerprint(PRESENTED)
