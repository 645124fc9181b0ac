"""Keyed and plain digests of random keys."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher, SHA256Hasher
from asgi_apikey.hashers.peppers import Peppers
from asgi_apikey.models import Lane
from tests.contracts.hasher import KEY, HasherContract

OLD = "7Zp3mQ0wX9vKc2LrT5sNbH8yJ4dF6gAe1uRiOoWq"
NEW = "nC4xV8bT1yQ6kP3fJ9wZ2sL7hR5gD0mAeUiOqWxY"


class TestHMACSHA256(HasherContract):
    """The default passes the contract."""

    @pytest.fixture
    def hasher(self) -> HMACSHA256Hasher:
        """One pepper."""
        return HMACSHA256Hasher(NEW)


class TestHMACSHA256Ring(HasherContract):
    """A ring that also takes plain digests passes the contract."""

    @pytest.fixture
    def hasher(self) -> HMACSHA256Hasher:
        """Two peppers, plain digests accepted."""
        return HMACSHA256Hasher((OLD, NEW), accept_plain=True)


class TestSHA256(HasherContract):
    """The one without a pepper passes the contract."""

    @pytest.fixture
    def hasher(self) -> SHA256Hasher:
        """No pepper."""
        return SHA256Hasher()


@pytest.mark.anyio
async def test_golden_digests_verify_for_ever() -> None:
    """Digests of released versions: a table written by any of them stays readable."""
    keyed = "hmac-sha256$a64b9e1b$Lr_WzGY2nW4cBkqHw92xlmFZnHq0dc1cdwz4Ro7cUrQ"
    plain = "sha256$7QxAhKTn15rsqGTt8KUl_Dmtjtp1m_3W2fXlP4lBVWM"

    assert await HMACSHA256Hasher(OLD).verify(b"ak_live_golden", keyed, lane=Lane.STRANGER)
    assert await SHA256Hasher().verify(b"ak_live_golden", plain, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_the_digest_is_an_hmac_under_a_label() -> None:
    """The pepper keys the HMAC; a label keeps this use of it apart from every other."""
    digest = await HMACSHA256Hasher(NEW).hash(KEY)
    mac = urlsafe_b64decode(digest.rpartition("$")[2] + "=")

    assert mac == hmac.digest(NEW.encode(), b"asgi-apikey hmac-sha256\0" + KEY, "sha256")
    assert mac != hmac.digest(NEW.encode(), KEY, "sha256")


@pytest.mark.anyio
async def test_the_plain_digest_is_labelled_too() -> None:
    """A plain digest is not the SHA-256 that somebody may have logged."""
    digest = await SHA256Hasher().hash(KEY)

    assert urlsafe_b64decode(digest.rpartition("$")[2] + "=") != hashlib.sha256(KEY).digest()


@pytest.mark.anyio
async def test_a_new_pepper_keeps_old_digests_alive() -> None:
    """After a new pepper is appended, old digests verify, are outdated, and are replaced by hashing again."""
    before = await HMACSHA256Hasher(OLD).hash(KEY)
    rotated = HMACSHA256Hasher([OLD, NEW])

    assert rotated.accepts(before)
    assert rotated.outdated(before)
    assert await rotated.verify(KEY, before, lane=Lane.STRANGER)
    assert not rotated.outdated(await rotated.hash(KEY))


@pytest.mark.anyio
async def test_a_dropped_pepper_ends_its_digests() -> None:
    """A digest under a pepper that is not in the ring is not accepted and matches nothing."""
    before = await HMACSHA256Hasher(OLD).hash(KEY)
    dropped = HMACSHA256Hasher(NEW)

    assert not dropped.accepts(before)
    assert not await dropped.verify(KEY, before, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_a_digest_cannot_be_moved_to_another_pepper() -> None:
    """The pepper id in the digest chooses the pepper; writing another one there does not help."""
    hasher = HMACSHA256Hasher([OLD, NEW])
    before = await HMACSHA256Hasher(OLD).hash(KEY)
    moved = hasher.decoy[: len("hmac-sha256$00000000")] + before[len("hmac-sha256$00000000") :]

    assert hasher.accepts(moved)
    assert not await hasher.verify(KEY, moved, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_plain_digests_are_refused_under_a_pepper() -> None:
    """Once there is a pepper, who can write a row without knowing it cannot make a key."""
    plain = await SHA256Hasher().hash(KEY)
    hasher = HMACSHA256Hasher(NEW)

    assert not hasher.accepts(plain)
    assert not await hasher.verify(KEY, plain, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_plain_digests_may_be_retired_instead() -> None:
    """With `accept_plain`, plain digests still verify, as outdated ones."""
    plain = await SHA256Hasher().hash(KEY)
    hasher = HMACSHA256Hasher(NEW, accept_plain=True)

    assert hasher.accepts(plain)
    assert hasher.outdated(plain)
    assert await hasher.verify(KEY, plain, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_candidates_are_all_digests_a_key_can_have() -> None:
    """For a key without an id: newest pepper first, plain last and only where it is accepted."""
    newest, oldest = await HMACSHA256Hasher(NEW).hash(KEY), await HMACSHA256Hasher(OLD).hash(KEY)
    plain = await SHA256Hasher().hash(KEY)

    assert HMACSHA256Hasher([OLD, NEW]).candidates(KEY) == (newest, oldest)
    assert HMACSHA256Hasher([OLD, NEW], accept_plain=True).candidates(KEY) == (newest, oldest, plain)
    assert SHA256Hasher().candidates(KEY) == (plain,)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_only_equal_keys_have_equal_digests(one: bytes, another: bytes) -> None:
    """Whatever the bytes, digests agree exactly when the keys do."""
    for hasher in (HMACSHA256Hasher(NEW), SHA256Hasher()):
        assert (hasher.candidates(one) == hasher.candidates(another)) == (one == another)


@given(st.text())
def test_any_text_can_stand_in_a_digest_column(digest: str) -> None:
    """Reading a digest never raises."""
    hasher = HMACSHA256Hasher(NEW, accept_plain=True)

    assert not hasher.accepts(digest)
    assert hasher.outdated(digest)


def test_text_and_bytes_are_the_same_pepper() -> None:
    """A pepper counts as its UTF-8 bytes."""
    assert HMACSHA256Hasher(NEW).candidates(KEY) == HMACSHA256Hasher(NEW.encode()).candidates(KEY)


def test_no_pepper_shows() -> None:
    """A hasher in a log, or everything it holds, gives no pepper away."""
    hasher = HMACSHA256Hasher([OLD, NEW])

    assert not re.search(f"{OLD}|{NEW}", f"{hasher!r} {vars(hasher)!r}")


@pytest.mark.parametrize("nothing", [(), [], "", b""], ids=repr)
def test_an_empty_ring_is_refused(nothing: Peppers) -> None:
    """No pepper at all is a configuration error, not an unkeyed digest."""
    with pytest.raises(ConfigurationError, match="asgi-apikey pepper"):
        HMACSHA256Hasher(nothing)
