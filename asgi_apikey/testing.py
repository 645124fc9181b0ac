"""For the tests of people who use this package. Nothing in here is safe, and nothing else in the package imports it."""

from __future__ import annotations

import zlib

from asgi_apikey.models import Lane


class MockHasher:
    """A hasher that costs nothing and protects nothing: its digest is a CRC-32 of the key.

    Give it to `APIKeys("memory:", hasher=MockHasher())` where a test makes thousands of keys, or wants to know how
    often the store's digests were compared.

    Attributes:
        hashed: How often a digest was made.
        verified: How often one was compared.
    """

    decoy: str = "mock$"

    def __init__(self) -> None:
        self.hashed = 0
        self.verified = 0

    def accepts(self, digest: str) -> bool:
        """Whether it is one of ours."""
        return digest.startswith("mock$")

    def outdated(self, digest: str) -> bool:
        """Whether it is not one of ours."""
        return not self.accepts(digest)

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return the digest."""
        self.hashed += 1
        return f"mock${zlib.crc32(presented):08x}"

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare."""
        self.verified += 1
        return digest == f"mock${zlib.crc32(presented):08x}"

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
