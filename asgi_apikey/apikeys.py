"""`APIKeys`: the one place where services and plugs meet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self, TypeAlias

from asgi_apikey import lifecycle
from asgi_apikey.authenticator import Authenticator, Limits, Stats
from asgi_apikey.background import Background
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher, SHA256Hasher
from asgi_apikey.invalidation.local import LocalInvalidation
from asgi_apikey.issuer import Issuer
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.models import (
    NO_METADATA,
    UNSET,
    Instant,
    IssuedKey,
    KeyPage,
    KeyQuery,
    KeyRequest,
    Metadata,
    Seconds,
    Status,
    Unset,
)
from asgi_apikey.protocols import Clock, Hasher, KeyRepository
from asgi_apikey.rehashing import Rehasher
from asgi_apikey.repositories import open_repository
from asgi_apikey.settings import Settings
from asgi_apikey.usage import UsageRecorder

Secret: TypeAlias = bytes | str
_log = logging.getLogger("asgi_apikey")

_TTL_ALONE: Seconds = 60.0
_TTL_WITHOUT_FEED: Seconds = 5.0
_PATIENCE_ON_CLOSE: Seconds = 10.0


class APIKeys:
    """Issues, verifies and changes API keys over one repository.

    Args:
        url: Where the keys live: `sqlite:///keys.db`, `memory:`.
        repository: Instead of a URL.
        pepper: The server's secret for digests, at least 32 bytes, or a ring of them, newest last.
            `asgi-apikey pepper` prints a good one. `None` does without, on purpose.
        hasher: Instead of a pepper.
        prefix: What keys start with.
        environment: Which keys are issued and accepted: a `test` key never passes where `live` ones do.
        checksum_keys: Secrets that make the checksum of new keys unforgeable, newest last; at least 16 bytes each.
        cache_ttl: Seconds a verdict may be served from memory. Default: 60, and 5 where other processes may change
            keys without our hearing of it; or what `limits` says, if that is less.
        cache_size: Keys held in memory.
        single_process: No other process uses the same store, so a revoke is confirmed at once.
        usage_interval: Seconds between two writes of usage counts.
        limits: The other bounds of the verification pipeline.
        clock: For tests.

    Raises:
        ConfigurationError: These arguments cannot be used together, or would not be safe; the message says
            what to write instead.
        MissingExtra: The store needs a library that is not installed.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        repository: KeyRepository | None = None,
        pepper: Secret | Sequence[Secret] | Unset | None = UNSET,
        hasher: Hasher | None = None,
        prefix: str = "ak",
        environment: str = "live",
        checksum_keys: Sequence[Secret] = (),
        cache_ttl: Seconds | None = None,
        cache_size: int = 100_000,
        single_process: bool = False,
        usage_interval: Seconds = 10.0,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        environment = _environment(environment)
        self.repository = _repository(url, repository)
        self.format = KeyFormat(prefix, checksum_keys=checksum_keys)
        self.lifespan_states: dict[int, object] = {}
        clock = SystemClock() if clock is None else clock
        hasher = _hasher(url, pepper) if hasher is None else _only(hasher, pepper)
        self.hasher = hasher
        alone = single_process or _scheme(url) == "memory"
        limits = Limits() if limits is None else limits
        if cache_ttl is None:
            # Who only sets another limit must not get the longer default with it.
            cache_ttl = min(limits.cache_ttl, _TTL_ALONE if alone else _TTL_WITHOUT_FEED)
        limits = replace(limits, cache_ttl=cache_ttl)
        cache = LocalCache(verdicts=cache_size)
        invalidation = LocalInvalidation(cache, clock, alone=alone, cache_ttl=limits.max_staleness)
        self._background = Background()
        self._usage = UsageRecorder(self.repository, clock, spawn=self._background.spawn, interval=usage_interval)
        self._authenticator = Authenticator(
            self.repository,
            hasher,
            parser=self.format,
            cache=cache,
            invalidation=invalidation,
            usage=self._usage,
            clock=clock,
            environment=environment,
            limits=limits,
            rehash=Rehasher(self.repository, hasher, background=self._background),
        )
        self._issuer = Issuer(
            self.repository,
            hasher,
            generator=self.format,
            invalidation=invalidation,
            clock=clock,
            environment=environment,
            background=self._background,
        )
        self.stats: Stats = self._authenticator.stats
        # The verbs are the services' own methods, not copies of their signatures; and the middleware
        # calls the first one on every request, so it must not go through another Python function.
        self.authenticate_nowait = self._authenticator.authenticate_nowait
        self.authenticate = self._authenticator.authenticate
        self.forget = self._authenticator.forget
        self.get = self._issuer.get
        self.rotate = self._issuer.rotate
        self.amend = self._issuer.amend
        self.disable = self._issuer.disable
        self.enable = self._issuer.enable
        self.revoke = self._issuer.revoke
        self.delete = self._issuer.delete

    @classmethod
    def from_settings(cls, settings: Settings) -> APIKeys:
        """Build from a `Settings` value.

        Raises:
            ConfigurationError: As the constructor does.
        """
        return cls(
            settings.url,
            pepper=settings.pepper,
            prefix=settings.prefix,
            environment=settings.environment,
            checksum_keys=settings.checksum_keys,
            cache_ttl=settings.cache_ttl,
            single_process=settings.single_process,
        )

    async def issue(
        self,
        *,
        owner: str,
        tenant: str = "",
        environment: str | None = None,
        name: str = "",
        description: str = "",
        scopes: Iterable[str] = (),
        not_before: Instant | None = None,
        expires_at: Instant | None = None,
        expires_in: Seconds | None = None,
        created_by: str = "",
        metadata: Metadata = NO_METADATA,
    ) -> IssuedKey:
        """Make a new key. Its text stands in the returned value and nowhere else, ever.

        Args:
            owner: The account the key belongs to, 1 to 255 characters.
            tenant: The isolation boundary around owners.
            environment: Default: the one this object serves.
            name: For people, up to 255 characters.
            description: For people, up to 2,048 characters.
            scopes: What the key may do: up to 100 names of RFC 6749 scope characters.
            not_before: Unix seconds before which the key does not work.
            expires_at: Unix seconds from which on it does not work; or
            expires_in: seconds from now.
            created_by: Who asked for it, for the record.
            metadata: A JSON object of at most 8 KiB; it is on the principal of every request.

        Raises:
            InvalidRequest: A value that a key cannot have.
            StoreUnavailable: The repository did not answer.
            Overloaded: The queue of a slow hasher is full.
        """
        return await self._issuer.issue(
            KeyRequest(
                owner=owner,
                tenant=tenant,
                environment=environment,
                name=name,
                description=description,
                scopes=lifecycle.scopes(scopes),
                not_before=not_before,
                expires_at=expires_at,
                expires_in=expires_in,
                created_by=created_by,
                metadata=metadata,
            )
        )

    async def find(
        self,
        *,
        owner: str | None = None,
        tenant: str | None = None,
        environment: str | None = None,
        status: Status | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> KeyPage:
        """Return one page of records, newest first; what is not given is not asked about.

        Args:
            owner: Only this owner's keys.
            tenant: Only this tenant's keys; "" is the default tenant.
            environment: Only keys of this environment.
            status: Only keys that stand like this now.
            limit: Page size, 1 to 100.
            cursor: `next_cursor` of the page before.

        Raises:
            InvalidRequest: The cursor or the limit is not a possible one.
            StoreUnavailable: The repository did not answer.
        """
        return await self._issuer.find(
            KeyQuery(owner=owner, tenant=tenant, environment=environment, status=status, limit=limit, cursor=cursor)
        )

    async def flush(self) -> None:
        """Write the usage counts that are due later now."""
        await self._usage.flush()

    async def open(self) -> None:
        """Warm up: connect to the store. Without one, requests are answered 503 until it is there.

        Raises:
            ConfigurationError: The store exists, but this version cannot use it.
        """
        try:
            await self.repository.open(create=False)
        except StoreUnavailable as error:
            _log.warning("starting without the key store: %s", error)

    async def close(self) -> None:
        """Finish what is under way, write the usage counts, release everything. May be opened again."""
        await self._usage.close()
        await self._background.drain(_PATIENCE_ON_CLOSE)
        await self.repository.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        await self.close()


def _repository(url: str | None, repository: KeyRepository | None) -> KeyRepository:
    if url is not None and repository is None:
        return open_repository(url)
    if repository is not None and url is None:
        return repository
    raise ConfigurationError('give either a URL, as in APIKeys("sqlite:///keys.db"), or repository=')


def _environment(value: str) -> str:
    try:
        return lifecycle.environment(value)
    except InvalidRequest as error:
        raise ConfigurationError(f"{error}, such as environment='live'") from error


def _hasher(url: str | None, pepper: Secret | Sequence[Secret] | Unset | None) -> Hasher:
    if pepper is None:
        return SHA256Hasher()
    if not isinstance(pepper, Unset):
        return HMACSHA256Hasher(pepper)
    if _scheme(url) not in {"memory", "sqlite"}:
        raise ConfigurationError(
            "give a pepper (`asgi-apikey pepper` prints one), or write pepper=None to store digests without one"
        )
    _log.warning("no pepper: whoever can write to %s can make keys; `asgi-apikey pepper` prints one", url)
    return SHA256Hasher()


def _scheme(url: str | None) -> str:
    return "" if url is None else url.partition(":")[0].partition("+")[0]


def _only(hasher: Hasher, pepper: Secret | Sequence[Secret] | Unset | None) -> Hasher:
    if not isinstance(pepper, Unset):
        raise ConfigurationError("give pepper= or hasher=, not both; a hasher has its own peppers")
    return hasher
