"""Peppers: the server-side keys of digests, kept as a ring, newest last, and refused when somebody could guess one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from asgi_apikey.errors import ConfigurationError

Peppers: TypeAlias = str | bytes | Sequence[str | bytes]
"""One pepper, or a ring of them with the newest last. Text counts as its UTF-8 bytes."""

MIN_LENGTH: Final = 32
MIN_DISTINCT: Final = 8  # 32 random hex digits have fewer once in 10^7 times

# Part of every stored digest: these never change.
PEPPER_ID_LABEL: Final = b"asgi-apikey pepper id\0"

EXAMPLE_WORDS: Final = (
    b"changeme",
    b"changethis",
    b"replaceme",
    b"placeholder",
    b"example",
    b"secret",
    b"pepper",
    b"password",
    b"default",
    b"insecure",
    b"development",
    b"yourkey",
)
"""Words of sample configurations, in lower case and without punctuation."""

PUBLISHED: Final = frozenset(
    {
        "570dad43de1af4c925f92c16a68a50936da42b7dd6fdeb24850507a1199aac89",  # FastAPI's tutorial
        "2598f7d6adc142d88161630f3db12ab2bd3403521c281811e5e1ce60d4ac5d76",  # Flask's quickstart
        "477a2767fa27931db11a3581100a4124b5720f6b6468ddd64062170cec157185",  # APISIX, admin
        "228ab1b6080ec4178302ba76f9fa4af4f2dc14fc105a364b324bdb9045af03a1",  # APISIX, viewer
        "1f736cbe0b9f9705b9b60151f11e0f6ad71b9b296d9d1f2b8bf79ee84859282d",  # Nacos
        "8b1b17a9740c068accab5c3d0d652c8e3cc13206e70bb73b42ea41d4c2de3c12",  # RFC 7515 A.1, as text
        "c8ecc9361a05e285f04c26f9572131a6deab07e9e2b865053c6f75a4d8bd2b32",  # RFC 7515 A.1, as bytes
    }
)
"""SHA-256 of keys that stand in public documentation and in default configurations, so that none stands here."""


class PepperRing:
    """Peppers by id, newest last. The id is derived from the pepper: nothing beside the peppers needs to be kept.

    Iterating yields the ids, newest first.

    Raises:
        ConfigurationError: No pepper at all, one that somebody could guess, or one given twice.
    """

    def __init__(self, peppers: Peppers) -> None:
        given = (peppers,) if isinstance(peppers, str | bytes) else tuple(peppers)
        if not given:
            raise ConfigurationError("no pepper given; `asgi-apikey pepper` prints a good one")
        self._peppers: dict[str, bytes] = {}
        for number, each in enumerate(given, 1):
            pepper = checked_pepper(each, f"pepper {number} of {len(given)}")
            pepper_id = hmac.digest(pepper, PEPPER_ID_LABEL, "sha256").hex()[:8]
            if pepper_id in self._peppers:
                raise ConfigurationError(f"pepper {number} of {len(given)} is in the ring already; leave it out")
            self._peppers[pepper_id] = pepper
        self.newest = pepper_id

    def __contains__(self, pepper_id: str) -> bool:
        return pepper_id in self._peppers

    def __iter__(self) -> Iterator[str]:
        return reversed(self._peppers)

    def __repr__(self) -> str:
        return f"PepperRing({', '.join(self)})"

    def mac(self, pepper_id: str, label: bytes, presented: bytes) -> bytes:
        """HMAC-SHA-256 of the presented key under one pepper; the label (ending in NUL) keeps uses apart."""
        return hmac.digest(self._peppers[pepper_id], label + presented, "sha256")


def new_pepper() -> str:
    """Return a new pepper: 64 printable characters, 384 bits."""
    return secrets.token_urlsafe(48)


def checked_pepper(pepper: str | bytes, name: str) -> bytes:
    """Return the pepper as bytes.

    Args:
        pepper: Text counts as its UTF-8 bytes.
        name: What the message calls it; the pepper itself is never in a message.

    Raises:
        ConfigurationError: It is short, an example, or follows a pattern.
    """
    if not isinstance(pepper, str | bytes):
        raise ConfigurationError(f"{name} is neither text nor bytes")
    as_bytes = pepper.encode() if isinstance(pepper, str) else pepper
    if fault := weakness(as_bytes):
        raise ConfigurationError(f"{name} {fault}; `asgi-apikey pepper` prints a good one")
    if isinstance(pepper, str) and len(pepper.split()) > 1:
        raise ConfigurationError(
            f"{name} has spaces in it, like a ring in one variable; "
            "write pepper=value.split(), or APIKeys.from_env(), which does"
        )
    return as_bytes


def weakness(pepper: bytes) -> str | None:
    """Say why somebody could guess this pepper; None when nothing speaks against it."""
    if len(pepper) < MIN_LENGTH:
        return f"has {len(pepper)} bytes; at least {MIN_LENGTH} are needed"
    if hashlib.sha256(pepper.strip()).hexdigest() in PUBLISHED:
        return "is published: it stands in somebody's documentation or default configuration"
    letters = bytes(byte for byte in pepper.lower() if chr(byte).isalnum())
    if any(word in letters for word in EXAMPLE_WORDS):
        return "reads like an example"
    if len(set(pepper)) < MIN_DISTINCT:
        return f"has fewer than {MIN_DISTINCT} different bytes"
    if repeats(pepper) or counts(pepper):
        return "follows a pattern"
    return None


def repeats(pepper: bytes) -> bool:
    """Whether it is one piece over and over, a piece shorter than a pepper must be."""
    longest = min(MIN_LENGTH - 1, len(pepper) // 2)
    return any(pepper[period:] == pepper[:-period] for period in range(1, longest + 1))


def counts(pepper: bytes) -> bool:
    """Whether most of its bytes stand at the same distance from the one before, as in `abcdef…` or `987654…`."""
    steps = Counter(right - left for left, right in pairwise(pepper))
    return max(steps.values()) > len(pepper) // 2
