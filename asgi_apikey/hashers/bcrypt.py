"""bcrypt, for houses where it is the rule. Needs the extra `bcrypt`.

    sha256+bcrypt$2b$12$<salt and digest>
    hmac-sha256+bcrypt$<pepper id>$2b$12$<salt and digest>

bcrypt looks at the first 72 bytes of its input and stops at a NUL. So it gets the base64 of 32 hashed bytes (44
characters): every byte of the key counts. The name in front says so; a bare `$2b$` string would claim to be bcrypt of
the key itself.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import partial
from typing import Final

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.hashers.peppers import PepperRing, Peppers
from asgi_apikey.hashers.pool import DEFAULT_QUEUE, HashingPool
from asgi_apikey.models import Lane

try:
    import bcrypt
except ImportError as error:
    raise MissingExtra("bcrypt", __name__) from error

DEFAULT_COST: Final = 12
MIN_COST: Final = 4
MAX_COST: Final = 31
MAX_STORED_COST: Final = 15
"""About 3 seconds; each step doubles. Only a hasher whose own cost is higher accepts more."""

# Part of every stored digest: these never change.
KEYED_LABEL: Final = b"asgi-apikey hmac-sha256+bcrypt\0"
PLAIN_LABEL: Final = b"asgi-apikey sha256+bcrypt\0"

SHAPE: Final = re.compile(r"(?:sha256\+bcrypt|hmac-sha256\+bcrypt\$([0-9a-f]{8}))(\$2b\$([0-9]{2})\$[./0-9A-Za-z]{53})")


class BcryptHasher:
    """bcrypt of the hashed presented key, in a bounded pool of threads.

    Args:
        cost: Binary logarithm of the rounds of new digests, 4 to 31; 12 takes about 0.4 s of one core.
        peppers: If given, the key goes through HMAC-SHA-256 under the newest of these instead of plain SHA-256.
        accept_plain: With peppers, accept digests without one, as outdated.
        workers: Threads in all; None means one per core, at least 2 and at most 4.
        queue: How many calls may wait for a thread in each lane, before more are refused.
        reserved: How many of the threads only proven keys, and `hash`, use.

    Raises:
        ConfigurationError: The cost is out of range, a pepper is refused, a lane would have no thread.
    """

    def __init__(
        self,
        *,
        cost: int = DEFAULT_COST,
        peppers: Peppers | None = None,
        accept_plain: bool = False,
        workers: int | None = None,
        queue: int = DEFAULT_QUEUE,
        reserved: int = 1,
    ) -> None:
        if not MIN_COST <= cost <= MAX_COST:
            raise ConfigurationError(f"cost={cost}: bcrypt has {MIN_COST} to {MAX_COST}; {DEFAULT_COST} is usual")
        self._cost = cost
        self._max_cost = max(cost, MAX_STORED_COST)
        self._ring = PepperRing(peppers) if peppers is not None else None
        self._accepts_plain = accept_plain or self._ring is None
        self._pool = HashingPool(workers, queue, reserved=reserved)

    @property
    def decoy(self) -> str:
        """A digest of the current cost and pepper, as dear to verify as any, that no key has."""
        return self._named(f"$2b${self._cost:02}${'.' * 53}")

    def accepts(self, digest: str) -> bool:
        """Whether it is one of ours at a bearable cost, under a pepper of the ring if there is one."""
        return self._accepted(digest) is not None

    def outdated(self, digest: str) -> bool:
        """Whether its cost or its pepper is not the current one."""
        stored = self._accepted(digest)
        newest = self._ring.newest if self._ring else None
        return stored is None or stored[1] != newest or int(stored[3]) != self._cost

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return a new digest, salted; in the proven lane unless it can wait, since nobody unknown can ask for one.

        Raises:
            Overloaded: Every place of the lane is taken; nothing was hashed.
        """
        secret = self._input(presented, self._ring.newest if self._ring else None)
        made = await self._pool.run(lambda: bcrypt.hashpw(secret, bcrypt.gensalt(self._cost)), lane=lane)
        return self._named(made.decode())

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time, with the cost and the pepper that the digest names.

        Raises:
            Overloaded: Every place of the lane is taken; nothing was hashed.
        """
        stored = self._accepted(digest)
        if stored is None:
            return False
        secret = self._input(presented, stored[1])
        return await self._pool.run(partial(matches, secret, stored[2].encode()), lane=lane)

    def close(self) -> None:
        """Let go of the threads; they come back on the next use."""
        self._pool.close()

    def _accepted(self, digest: str) -> re.Match[str] | None:
        """The parts of an accepted digest: 1 the pepper id or None, 2 what bcrypt made, 3 its cost."""
        stored = SHAPE.fullmatch(digest)
        if stored is None or not MIN_COST <= int(stored[3]) <= self._max_cost:
            return None
        if stored[1] is None:
            return stored if self._accepts_plain else None
        return stored if self._ring is not None and stored[1] in self._ring else None

    def _input(self, presented: bytes, pepper_id: str | None) -> bytes:
        if self._ring is None or pepper_id is None:
            return b64encode(hashlib.sha256(PLAIN_LABEL + presented).digest())
        return b64encode(self._ring.mac(pepper_id, KEYED_LABEL, presented))

    def _named(self, made: str) -> str:
        return f"hmac-sha256+bcrypt${self._ring.newest}{made}" if self._ring else f"sha256+bcrypt{made}"


def matches(secret: bytes, made: bytes) -> bool:
    """Whether bcrypt made this from the secret; a row that only looks like it, it did not make."""
    try:
        return bcrypt.checkpw(secret, made)
    except ValueError:
        return False
