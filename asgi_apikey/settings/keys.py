"""What builds an `APIKeys`: where the keys live, its secrets, its times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from asgi_apikey.models import UNSET, Seconds, Unset
from asgi_apikey.settings.given import Given, Reader, from_environ, own
from asgi_apikey.settings.names import SECRETS, VARIABLES

Consistency: TypeAlias = Literal["leases", "ttl", "strict"]
"""What memory is trusted for: until a change elsewhere is known, for a time whatever happens, or never."""

_POOLED: Final = ("postgresql", "postgres")
_LARGEST_POOL: Final = 10_000
_LARGEST_CACHE: Final = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line and containers need to build an `APIKeys`. Secrets are not in the repr.

    Attributes:
        url: Where the keys live; it may hold a password, so it is not in the repr either.
        pool_size: Most connections of one process to PostgreSQL; None for the default. Other stores have no pool.
        pepper: The ring of peppers, newest last; None to do without one on purpose.
        prefix: What keys start with.
        environment: Which keys are issued and accepted.
        checksum_keys: The ring of checksum keys, newest last.
        cache_ttl: Seconds a verdict may be used; None for the default.
        cache_size: Keys held in memory.
        last_used_resolution: Seconds that `last_used_at` may lag behind; None for the default.
        lifetime: Seconds that keys live when nobody says; None: for ever, or `max_lifetime`.
        max_lifetime: Seconds that they live at most; None for any time.
        max_keys_per_owner: Live keys that one owner may have in a tenant; None for any number.
        single_process: No other process uses the same store.
        consistency: What memory is trusted for.
        audit_key: The ring of audit keys, newest last; empty for none.
        redis: URL of a Redis for the bus and the shared cache; empty for none. It may hold a password.
        cache_secret: Seals what goes through it.
        adopted: Other systems whose keys are accepted, such as `keyshield` and `unkey:prefix=acme`.
        adopted_secret: What those of them that have one call their pepper or secret.
        webhook_url: Where events are sent; empty for nowhere. It may be a secret.
        webhook_secret: Signs them, newest last.
        webhook_events: Names of those that are sent; empty for all.
        webhook_private: They may go over HTTP, and to addresses that are not public.
    """

    url: str = field(default="sqlite:///keys.db", repr=False)
    pool_size: int | None = None
    pepper: tuple[str, ...] | Unset | None = field(default=UNSET, repr=False)
    prefix: str = "ak"
    environment: str = "live"
    checksum_keys: tuple[str, ...] = field(default=(), repr=False)
    cache_ttl: Seconds | None = None
    cache_size: int = 100_000
    last_used_resolution: Seconds | None = None
    lifetime: Seconds | None = None
    max_lifetime: Seconds | None = None
    max_keys_per_owner: int | None = None
    single_process: bool = False
    consistency: Consistency = "leases"
    audit_key: tuple[str, ...] = field(default=(), repr=False)
    redis: str = field(default="", repr=False)
    cache_secret: str = field(default="", repr=False)
    adopted: tuple[str, ...] = ()
    adopted_secret: str = field(default="", repr=False)
    webhook_url: str = field(default="", repr=False)
    webhook_secret: tuple[str, ...] = field(default=(), repr=False)
    webhook_events: tuple[str, ...] = ()
    webhook_private: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from a mapping such as `os.environ`; `docs/reference/settings.md` lists the variables.

        Variables of the service, and of clients of one, are passed over. Empty ones count as absent, but for secrets.

        Raises:
            ConfigurationError: A value that cannot be read, a secret that is empty, or a variable of ours with an
                unknown name.
        """
        return cls.from_given(own(from_environ(environ), VARIABLES, SECRETS))

    @classmethod
    def from_given(cls, given: Mapping[str, Given]) -> Settings:
        """Read the settings from texts, by their names without the prefix.

        Raises:
            ConfigurationError: A value that cannot be read.
        """
        read, default = Reader(given), cls()
        return cls(
            url=read.text("URL", default.url),
            pool_size=read.number("POOL_SIZE", 3, _LARGEST_POOL),
            pepper=_pepper(read),
            prefix=read.text("PREFIX", default.prefix),
            environment=read.text("ENVIRONMENT", default.environment),
            checksum_keys=read.words("CHECKSUM_KEY"),
            cache_ttl=read.seconds("CACHE_TTL"),
            cache_size=read.number("CACHE_SIZE", 1, _LARGEST_CACHE) or default.cache_size,
            last_used_resolution=read.seconds("LAST_USED_RESOLUTION", zero=True),
            lifetime=read.seconds("LIFETIME"),
            max_lifetime=read.seconds("MAX_LIFETIME"),
            max_keys_per_owner=read.number("MAX_KEYS_PER_OWNER", 1, _LARGEST_CACHE),
            single_process=bool(read.switch("SINGLE_PROCESS")),
            consistency=read.word("CONSISTENCY", get_args(Consistency), default.consistency),
            audit_key=read.words("AUDIT_KEY"),
            redis=read.text("REDIS"),
            cache_secret=read.text("CACHE_SECRET"),
            adopted=read.words("ADOPTED"),
            adopted_secret=read.text("ADOPTED_SECRET"),
            webhook_url=read.text("WEBHOOK_URL"),
            webhook_secret=read.words("WEBHOOK_SECRET"),
            webhook_events=read.words("WEBHOOK_EVENTS"),
            webhook_private=bool(read.switch("WEBHOOK_PRIVATE")),
        )

    @property
    def store(self) -> str:
        """The URL with the size of the pool in it, where the store has one."""
        if self.pool_size is None or self.url.partition(":")[0].partition("+")[0] not in _POOLED:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}pool_size={self.pool_size}"


def _pepper(read: Reader) -> tuple[str, ...] | Unset | None:
    text = read.text("PEPPER")
    if not text:
        return UNSET
    return None if text.strip().lower() == "none" else read.words("PEPPER")
