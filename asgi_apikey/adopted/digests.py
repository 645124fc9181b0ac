"""Compares keys with the digests that other systems made; makes none.

    beanone-apikey+sha256$<32 bytes, base64url without padding>
    keyshield$9f86d081884c7d65$$argon2id$v=19$m=65536,t=3,p=4$<salt>$<digest>

The name of the system stands in front, so that no digest can be taken for one of another scheme. Where a system hashes
only a part of the key, the id that the rest names stands in the digest, too: moved to another row, it matches nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeAlias

from asgi_apikey.hashers.pool import HashingPool
from asgi_apikey.models import Lane

_SHA256: Final = re.compile("[0-9A-Za-z_-]{43}")

WORKERS: Final = 2
"""Threads of each slow scheme, one of them for proven keys: each key is compared so once, and then never again. Few, as
some systems take 100 MiB for each."""

Comparison: TypeAlias = Callable[[bytes, str], bool]
"""Whether a presented key matches what stands in a digest behind the name of its scheme."""


class Digests(Protocol):
    """The part of a hasher that compares."""

    @property
    def decoy(self) -> str:
        """A digest that no key has, as dear to compare with as any."""
        ...

    def accepts(self, digest: str) -> bool:
        """Whether `verify` could ever say yes to this digest."""
        ...

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare. A digest that is not accepted never matches.

        Raises:
            Overloaded: No thread was free for a slow hash.
        """
        ...

    def close(self) -> None:
        """Let go of threads and the like; may be used again."""
        ...


class SHA256Digests:
    """SHA-256 of the whole key, as most systems have it that keep no pepper.

    Args:
        system: Whose they are.
    """

    def __init__(self, system: str) -> None:
        self._scheme = f"{system}+sha256$"

    @property
    def decoy(self) -> str:
        """A digest that no key has, but for one in 2^256."""
        return self.written(bytes(32))

    def written(self, sha256: bytes) -> str:
        """Write 32 bytes as a digest."""
        return self._scheme + urlsafe_b64encode(sha256).rstrip(b"=").decode()

    def accepts(self, digest: str) -> bool:
        """Whether it is one of this system's."""
        return digest.startswith(self._scheme) and bool(_SHA256.fullmatch(digest, len(self._scheme)))

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time; the lane makes no difference."""
        made = self.written(hashlib.sha256(presented).digest())
        return self.accepts(digest) and hmac.compare_digest(made.encode(), digest.encode())

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class QuickDigests:
    """What can be compared at once.

    Args:
        scheme: What stands in front, with the `$` that ends it.
        pattern: Of what stands behind.
        compare: Does it, in constant time.
        decoy: What could stand behind, and matches nothing.
    """

    def __init__(self, scheme: str, pattern: str, *, compare: Comparison, decoy: str) -> None:
        self._scheme = scheme
        self._pattern = re.compile(pattern)
        self._compare = compare
        self.decoy = scheme + decoy

    def accepts(self, digest: str) -> bool:
        """Whether it is one of this scheme's."""
        return digest.startswith(self._scheme) and bool(self._pattern.fullmatch(digest, len(self._scheme)))

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time; the lane makes no difference."""
        return self.accepts(digest) and self._compare(presented, digest.removeprefix(self._scheme))

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class SlowDigests:
    """What has to be compared in threads, few of them, some of which strangers never get.

    Args:
        scheme: What stands in front, with the `$` that ends it.
        bearable: Whether what stands behind is of the scheme, and asks for no more work than a thread can be given:
            whoever can write one row must not decide over the threads.
        compare: Does it; called in a thread.
        decoy: What could stand behind, at the usual cost, and matches nothing.
    """

    def __init__(self, scheme: str, *, bearable: Callable[[str], bool], compare: Comparison, decoy: str) -> None:
        self._scheme = scheme
        self._bearable = bearable
        self._compare = compare
        self._pool = HashingPool(WORKERS)
        self.decoy = scheme + decoy

    def accepts(self, digest: str) -> bool:
        """Whether it is one of this scheme's, at a bearable cost."""
        return digest.startswith(self._scheme) and self._bearable(digest.removeprefix(self._scheme))

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in a thread of the lane.

        Raises:
            Overloaded: Every place of the lane is taken; nothing was hashed.
        """
        if not self.accepts(digest):
            return False
        return await self._pool.run(partial(self._compare, presented, digest.removeprefix(self._scheme)), lane=lane)

    def close(self) -> None:
        """Let go of the threads; they come back on the next use."""
        self._pool.close()


class EitherDigests:
    """Digests of several schemes, of a system that has changed its own.

    Args:
        usual: The scheme that unknown keys are compared in.
        *others: More of them.
    """

    def __init__(self, usual: Digests, *others: Digests) -> None:
        self._members = (usual, *others)
        self.decoy = usual.decoy

    def accepts(self, digest: str) -> bool:
        """Whether any of them does."""
        return any(each.accepts(digest) for each in self._members)

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in the one scheme that accepts the digest.

        Raises:
            Overloaded: No thread was free for a slow hash.
        """
        for each in self._members:
            if each.accepts(digest):
                return await each.verify(presented, digest, lane=lane)
        return False

    def close(self) -> None:
        """Close them all."""
        for each in self._members:
            each.close()
