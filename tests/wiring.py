"""The services wired together as `APIKeys` does it, with every joint open to a test."""

from __future__ import annotations

from asgi_apikey.authenticator import Authenticator, Limits
from asgi_apikey.background import Background
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.errors import APIKeyError
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.invalidation.local import LocalInvalidation
from asgi_apikey.issuer import Issuer
from asgi_apikey.keyformat import CHECKSUM_LENGTH, KeyFormat, crc32_checksum
from asgi_apikey.models import IssuedKey, KeyRecord, KeyRequest, Principal, Seconds, Tally
from asgi_apikey.protocols import Hasher
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import FakeClock, FakeInvalidation, Watched, WatchedHasher

PEPPER = "J4p0r0Yk-Vq8mZs2Lw6Tn9Xc3Bd7Fh1Gt5"
LATER_PEPPER = "w7Kd2Rz9-Ub5Qe8Ny1Mf4Hx6Jc3Vp0Sg"


class CountedUsage:
    """Remembers which keys were counted, and when."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, Seconds]] = []
        self.refused: list[tuple[str, str]] = []

    def count(self, tally: Tally, now: Seconds) -> None:
        """Note one accepted request; the tally stays closed, so that there is no other way to count."""
        self.accepted.append((tally.key_id, now))

    def counted(self) -> int:
        """Return how many were accepted."""
        return len(self.accepted)

    def refuse(self, key_id: str, reason: str) -> None:
        """Note one refused request."""
        self.refused.append((key_id, reason))


class NotedRehashes:
    """Remembers for which keys a new digest was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, record: KeyRecord, presented: bytes) -> None:
        """Note it."""
        self.asked.append(record.key_id)


class Wired:
    """One process: an authenticator and an issuer over one repository, with a clock that stands still.

    Args:
        repository: To share between two of these, which are then two processes.
        clock: The same.
        hasher: What stores and compares digests.
        limits: See `Limits`.
        lease: With it, the invalidation is one with other workers, and a lease of this many seconds.
        environment: Which keys are issued and accepted.
        generator: Makes up new keys; None means the real format.
    """

    def __init__(
        self,
        *,
        repository: MemoryRepository | None = None,
        clock: FakeClock | None = None,
        hasher: Hasher | None = None,
        limits: Limits | None = None,
        lease: Seconds | None = None,
        environment: str = "live",
        generator: KeyFormat | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.repository = MemoryRepository() if repository is None else repository
        self.store = Watched(self.repository)
        self.hasher = WatchedHasher(hasher or HMACSHA256Hasher(PEPPER))
        self.format = generator or KeyFormat()
        self.cache = LocalCache()
        self.background = Background()
        self.usage = CountedUsage()
        self.rehashes = NotedRehashes()
        self.invalidation: LocalInvalidation | FakeInvalidation = (
            LocalInvalidation(self.cache, self.clock, alone=True, cache_ttl=60.0)
            if lease is None
            else FakeInvalidation(self.cache, self.clock, lease=lease)
        )
        self.authenticator = Authenticator(
            self.store,
            self.hasher,
            parser=self.format,
            cache=self.cache,
            invalidation=self.invalidation,
            usage=self.usage,
            clock=self.clock,
            environment=environment,
            limits=limits or Limits(),
            rehash=self.rehashes,
        )
        self.issuer = Issuer(
            self.store,  # type: ignore[arg-type] # it passes everything on
            self.hasher,
            generator=self.format,
            invalidation=self.invalidation,
            clock=self.clock,
            environment=environment,
            background=self.background,
        )

    async def issue(self, owner: str = "acme", **request: object) -> IssuedKey:
        """Issue a key."""
        return await self.issuer.issue(KeyRequest(owner=owner, **request))  # type: ignore[arg-type]

    async def authenticate(self, key: str, *, client: str | None = None) -> Principal:
        """Present a key, from memory or not."""
        return await self.authenticator.authenticate(key.encode(), client=client)

    def remembered(self, key: str) -> Principal | None:
        """Present a key to the memory alone."""
        return self.authenticator.authenticate_nowait(key.encode())

    async def outcome(self, key: str, *, client: str | None = None) -> str:
        """Return the owner whom the key speaks for, or the name of the refusal."""
        try:
            return (await self.authenticate(key, client=client)).owner
        except APIKeyError as error:
            return type(error).__name__

    def unissued(self, environment: str = "live") -> str:
        """A well-formed key that nobody has."""
        return self.format.generate(environment).key

    def forged(self, issued: IssuedKey) -> str:
        """A well-formed key with this one's id and another secret."""
        return forged(self.format, issued.record.key_id)


def forged(keys: KeyFormat, key_id: str) -> str:
    """Return a well-formed `live` key with the id of an issued one and another secret."""
    other = keys.generate("live")
    body = other.key[:-CHECKSUM_LENGTH].replace(other.key_id, key_id)
    return body + crc32_checksum(body.encode()).decode()
