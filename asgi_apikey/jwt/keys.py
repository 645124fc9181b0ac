"""What a signature is verified with: a key with one algorithm, fixed when the key is configured or fetched.

The algorithm never comes from a token. That ends the confusions of RFC 8725 section 2.1: `none`, and a public RSA key
taken for an HMAC secret. The mathematics is PyJWT's and cryptography's; this is the only module that imports them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.models import JSONValue

try:
    from jwt import InvalidKeyError, get_algorithm_by_name
    from jwt.algorithms import Algorithm, AllowedPublicKeys, has_crypto
except ImportError as error:
    raise MissingExtra("jwt", __name__) from error
if not has_crypto:
    # PyJWT alone knows shared secrets only, and says so when the first token comes.
    raise MissingExtra("jwt", __name__)

SECRET_LENGTHS: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Least bytes of a shared secret: the size of the hash (RFC 7518 section 3.2)."""

FAMILIES: Final[Mapping[tuple[str, str | None], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
}
"""`kty` and `crv` of a public key -> the algorithms that it may be for; the first is meant where none is named."""

PUBLIC_ALGORITHMS: Final = frozenset(name for names in FAMILIES.values() for name in names)

MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3
MAX_RSA_BITS: Final = 8192
"""Beyond that, verifying one signature costs milliseconds: a set of keys must not be able to ask for that."""

_MIN_DISTINCT = 8
_PRIVATE = frozenset({"d", "dp", "dq", "k", "oth", "p", "q", "qi"})
# Base64url takes 4 characters for 3 bytes.
_LONGEST_MODULUS = MAX_RSA_BITS // 6 + 2
_LONGEST_EXPONENT = 8


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key that signatures are verified with. `shared_secret` and `public_key` make them, and `JWKS` does.

    Two are equal if they verify the same signatures, whatever they are called.

    Attributes:
        algorithm: The one that it is for, as in RFC 7518 section 3.1.
        kid: What tokens may call it; None if it has no name.
        identity: Tells it from other keys.
    """

    algorithm: str
    identity: bytes = field(repr=False)
    kid: str | None = field(compare=False)
    material: object = field(repr=False, compare=False)
    scheme: Algorithm = field(repr=False, compare=False)

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether this is the key's signature of these bytes."""
        return self.scheme.verify(signed, self.material, signature)


def shared_secret(secret: str | bytes, *, algorithm: str = "HS256", kid: str | None = None) -> TrustedKey:
    """Return the key of an issuer with which we share a secret: whoever can verify can also sign.

    Args:
        secret: Text counts as its UTF-8 bytes. At least 32 bytes for HS256, 48 for HS384, 64 for HS512.
        algorithm: The only one that is accepted with it.
        kid: What tokens call it. Without a name it is tried for every token of its algorithm.

    Raises:
        ConfigurationError: Another algorithm, or a secret that is short, follows a pattern, or is a public key.
    """
    least = SECRET_LENGTHS.get(algorithm)
    if least is None:
        raise ConfigurationError(f"algorithm={algorithm!r} is none for a shared secret; write one of HS256 HS384 HS512")
    if not isinstance(secret, str | bytes):
        raise ConfigurationError("a shared secret is text or bytes")
    as_bytes = secret.encode() if isinstance(secret, str) else secret
    fix = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(64))'"
    if len(as_bytes) < least:
        raise ConfigurationError(
            f"a shared secret for {algorithm} needs {least} bytes, this has {len(as_bytes)}; {fix}"
        )
    if len(set(as_bytes)) < _MIN_DISTINCT or _repeats(as_bytes):
        raise ConfigurationError(f"the shared secret follows a pattern that can be guessed; {fix}")
    scheme = get_algorithm_by_name(algorithm)
    try:
        material = scheme.prepare_key(as_bytes)
    except InvalidKeyError as error:
        raise ConfigurationError(
            "this is a public key or a certificate, not a secret: everybody who has it could sign; "
            "write public_key(…, algorithm='RS256')"
        ) from error
    identity = hashlib.sha256(b"asgi-apikey jwt secret\0" + as_bytes).digest()
    return TrustedKey(algorithm, identity, _checked_kid(kid), material, scheme)


def public_key(pem: str | bytes, *, algorithm: str, kid: str | None = None) -> TrustedKey:
    """Return the public key of an issuer.

    Args:
        pem: `-----BEGIN PUBLIC KEY-----` …
        algorithm: The only one that is accepted with it; one of `PUBLIC_ALGORITHMS` that fits the key.
        kid: What tokens call it. Without a name it is tried for every token of its algorithm.

    Raises:
        ConfigurationError: Not a PEM of a public key, a private one, one of another kind than the algorithm is for,
            or an RSA key of a size that is not accepted.
    """
    if algorithm not in PUBLIC_ALGORITHMS:
        raise ConfigurationError(
            f"algorithm={algorithm!r} is none for a public key; write one of {' '.join(sorted(PUBLIC_ALGORITHMS))}"
        )
    if not isinstance(pem, str | bytes):
        raise ConfigurationError("a public key is text or bytes: -----BEGIN PUBLIC KEY----- …")
    text = pem.decode("ascii", "replace") if isinstance(pem, bytes) else pem
    if "-----BEGIN " not in text:
        raise ConfigurationError("a public key is given in PEM: -----BEGIN PUBLIC KEY----- …")
    if "PRIVATE KEY-----" in text:
        # Not only needless: a verifier that leaks it lets everybody sign.
        raise ConfigurationError("this is a private key; only the issuer has that: openssl pkey -pubout -in key.pem")
    try:
        key = _scheme(algorithm).prepare_key(text.strip())
        return _trusted(key, algorithm, _checked_kid(kid))
    except (InvalidKeyError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"this PEM holds no public key for {algorithm} of an accepted size; "
            "from a certificate: openssl x509 -pubkey -noout -in cert.pem"
        ) from error


def published_key(jwk: Mapping[str, JSONValue]) -> TrustedKey | None:
    """Return the key of one entry of a JWK set (RFC 7517), None if it is of no use for verifying.

    None for everything but a public signature key of a supported kind whose `alg`, if it has one, fits its `kty`.
    A secret (`oct`), or any private part, in a published set is everybody's: such an entry is not trusted.
    """
    kty, crv, named, kid = jwk.get("kty"), jwk.get("crv"), jwk.get("alg"), jwk.get("kid")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(kty, str) or not (crv is None or isinstance(crv, str)) or not _PRIVATE.isdisjoint(jwk):
        return None
    fitting = FAMILIES.get((kty, None if kty == "RSA" else crv), ())
    algorithm = named if "alg" in jwk else next(iter(fitting), None)
    if not isinstance(algorithm, str) or algorithm not in fitting or jwk.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if "kid" in jwk and (not isinstance(kid, str) or not kid):
        return None
    numbers = {name: jwk[name] for name in ("n", "e", "x", "y") if name in jwk}
    if not all(isinstance(each, str) and len(each) <= _LONGEST_MODULUS for each in numbers.values()):
        return None
    if len(str(numbers.get("e", ""))) > _LONGEST_EXPONENT:
        return None
    try:
        key = _scheme(algorithm).from_jwk({"kty": kty, **({} if crv is None else {"crv": crv}), **numbers})
        return _trusted(key, algorithm, kid if isinstance(kid, str) else None)
    except (InvalidKeyError, ValueError, TypeError):
        return None


def _scheme(algorithm: str) -> Algorithm:
    # RFC 9864 gives the curve's own name to what RFC 8037 calls EdDSA.
    return get_algorithm_by_name("EdDSA" if algorithm == "Ed25519" else algorithm)


def _trusted(key: object, algorithm: str, kid: str | None) -> TrustedKey:
    """Return a parsed public key as one that is trusted for this algorithm.

    Raises:
        ValueError: It is private, of another kind, or of a size that is not accepted.
    """
    scheme = _scheme(algorithm)
    if not isinstance(key, get_args(AllowedPublicKeys)):
        raise ValueError("not a public key")
    described: dict[str, object] = scheme.to_jwk(key, as_dict=True)
    kty, crv = str(described["kty"]), described.get("crv")
    if algorithm not in FAMILIES.get((kty, crv if isinstance(crv, str) else None), ()):
        raise ValueError("a key of another kind")
    if kty == "RSA" and not MIN_RSA_BITS <= int(getattr(key, "key_size", 0)) <= MAX_RSA_BITS:
        raise ValueError("an RSA key of a size that is not accepted")
    members = {name: described[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in described}
    # A thumbprint (RFC 7638): the same key has the same one wherever it was read.
    identity = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return TrustedKey(algorithm, identity, kid, key, scheme)


def _checked_kid(kid: object) -> str | None:
    if kid is not None and not (isinstance(kid, str) and kid):
        raise ConfigurationError(f"kid={kid!r} cannot be the name of a key; leave it out for a key without one")
    return kid


def _repeats(secret: bytes) -> bool:
    """Whether it is one piece over and over."""
    return any(secret[period:] == secret[:-period] for period in range(1, len(secret) // 2 + 1))
