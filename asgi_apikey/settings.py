"""One frozen value for everything that a deployment sets, from keyword arguments or from an environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast, get_args

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import UNSET, Seconds, Unset

Consistency: TypeAlias = Literal["leases", "ttl", "strict"]
"""What memory is trusted for: until a change elsewhere is known, for a time whatever happens, or never."""

PREFIX = "ASGI_APIKEY_"
"""What the names of all our environment variables start with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line and containers need to build an `APIKeys`. Secrets are not in the repr.

    Attributes:
        url: Where the keys live; it may hold a password, so it is not in the repr either.
        pepper: The ring of peppers, newest last; None to do without one on purpose.
        prefix: What keys start with.
        environment: Which keys are issued and accepted.
        checksum_keys: The ring of checksum keys, newest last.
        cache_ttl: Seconds a verdict may be used; None for the default.
        single_process: No other process uses the same store.
        consistency: What memory is trusted for.
        audit_key: The ring of audit keys, newest last; empty for none.
        redis: URL of a Redis for the bus and the shared cache; empty for none. It may hold a password.
        cache_secret: Seals what goes through it.
    """

    url: str = field(default="sqlite:///keys.db", repr=False)
    pepper: tuple[str, ...] | Unset | None = field(default=UNSET, repr=False)
    prefix: str = "ak"
    environment: str = "live"
    checksum_keys: tuple[str, ...] = field(default=(), repr=False)
    cache_ttl: Seconds | None = None
    single_process: bool = False
    consistency: Consistency = "leases"
    audit_key: tuple[str, ...] = field(default=(), repr=False)
    redis: str = field(default="", repr=False)
    cache_secret: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from a mapping such as `os.environ`.

        `ASGI_APIKEY_URL`, `_PEPPER` (several separated by spaces, newest last; `none` to do without),
        `_PREFIX`, `_ENVIRONMENT`, `_CHECKSUM_KEY` (several separated by spaces), `_CACHE_TTL` (seconds),
        `_SINGLE_PROCESS` (`1` or `0`), `_CONSISTENCY` (`leases`, `ttl` or `strict`),
        `_AUDIT_KEY` (several separated by spaces, newest last), `_REDIS` (a URL), `_CACHE_SECRET`.
        Empty variables count as absent, but for secrets.

        Raises:
            ConfigurationError: A value that cannot be read, a secret that is empty, or a variable of ours with an
                unknown name.
        """
        given = {name.removeprefix(PREFIX): value for name, value in environ.items() if name.startswith(PREFIX)}
        unknown = sorted(set(given) - _VARIABLES)
        if unknown:
            known = ", ".join(sorted(PREFIX + name for name in _VARIABLES))
            raise ConfigurationError(f"unknown variable {PREFIX}{unknown[0]}; there are {known}")
        for name in _SECRETS & set(given):
            if not given[name].strip():
                raise ConfigurationError(
                    f"{PREFIX}{name} is there and empty, as when a secret was not delivered; unset it"
                )
        given = {name: value for name, value in given.items() if value}
        default = cls()
        return cls(
            url=given.get("URL", default.url),
            pepper=_pepper(given.get("PEPPER")),
            prefix=given.get("PREFIX", default.prefix),
            environment=given.get("ENVIRONMENT", default.environment),
            checksum_keys=tuple(given.get("CHECKSUM_KEY", "").split()),
            cache_ttl=_seconds(given.get("CACHE_TTL")),
            single_process=_switch(given.get("SINGLE_PROCESS", "0")),
            consistency=_consistency(given.get("CONSISTENCY", default.consistency)),
            audit_key=tuple(given.get("AUDIT_KEY", "").split()),
            redis=given.get("REDIS", ""),
            cache_secret=given.get("CACHE_SECRET", ""),
        )


_SECRETS = frozenset({"PEPPER", "CHECKSUM_KEY", "AUDIT_KEY", "CACHE_SECRET"})
_VARIABLES = frozenset(
    {
        "URL",
        "PEPPER",
        "PREFIX",
        "ENVIRONMENT",
        "CHECKSUM_KEY",
        "CACHE_TTL",
        "SINGLE_PROCESS",
        "CONSISTENCY",
        "AUDIT_KEY",
        "REDIS",
        "CACHE_SECRET",
    }
)


def _pepper(value: str | None) -> tuple[str, ...] | Unset | None:
    if value is None:
        return UNSET
    return None if value.strip().lower() == "none" else tuple(value.split())


def _seconds(value: str | None) -> Seconds | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    # Against NaN or infinity no verdict would ever be too old.
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{PREFIX}CACHE_TTL must be a positive number of seconds")
    return seconds


def _switch(value: str) -> bool:
    if value not in {"0", "1"}:
        raise ConfigurationError(f"{PREFIX}SINGLE_PROCESS must be 1 or 0")
    return value == "1"


def _consistency(value: str) -> Consistency:
    for each in get_args(Consistency):
        if value == each:
            return cast(Consistency, each)
    raise ConfigurationError(f"{PREFIX}CONSISTENCY must be one of {', '.join(get_args(Consistency))}")
