"""Which peppers are refused, and how a ring names them."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.hashers.peppers import PepperRing, new_pepper, weakness

GOOD = "7Zp3mQ0wX9vKc2LrT5sNbH8yJ4dF6gAe1uRiOoWq"

# Published keys, written backwards, so that this file publishes none of them once more.
PUBLISHED_BACKWARDS = (
    "7e3d8e88b36fc6aac4f0f6f9907f39b3659a7b661818c6552ac6aaf490e52d90",
    "fbcb32872745d789cd5fbb17f51ce393a9bcfa87c632e21d4de9ba22ddb9b291",
    "1f8c526b48da78f631f533430f9c1dde",
)

BAD = {
    "short": "7Zp3mQ0wX9vKc2LrT5sNbH8yJ4dF6gA",
    "empty": "",
    "one byte": "a" * 64,
    "few bytes": "abcabdacb" * 8,
    "repeated word": "pa5Q-" * 10,
    "repeated, cut off": ("kX9vQ2mZ7w" * 5)[:47],
    "repeated half": "7Zp3mQ0wX9vKc2Lr" * 2,
    "alphabet": "abcdefghijklmnopqrstuvwxyz0123456789",
    "backwards": bytes(range(90, 50, -1)),
    "zeros": bytes(32),
    "change-me": "change-me-please-0f3a9c1e7b5d2846",
    "Change_Me": "CHANGE_ME_0f3a9c1e7b5d28460f3a9c1e",
    "example": "this is an example of 32 bytes or more",
    "secret": "my-super-secret-0f3a9c1e7b5d2846zz",
    "s-e-c-r-e-t": "s.e.c.r.e.t-0f3a9c1e7b5d2846ab91",
    "default": "default-0f3a9c1e7b5d2846-ab91-77c2",
    "pepper": b"pepper-0f3a9c1e7b5d2846-ab91-77c2",
}


@pytest.mark.parametrize("pepper", BAD.values(), ids=BAD)
def test_a_pepper_that_can_be_guessed_is_refused(pepper: str | bytes) -> None:
    """The message says what is wrong and how to get a good one, and does not repeat the pepper."""
    with pytest.raises(ConfigurationError, match=r"pepper 2 of 2 .*`asgi-apikey pepper`") as raised:
        PepperRing([GOOD, pepper])

    shown = pepper if isinstance(pepper, str) else pepper.decode("latin-1")
    assert not shown or shown not in str(raised.value)


@pytest.mark.parametrize("backwards", PUBLISHED_BACKWARDS)
def test_a_published_key_is_refused(backwards: str) -> None:
    """Keys from well-known documentation look random and are known to everybody, a line break added or not."""
    for pepper in (backwards[::-1], backwards[::-1] + "\n"):
        with pytest.raises(ConfigurationError, match="published"):
            PepperRing(pepper)


@pytest.mark.parametrize(
    "pepper", [None, 12, 3.5, object(), ["nested"], bytearray(40)], ids=lambda each: type(each).__name__
)
def test_a_pepper_is_text_or_bytes(pepper: str) -> None:
    """Anything else in the ring, such as a variable that was not set, is refused."""
    with pytest.raises(ConfigurationError):
        PepperRing([pepper])


@pytest.mark.parametrize("again", [GOOD, GOOD.encode()])
def test_a_pepper_stands_in_the_ring_once(again: str | bytes) -> None:
    """A repeated pepper means that somebody meant another one."""
    with pytest.raises(ConfigurationError, match="already"):
        PepperRing([GOOD, new_pepper(), again])


@given(st.binary(max_size=31), st.integers(min_value=32, max_value=120))
def test_a_short_piece_makes_no_long_pepper(piece: bytes, length: int) -> None:
    """However often less than 32 bytes are repeated, wherever it is cut off after two rounds, it stays refused."""
    pepper = (piece * 120)[: max(length, 2 * len(piece))]

    assert weakness(pepper) is not None


def test_random_peppers_are_taken() -> None:
    """Bytes, hex, base64 and what `asgi-apikey pepper` prints: no random value is turned away."""
    makers = (new_pepper, lambda: secrets.token_bytes(32), lambda: secrets.token_hex(32), lambda: secrets.token_hex(16))
    drawn = [make() for make in makers for _ in range(250)]

    assert len(set(PepperRing(drawn))) == len(drawn)


def test_two_random_halves_are_no_repetition() -> None:
    """A strong piece repeated is no weaker than the piece."""
    assert weakness(GOOD.encode() * 2) is None


def test_the_newest_is_the_last() -> None:
    """Iterating gives the newest first."""
    first, last = PepperRing(GOOD).newest, PepperRing(other := new_pepper()).newest

    ring = PepperRing([GOOD, other])

    assert ring.newest == last
    assert list(ring) == [last, first]
    assert first in ring
    assert "00000000" not in ring


def test_a_ring_shows_ids_only() -> None:
    """Pepper ids are public, peppers are not."""
    ring = PepperRing(GOOD)

    assert ring.newest in repr(ring)
    assert GOOD not in repr(ring)
