"""What is sent over a bus: read by those who share the secret and the channel, and by nobody else."""

from __future__ import annotations

import random
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.invalidation.letters import MAX_LETTER, Ack, Letter, Seal, Wake

SECRET = "aB3-dE5_gH7.jK9+mN1=pQ2/sT4*vW6^yZ8"
SEAL = Seal(SECRET, "a-channel")

ids = st.binary(min_size=16, max_size=16)
seqs = st.integers(0, 2**63 - 1)
letters = st.builds(Wake, seqs, ids, ids, st.booleans()) | st.builds(
    Ack, seqs, ids, st.text(st.characters(max_codepoint=126, min_codepoint=33), min_size=1, max_size=128)
)


@given(letters)
def test_a_letter_arrives_as_it_was_written(letter: Letter) -> None:
    """Every field, and within the bounds of every server."""
    text = SEAL.write(letter)

    assert SEAL.read(text) == letter
    assert len(text) <= MAX_LETTER < 8_000


@given(letters, st.data())
def test_a_changed_letter_is_none(letter: Letter, data: st.DataObject) -> None:
    """Any other digit at any place, and any piece left out."""
    text = SEAL.write(letter)
    at = data.draw(st.integers(0, len(text) - 1))
    digit = data.draw(st.sampled_from([each for each in "0123456789abcdef" if each != text[at]]))

    assert SEAL.read(text[:at] + digit + text[at + 1 :]) is None
    assert SEAL.read(text[:at]) is None
    assert SEAL.read(text + digit) is None


@given(st.text() | st.binary().map(bytes.hex))
def test_anything_else_is_no_letter(text: str) -> None:
    """Garbage is read without an error."""
    assert SEAL.read(text) is None


@pytest.mark.parametrize("other", [Seal(SECRET[::-1], "a-channel"), Seal(SECRET, "another")], ids=["secret", "channel"])
def test_whoever_shares_less_reads_nothing(other: Seal) -> None:
    """Another secret, or another channel under the same secret."""
    letter = Wake(7, bytes(16), bytes(16))

    assert other.read(SEAL.write(letter)) is None
    assert other.name != SEAL.name


def test_a_letter_of_a_later_version_is_not_understood() -> None:
    """A kind that we do not know is ignored, though the seal is right."""
    sealed = bytes.fromhex(SEAL.write(Wake(7, bytes(16), bytes(16))))
    later = b"\x09" + sealed[1:-32]

    assert SEAL.read((later + SEAL._mac(later)).hex()) is None


@pytest.mark.parametrize("secret", ["", "short", b"x" * 31])
def test_a_bus_without_a_secret_is_refused(secret: str | bytes) -> None:
    """The message says why, and how to make one."""
    with pytest.raises(ConfigurationError, match="asgi-apikey pepper"):
        Seal(secret, "a-channel")


@pytest.mark.parametrize("channel", ["", "ä", "a\nb"])
def test_a_channel_must_be_readable(channel: str) -> None:
    """Servers disagree about what else a name may hold."""
    with pytest.raises(ConfigurationError, match="channel"):
        Seal(SECRET, channel)


def test_nothing_shows_the_secret() -> None:
    """Neither the name that stands in the database nor the repr."""
    assert SECRET not in repr(SEAL) + SEAL.name


@pytest.mark.fuzz
def test_no_forgery_is_read(fuzz_rounds: int) -> None:
    """Acknowledgements made up, cut, spliced and sealed under other secrets: none of them is one."""
    call, chance = secrets.token_bytes(16), random.Random(1)
    theirs = Seal(secrets.token_bytes(32), "a-channel")
    real = bytes.fromhex(SEAL.write(Wake(9, call, bytes(16))))
    forgeries = [
        lambda: theirs.write(Ack(9, call, "worker")),
        lambda: (b"\x02" + real[1:]).hex(),
        lambda: (b"\x02" + real[1:25] + b"worker" + chance.randbytes(32)).hex(),
        lambda: (b"\x02" + real[1:25] + b"worker" + real[-32:]).hex(),
        lambda: chance.randbytes(chance.randrange(200)).hex(),
        lambda: real[: chance.randrange(len(real))].hex(),
    ]

    assert not any(SEAL.read(chance.choice(forgeries)()) for _ in range(fuzz_rounds))
