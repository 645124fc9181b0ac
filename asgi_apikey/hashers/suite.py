"""Several hashers as one: new digests by the current, old ones by whichever made them. This is how schemes change."""

from __future__ import annotations

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Lane
from asgi_apikey.protocols import Hasher


class HasherSuite:
    """Hashes with `current` and verifies what it or any of `retired` made.

    A digest goes to the one hasher that accepts it, by the scheme, pepper and parameters it names itself; no digest
    is ever tried with several.

    Args:
        current: Makes all new digests.
        *retired: Verify what they made before; whatever they accept is outdated.

    Raises:
        ConfigurationError: Two of them accept the same digests.
    """

    def __init__(self, current: Hasher, *retired: Hasher) -> None:
        self._current = current
        self._members = (current, *retired)
        for member in self._members:
            if sum(other.accepts(member.decoy) for other in self._members) > 1:
                raise ConfigurationError(
                    f"two hashers accept the digests of {type(member).__name__}: "
                    "one is enough, since each verifies all its own parameters and its whole ring of peppers"
                )

    @property
    def decoy(self) -> str:
        """The current hasher's decoy."""
        return self._current.decoy

    def accepts(self, digest: str) -> bool:
        """Whether any of the hashers does."""
        return self._member(digest) is not None

    def outdated(self, digest: str) -> bool:
        """Whether the current hasher would not have made it."""
        return not self._current.accepts(digest) or self._current.outdated(digest)

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return a new digest by the current hasher.

        Raises:
            Overloaded: A slow hasher's queue for this lane is full.
        """
        return await self._current.hash(presented, lane=lane)

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare with the one hasher that accepts the digest; without one, the answer is no.

        Raises:
            Overloaded: A slow hasher's queue for this lane is full; nothing was hashed.
        """
        member = self._member(digest)
        return member is not None and await member.verify(presented, digest, lane=lane)

    def close(self) -> None:
        """Close them all."""
        for member in self._members:
            member.close()

    def _member(self, digest: str) -> Hasher | None:
        return next((each for each in self._members if each.accepts(digest)), None)
