"""Counts the digests of a store by scheme and pepper: what could be dropped, and what is still needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from asgi_apikey.models import Instant, Status
from asgi_apikey.protocols import Hasher, KeyArchive
from asgi_apikey.verification import status_of

_PAGE: Final = 1_000
_KEYED: Final = frozenset({"hmac-sha256", "hmac-sha256+argon2", "hmac-sha256+bcrypt"})
_OVER: Final = frozenset({Status.REVOKED, Status.EXPIRED})


@dataclass(frozen=True, slots=True, order=True)
class Making:
    """How digests are made.

    Attributes:
        scheme: Its name.
        pepper_id: Id of the pepper; empty where there is none, or it is another system's.
    """

    scheme: str
    pepper_id: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}${self.pepper_id}" if self.pepper_id else self.scheme


@dataclass(slots=True)
class Census:
    """What has been counted so far.

    Attributes:
        keys: All of them.
        usable: Keys that may be used, now or later, by how their digests are made.
        over: Keys that are revoked or have expired: nobody needs a pepper for these.
        outdated: Makings of which each digest is replaced when its key is used.
        refused: Makings of which this process was not given the scheme or the pepper.
    """

    keys: int = 0
    usable: Counter[Making] = field(default_factory=Counter)
    over: Counter[Making] = field(default_factory=Counter)
    outdated: set[Making] = field(default_factory=set)
    refused: set[Making] = field(default_factory=set)

    @property
    def stranded(self) -> int:
        """Keys that could be used, if their scheme and pepper were given."""
        return sum(self.usable[each] for each in self.refused)

    def needing(self, name: str) -> int:
        """Return how many keys could not be used any more without a scheme, or a pepper by its id."""
        return sum(count for making, count in self.usable.items() if name in (making.scheme, making.pepper_id))


async def counted(
    archive: KeyArchive, hasher: Hasher, *, now: Instant, most: int | None = None
) -> AsyncIterator[Census]:
    """Yield, after each thousand of keys, what has been counted.

    Args:
        archive: Of the store.
        hasher: With the schemes and peppers that there are.
        now: What is over by then is over.
        most: Stop after so many keys; ids being random, these are a sample. None: count them all.

    Raises:
        StoreUnavailable: The repository did not answer.
    """
    census, last = Census(), ""
    while most is None or census.keys < most:
        page = await archive.records(last, limit=_PAGE)
        if not page:
            return
        for record in page:
            making = making_of(record.digest)
            (census.over if status_of(record, now) in _OVER else census.usable)[making] += 1
            if not hasher.accepts(record.digest):
                census.refused.add(making)
            elif hasher.outdated(record.digest):
                census.outdated.add(making)
        census.keys += len(page)
        last = page[-1].key_id
        yield census


def making_of(digest: str) -> Making:
    """Return how a digest was made, by what it says itself."""
    # A PHC string begins with a dollar sign.
    scheme, _, rest = digest.removeprefix("$").partition("$")
    return Making(scheme, rest.partition("$")[0]) if scheme in _KEYED else Making(scheme)


SAMPLE: Final = 10_000
"""Keys that are looked at when a service starts, in some tenths of a second."""
