"""Argon2id, for secrets that people chose and for policies that ask for a slow hash.

    $argon2id$v=19$m=19456,t=2,p=1$<salt>$<digest>                                  the PHC string
    hmac-sha256+argon2$<pepper id>$argon2id$v=19$m=19456,t=2,p=1$<salt>$<digest>    the same of the key's HMAC

Sources: RFC 9106 (Argon2, parameter choice in section 4), OWASP Password Storage Cheat Sheet (minimum profiles).
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from argon2 import PasswordHasher, Type
from argon2.exceptions import HashingError, VerificationError
from argon2.low_level import error_to_str, verify_secret

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.hashers.peppers import PepperRing, Peppers
from asgi_apikey.hashers.pool import DEFAULT_QUEUE, HashingPool
from asgi_apikey.models import Lane

MIB: Final = 1024 * 1024
KIB: Final = 1024
DEFAULT_MEMORY_BUDGET: Final = 256 * MIB

# Part of every stored digest: these never change.
KEYED_LABEL: Final = b"asgi-apikey hmac-sha256+argon2\0"
PLAIN_LABEL: Final = b"asgi-apikey argon2id\0"
KEYED_SCHEME: Final = "hmac-sha256+argon2"

SHAPE: Final = re.compile(
    r"(?:hmac-sha256\+argon2\$([0-9a-f]{8}))?"
    r"(\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,7})"
    r"\$([0-9A-Za-z+/]{11,86})\$([0-9A-Za-z+/]{22,86}))"
)
"""Salts of 8 and digests of 16 bytes at least: a row with a shorter one could be hit by chance."""


SHORTAGES: Final = (-22, -33)
"""What libargon2 returns when it gets no memory, or no thread: not a statement about the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2Profile:
    """Parameters of Argon2id.

    Attributes:
        memory: KiB for each hash.
        passes: How often the memory is gone over.
        parallelism: Lanes; each is a thread inside the library.
        salt_length: Bytes.
        digest_length: Bytes.
    """

    memory: int
    passes: int
    parallelism: int
    salt_length: int = 16
    digest_length: int = 32


OWASP_MINIMUM: Final = Argon2Profile(memory=19 * KIB, passes=2, parallelism=1)
"""19 MiB, t=2, p=1: about 30 ms of one core."""

OWASP_MORE_MEMORY: Final = Argon2Profile(memory=46 * KIB, passes=1, parallelism=1)
"""46 MiB, t=1, p=1: the same strength by OWASP's reckoning, with more memory and less time."""

RFC_9106_LOW_MEMORY: Final = Argon2Profile(memory=64 * KIB, passes=3, parallelism=4)
"""64 MiB, t=3, p=4: the second recommended option of RFC 9106 section 4; about 160 ms of one core."""


@dataclass(frozen=True, slots=True)
class StoredDigest:
    """A digest taken apart.

    Attributes:
        pepper_id: None when the key was hashed without a pepper.
        phc: The PHC string in it.
        profile: The parameters it was made with.
    """

    pepper_id: str | None
    phc: str
    profile: Argon2Profile

    @classmethod
    def read(cls, digest: str) -> Self | None:
        """Take a digest apart; None when it is not of this scheme."""
        match = SHAPE.fullmatch(digest)
        if match is None:
            return None
        profile = Argon2Profile(
            memory=int(match[3]),
            passes=int(match[4]),
            parallelism=int(match[5]),
            salt_length=decoded_length(match[6]),
            digest_length=decoded_length(match[7]),
        )
        return cls(match[1], match[2], profile)


class Argon2Hasher:
    """Argon2id of the whole presented key, in a bounded pool of threads, within a fixed amount of memory.

    Digests of every profile are verified as long as they cost no more than the limits below, so a new profile needs
    no second hasher: the old digests become outdated. A row that asks for more is not accepted: otherwise whoever
    can write one row decides over the memory and the threads of every worker.

    Args:
        profile: Parameters of new digests.
        peppers: If given, keys go through HMAC-SHA-256 under the newest of these first. As in `HMACSHA256Hasher`.
        accept_plain: With peppers, accept digests without one, as outdated.
        workers: Threads in all; None means one per core, at least 2 and at most 4.
        queue: How many calls may wait for a thread in each lane, before more are refused.
        reserved: How many of the threads only proven keys, and `hash`, use.
        memory_budget: Bytes that all threads together may use for hashing.
        max_passes: Digests that ask for more passes are not accepted.

    Raises:
        ConfigurationError: All threads at work would exceed the memory budget; the parameters are impossible; a
            pepper is refused; a lane would have no thread.
    """

    def __init__(
        self,
        *,
        profile: Argon2Profile = OWASP_MINIMUM,
        peppers: Peppers | None = None,
        accept_plain: bool = False,
        workers: int | None = None,
        queue: int = DEFAULT_QUEUE,
        reserved: int = 1,
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
        max_passes: int = 16,
    ) -> None:
        self._pool = HashingPool(workers, queue, reserved=reserved)
        refuse_impossible(profile)
        refuse_over_budget(profile, self._pool.workers, memory_budget)
        self._profile = profile
        self._ring = PepperRing(peppers) if peppers is not None else None
        self._accepts_plain = accept_plain or self._ring is None
        self._max_memory = memory_budget // self._pool.workers // KIB
        self._max_passes = max(max_passes, profile.passes)
        self._argon2 = PasswordHasher(
            time_cost=profile.passes,
            memory_cost=profile.memory,
            parallelism=profile.parallelism,
            hash_len=profile.digest_length,
            salt_len=profile.salt_length,
            type=Type.ID,
        )

    @property
    def decoy(self) -> str:
        """A digest with the current parameters and pepper, as dear to verify as any, that no key has."""
        profile = self._profile
        return self._named(
            f"$argon2id$v=19$m={profile.memory},t={profile.passes},p={profile.parallelism}"
            f"${b64(bytes(profile.salt_length))}${b64(bytes(profile.digest_length))}"
        )

    def accepts(self, digest: str) -> bool:
        """Whether it is Argon2id at a bearable cost, under a pepper of the ring if there is one."""
        return self._accepted(digest) is not None

    def outdated(self, digest: str) -> bool:
        """Whether its parameters or its pepper are not the current ones."""
        stored = self._accepted(digest)
        newest = self._ring.newest if self._ring else None
        return stored is None or stored.pepper_id != newest or stored.profile != self._profile

    async def hash(self, presented: bytes, *, lane: Lane = Lane.PROVEN) -> str:
        """Return a new digest, salted; in the proven lane unless it can wait, since nobody unknown can ask for one.

        Raises:
            Overloaded: Every place of the lane is taken, or the system gave no memory; nothing was hashed.
        """
        secret = self._input(presented, self._ring.newest if self._ring else None)
        return self._named(await self._pool.run(partial(self._made, secret), lane=lane))

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Compare in constant time, with the parameters and the pepper that the digest names.

        Raises:
            Overloaded: Every place of the lane is taken, or the system gave no memory; nothing was compared.
        """
        stored = self._accepted(digest)
        if stored is None:
            return False
        return await self._pool.run(partial(matches, self._input(presented, stored.pepper_id), stored.phc), lane=lane)

    def close(self) -> None:
        """Let go of the threads; they come back on the next use."""
        self._pool.close()

    def _accepted(self, digest: str) -> StoredDigest | None:
        stored = StoredDigest.read(digest)
        if stored is None or not self._bearable(stored.profile):
            return None
        if stored.pepper_id is None:
            return stored if self._accepts_plain else None
        return stored if self._ring is not None and stored.pepper_id in self._ring else None

    def _bearable(self, profile: Argon2Profile) -> bool:
        return possible(profile) and profile.memory <= self._max_memory and profile.passes <= self._max_passes

    def _input(self, presented: bytes, pepper_id: str | None) -> bytes:
        if self._ring is None or pepper_id is None:
            return PLAIN_LABEL + presented
        return self._ring.mac(pepper_id, KEYED_LABEL, presented)

    def _made(self, secret: bytes) -> str:
        try:
            return self._argon2.hash(secret)
        except HashingError as error:  # the parameters having been checked, only a shortage is left
            raise Overloaded(f"Argon2 could not run: {error}") from error

    def _named(self, phc: str) -> str:
        return f"{KEYED_SCHEME}${self._ring.newest}{phc}" if self._ring else phc


def matches(secret: bytes, phc: str) -> bool:
    """Whether Argon2id made this from the secret; a row that only looks like it, it did not make.

    Raises:
        Overloaded: The system gave no memory; nothing was compared.
    """
    try:
        return verify_secret(phc.encode(), secret, Type.ID)
    except VerificationError as error:
        if str(error) in map(error_to_str, SHORTAGES):
            raise Overloaded(f"Argon2 could not run: {error}") from error
        return False


def refuse_impossible(profile: Argon2Profile) -> None:
    """Raise ConfigurationError if Argon2 is not defined for these parameters (RFC 9106 section 3.1)."""
    if not possible(profile):
        raise ConfigurationError(
            f"{profile}: Argon2 needs passes >= 1, parallelism from 1 to 16, memory >= 8 KiB for each lane, "
            "and here a salt of 8 to 64 and a digest of 16 to 64 bytes; OWASP_MINIMUM is a good choice"
        )


def possible(profile: Argon2Profile) -> bool:
    """Whether Argon2 is defined for these parameters, with sane lengths and no more than 16 threads."""
    return (
        1 <= profile.passes < 2**32
        and 1 <= profile.parallelism <= 16
        and profile.memory >= 8 * profile.parallelism
        and 8 <= profile.salt_length <= 64
        and 16 <= profile.digest_length <= 64
    )


def refuse_over_budget(profile: Argon2Profile, workers: int, memory_budget: int) -> None:
    """Raise ConfigurationError, with the numbers, if all threads at work would need more than the budget (bytes)."""
    needed = workers * profile.memory * KIB
    if needed > memory_budget:
        raise ConfigurationError(
            f"{workers} hashing threads x {profile.memory / KIB:g} MiB = {needed / MIB:g} MiB exceed "
            f"memory_budget ({memory_budget / MIB:g} MiB): use fewer workers, a smaller profile, "
            f"or memory_budget={needed}"
        )


def b64(value: bytes) -> str:
    """RFC 4648 section 4 without padding, as PHC strings have it."""
    return b64encode(value).rstrip(b"=").decode()


def decoded_length(text: str) -> int:
    """How many bytes this much unpadded base64 stands for."""
    return len(text) * 3 // 4
