"""JSON Web Tokens as a second credential beside API keys. Needs the extra `jwt`.

compact    presented bytes -> header, payload and signature, or no
keys       what a signature is verified with; the only module that imports PyJWT
keyring    which key a header names, among those one was given
jwks       which key a header names, among those an issuer publishes
claims     what a verified payload must say, and the principal that it makes
verifier   all of it in order, and what was verified lately
"""

from asgi_apikey.jwt.claims import ClaimPath
from asgi_apikey.jwt.faults import Fault
from asgi_apikey.jwt.jwks import JWKS, Fetch
from asgi_apikey.jwt.keyring import KeySource
from asgi_apikey.jwt.keys import TrustedKey, public_key, shared_secret
from asgi_apikey.jwt.verifier import JWTVerifier, TokenStats

__all__ = [
    "JWKS",
    "ClaimPath",
    "Fault",
    "Fetch",
    "JWTVerifier",
    "KeySource",
    "TokenStats",
    "TrustedKey",
    "public_key",
    "shared_secret",
]
