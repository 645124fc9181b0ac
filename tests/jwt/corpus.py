"""Tokens that must be refused, each with the reason that the log must give.

All are made by somebody who is trusted for other tokens, or who knows everything but a trusted private key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator

from asgi_apikey.jwt import Fault
from tests.fakes import NOON
from tests.jwt.issuer import AUDIENCE, CLAIMS, ISSUER, b64, compact, header_of, signer, token

RSA = signer("RS256", "rsa")
EC = signer("ES256", "ec")
ED = signer("EdDSA", "ed")
HS = signer("HS256", "hs")
TRUSTED = (RSA, EC, ED, HS)
STRANGERS = (signer("RS256", "rsa", 1), signer("ES256", "ec", 1), signer("EdDSA", "ed", 1), signer("HS256", "hs", 1))

PAYLOAD = json.dumps(CLAIMS).encode()

Case = tuple[str, bytes, Fault]


def hostile() -> Iterator[Case]:
    """Every case: what it is, the token, the reason."""
    yield from _shapes()
    yield from _headers()
    yield from _algorithms()
    yield from _signatures()
    yield from _payloads()
    yield from _claims()


def _shapes() -> Iterator[Case]:
    good = token(HS)
    head, body, mark = good.split(b".")
    for name, presented in {
        "nothing": b"",
        "one dot": b".",
        "two dots": b"..",
        "two parts": head + b"." + body,
        "four parts": good + b"." + mark,
        "five parts, as encrypted ones": b".".join([head, b"", body, mark, mark]),
        "no header": b"." + body + b"." + mark,
        "no payload": head + b".." + mark,
        "no signature": head + b"." + body + b".",
        "padding": head + b"==." + body + b"." + mark,
        "padded signature": good + b"=",
        "blank before": b" " + good,
        "newline behind": good + b"\n",
        "NUL inside": head + b"\x00." + body + b"." + mark,
        "not ASCII": head + b"\xc3\xa9." + body + b"." + mark,
        "plain base64": head + b"+." + body + b"." + mark,
        "slash": head + b"/A." + body + b"." + mark,
        "impossible length": b"A." + body + b"." + mark,
        "bits to spare in the header": _spare() + b"." + body + b"." + mark,
        "an API key": b"ak_live_0123456789ab.x.y",
        "a quoted token": b'"' + good + b'"',
    }.items():
        yield name, presented, Fault.MALFORMED
    yield "oversized", head + b"." + body + b"A" * 9_000 + b"." + mark, Fault.OVERSIZED
    yield "oversized and nothing else", b"A" * 1_000_000, Fault.OVERSIZED


def _spare() -> bytes:
    """A good header in base64, but for a bit that is set where none is read."""
    plain = header_of(HS)
    part = b64(plain + b" " * ((1 - len(plain)) % 3))
    return part[:-1] + bytes([part[-1] + 1])


def _headers() -> Iterator[Case]:
    for name, header in {
        "no JSON": b"alg=HS256",
        "a list": b'["alg","HS256"]',
        "a text": b'"HS256"',
        "null": b"null",
        "a number": b"1",
        "nothing but a brace": b"{",
        "two objects": b'{"alg":"HS256"}{"alg":"none"}',
        "alg twice": b'{"alg":"none","alg":"HS256","typ":"JWT","kid":"hs"}',
        "kid twice": b'{"alg":"HS256","typ":"JWT","kid":"rsa","kid":"hs"}',
        "twice through an escape": b'{"alg":"HS256","\\u0061lg":"none","typ":"JWT","kid":"hs"}',
        "twice deep inside": b'{"alg":"HS256","typ":"JWT","kid":"hs","x":{"a":1,"a":2}}',
        "UTF-16": '{"alg":"HS256","typ":"JWT","kid":"hs"}'.encode("utf-16-le"),
        "a byte order mark": b'\xef\xbb\xbf{"alg":"HS256","typ":"JWT","kid":"hs"}',
        "broken UTF-8": b'{"alg":"HS256","typ":"JWT","kid":"hs","x":"\xff"}',
        "half a character": b'{"alg":"HS256","typ":"JWT","kid":"hs\\ud800"}',
        "NaN": b'{"alg":"HS256","typ":"JWT","kid":"hs","x":NaN}',
        "too deep": b'{"alg":"HS256","typ":"JWT","kid":"hs","x":' + b"[" * 2_500 + b"]" * 2_500 + b"}",
        "too many digits": b'{"alg":"HS256","typ":"JWT","kid":"hs","x":' + b"9" * 5_000 + b"}",
    }.items():
        yield f"header: {name}", compact(header, PAYLOAD, HS), Fault.MALFORMED
    inside = {"jwk": STRANGERS[0].jwk(), "jku": "https://evil.example/keys", "x5u": "https://evil.example/cert"}
    inside |= {"x5c": ["MIIB"], "crit": ["exp"], "b64": False}
    for name, value in inside.items():
        for by in (HS, RSA):
            yield f"header: {name} by {by.kid}", token(by, header={name: value}), Fault.HEADER
    for name, changes in {
        "an empty crit": {"crit": []},
        "crit that is no list": {"crit": "exp"},
        "b64 and crit": {"b64": True, "crit": ["b64"]},
        "no alg": {"alg": None},
        "alg is a number": {"alg": 256},
        "alg is a list": {"alg": ["HS256"]},
        "kid is a number": {"kid": 1},
        "kid is a list": {"kid": ["hs"]},
        "kid is an object": {"kid": {"hs": 1}},
        "kid is empty": {"kid": ""},
        "kid is endless": {"kid": "h" * 300},
        "typ is a number": {"typ": 1},
        "typ is a list": {"typ": ["JWT"]},
        "a token in a token": {"cty": "JWT"},
    }.items():
        yield f"header: {name}", token(HS, header=changes), Fault.HEADER
    for name in ("id_token", "logout+jwt", "dpop+jwt", "secevent+jwt", "JWT ", "JOSE", "at+jwt,JWT", "text/JWT", ""):
        yield f"typ {name!r}", token(HS, header={"typ": name}), Fault.TYPE
    yield "no typ", token(HS, header={"typ": None}), Fault.TYPE


def _algorithms() -> Iterator[Case]:
    for name in ("none", "None", "NONE", "nOnE", "none ", "", "hs256", "HS256 ", "HS1", "HS384", "HS512", "RS256"):
        yield f"alg {name!r} over a secret", token(HS, header={"alg": name}), Fault.UNKNOWN_KEY
    for name in ("none", "HS256", "HS384", "RS384", "RS512", "PS256", "ES256", "EdDSA", "ES256K", "RSA-OAEP", "dir"):
        yield f"alg {name!r} over an RSA key", token(RSA, header={"alg": name}), Fault.UNKNOWN_KEY
    public = {"PEM": RSA.pem, "PEM without newline": RSA.pem.strip(), "JWK": json.dumps(RSA.jwk()).encode()}
    for form, secret in public.items():
        for kid, fault in (("rsa", Fault.UNKNOWN_KEY), ("hs", Fault.SIGNATURE), (None, Fault.SIGNATURE)):
            signed = b64(header_of(RSA, alg="HS256", kid=kid)) + b"." + b64(PAYLOAD)
            forged = signed + b"." + b64(hmac.digest(secret, signed, "sha256"))
            yield f"public key as secret: {form}, kid {kid}", forged, fault
    for kid in ("other", "../../dev/null", "hs' OR '1'='1", "hs\x00", "HS", "hs ", "https://evil.example/key"):
        yield f"kid {kid!r}", token(HS, header={"kid": kid}), Fault.UNKNOWN_KEY
    yield "the name of another key", token(HS, header={"kid": "rsa"}), Fault.UNKNOWN_KEY
    unsigned = b64(header_of(HS, alg="none")) + b"." + b64(PAYLOAD) + b"."
    yield "unsigned, with an empty signature", unsigned, Fault.MALFORMED


def _signatures() -> Iterator[Case]:
    for honest, stranger in zip(TRUSTED, STRANGERS, strict=True):
        signed, mark = token(honest).rsplit(b".", 1)
        size = {"rsa": 256, "ec": 64, "ed": 64, "hs": 32}[str(honest.kid)]
        other = token(honest, sub="mallory").rsplit(b".", 1)[0]
        yield f"{honest.kid}: another's key", token(stranger), Fault.SIGNATURE
        yield f"{honest.kid}: another payload", other + b"." + mark, Fault.SIGNATURE
        for name, forged in {
            "zeros": bytes(size),
            "ones": b"\xff" * size,
            "one byte": b"\x00",
            "one too short": bytes(size - 1),
            "one too long": bytes(size + 1),
            "a digest": hashlib.sha256(signed).digest(),
            "much too long": bytes(1_000),
        }.items():
            yield f"{honest.kid}: {name}", signed + b"." + b64(forged), Fault.SIGNATURE
    signed, mark = token(EC).rsplit(b".", 1)
    # CVE-2022-21449: r = s = 0, and the order of the curve, which is the same.
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for name, r, s in (("r = 0", 0, 1), ("s = 0", 1, 0), ("the order", order, order), ("r = n, s = 1", order, 1)):
        yield f"ec: {name}", signed + b"." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")), Fault.SIGNATURE


def _payloads() -> Iterator[Case]:
    for name, payload in {
        "no JSON": b"sub=alice",
        "a list": b"[]",
        "a text": b'"alice"',
        "sub twice": PAYLOAD[:-1] + b',"sub":"mallory"}',
        "exp twice": PAYLOAD[:-1] + b',"exp":9999999999}',
        "scope twice through an escape": PAYLOAD[:-1] + b',"sc\\u006fpe":"admin"}',
        "infinity": PAYLOAD[:-1] + b',"x":Infinity}',
        "half a character": PAYLOAD[:-1] + b',"x":"\\udc00"}',
        "broken UTF-8": PAYLOAD[:-1] + b',"x":"\xff"}',
        "UTF-32": json.dumps(CLAIMS).encode("utf-32"),
        "too deep": PAYLOAD[:-1] + b',"x":' + b"[" * 2_500 + b"]" * 2_500 + b"}",
    }.items():
        yield f"payload: {name}", compact(header_of(HS), payload, HS), Fault.MALFORMED


def _claims() -> Iterator[Case]:
    wrong: dict[Fault, dict[str, tuple[object, ...]]] = {
        Fault.ISSUER: {
            "iss": (None, "", f"{ISSUER}/", ISSUER.upper(), [ISSUER], 1, True, {}),
        },
        Fault.AUDIENCE: {
            "aud": (None, "", f"{AUDIENCE}/", [], ["other"], [[AUDIENCE]], {AUDIENCE: 1}, 7),
        },
        Fault.EXPIRED: {"exp": (NOON - 30, NOON - 31, 0, NOON - 86_400)},
        Fault.NOT_YET_VALID: {"nbf": (NOON + 31, NOON + 1e6), "iat": (NOON + 31, NOON + 300)},
        Fault.CLAIM: {
            "exp": (None, "1800000600", True, [NOON + 600], {}, -1, 1e300, 10**400, NOON * 1000),
            "nbf": ("soon", False, [], 1e300),
            "iat": ("now", True, {}, -5),
            "sub": (None, "", " ", 7, ["alice"], {"sub": "alice"}, "a" * 256, "a\nb", "a\x00", "a\x1b[31m"),
            "scope": (7, {"orders:read": True}, [["admin"]], [1], True),
            "scp": (7, [None]),
        },
    }
    for fault, claims in wrong.items():
        for name, values in claims.items():
            for value in values:
                yield f"{name} is {str(value)[:40]!r} ({type(value).__name__})", token(HS, **{name: value}), fault
    yield (
        "exp is beyond every float",
        compact(header_of(HS), PAYLOAD.replace(b"1800000600.0", b"1e999"), HS),
        Fault.CLAIM,
    )
