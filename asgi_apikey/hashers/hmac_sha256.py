"""HMAC-SHA-256 under a pepper ring, the default; and plain SHA-256 for those who keep no pepper.

Fast on purpose: a secret of at least 112 random bits needs an approved one-way function and no slow one
(NIST SP 800-63B section 5.1.2.2), and ours have 190. Both are deterministic, so a digest can be looked up.

    hmac-sha256$<pepper id, 8 hex digits>$<32 bytes, base64url without padding>
    sha256$<32 bytes, base64url without padding>
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from typing import Final

from asgi_apikey.hashers.peppers import PepperRing, Peppers
from asgi_apikey.models import Lane

# Part of every stored digest: these never change.
KEYED_LABEL: Final = b"asgi-apikey hmac-sha256\0"
PLAIN_LABEL: Final = b"asgi-apikey sha256\0"

KEYED_SHAPE: Final = re.compile(r"hmac-sha256\$([0-9a-f]{8})\$[0-9A-Za-z_-]{43}")
PLAIN_SHAPE: Final = re.compile(r"sha256\$[0-9A-Za-z_-]{43}")


class HMACSHA256Hasher:
    """HMAC-SHA-256 of the whole presented key, under the newest pepper of a ring.

    To change the pepper, append the new one: old digests stay accepted and become outdated, so that they are replaced
    as their keys are used. When none is left under the old pepper, take it out of the ring.

    Args:
        peppers: One pepper, or several with the newest last; each at least 32 bytes that nobody could guess.
        accept_plain: Accept `sha256$` digests from before there was a pepper, as outdated ones.

    Raises:
        ConfigurationError: A pepper is missing, short, an example, a repetition, or given twice.
    """

    def __init__(self, peppers: Peppers, *, accept_plain: bool = False) -> None:
        self._ring = PepperRing(peppers)
        self._plain = SHA256Hasher() if accept_plain else None

    @property
    def decoy(self) -> str:
        """A digest under the newest pepper that no key has, but for one in 2^256."""
        return keyed_digest(self._ring.newest, bytes(32))

    def accepts(self, digest: str) -> bool:
        """Whether it is one of ours under a pepper of the ring, or a plain one if those are accepted."""
        if self._plain is not None and self._plain.accepts(digest):
            return True
        return self._pepper_id(digest) is not None

    def outdated(self, digest: str) -> bool:
        """Whether it is not under the newest pepper."""
        return self._pepper_id(digest) != self._ring.newest

    def candidates(self, presented: bytes) -> tuple[str, ...]:
        """Every digest this key could be stored under, likeliest first; for keys that carry no id."""
        keyed = tuple(self._digest(presented, pepper_id) for pepper_id in self._ring)
        return keyed + (self._plain.candidates(presented) if self._plain else ())

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return the digest under the newest pepper; the lane makes no difference."""
        return self._digest(presented, self._ring.newest)

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time, under the pepper that the digest names; the lane makes no difference."""
        if (pepper_id := self._pepper_id(digest)) is not None:
            return same(self._digest(presented, pepper_id), digest)
        return self._plain is not None and await self._plain.verify(presented, digest, lane=lane)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _pepper_id(self, digest: str) -> str | None:
        """Id of the pepper of the ring that a digest of this scheme names; None for all others."""
        match = KEYED_SHAPE.fullmatch(digest)
        return match[1] if match and match[1] in self._ring else None

    def _digest(self, presented: bytes, pepper_id: str) -> str:
        return keyed_digest(pepper_id, self._ring.mac(pepper_id, KEYED_LABEL, presented))


class SHA256Hasher:
    """SHA-256 of the whole presented key, without a pepper.

    Who steals the table cannot find the keys, their secrets being random; who can write to it can make digests.
    """

    @property
    def decoy(self) -> str:
        """A digest that no key has, but for one in 2^256."""
        return plain_digest(bytes(32))

    def accepts(self, digest: str) -> bool:
        """Whether it is a plain one of ours."""
        return PLAIN_SHAPE.fullmatch(digest) is not None

    def outdated(self, digest: str) -> bool:
        """Whether it is not a plain one of ours: there is nothing newer to these."""
        return not self.accepts(digest)

    def candidates(self, presented: bytes) -> tuple[str, ...]:
        """The one digest this key could be stored under; for keys that carry no id."""
        return (plain_digest(hashlib.sha256(PLAIN_LABEL + presented).digest()),)

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return the digest; the lane makes no difference."""
        return self.candidates(presented)[0]

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time; the lane makes no difference."""
        return self.accepts(digest) and same(self.candidates(presented)[0], digest)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def keyed_digest(pepper_id: str, mac: bytes) -> str:
    """Write a keyed digest."""
    return f"hmac-sha256${pepper_id}${base64url(mac)}"


def plain_digest(digest: bytes) -> str:
    """Write a plain digest."""
    return f"sha256${base64url(digest)}"


def base64url(value: bytes) -> str:
    """RFC 4648 section 5, without padding."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def same(expected: str, digest: str) -> bool:
    """Compare two digests, both ASCII, in constant time. As text: base64 has several ways to write the same bytes."""
    return hmac.compare_digest(expected.encode(), digest.encode())
