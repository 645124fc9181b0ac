"""An issuer of tokens with real keys, honest and otherwise."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt import get_algorithm_by_name

from asgi_apikey.jwt import JWTVerifier, TrustedKey, public_key, shared_secret
from asgi_apikey.jwt.keyring import Keyring
from asgi_apikey.models import JSONValue
from tests.fakes import NOON, FakeClock

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
SECRET = b"nC4xV8bT1yQ6kP3fJ9wZ2sL7hR5gD0mAeUiOqWxYp0Zk3vB9tM6cN1rE8dG5hJ2s"

CLAIMS: Mapping[str, JSONValue] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "alice",
    "iat": NOON - 10,
    "exp": NOON + 600,
    "scope": "orders:read orders:write",
}
"""What an honest token says."""


@dataclass(frozen=True)
class Signer:
    """A private key, or a secret, with the algorithm and the name that it is used with."""

    algorithm: str
    kid: str | None
    private: object

    def sign(self, signed: bytes) -> bytes:
        """The signature of some bytes."""
        signature: bytes = get_algorithm_by_name(self.algorithm.replace("Ed25519", "EdDSA")).sign(signed, self.private)
        return signature

    @property
    def pem(self) -> bytes:
        """The public key in PEM."""
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(*form)  # type: ignore[attr-defined]

    @property
    def private_pem(self) -> bytes:
        """The private key in PEM."""
        form = serialization.PrivateFormat.PKCS8
        return self.private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())  # type: ignore[attr-defined]

    @property
    def trusted(self) -> TrustedKey:
        """The key as a verifier trusts it."""
        if isinstance(self.private, bytes):
            return shared_secret(self.private, algorithm=self.algorithm, kid=self.kid)
        return public_key(self.pem, algorithm=self.algorithm, kid=self.kid)

    def jwk(self, **changes: object) -> dict[str, object]:
        """The public key as an entry of a set; a change to None leaves a member out."""
        scheme = get_algorithm_by_name(self.algorithm.replace("Ed25519", "EdDSA"))
        members = scheme.to_jwk(self.private.public_key(), as_dict=True)  # type: ignore[attr-defined]
        members.pop("key_ops", None)
        members |= {"kid": self.kid, "alg": self.algorithm, "use": "sig"} | changes
        return {name: value for name, value in members.items() if value is not None}


CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


@cache
def signer(algorithm: str, kid: str | None = None, number: int = 0) -> Signer:
    """A signer with a key of its own, made once per run."""
    if algorithm.startswith("HS"):
        return Signer(algorithm, kid, SECRET + b"%d" % number)
    if algorithm.startswith(("RS", "PS")):
        return Signer(algorithm, kid, rsa_key(number))
    if algorithm in CURVES:
        return Signer(algorithm, kid, ec.generate_private_key(CURVES[algorithm]()))
    return Signer(algorithm, kid, ed25519.Ed25519PrivateKey.generate())


@cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; making one is slow."""
    return rsa.generate_private_key(65537, bits)


def ed448_pem() -> bytes:
    """A public key that nobody here can use."""
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return ed448.Ed448PrivateKey.generate().public_key().public_bytes(*form)


def b64(data: bytes) -> bytes:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=")


def compact(header: bytes, payload: bytes, by: Signer) -> bytes:
    """A token of these very bytes, signed."""
    signed = b64(header) + b"." + b64(payload)
    return signed + b"." + b64(by.sign(signed))


def header_of(by: Signer, **changes: object) -> bytes:
    """An honest header but for the changes; one to None leaves a member out."""
    members = {"typ": "JWT", "alg": by.algorithm, "kid": by.kid} | changes
    return json.dumps({name: value for name, value in members.items() if value is not None}).encode()


def token(by: Signer, *, header: Mapping[str, object] | None = None, **changes: object) -> bytes:
    """An honest token but for the changes; one to None leaves a claim out."""
    members = {name: value for name, value in (dict(CLAIMS) | changes).items() if value is not None}
    return compact(header_of(by, **(header or {})), json.dumps(members).encode(), by)


def verifier(*signers: Signer, clock: FakeClock | None = None, **options: object) -> JWTVerifier:
    """A verifier that trusts these signers."""
    keys = options.pop("keys", None) or Keyring([each.trusted for each in signers])
    options = {"audience": AUDIENCE, "issuer": ISSUER, "clock": clock or FakeClock()} | options
    return JWTVerifier(keys, **options)  # type: ignore[arg-type]
