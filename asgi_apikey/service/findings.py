"""What a diagnosis consists of: findings, and how bad they are. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from asgi_apikey.hashers.peppers import PEPPER_ID_LABEL
from asgi_apikey.models import JSONValue, Unset
from asgi_apikey.settings import PREFIX, Configuration
from asgi_apikey.settings.service import is_loopback

MIB: Final = 1024 * 1024
BYTES_PER_KEY: Final = 1_250
"""Of a remembered key with two scopes and little metadata: verdict, proof, indexes; measured with tracemalloc."""
ARGON2_BUDGET: Final = 256 * MIB
"""What a hasher with Argon2 may take in each process, unless it was given another budget."""

_SECRETS: Final = (
    *("pepper", "checksum_keys", "audit_key", "cache_secret", "jwt_secret"),
    # Its URL may be all that protects an endpoint.
    *("webhook_secret", "webhook_url", "adopted_secret"),
)
_URLS: Final = ("url", "redis")


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    UNAVAILABLE = "unavailable"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out.

    Attributes:
        topic: What it is about: `store`, `redis`, `memory`, …
        text: In words, with what to do where something is wrong; never a secret.
    """

    level: Level
    topic: str
    text: str


def shown(configuration: Configuration) -> dict[str, JSONValue]:
    """Return every setting by its name; of secrets, how many there are and by which ids they can be told apart."""
    values = {
        each.name: getattr(part, each.name)
        for part in (configuration.keys, configuration.service)
        for each in fields(part)
    }
    return {name: _shown(name, value) for name, value in values.items()}


def secret_id(secret: str) -> str:
    """Return what tells a secret from others, so that two machines can be compared: of a pepper, the id in digests."""
    return hmac.digest(secret.encode(), PEPPER_ID_LABEL, "sha256").hex()[:8]


def _shown(name: str, value: object) -> JSONValue:
    if isinstance(value, Unset):
        return "absent"
    if name in _SECRETS:
        ring = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else []
        return "none, on purpose" if value is None else _ids([each for each in ring if each])
    if name in _URLS and isinstance(value, str):
        return without_password(value) if value else ""
    return list(value) if isinstance(value, tuple) else value if isinstance(value, str | int | float) else None


def _ids(ring: Sequence[str]) -> str:
    return f"present, id {', '.join(map(secret_id, ring))}" if ring else "absent"


def without_password(url: str) -> str:
    """Return a URL without what may be secret in it: user, password and options."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "present, and cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}:{f'//{host}' if parts.netloc or parts.path else ''}{parts.path}"


def of_settings(configuration: Configuration) -> Iterator[Finding]:
    """Yield what can be said about settings without asking anybody."""
    for each in configuration.notes:
        yield Finding(Level.WARNING, "aliases", each)
    for applies, topic, text in _doubts(configuration):
        if applies:
            yield Finding(Level.WARNING, topic, text)


def _doubts(configuration: Configuration) -> Iterator[tuple[bool, str, str]]:
    """Yield what may not be as it should: whether it is so, what it is about, what to do."""
    keys, service = configuration.keys, configuration.service
    public = not is_loopback(service.host)
    store, redis = _remote(keys.url), _remote(keys.redis)
    yield (
        keys.pepper is None,
        "pepper",
        f"digests are stored without one: whoever can write to the store can make keys; set {PREFIX}PEPPER",
    )
    yield (
        not keys.audit_key,
        "audit",
        f"without {PREFIX}AUDIT_KEY, whoever can write to the store can rewrite its audit",
    )
    yield keys.url.startswith("memory:"), "store", "all keys are gone when the service ends"
    yield (
        bool(store) and "sslmode" not in keys.url and "ssl=" not in keys.url,
        "store",
        f"the connection to {store} need not be encrypted; add ?sslmode=verify-full to the URL",
    )
    yield (
        bool(redis) and not keys.redis.startswith("rediss:"),
        "redis",
        f"the connection to {redis} is not encrypted; records that are shared can be read; write rediss://",
    )
    yield (
        public,
        "network",
        f"{service.host} can be reached by others and speaks no TLS: put a proxy that does in front of it",
    )
    yield (
        public and not service.trusted_proxies,
        "network",
        f"behind a proxy all requests come from its address; list it in {PREFIX}TRUSTED_PROXIES, "
        "or networks of keys and the budget of failures are about the proxy",
    )
    yield public and service.metrics, "metrics", "/metrics can be read by everybody who reaches the service"
    yield (
        bool(service.login_url) and not service.jwks,
        "tokens",
        "LOGIN_URL has no effect: it is the default source of public keys, for algorithms that have them",
    )
    yield service.log_level == "debug", "logs", "the level debug tells more than a service should for long"


def _remote(url: str) -> str:
    """Return the host of a URL that is not this machine; empty otherwise."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return "" if not host or is_loopback(host) else host


def of_memory(configuration: Configuration, limit: int | None) -> Iterator[Finding]:
    """Yield what the memory of all workers may come to.

    Args:
        configuration: How many workers, with caches of which size.
        limit: Bytes that there are for all of them; None: unknown.
    """
    workers, size = configuration.service.workers, configuration.keys.cache_size
    most = workers * size * BYTES_PER_KEY
    told = f"{size:,} remembered keys take up to {most // MIB:,} MiB in {workers} process{'es' * (workers > 1)}"
    of_limit = "" if limit is None else f", of {limit // MIB:,} MiB"
    tight = limit is not None and most > limit / 2
    advice = f"; lower {PREFIX}CACHE_SIZE or {PREFIX}WORKERS" if tight else ""
    yield Finding(Level.WARNING if tight else Level.OK, "memory", told + of_limit + advice)
    yield Finding(
        Level.OK,
        "memory",
        "Argon2 takes nothing here: digests are HMAC-SHA-256. A hasher with it, in an app of yours, may take "
        f"{ARGON2_BUDGET // MIB} MiB in each process",
    )


def exit_code_of(findings: Sequence[Finding]) -> int:
    """Return 4 for a wrong configuration, 3 for something out of reach, else 0: warnings are no failures."""
    levels = {each.level for each in findings}
    return 4 if Level.ERROR in levels else 3 if Level.UNAVAILABLE in levels else 0


def as_json(settings: Mapping[str, JSONValue], findings: Sequence[Finding]) -> dict[str, JSONValue]:
    """Return a diagnosis as JSON."""
    return {
        "ok": exit_code_of(findings) == 0,
        "settings": settings,
        "findings": [{"level": each.level.value, "topic": each.topic, "text": each.text} for each in findings],
    }
