"""A few hundred hostile tokens, and mutations of good ones."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidToken
from asgi_apikey.jwt import Fault
from tests.jwt.corpus import EC, ED, HS, RSA, TRUSTED, hostile
from tests.jwt.issuer import b64, token, verifier

CASES = list(hostile())
VERIFIER = verifier(*TRUSTED)
GOOD = {by.algorithm: token(by) for by in TRUSTED}

BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \x00\xff"


def fault_of(presented: bytes) -> Fault | None:
    """Why a token is refused; None if it is not."""
    try:
        asyncio.run(VERIFIER.authenticate(presented))
    except InvalidToken as error:
        return Fault(error.fault)
    return None


def test_the_corpus_is_large_and_has_every_fault() -> None:
    """No case twice."""
    assert len({name for name, _, _ in CASES}) == len({presented for _, presented, _ in CASES}) == len(CASES) >= 200
    assert {fault for _, _, fault in CASES} == set(Fault)


@pytest.mark.parametrize(("presented", "fault"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_hostile_token_is_refused(presented: bytes, fault: Fault) -> None:
    """For the reason that the log is told, and with no other exception."""
    assert fault_of(presented) is fault


@pytest.mark.parametrize("algorithm", GOOD)
def test_the_honest_token_beside_them_is_accepted(algorithm: str) -> None:
    """So it is the difference that each case was refused for."""
    assert fault_of(GOOD[algorithm]) is None


@given(by=st.sampled_from(TRUSTED), at=st.integers(0, 10_000), byte=st.sampled_from(list(BYTES)))
def test_one_changed_byte_is_refused(by, at: int, byte: int) -> None:
    """Wherever it is: no two spellings of a token are accepted."""
    mutant = bytearray(GOOD[by.algorithm])
    mutant[at % len(mutant)] = byte

    assert (fault_of(bytes(mutant)) is None) == (mutant == GOOD[by.algorithm])


@given(
    by=st.sampled_from(TRUSTED),
    start=st.integers(0, 1_000),
    size=st.integers(0, 40),
    text=st.binary(max_size=12)
    | st.text(alphabet=BYTES.decode("latin-1"), max_size=12).map(lambda t: t.encode("latin-1")),
)
def test_a_cut_or_filled_up_token_is_refused(by, start: int, size: int, text: bytes) -> None:
    """Whatever is left out, put in or overwritten."""
    good = GOOD[by.algorithm]
    mutant = good[: start % len(good)] + text + good[start % len(good) + size :]

    assert (fault_of(mutant) is None) == (mutant == good)


@given(parts=st.permutations([0, 1, 2]), owners=st.tuples(*[st.sampled_from(TRUSTED)] * 3))
def test_parts_of_different_tokens_make_none(parts, owners) -> None:
    """Header, payload and signature belong together."""
    mixed = b".".join(GOOD[by.algorithm].split(b".")[part] for part, by in zip(parts, owners, strict=True))

    accepted = fault_of(mixed) is None

    # The payload is the same in all of them.
    assert accepted == (list(parts) == [0, 1, 2] and owners[0] == owners[2])


@given(presented=st.binary(max_size=200) | st.lists(st.binary(max_size=60).map(b64), max_size=5).map(b".".join))
def test_garbage_is_malformed_and_nothing_worse(presented: bytes) -> None:
    """Any bytes at all."""
    assert fault_of(presented) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "scope", "scp", "jti", "tenant"]), value=JSON)
def test_any_value_of_a_claim_is_judged(name: str, value: object) -> None:
    """A signed claim of any JSON type is accepted or refused, never an exception of another kind."""
    fault_of(token(HS, **{name: value}))


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cty", "x5t", "zip", "x"]), JSON, max_size=4))
def test_any_header_is_judged(header: dict[str, object]) -> None:
    """A header of any members is accepted or refused, never an exception of another kind."""
    fault_of(token(HS, header=header))


def test_what_is_ignored_may_be_there() -> None:
    """Thumbprints, members nobody knows and any further claims change nothing."""
    assert fault_of(token(RSA, header={"x5t": "abc", "x5t#S256": "abc", "nonce": 1}, jti="1", azp="web")) is None
    assert fault_of(token(EC, header={"typ": "application/AT+jwt"})) is None
    assert fault_of(token(ED, aud=["other", "https://api.example"])) is None
