"""Keys with one algorithm each, and what is no such key."""

from __future__ import annotations

import json

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.jwt.keys import PUBLIC_ALGORITHMS, SECRET_LENGTHS, public_key, published_key, shared_secret
from tests.jwt.issuer import SECRET, Signer, ed448_pem, rsa_key, signer

RSA, EC, ED = signer("RS256", "rsa"), signer("ES256", "ec"), signer("EdDSA", "ed")


@pytest.mark.parametrize("algorithm", sorted(PUBLIC_ALGORITHMS))
def test_a_public_key_verifies_its_own_signatures(algorithm: str) -> None:
    """From PEM as from a published set, and they are the same key."""
    by = signer(algorithm, "a")
    from_pem, from_set = public_key(by.pem, algorithm=algorithm, kid="a"), published_key(by.jwk())
    mark = by.sign(b"signed")

    assert from_pem == from_set
    assert from_pem.kid == "a"
    for key in (from_pem, from_set):
        assert key is not None
        assert key.algorithm == algorithm
        assert key.verifies(b"signed", mark)
        assert not key.verifies(b"another", mark)
        assert not key.verifies(b"signed", mark[:-1])
        assert not key.verifies(b"signed", b"")


@pytest.mark.parametrize("algorithm", SECRET_LENGTHS)
def test_a_secret_has_the_length_of_its_hash_at_least(algorithm: str) -> None:
    """RFC 7518 section 3.2."""
    least = SECRET_LENGTHS[algorithm]
    key = shared_secret(SECRET[:least], algorithm=algorithm)

    assert key.verifies(b"signed", Signer(algorithm, None, SECRET[:least]).sign(b"signed"))
    with pytest.raises(ConfigurationError, match=f"needs {least} bytes"):
        shared_secret(SECRET[: least - 1], algorithm=algorithm)


@pytest.mark.parametrize(
    "secret",
    ["", "changeme", "a" * 64, "abcd" * 16, "changemechangemechangemechangeme", b"\x00" * 64, None, 7],
    ids=lambda value: str(value)[:12],
)
def test_a_secret_that_can_be_guessed_is_refused(secret) -> None:
    """Short, repeated, or no secret at all; the message repeats none."""
    with pytest.raises(ConfigurationError) as refusal:
        shared_secret(secret)

    assert not secret or str(secret) not in str(refusal.value)


@pytest.mark.parametrize("form", ["pem", "jwk", "private_pem"])
def test_a_public_key_is_no_secret(form: str) -> None:
    """Everybody who has it could sign: the confusion of algorithms, by configuration."""
    given = {"pem": RSA.pem, "private_pem": RSA.private_pem, "jwk": json.dumps(RSA.jwk()).encode()}[form]

    with pytest.raises(ConfigurationError, match="not a secret"):
        shared_secret(given)


@pytest.mark.parametrize("algorithm", ["none", "RS256", "hs256", "", None, "HS1"])
def test_a_secret_is_for_hmac_only(algorithm) -> None:
    """No other algorithm, and no other spelling."""
    with pytest.raises(ConfigurationError, match="none for a shared secret"):
        shared_secret(SECRET, algorithm=algorithm)


@pytest.mark.parametrize(
    ("pem", "algorithm"),
    [
        (RSA.pem, "ES256"),
        (RSA.pem, "EdDSA"),
        (EC.pem, "RS256"),
        (EC.pem, "ES384"),
        (EC.pem, "EdDSA"),
        (ED.pem, "ES256"),
        (ED.pem, "PS256"),
        (ed448_pem(), "EdDSA"),
        (RSA.private_pem, "RS256"),
        (EC.private_pem, "ES256"),
        (ED.private_pem, "EdDSA"),
        (RSA.pem, "HS256"),
        (RSA.pem, "none"),
        (RSA.pem, "rs256"),
        (RSA.pem[:100], "RS256"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "RS256"),
        (b"ssh-rsa AAAA", "RS256"),
        (b"", "RS256"),
        (None, "RS256"),
    ],
    ids=lambda each: each if isinstance(each, str) else "pem",
)
def test_a_pem_that_is_no_public_key_for_the_algorithm_is_refused(pem, algorithm: str) -> None:
    """Another kind, another curve, a private one, a certificate, half of one."""
    with pytest.raises(ConfigurationError):
        public_key(pem, algorithm=algorithm)


def test_a_small_rsa_key_is_refused() -> None:
    """1024 bits can be factored; RFC 7518 section 3.3 asks for 2048."""
    small = Signer("RS256", "small", rsa_key(0, 1024))

    assert published_key(small.jwk()) is None
    with pytest.raises(ConfigurationError, match="accepted size"):
        public_key(small.pem, algorithm="RS256")


@pytest.mark.parametrize(("by", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
def test_a_published_key_without_alg_has_the_usual_one(by: Signer, algorithm: str) -> None:
    """One, fixed: not whatever a token asks for."""
    key = published_key(by.jwk(alg=None, use=None))

    assert key is not None
    assert key.algorithm == algorithm


@pytest.mark.parametrize(
    ("by", "changes"),
    [
        (RSA, {"alg": "ES256"}),
        (RSA, {"alg": "HS256"}),
        (RSA, {"alg": "RSA-OAEP"}),
        (RSA, {"alg": "none"}),
        (RSA, {"alg": 256}),
        (RSA, {"alg": ""}),
        (RSA, {"use": "enc"}),
        (RSA, {"use": ["sig"]}),
        (RSA, {"key_ops": ["encrypt"]}),
        (RSA, {"key_ops": "verify"}),
        (RSA, {"kty": "oct", "k": "AAAA"}),
        (RSA, {"kty": "oct", "alg": "HS256"}),
        (RSA, {"kty": None}),
        (RSA, {"kty": ["RSA"]}),
        (RSA, {"kty": "EC"}),
        (RSA, {"d": "AAAA"}),
        (RSA, {"k": "AAAA"}),
        (RSA, {"n": None}),
        (RSA, {"n": ""}),
        (RSA, {"n": 7}),
        (RSA, {"n": "!!!!"}),
        (RSA, {"n": "A" * 100_000}),
        (RSA, {"e": "AQ"}),
        (RSA, {"e": "Ag"}),
        (RSA, {"e": "AA"}),
        (RSA, {"e": "AQAB" * 3}),
        (RSA, {"kid": 7}),
        (RSA, {"kid": ""}),
        (EC, {"crv": "P-384"}),
        (EC, {"crv": "secp256k1", "alg": "ES256K"}),
        (EC, {"crv": ["P-256"]}),
        (EC, {"crv": None}),
        (EC, {"alg": "ES384"}),
        (EC, {"x": "AAAA"}),
        (EC, {"y": EC.jwk()["x"]}),
        (EC, {"d": "AAAA"}),
        (ED, {"crv": "X25519"}),
        (ED, {"crv": "Ed448"}),
        (ED, {"x": "AAAA"}),
        (ED, {"alg": "ES256"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value.kid,
)
def test_an_entry_that_verifies_nothing_is_left_out(by: Signer, changes: dict[str, object]) -> None:
    """Another use, a private part, `kty` and `alg` that disagree, numbers that are no key, or a costly one."""
    assert published_key(by.jwk(**changes)) is None


def test_no_secret_stands_in_a_repr() -> None:
    """Of a key, neither the secret nor what was derived from it."""
    shown = repr(shared_secret(SECRET, kid="a"))

    assert shown == "TrustedKey(algorithm='HS256', kid='a')"


@pytest.mark.parametrize("kid", ["", 7, b"a"])
def test_a_name_is_text(kid) -> None:
    """None is for a key without one."""
    with pytest.raises(ConfigurationError, match="kid"):
        shared_secret(SECRET, kid=kid)
