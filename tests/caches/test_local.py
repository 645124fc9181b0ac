"""What a process remembers: bounded, and never what an invalidation has removed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asgi_apikey.caches import local
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.errors import ConfigurationError, InvalidKey, UnknownKey, WrongSecret
from asgi_apikey.models import Change, Principal, Tally, Verdict
from asgi_apikey.protocols import VerdictCache
from tests.records import recalled


def a_verdict(key_id: str = "k1", version: int = 1) -> Verdict:
    """A verdict about a version of a key."""
    return Verdict(Principal(key_id=key_id, owner="acme"), version, 100.0, None, Tally(key_id))


def change(key_id: str = "k1", version: int = 2) -> Change:
    """A change of a key."""
    return Change(1, key_id, version)


def test_it_is_a_verdict_cache() -> None:
    """The protocol's, as the type checker sees it."""
    cache: VerdictCache = LocalCache()

    assert recalled(cache, b"f1") is None


def test_whoever_stays_is_told_of_every_change() -> None:
    """Of one key, of many, and of everything; after it was applied."""
    cache, heard = LocalCache(), list[bool]()
    mark = cache.mark()
    cache.on_change = lambda: heard.append(cache.settled("k1", None, mark))
    cache.invalidate(change("k2"))
    cache.invalidate(change("k1"))
    cache.invalidate(change(""))
    cache.clear()

    assert heard == [True, False, False, False]


def test_what_was_put_is_served() -> None:
    """The very object: verdicts are immutable, so requests share them."""
    cache, verdict = LocalCache(), a_verdict()
    cache.put(b"f1", verdict, cache.mark())

    assert recalled(cache, b"f1") is verdict
    assert len(cache) == 1


def test_an_invalidation_removes_the_verdict() -> None:
    """Of that key; the others stay."""
    cache = LocalCache()
    cache.put(b"f1", a_verdict("k1"), cache.mark())
    cache.put(b"f2", a_verdict("k2"), cache.mark())
    cache.invalidate(change("k1"))

    assert recalled(cache, b"f1") is None
    assert recalled(cache, b"f2") is not None


def test_every_presented_form_of_a_key_is_invalidated() -> None:
    """A hasher that lets two spellings of one key pass must not leave one of them working after a revoke."""
    cache = LocalCache()
    cache.put(b"one spelling", a_verdict("k1"), cache.mark())
    cache.put(b"another", a_verdict("k1"), cache.mark())
    cache.invalidate(change("k1"))

    assert recalled(cache, b"one spelling") is None
    assert recalled(cache, b"another") is None


def test_what_was_read_before_an_invalidation_is_not_kept() -> None:
    """Invariant 2: a slow read does not bring back what a change has removed, even if it read the new version."""
    cache = LocalCache()
    mark = cache.mark()
    cache.invalidate(change("k1", 2))
    cache.put(b"f1", a_verdict("k1", 1), mark)
    cache.put(b"f2", a_verdict("k1", 2), mark)

    assert recalled(cache, b"f1") is None
    assert recalled(cache, b"f2") is None
    assert not cache.settled("k1", 2, mark)
    assert not cache.settled("k1", None, mark)
    assert cache.settled("k2", 1, mark)


def test_an_older_version_is_not_kept_whenever_it_was_read() -> None:
    """A replica that lags may still show it."""
    cache = LocalCache()
    cache.invalidate(change("k1", 3))
    mark = cache.mark()
    cache.put(b"f1", a_verdict("k1", 2), mark)
    before = recalled(cache, b"f1")
    cache.put(b"f1", a_verdict("k1", 3), mark)

    assert before is None
    assert recalled(cache, b"f1") is not None
    assert (cache.settled("k1", 2, mark), cache.settled("k1", 4, mark), cache.settled("k1", None, mark)) == (
        False,
        True,
        True,
    )


def test_announcements_may_come_out_of_order_and_twice() -> None:
    """The highest version counts."""
    cache = LocalCache()
    for version in (5, 3, 5, 4):
        cache.invalidate(change("k1", version))

    assert not cache.settled("k1", 4, cache.mark())
    assert cache.settled("k1", 5, cache.mark())


def test_clearing_forgets_verdicts_and_rejections_and_refuses_what_was_read_before() -> None:
    """Proofs are timeless, so they stay."""
    cache = LocalCache()
    mark = cache.mark()
    cache.put(b"f1", a_verdict(), mark)
    cache.put_rejection(b"f2", UnknownKey("k2"), 100.0, mark)
    cache.put_proof(b"f1", "digest")
    cache.clear()
    cache.put(b"f3", a_verdict("k3"), mark)
    cache.put_rejection(b"f4", UnknownKey("k4"), 100.0, mark)

    assert (len(cache), recalled(cache, b"f1"), recalled(cache, b"f3")) == (0, None, None)
    assert (cache.rejection(b"f2", 0.0), cache.rejection(b"f4", 0.0)) == (None, None)
    assert cache.proof(b"f1") == "digest"
    assert not cache.settled("anybody", None, mark)
    assert cache.settled("anybody", None, cache.mark())


def test_a_rejection_ends_at_its_deadline() -> None:
    """On the monotonic clock; at the deadline it is over."""
    cache = LocalCache()
    rejection = WrongSecret("k1")
    cache.put_rejection(b"f1", rejection, 100.0, cache.mark())

    assert cache.rejection(b"f1", 99.999) is rejection
    assert cache.rejection(b"f1", 100.0) is None
    assert cache.rejection(b"f2", 0.0) is None


def test_any_change_forgets_all_rejections() -> None:
    """A key that is issued or enabled is accepted at once, though it was unknown a moment ago."""
    cache = LocalCache()
    cache.put_rejection(b"f1", UnknownKey("k1"), 100.0, cache.mark())
    cache.invalidate(change("another"))

    assert cache.rejection(b"f1", 0.0) is None


def test_a_rejection_read_before_any_change_is_not_kept() -> None:
    """The key that was not there may be the one that was issued meanwhile."""
    cache = LocalCache()
    mark = cache.mark()
    cache.invalidate(change("another"))
    cache.put_rejection(b"f1", UnknownKey("k1"), 100.0, mark)

    assert cache.rejection(b"f1", 0.0) is None


def test_wrong_keys_push_out_no_good_ones() -> None:
    """Invariant 6: they have a bounded place of their own, and so do proofs."""
    cache = LocalCache(verdicts=2, rejections=3)
    cache.put(b"good", a_verdict(), cache.mark())
    cache.put_proof(b"good", "digest")
    for number in range(1_000):
        cache.put_rejection(b"bad %d" % number, UnknownKey(), 100.0, cache.mark())
    remembered = [number for number in range(1_000) if cache.rejection(b"bad %d" % number, 0.0)]

    assert recalled(cache, b"good") is not None
    assert cache.proof(b"good") == "digest"
    assert remembered == [997, 998, 999]


def test_the_least_recently_used_verdict_makes_room() -> None:
    """The one not touched for longest; its key can be remembered and invalidated as if it had never been there."""
    cache = LocalCache(verdicts=2)
    for key_id in ("k1", "k2"):
        cache.put(key_id.encode(), a_verdict(key_id), cache.mark())
    cache.touch("k1")
    cache.put(b"k3", a_verdict("k3"), cache.mark())
    kept = [key for key in (b"k1", b"k2", b"k3") if recalled(cache, key)]
    cache.invalidate(change("k2"))
    cache.put(b"k2", a_verdict("k2", 2), cache.mark())

    assert kept == [b"k1", b"k3"]
    assert recalled(cache, b"k2") is not None
    assert len(cache) == 2


def test_nothing_is_kept_about_a_key_that_was_pushed_out() -> None:
    """Its entry in the index goes with it: memory is bounded by the size, not by the keys ever seen."""
    cache = LocalCache(verdicts=2)
    for number in range(100):
        cache.put(b"f%d" % number, a_verdict(f"k{number}"), cache.mark())

    assert cache._fingerprints == {"k98": b"f98", "k99": b"f99"}


def test_a_verdict_put_again_takes_no_room() -> None:
    """A renewal pushes nobody out."""
    cache = LocalCache(verdicts=2)
    cache.put(b"k1", a_verdict("k1"), cache.mark())
    cache.put(b"k2", a_verdict("k2"), cache.mark())
    newer = a_verdict("k2", 2)
    cache.put(b"k2", newer, cache.mark())

    assert recalled(cache, b"k1") is not None
    assert recalled(cache, b"k2") is newer


def test_another_form_of_a_key_takes_the_place_of_the_first() -> None:
    """In a full cache too: one key never costs another its place twice."""
    cache = LocalCache(verdicts=2)
    cache.put(b"k1", a_verdict("k1"), cache.mark())
    cache.put(b"k2", a_verdict("k2"), cache.mark())
    cache.put(b"K2", a_verdict("k2"), cache.mark())

    assert [key for key in (b"k1", b"k2", b"K2") if recalled(cache, key)] == [b"k1", b"K2"]


def test_too_many_tombstones_become_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by forgetting verdicts, never by forgetting that they are no longer true."""
    monkeypatch.setattr(local, "_TOMBSTONES", 3)
    cache = LocalCache()
    mark = cache.mark()
    cache.put(b"kept", a_verdict("kept"), mark)
    for number in range(3):
        cache.invalidate(change(f"k{number}"))
    before = recalled(cache, b"kept")
    cache.invalidate(change("k0", 3))
    known = recalled(cache, b"kept")
    cache.invalidate(change("k3"))

    assert before is not None
    assert known is not None, "a key that has a tombstone needs no further one"
    assert recalled(cache, b"kept") is None
    for key_id in ("k0", "k1", "k2", "k3", "kept", "anybody"):
        cache.put(b"late", a_verdict(key_id, 9), mark)
        assert recalled(cache, b"late") is None
    assert len(cache._tombstones) == 1


@pytest.mark.parametrize("sizes", [{"verdicts": 0}, {"rejections": 0}, {"verdicts": -1}], ids=str)
def test_a_cache_holds_something(sizes: dict[str, int]) -> None:
    """The message says how to do without."""
    with pytest.raises(ConfigurationError, match="at least 1; to do without a cache"):
        LocalCache(**sizes)


KEYS = st.sampled_from(["k1", "k2", "k3", "k4"])
SPELLINGS = st.sampled_from([b"", b"'"])
FINGERPRINTS = st.builds(lambda key_id, spelling: key_id.encode() + spelling, KEYS, SPELLINGS)


class CacheMachine(RuleBasedStateMachine):
    """Reads that take long, changes, flushes and evictions in every order, against a model that forgets nothing.

    The model notes when each key last changed and when each verdict was read; the cache may forget what it likes,
    and must never serve what the model knows to be out of date.
    """

    ROOM, TOMBSTONES = 2, 2

    def __init__(self) -> None:
        super().__init__()
        self._tombstones = local._TOMBSTONES
        local._TOMBSTONES = self.TOMBSTONES
        self.cache = LocalCache(verdicts=self.ROOM, rejections=self.ROOM)
        self.now = 0
        self.versions = {f"k{number}": 1 for number in range(1, 5)}
        self.changed_at = dict.fromkeys(self.versions, -1)
        self.flushed_at = -1
        self.last_change = -1
        self.marks: list[tuple[int, int, dict[str, int]]] = []
        self.read_at: dict[bytes, int] = {}
        self.rejected_at: dict[bytes, int] = {}
        self.proofs: dict[bytes, str] = {}

    def teardown(self) -> None:
        """Leave the module as it was."""
        local._TOMBSTONES = self._tombstones

    @rule()
    def begin_a_read(self) -> None:
        """A mark is taken, and the records are read as they are now."""
        self.marks.append((self.cache.mark(), self.now, dict(self.versions)))

    @rule(data=st.data(), fingerprint=FINGERPRINTS)
    def end_a_read(self, data: st.DataObject, fingerprint: bytes) -> None:
        """A verdict about a record that was read some time ago is put."""
        if not self.marks:
            return
        mark, at, versions = data.draw(st.sampled_from(self.marks))
        key_id = fingerprint[:2].decode()
        verdict = a_verdict(key_id, versions[key_id])
        self.cache.put(fingerprint, verdict, mark)
        if recalled(self.cache, fingerprint) is verdict:
            self.read_at[fingerprint] = at
        up_to_date = at > max(self.changed_at[key_id], self.flushed_at)

        assert (recalled(self.cache, fingerprint) is verdict) <= up_to_date
        assert self.cache.settled(key_id, versions[key_id], mark) <= up_to_date
        if at > max(self.last_change, self.flushed_at):
            assert recalled(self.cache, fingerprint) is verdict, "what is certainly up to date is kept"

    @rule(data=st.data(), fingerprint=FINGERPRINTS)
    def end_a_read_of_nothing(self, data: st.DataObject, fingerprint: bytes) -> None:
        """A rejection is put."""
        if not self.marks:
            return
        mark, at, _ = data.draw(st.sampled_from(self.marks))
        rejection = UnknownKey(fingerprint[:2].decode())
        self.cache.put_rejection(fingerprint, rejection, 100.0, mark)
        if self.cache.rejection(fingerprint, 0.0) is rejection:
            self.rejected_at[fingerprint] = at

    @rule(key_id=KEYS, again=st.booleans())
    def change(self, key_id: str, again: bool) -> None:
        """A key changes, or its latest change is announced again."""
        self.versions[key_id] += not again
        self.now += 1
        self.cache.invalidate(Change(self.now, key_id, self.versions[key_id]))
        self.changed_at[key_id] = self.last_change = self.now
        self.now += 1

    @rule()
    def clear(self) -> None:
        """Everything is flushed."""
        self.now += 1
        self.cache.clear()
        self.flushed_at = self.now
        self.now += 1

    @rule(key_id=KEYS)
    def use(self, key_id: str) -> None:
        """A request asks, for the first time in a while."""
        self.cache.touch(key_id)

    @rule(fingerprint=FINGERPRINTS, digest=st.sampled_from(["d1", "d2"]))
    def prove(self, fingerprint: bytes, digest: str) -> None:
        """A key has matched a digest."""
        self.cache.put_proof(fingerprint, digest)
        self.proofs[fingerprint] = digest

    @invariant()
    def nothing_out_of_date_is_served(self) -> None:
        """No verdict read before its key's last change or the last flush; no rejection before any change at all."""
        for fingerprint in [key_id.encode() + spelling for key_id in self.versions for spelling in (b"", b"'")]:
            key_id = fingerprint[:2].decode()
            if fingerprint in self.cache._verdicts:
                verdict = self.cache.recall(fingerprint)
                assert verdict.principal.key_id == key_id
                assert verdict.version == self.versions[key_id]
                assert self.read_at[fingerprint] > max(self.changed_at[key_id], self.flushed_at)
            rejection: InvalidKey | None = self.cache.rejection(fingerprint, 0.0)
            if rejection is not None:
                assert rejection.key_id == key_id
                assert self.rejected_at[fingerprint] > max(self.last_change, self.flushed_at)
            assert self.cache.proof(fingerprint) in {None, self.proofs.get(fingerprint)}

    @invariant()
    def everything_is_bounded_and_in_step(self) -> None:
        """The index names exactly the verdicts that are held."""
        assert len(self.cache) <= self.ROOM
        assert len(self.cache._tombstones) <= self.TOMBSTONES
        held = {key_id: fingerprint for fingerprint, key_id in self._held()}
        assert self.cache._fingerprints == held
        assert len(held) == len(self.cache)

    def _held(self) -> list[tuple[bytes, str]]:
        return [(each, each[:2].decode()) for each in self.cache._verdicts]


TestCacheMachine: Any = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
