"""The ways in which workers hear of a change, each as a row: the oracle, the matrix and the benchmark run them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypedDict

from asgi_apikey import APIKeys
from asgi_apikey.authenticator import Limits
from asgi_apikey.failures import Allowance
from asgi_apikey.hashers.argon2 import Argon2Hasher
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.protocols import Clock, Hasher
from asgi_apikey.repositories import open_repository

_PREFIX: Final = "FAULTS_"

UNLIMITED: Final = Limits(address=Allowance(10_000_000, 0.000_1), pair=Allowance(10_000_000, 0.000_1))
"""The oracle is one client that presents bad keys on purpose, and must not be queued for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the processes of one deployment have in common; passed on through the environment.

    Attributes:
        plug: A name in `PLUGS`.
        url: Of the store.
        pepper: Of the digests; several are separated by spaces, the newest last.
        bus: URL of the bus, where the plug has one.
        secret: Under which its messages are sealed.
        poll: Seconds, see `LeaseTimes`.
        lease: Seconds, see `LeaseTimes`.
        limits: `unlimited`, or `default`.
        hasher: `hmac`, or `argon2`.
        usage_interval: Seconds, see `APIKeys`.
        outage_grace: Seconds, see `APIKeys`.
    """

    plug: str
    url: str
    pepper: str
    bus: str = ""
    secret: str = ""
    poll: float = 0.5
    lease: float = 2.0
    limits: str = "unlimited"
    hasher: str = "hmac"
    usage_interval: float = 10.0
    outage_grace: float = 0.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Site:
        """Read what `environ` wrote."""
        given = {
            name.removeprefix(_PREFIX).lower(): value for name, value in environ.items() if name.startswith(_PREFIX)
        }
        numbers = {name: float(given.pop(name)) for name in ("poll", "lease", "usage_interval", "outage_grace")}
        return cls(**given, **numbers)  # type: ignore[arg-type] # every other field is text

    def environ(self) -> dict[str, str]:
        """Return it as variables for a process."""
        return {f"{_PREFIX}{name.upper()}": str(getattr(self, name)) for name in self.__dataclass_fields__}

    def keys(self, clock: Clock | None = None) -> APIKeys:
        """Return an `APIKeys` of this deployment."""
        return (PLUGS | MIXED | LIARS)[self.plug].make(self, clock)

    @property
    def times(self) -> LeaseTimes:
        """How often to poll and how long to trust."""
        return LeaseTimes(poll=self.poll, lease=self.lease)


@dataclass(frozen=True, slots=True)
class Plug:
    """One way to hear of changes.

    Attributes:
        store: `sqlite` or `postgres`.
        make: Builds the keys of one process.
        bus: The server that its bus is on: `redis`, `postgres`, or none.
        fast: Whether a confirmation needs no lease to end.
    """

    store: str
    make: Callable[[Site, Clock | None], APIKeys]
    bus: str = ""
    fast: bool = True


def _by_url(site: Site, clock: Clock | None) -> APIKeys:
    """The bus that comes with the store."""
    return APIKeys(site.url, **_common(site, clock))


def _bare(site: Site, clock: Clock | None) -> APIKeys:
    """No bus: who gives a repository instead of a URL gets the poll alone."""
    return APIKeys(repository=open_repository(site.url), **_common(site, clock))


def _redis(site: Site, clock: Clock | None) -> APIKeys:
    """The bus over Redis, and the shared proofs that come with it."""
    return APIKeys(site.url, redis=site.bus, cache_secret=site.secret, **_common(site, clock))


def _records(site: Site, clock: Clock | None) -> APIKeys:
    """The same, and the shared records."""
    return APIKeys(site.url, redis=site.bus, cache_secret=site.secret, share_records=True, **_common(site, clock))


def _strict(site: Site, clock: Clock | None) -> APIKeys:
    """Every request reads the store."""
    return APIKeys(site.url, consistency="strict", **_common(site, clock))


def _ttl(site: Site, clock: Clock | None) -> APIKeys:
    """Memory is trusted for a second, whatever others do."""
    common = _common(site, clock)
    common["limits"] = replace(common["limits"], cache_ttl=1.0, negative_ttl=1.0)
    return APIKeys(site.url, consistency="ttl", **common)


def _alone(site: Site, clock: Clock | None) -> APIKeys:
    """Confirms at once, and tells nobody: it was told that there is no other process, and reads no feed."""
    return APIKeys(site.url, single_process=True, consistency="ttl", **_common(site, clock))


class _Common(TypedDict, total=False):
    pepper: list[str]
    hasher: Hasher
    leases: LeaseTimes
    limits: Limits
    usage_interval: float
    outage_grace: float
    clock: Clock | None


def _common(site: Site, clock: Clock | None) -> _Common:
    common = _Common(
        leases=site.times,
        limits=_limits(site),
        usage_interval=site.usage_interval,
        outage_grace=site.outage_grace,
        clock=clock,
    )
    if site.hasher == "argon2":
        return {**common, "hasher": Argon2Hasher()}
    return {**common, "pepper": site.pepper.split()}


def _limits(site: Site) -> Limits:
    return UNLIMITED if site.limits == "unlimited" else Limits()


PLUGS: Final[dict[str, Plug]] = {
    "host": Plug("sqlite", _by_url),
    "poll-sqlite": Plug("sqlite", _bare, fast=False),
    "poll-postgres": Plug("postgres", _bare, fast=False),
    "postgres": Plug("postgres", _by_url, bus="postgres"),
    "redis": Plug("postgres", _redis, bus="redis"),
    "records": Plug("postgres", _records, bus="redis"),
    "strict": Plug("postgres", _strict),
}

MIXED: Final[dict[str, Plug]] = {"ttl": Plug("sqlite", _ttl)}
"""What is only there beside others."""

LIARS: Final[dict[str, Plug]] = {"alone": Plug("sqlite", _alone)}
"""What the oracle must catch."""
