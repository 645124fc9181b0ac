"""What a system is whose keys are taken over, and the hasher that accepts its digests beside ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from asgi_apikey.adopted.digests import Digests
from asgi_apikey.adopted.rows import Row
from asgi_apikey.adopted.shapes import KeyShape
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Instant, KeyRecord, Lane
from asgi_apikey.protocols import Hasher

Take: TypeAlias = Callable[[Row, "Terms"], KeyRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a row does not say itself.

    Attributes:
        now: When it is taken over.
        environment: That the key is for.
        owner: Of keys that have none there; empty: they cannot be taken.
        tenant: That all of them belong to.
    """

    now: Instant
    environment: str
    owner: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSystem:
    """A system whose keys are accepted.

    Attributes:
        name: Stands in front of its digests.
        shape: How its keys look.
        digests: Compares keys with what it has stored; peppers inside, so not in the repr.
    """

    name: str
    shape: KeyShape
    digests: Digests = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTable:
    """Where a system has its keys.

    Attributes:
        system: What `asgi-apikey adopt --from` calls it.
        name: Of the table, usually.
        order: A column that tells its rows apart, and by which they are read.
        take: Makes a record of a row, or raises InvalidRequest with the reason why it cannot be taken.
    """

    system: str
    name: str
    order: str
    take: Take


class AdoptingHasher:
    """Makes digests as `current` does, and accepts those of other systems, as outdated ones.

    Args:
        current: Ours.
        systems: The others.

    Raises:
        ConfigurationError: One is given twice.
    """

    def __init__(self, current: Hasher, systems: Sequence[ForeignSystem]) -> None:
        self._current = current
        self._systems = tuple(systems)
        names = [each.name for each in systems]
        for each in systems:
            if names.count(each.name) > 1 or current.accepts(each.digests.decoy):
                raise ConfigurationError(f"{each.name} is there already; leave one of the two out of adopted=")

    @property
    def decoy(self) -> str:
        """The current hasher's decoy."""
        return self._current.decoy

    def accepts(self, digest: str) -> bool:
        """Whether it is one of ours or of any of the systems."""
        return self._current.accepts(digest) or self._made_by(digest) is not None

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
        """Compare with ours, or as the system did that made the digest.

        An unknown key is compared with the decoy of the system that it looks like, so that it takes as long as one
        that has not been used here yet.

        Raises:
            Overloaded: A slow hasher's queue for this lane is full; nothing was hashed.
        """
        if digest == self._current.decoy and (like := self._like(presented)) is not None:
            return await like.digests.verify(presented, like.digests.decoy, lane=lane)
        if (made_by := self._made_by(digest)) is not None:
            return await made_by.digests.verify(presented, digest, lane=lane)
        return await self._current.verify(presented, digest, lane=lane)

    def close(self) -> None:
        """Close them all."""
        self._current.close()
        for each in self._systems:
            each.digests.close()

    def _made_by(self, digest: str) -> ForeignSystem | None:
        return next((each for each in self._systems if each.digests.accepts(digest)), None)

    def _like(self, presented: bytes) -> ForeignSystem | None:
        return next((each for each in self._systems if each.shape.key_id(presented) is not None), None)
