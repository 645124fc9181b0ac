"""`APIKeys`: the one place where services and plugs meet."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack, cast, get_args

from asgi_apikey import lifecycle
from asgi_apikey.accounts import Accounts, ResolveOwner
from asgi_apikey.adopted.shapes import AdoptedKeys
from asgi_apikey.adopted.systems import AdoptingHasher, ForeignSystem
from asgi_apikey.adoption import Adopted, Adopter
from asgi_apikey.arguments import (
    check_counts,
    check_flags,
    check_lists,
    check_numbers,
    check_parts,
    check_positive,
    check_secrets,
    check_texts,
    check_values,
    present,
)
from asgi_apikey.asgi.connections import Connections
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.options import MiddlewareOptions
from asgi_apikey.asgi.switch import Switch
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.audit import AuditChain
from asgi_apikey.auditor import Auditor
from asgi_apikey.authenticator import Authenticator, Limits, Stats
from asgi_apikey.background import Background
from asgi_apikey.caches.local import LocalCache
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import ConfigurationError, InvalidRequest, KeyExists, MalformedKey, RevokedKey, StoreUnavailable
from asgi_apikey.expiry import ExpiryPolicy
from asgi_apikey.explainer import Explainer
from asgi_apikey.fleet import fleet_of
from asgi_apikey.grants import Grant
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher, SHA256Hasher
from asgi_apikey.hashers.peppers import PepperRing, checked_pepper
from asgi_apikey.invalidation.leases import FeedStats, LeasedInvalidation, LeaseTimes
from asgi_apikey.invalidation.modes import invalidation_of
from asgi_apikey.issuer import Issuer
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.limiter import Limiter
from asgi_apikey.limiters import open_meters
from asgi_apikey.limits import LimitPolicy
from asgi_apikey.logs import Redactor
from asgi_apikey.measures import Reading
from asgi_apikey.models import (
    DAY,
    MINUTE,
    NO_METADATA,
    UNSET,
    Actor,
    BulkReceipt,
    Criteria,
    HourlyUsage,
    Instant,
    IssuedKey,
    KeyPage,
    KeyQuery,
    KeyRecord,
    KeyRequest,
    Metadata,
    Seconds,
    SortBy,
    Status,
    Unset,
)
from asgi_apikey.news import News
from asgi_apikey.protocols import Bus, Clock, Hasher, Invalidation, KeyRepository, Meters, SharedCache
from asgi_apikey.rehashing import Rehasher
from asgi_apikey.rehearsal import Rehearsal
from asgi_apikey.reporter import WatchedUsage
from asgi_apikey.repositories import lines, open_repository
from asgi_apikey.roles import Roles
from asgi_apikey.settings import Consistency, Settings
from asgi_apikey.standings import Standings
from asgi_apikey.statickeys import StaticKey, StaticKeys
from asgi_apikey.transfer import Transfer
from asgi_apikey.usage import UsageRecorder
from asgi_apikey.verification import rejection_of
from asgi_apikey.vitals import Vitals
from asgi_apikey.webhooks.endpoints import EVERY_EVENT, Webhook

if TYPE_CHECKING:
    from asgi_apikey.management import Authoriser, Management
    from asgi_apikey.management.application import ManagementOptions
    from asgi_apikey.management.authorisers import AuthoriseFunction

Secret: TypeAlias = bytes | str
_log = logging.getLogger("asgi_apikey")

_TTL: Seconds = 60.0
_TTL_WITHOUT_FEED: Seconds = 5.0
_LAST_USED_RESOLUTION: Seconds = 15 * MINUTE
_PATIENCE_ON_CLOSE: Seconds = 10.0
_LOOK_INTERVAL: Seconds = 0.5
"""Between two looks at the keys of open connections: in memory, however rarely the store is polled."""
_NOBODY = Actor()


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
        cache_ttl: Seconds a verdict may be served from memory: the bound of what was changed in the store by other
            means than this package. Default: 60, and 5 where the store has no change feed; or what `limits` says, if
            that is less.
        cache_size: Keys held in memory.
        single_process: No other process uses the same store. Only a repository without a change feed has to be told.
        static_keys: Declared keys, see `statickeys`, that `open` stores if they are not: for development and tests.
        adopted: Other systems whose keys are accepted, once their records are here: see `asgi_apikey.adopted`.
        usage_interval: Seconds between two writes of usage counts: what a killed process loses at most.
        usage_retention: Seconds for which hourly counts are kept; None for ever.
        last_used_resolution: Seconds that `last_used_at` may lag behind, which spares the store's indexes.
        audit_key: The secret under which the audit is sealed, at least 32 bytes and not the pepper, or a ring of them,
            newest last. Without one, seals are plain SHA-256, which whoever can write to the store can make anew.
            Give every process that changes keys the same.
        expiry: How long keys may live, and do when nobody says.
        max_keys_per_owner: Live keys that one owner may have in a tenant; a key and its successor count as one.
        resolve_owner: An async function of an owner and a tenant; the JSON object that it returns is
            `Principal.account`. Asked when a key is read from the store, never for a remembered one; when it fails,
            requests are answered 503.
        owner_ttl: Seconds for which its answer is used; `forget_owner` drops it sooner, in this process.
        consistency: What memory is trusted for. `leases`: until another process has changed something, as told by the
            store's change feed. `ttl`: for `cache_ttl`, whatever others do. `strict`: never, every request reads the
            store. All processes that share a store must say the same.
        leases: How often the change feed is read and how long an answer may be trusted: the bound of every change
            that could not be confirmed.
        outage_grace: Seconds for which memory is trusted beyond a lease while the store does not answer, so that keys
            in use go on working. Every change that could not be confirmed is known that much later.
        redis: URL of a Redis that makes changes spread at once, and in which processes share what they know: that a
            presented key matches a slow digest, so that a fleet pays for each key once.
        cache_secret: Seals all that goes through Redis, another shared cache or a bus: at least 32 bytes, not a pepper,
            the same in all processes.
        bus: Another bus than what `redis`, or else the store, comes with; or its URL.
        shared_cache: Another shared cache than one in that Redis.
        share_records: Processes also share the records that they have read; for stores that are slow to read.
        limits: The other bounds of the verification pipeline.
        limiting: How much keys and owners may do, beside what records say; see `asgi_apikey.limits`.
        meters: Where that is counted: a plug, or the URL of one. Default: the store, shared and durable.
        webhooks: Where events are sent, see `Webhook`.
        roles: Names for sets of scopes, `{"reader": {"orders:read"}}`: what a key with the scope `role:reader` may do.
            All processes that share a store should say the same; a role that is not named here grants nothing.
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
        static_keys: Sequence[StaticKey] = (),
        adopted: Sequence[ForeignSystem] = (),
        usage_interval: Seconds = 10.0,
        usage_retention: Seconds | None = 90 * DAY,
        last_used_resolution: Seconds = _LAST_USED_RESOLUTION,
        audit_key: Secret | Sequence[Secret] | None = None,
        expiry: ExpiryPolicy | None = None,
        max_keys_per_owner: int | None = None,
        resolve_owner: ResolveOwner | None = None,
        owner_ttl: Seconds = 60.0,
        consistency: Consistency = "leases",
        leases: LeaseTimes | None = None,
        outage_grace: Seconds = 0.0,
        redis: str | None = None,
        cache_secret: Secret | None = None,
        bus: Bus | str | None = None,
        shared_cache: SharedCache | None = None,
        share_records: bool = False,
        limits: Limits | None = None,
        limiting: LimitPolicy | None = None,
        meters: Meters | str | None = None,
        webhooks: Sequence[Webhook] = (),
        roles: Mapping[str, Collection[str]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_texts(prefix=prefix, environment=environment, **present(url=url, redis=redis))
        check_flags(single_process=single_process, share_records=share_records)
        check_counts(cache_size=cache_size, **present(max_keys_per_owner=max_keys_per_owner))
        check_numbers(
            usage_interval=usage_interval,
            last_used_resolution=last_used_resolution,
            outage_grace=outage_grace,
            **present(cache_ttl=cache_ttl),
        )
        check_positive(owner_ttl=owner_ttl, **present(usage_retention=usage_retention))
        check_secrets(
            pepper=() if pepper is None or isinstance(pepper, Unset) else pepper,
            checksum_keys=checksum_keys,
            audit_key=() if audit_key is None else audit_key,
            cache_secret=() if cache_secret is None else cache_secret,
        )
        check_values(
            limits=(limits, Limits),
            leases=(leases, LeaseTimes),
            expiry=(expiry, ExpiryPolicy),
            limiting=(limiting, LimitPolicy),
        )
        check_parts(
            repository=(repository, "get"),
            hasher=(hasher, "verify"),
            bus=(None if isinstance(bus, str) else bus, "wake"),
            meters=(None if isinstance(meters, str) else meters, "take"),
            shared_cache=(shared_cache, "get"),
            resolve_owner=(resolve_owner, "__call__"),
            clock=(clock, "monotonic"),
        )
        check_lists(
            static_keys=(static_keys, StaticKey), adopted=(adopted, ForeignSystem), webhooks=(webhooks, Webhook)
        )
        environment = _environment(environment)
        if consistency not in get_args(Consistency):
            raise ConfigurationError(f"consistency={consistency!r} is not one of {', '.join(get_args(Consistency))}")
        self.repository = _repository(url, repository)
        self.format = KeyFormat(prefix, checksum_keys=checksum_keys, on_unknown_ring=_warn_of_unknown_ring)
        self._static = StaticKeys(self.format, static_keys, environment=environment)
        self.lifespan_states: dict[int, object] = {}
        clock = SystemClock() if clock is None else clock
        self.rehearsal = Rehearsal(clock)
        rights = Roles({} if roles is None else roles)
        hasher = _hasher(url, pepper) if hasher is None else _only(hasher, pepper)
        shapes = [each.shape for each in adopted]
        self._parser = AdoptedKeys(self._static, shapes, environment=environment) if adopted else self._static
        if adopted:
            hasher = AdoptingHasher(hasher, adopted)
        self.hasher = hasher
        alone = single_process or _scheme(url) == "memory"
        # Even where one process serves: the command line is another one.
        feed = getattr(self.repository, "feed", None)
        leased = feed is not None and consistency == "leases"
        limits = Limits() if limits is None else limits
        if cache_ttl is None:
            # Who only sets another limit must not get the longer default with it.
            cache_ttl = min(limits.cache_ttl, _TTL if alone or leased else _TTL_WITHOUT_FEED)
        limits = replace(limits, cache_ttl=cache_ttl)
        cache = self._cache = LocalCache(verdicts=cache_size)
        self._fleet = fleet_of(
            url,
            redis=redis,
            bus=bus,
            shared_cache=shared_cache,
            cache_secret=cache_secret,
            peppers=() if pepper is None or isinstance(pepper, Unset) else _each(pepper),
        )
        self._background = Background()
        self._invalidation: Invalidation = invalidation_of(
            consistency,
            feed,
            cache,
            bus=self._fleet.bus,
            clock=clock,
            background=self._background,
            times=leases,
            outage_grace=outage_grace,
            ttl=limits.max_staleness,
            alone=alone,
        )
        invalidation = self._invalidation
        if share_records and not isinstance(invalidation, LeasedInvalidation):
            raise ConfigurationError("share_records=True needs a store with a change feed, and consistency='leases'")
        self._clock = clock
        self._news = News(
            self.repository, clock, spawn=self._background.spawn, redact=Redactor(self.format), webhooks=webhooks
        )
        self._usage = UsageRecorder(
            self.repository,
            clock,
            spawn=self._background.spawn,
            interval=usage_interval,
            resolution=last_used_resolution,
            prune=partial(self._prune, usage_retention),
        )
        records = (
            self._fleet.records(
                self.repository,
                position=invalidation.position,
                store=self._store_id,
                clock=clock,
                usable=partial(_usable, environment),
                ttl=limits.cache_ttl,
                ended_ttl=limits.ttl_of(RevokedKey()),
            )
            if share_records and isinstance(invalidation, LeasedInvalidation)
            else None
        )
        proofs = self._fleet.proofs(partial(_random_enough, self.format))
        self._shared = tuple(each.stats for each in (records, proofs) if each is not None)
        limiting = LimitPolicy() if limiting is None else limiting
        self._meters = _meters(meters, self.repository)
        self.limiter = Limiter(self._meters, clock, policy=limiting, watch=self._news.reporter.metered)
        self._authenticator = Authenticator(
            self.repository,
            hasher,
            parser=self._parser,
            cache=cache,
            invalidation=invalidation,
            usage=WatchedUsage(self._usage, self._news.reporter.refused),
            clock=clock,
            environment=environment,
            limits=limits,
            rehash=Rehasher(self.repository, hasher, background=self._background),
            accounts=None if resolve_owner is None else Accounts(resolve_owner, clock, ttl=owner_ttl),
            records=records,
            proofs=proofs,
            limits_of=limiting.meters,
            rights=rights.effective,
        )
        standings = Standings(
            self._authenticator.recheck, cache=cache, invalidation=invalidation, clock=clock, ttl=limits.cache_ttl
        )
        self.connections = Connections(standings, clock, interval=min((leases or LeaseTimes()).poll, _LOOK_INTERVAL))
        cache.on_change = self.connections.changed
        self.explain = Explainer(
            self.repository,
            hasher,
            parse=self._static.parse,
            memory=cache,
            fingerprint=self._authenticator.fingerprint,
            rights=rights.effective,
            clock=clock,
            environment=environment,
        ).explain
        chain = _audit_chain(audit_key, pepper)
        self.audit = Auditor(self.repository.audit, chain)
        self._issuer = Issuer(
            self.repository,
            hasher,
            generator=self.format,
            invalidation=invalidation,
            clock=clock,
            environment=environment,
            background=self._background,
            seal=chain.seal,
            expiry=expiry,
            max_keys_per_owner=_limit(max_keys_per_owner),
            flush_usage=self._usage.flush,
            told=self._news.reporter.changed,
            rights=rights.claimed,
        )
        self._adopter = Adopter(
            self.repository,
            hasher,
            invalidation=invalidation,
            clock=clock,
            environment=environment,
            background=self._background,
            seal=chain.seal,
            told=self._news.reporter.changed,
            rights=rights.claimed,
        )
        transfer = Transfer(
            self.repository.archive,
            lines,
            accepts=hasher.accepts,
            invalidation=invalidation,
            clock=clock,
            background=self._background,
            seal=chain.seal,
        )
        self.export_lines = transfer.export
        self.import_lines = transfer.load
        self.import_records = transfer.add
        # The verbs are the services' own methods, not copies of their signatures; and the middleware
        # calls the first one on every request, so it must not go through another Python function.
        self.authenticate_nowait = self._authenticator.authenticate_nowait
        self.authenticate = self._authenticator.authenticate
        self.parse = self._parser.parse
        self.reaffirm = self._authenticator.reaffirm
        self.verify = self._authenticator.verify
        self.forget = self._authenticator.forget
        self.forget_owner = self._authenticator.forget_owner
        self.get = self._issuer.get
        self.rotate = self._issuer.rotate
        self.amend = self._issuer.amend
        self.disable = self._issuer.disable
        self.enable = self._issuer.enable
        self.revoke = self._issuer.revoke
        self.delete = self._issuer.delete
        self.prune = self._issuer.prune
        self.on = self._news.on
        self.notice_expiring = self._news.notice_expiring
        self.dead_letters = self._news.letters
        self.redeliver = self._news.redeliver

    @property
    def stats(self) -> Stats:
        """What became of the requests since the start of the process."""
        return self._authenticator.stats

    @classmethod
    def from_env(cls) -> APIKeys:
        """Build as the command line does, from the `ASGI_APIKEY_…` variables of the environment, as they are now.

        Raises:
            ConfigurationError: As the constructor does, and for a variable that cannot be read.
        """
        return cls.from_settings(Settings.from_env(os.environ))

    @classmethod
    def from_settings(cls, settings: Settings) -> APIKeys:
        """Build from a `Settings` value.

        Raises:
            ConfigurationError: As the constructor does.
        """
        resolution = settings.last_used_resolution
        return cls(
            settings.store,
            pepper=settings.pepper,
            prefix=settings.prefix,
            environment=settings.environment,
            checksum_keys=settings.checksum_keys,
            cache_ttl=settings.cache_ttl,
            cache_size=settings.cache_size,
            last_used_resolution=_LAST_USED_RESOLUTION if resolution is None else resolution,
            expiry=_expiry(settings),
            max_keys_per_owner=settings.max_keys_per_owner,
            single_process=settings.single_process,
            consistency=settings.consistency,
            redis=settings.redis or None,
            cache_secret=settings.cache_secret or None,
            audit_key=settings.audit_key or None,
            webhooks=_webhooks(settings),
            adopted=_adopted(settings),
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
        tags: Iterable[str] = (),
        networks: Iterable[str] = (),
        routes: Iterable[str] = (),
        limits: Iterable[str] = (),
        origins: Iterable[str] = (),
        key_id: str | None = None,
        granter: Grant | None = None,
        actor: Actor = _NOBODY,
    ) -> IssuedKey:
        """Make a new key. Its text stands in the returned value and nowhere else, ever.

        Args:
            owner: The account the key belongs to, 1 to 255 characters.
            tenant: The isolation boundary around owners.
            environment: Default: the one this object serves.
            name: For people, up to 255 characters.
            description: For people, up to 2,048 characters.
            scopes: What the key may do: up to 100 names of RFC 6749 scope characters; `orders:*` is all below.
            not_before: Unix seconds before which the key does not work.
            expires_at: Unix seconds from which on it does not work; or
            expires_in: seconds from now.
            created_by: Who asked for it, for the record.
            metadata: A JSON object of at most 8 KiB; it is on the principal of every request.
            tags: For finding keys and acting on many at once, up to 20.
            networks: Where it may be used: `10.0.0.0/8`, but not `!10.1.0.0/16`. None: everywhere.
            routes: What it may be used for: `GET,POST /orders/*`. None: everything.
            limits: How much: `100/minute`, `quota 2000/day`, `credits 500`. Beside what `limiting` says.
            origins: The web pages it may be used from: `https://app.example.com`, `https://*.example.com`. None: all.
            key_id: 12 letters and digits; None: random ones.
            granter: What it may do at most; None: anything.
            actor: Who asks for it, for the audit; without a name, `created_by` is.

        Raises:
            InvalidRequest: A value that a key cannot have.
            GrantExceeded: It could do more than the granter.
            KeyExists: There is a key with this id.
            KeyLimitReached: The owner has as many live keys as there may be.
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
                tags=lifecycle.tags(tags),
                networks=lifecycle.networks(networks),
                routes=lifecycle.routes(routes),
                limits=lifecycle.limits(limits),
                origins=lifecycle.origins(origins),
            ),
            key_id=key_id,
            granter=granter,
            actor=actor,
        )

    async def adopt(
        self, key: str, request: KeyRequest, *, granter: Grant | None = None, actor: Actor = _NOBODY
    ) -> Adopted:
        """Store a key that was made elsewhere; if it is stored, its record stays as it is.

        Args:
            key: The whole key, of this object's format, one of its `static_keys`, or of a system that is `adopted`.
            request: Whose it is and what it may do; the environment is the key's own.
            granter: What it may do at most; None: anything.
            actor: Who wants it, for the audit; without a name, `created_by` is.

        Raises:
            MalformedKey: It is neither.
            GrantExceeded: It could do more than the granter.
            KeyExists: Another key has its id.
            InvalidRequest: A value that a key cannot have.
            StoreUnavailable: The repository did not answer.
            Overloaded: The queue of a slow hasher is full.
        """
        parsed = self._parser.parse(key.encode())
        request = replace(request, environment=parsed.environment)
        return await self._adopter.adopt(parsed.key_id, key, request, granter=granter, actor=actor)

    async def find(self, *, limit: int = 50, cursor: str | None = None, **criteria: Unpack[Criteria]) -> KeyPage:
        """Return one page of records, newest first unless `sort` says otherwise; what is not given is not asked about.

        Args:
            limit: Page size, 1 to 100.
            cursor: `next_cursor` of the page before, for the same criteria.
            criteria: See `KeyQuery`.

        Raises:
            InvalidRequest: A criterion is not a possible one, or the cursor is of another search.
            StoreUnavailable: The repository did not answer.
        """
        return await self._issuer.find(_query(criteria, limit=limit, cursor=cursor))

    async def count(self, **criteria: Unpack[Criteria]) -> int:
        """Return how many records there are on all pages that `find` would give.

        Raises:
            InvalidRequest: A criterion is not a possible one.
            StoreUnavailable: The repository did not answer.
        """
        return await self._issuer.count(_query(criteria))

    async def revoke_where(
        self,
        *,
        by: str = "",
        reason: str = "",
        dry_run: bool = False,
        wait: bool = True,
        actor: Actor = _NOBODY,
        **criteria: Unpack[Criteria],
    ) -> BulkReceipt:
        """End, in one transaction, every key that `find` would give, but for those that are revoked already.

        Args:
            by: Who, for the records.
            reason: Why, for the records.
            dry_run: Only count them.
            wait: Return when it is confirmed, not when it is committed.
            actor: Who, for the audit.
            criteria: See `KeyQuery`; at least one.

        Raises:
            InvalidRequest: No criterion, or not a possible one.
            StoreUnavailable: The repository did not answer.
        """
        return await self._issuer.revoke_where(
            _query(criteria), by=by, reason=reason, dry_run=dry_run, wait=wait, actor=actor
        )

    async def usage(
        self, key_id: str, *, since: Instant | None = None, until: Instant | None = None
    ) -> Sequence[HourlyUsage]:
        """Return the hours in which a key was presented, oldest first, as far as they have been written.

        Counts of a running process are up to `usage_interval` older; `flush` writes those of this one. Requests are
        counted in the hour of the newest one of their interval.

        Args:
            key_id: The key; one that does not exist has no hours.
            since: The hour that this instant is in is the first; default: 24 hours before `until`.
            until: Only hours that begin before; default: now.

        Raises:
            InvalidRequest: An instant that is not one.
            StoreUnavailable: The repository did not answer.
        """
        until = self._clock.wall() if until is None else until
        since = until - DAY if since is None else since
        return await self.repository.history.hours(
            key_id, since=lifecycle.instant(since), until=lifecycle.instant(until)
        )

    async def prune_usage(self, keep: Seconds) -> None:
        """Remove the hourly counts of all keys that are older than `keep` seconds.

        Raises:
            StoreUnavailable: The repository did not answer.
        """
        await self.repository.history.prune(max(0.0, self._clock.wall() - keep))

    async def remaining(self, key_id: str) -> Sequence[Reading]:
        """Return what is left of the limits of a key, and of its owner; nothing is taken.

        Raises:
            KeyNotFound: No such key.
            StoreUnavailable: That could not be told.
        """
        return await self.limiter.remaining(await self.get(key_id))

    async def top_up(self, key_id: str, credits: int) -> Sequence[Reading]:
        """Give a key more credits than its limit says; they stay until they are spent. Return what is left then.

        Not a change of the key: neither its version nor the audit tells of it.

        Raises:
            KeyNotFound: No such key.
            InvalidRequest: The key has no credits, or not a whole number of them is given.
            StoreUnavailable: It could not be done; with `outcome_unknown`, perhaps it was.
        """
        return await self.limiter.top_up(await self.get(key_id), credits)

    def vitals(self) -> Vitals:
        """Return the counters and the state of this process, for metrics; asks nobody."""
        stats, invalidation, shared = self.stats, self._invalidation, self._shared
        leased = invalidation if isinstance(invalidation, LeasedInvalidation) else None
        feed = FeedStats() if leased is None else leased.stats
        now, events, deliveries = self._clock.monotonic(), self._news.events, self._news.deliveries
        return Vitals(
            hits=stats.hits,
            reads=stats.reads,
            accepted=stats.accepted,
            refusals=dict(stats.refusals),
            remembered=len(self._cache),
            shared_hits=sum(each.hits for each in shared) if shared else None,
            shared_misses=sum(each.misses for each in shared),
            shared_unsealed=sum(each.unsealed for each in shared),
            usage_dropped=self._usage.dropped,
            lease=None if leased is None else max(0.0, leased.fresh_until - now),
            position=None if leased is None else leased.position(),
            feed_age=None if feed.read_at is None else max(0.0, now - feed.read_at),
            feed_failures=feed.failures,
            confirmed=feed.confirmed,
            unconfirmed=feed.unconfirmed,
            would_refuse=dict(self.rehearsal.counts),
            limited=asdict(self.limiter.stats),
            events_told=events.told,
            events_dropped=events.dropped,
            events_failed=events.failed,
            messages={} if deliveries is None else asdict(deliveries),
        )

    async def flush(self) -> None:
        """Write the usage counts that are due later now."""
        await self._usage.flush()

    def management(self, authorise: Authoriser | AuthoriseFunction, **options: Unpack[ManagementOptions]) -> Management:
        """Return the management API of these keys: an ASGI application, to be mounted or to be served alone.

        Args:
            authorise: Who may: a `KeyAuthoriser`, a `JWTAuthoriser`, …, or an async function from an ASGI scope to a
                `Caller`.
            options: Of `Management`.

        Raises:
            ConfigurationError: Nobody says who may, or an option is not what it should be.
            MissingExtra: The extra `api` is not installed.
        """
        # Here, for whoever has no use for it needs not have its libraries.
        from asgi_apikey.management import Management

        options.setdefault("clock", self._clock)
        return Management(self, authorise, **options)

    def protect(
        self, app: ASGIApp, *, mount: Mapping[str, ASGIApp] | None = None, **options: Unpack[MiddlewareOptions]
    ) -> ASGIApp:
        """Return the application guarded by an `APIKeyMiddleware`, with others beside it.

        Args:
            app: Any ASGI application.
            mount: Prefixes and what is served below them, such as `{"/api-keys": keys.management(authorise=…)}`. It is
                not behind the middleware: it must guard itself, as the management does. See `Switch`.
            options: Of the middleware.

        Raises:
            ConfigurationError: As the middleware and the `Switch` do.
        """
        guarded = APIKeyMiddleware(app, keys=self, **options)
        return guarded if mount is None else Switch(guarded, mount)

    async def open(self) -> None:
        """Warm up: connect to the store, and see that the declared keys are in it.

        Without a store, requests are answered 503 until it is there; declared keys are then stored by the next `open`.

        Raises:
            ConfigurationError: The store exists, but this version cannot use it; or it has another key with the id
                of a declared one; or the bus can never work.
        """
        await self._fleet.check()
        try:
            await self.repository.open(create=False)
            await self._adopt_static_keys()
        except StoreUnavailable as error:
            _log.warning("starting without the key store: %s", error, extra={"event": "starting_without_store"})

    async def close(self) -> None:
        """Finish what is under way, write the usage counts, release everything. May be opened again.

        Connections that are still open are closed: nobody could tell whether their keys still stand.
        """
        self.connections.close()
        settle = partial(self._usage.close, partial(self._background.drain, _PATIENCE_ON_CLOSE))
        await self._news.close(settle)
        await self._invalidation.close()
        await self._fleet.close()
        await self._meters.close()
        await self.repository.close()
        self.hasher.close()

    async def _prune(self, retention: Seconds | None) -> None:
        if retention is not None:
            await self.prune_usage(retention)
        await self._meters.prune(self._clock.wall())

    async def _store_id(self) -> str:
        return (await self.repository.audit.anchor()).database_id

    async def _adopt_static_keys(self) -> None:
        for declared, parsed in self._static:
            request = replace(declared.request, environment=parsed.environment)
            try:
                await self._adopter.adopt(parsed.key_id, declared.key, request)
            except KeyExists as error:
                raise ConfigurationError(
                    f"{declared.source}: the store has another key with id {parsed.key_id}, or its digest was made "
                    "under a pepper that is not given here"
                ) from error

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


def _meters(meters: Meters | str | None, repository: KeyRepository) -> Meters:
    if isinstance(meters, str):
        return open_meters(meters)
    found = getattr(repository, "meters", None) if meters is None else meters
    if found is None:
        raise ConfigurationError("the repository has no `meters`; write meters='redis://…', or meters='memory:'")
    return cast("Meters", found)


def _webhooks(settings: Settings) -> Sequence[Webhook]:
    if not settings.webhook_url:
        return ()
    private, events = settings.webhook_private, settings.webhook_events
    return [
        Webhook(
            url=settings.webhook_url,
            secret=settings.webhook_secret,
            events=events or EVERY_EVENT,
            allow_http=private,
            allow_private=private,
        )
    ]


def _query(criteria: Criteria, *, limit: int = 50, cursor: str | None = None) -> KeyQuery:
    """Return the query; sets may be given as any collection, an order by its name.

    Raises:
        InvalidRequest: A string where names belong, or no such order.
    """
    given: dict[str, Any] = dict(criteria)
    for name in ("tags", "scopes", "any_scopes"):
        if name in given:
            given[name] = _names(given[name], name)
    for name, kind in (("sort", SortBy), ("status", Status)):
        if given.get(name) is not None:
            try:
                given[name] = kind(given[name])
            except ValueError as error:
                raise InvalidRequest(f"{name} must be one of {', '.join(kind)}") from error
    return KeyQuery(**given, limit=limit, cursor=cursor)


def _names(values: object, what: str) -> frozenset[object]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{what} must be a collection of names, not one string")
    return frozenset(values)


def _expiry(settings: Settings) -> ExpiryPolicy | None:
    if settings.lifetime is None and settings.max_lifetime is None:
        return None
    return ExpiryPolicy(default=settings.lifetime, most=settings.max_lifetime)


def _limit(most: int | None) -> int | None:
    if most is not None and most < 1:
        raise ConfigurationError("max_keys_per_owner must be at least 1, or None for any number")
    return most


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
    _log.warning(
        "no pepper: whoever can write to %s can make keys; `asgi-apikey pepper` prints one",
        url,
        extra={"event": "no_pepper"},
    )
    return SHA256Hasher()


def _warn_of_unknown_ring(ring_id: str) -> None:
    _log.warning(
        "a presented key names checksum key %r, which is not in the ring: its checksum is not compared; "
        "if keys were issued under it, add it to checksum_keys (before the newest)",
        ring_id,
        extra={"event": "unknown_checksum_key"},
    )


def _audit_chain(
    audit_key: Secret | Sequence[Secret] | None, pepper: Secret | Sequence[Secret] | Unset | None
) -> AuditChain:
    if audit_key is None:
        return AuditChain()
    keys = _each(audit_key)
    if set(keys) & set(() if pepper is None or isinstance(pepper, Unset) else _each(pepper)):
        raise ConfigurationError("the audit key must not be a pepper too: make another with `asgi-apikey pepper`")
    return AuditChain(PepperRing([checked_pepper(each, f"audit key {number}") for number, each in enumerate(keys, 1)]))


def _each(secrets: Secret | Sequence[Secret]) -> list[bytes]:
    given = [secrets] if isinstance(secrets, str | bytes) else secrets
    return [each.encode() if isinstance(each, str) else each for each in given]


def _usable(environment: str, record: KeyRecord, now: Instant) -> bool:
    return rejection_of(record, environment=environment, now=now) is None


def _random_enough(keys: KeyFormat, presented: bytes) -> bool:
    """Whether a key is of our own making: then it is random; others may have been chosen by people."""
    try:
        keys.parse(presented)
    except MalformedKey:
        return False
    return True


def _scheme(url: str | None) -> str:
    return "" if url is None else url.partition(":")[0].partition("+")[0]


def _adopted(settings: Settings) -> tuple[ForeignSystem, ...]:
    if not settings.adopted:
        return ()
    # Here, for whoever adopts nothing needs none of them.
    from asgi_apikey.adopted.catalogue import systems_of

    return systems_of(settings.adopted, secret=settings.adopted_secret)


def _only(hasher: Hasher, pepper: Secret | Sequence[Secret] | Unset | None) -> Hasher:
    if not isinstance(pepper, Unset):
        raise ConfigurationError("give pepper= or hasher=, not both; a hasher has its own peppers")
    return hasher
