"""The names of all settings, without the prefix: the one list that a misspelt one is missing from."""

from __future__ import annotations

from typing import Final

KEY_SECRETS: Final = frozenset(
    {"PEPPER", "CHECKSUM_KEY", "AUDIT_KEY", "CACHE_SECRET", "WEBHOOK_SECRET", "ADOPTED_SECRET"}
)
"""Must not be empty where they are given."""

KEY_VARIABLES: Final = KEY_SECRETS | {
    "URL",
    "POOL_SIZE",
    "PREFIX",
    "ENVIRONMENT",
    "CACHE_TTL",
    "CACHE_SIZE",
    "LAST_USED_RESOLUTION",
    "LIFETIME",
    "MAX_LIFETIME",
    "MAX_KEYS_PER_OWNER",
    "SINGLE_PROCESS",
    "CONSISTENCY",
    "REDIS",
    "ADOPTED",
    "WEBHOOK_URL",
    "WEBHOOK_EVENTS",
    "WEBHOOK_PRIVATE",
}
"""Of an `APIKeys`, wherever it is."""

SERVICE_SECRETS: Final = frozenset({"JWT_SECRET"})

SERVICE_VARIABLES: Final = SERVICE_SECRETS | {
    "HOST",
    "PORT",
    "WORKERS",
    "TRUSTED_PROXIES",
    "CORS_ORIGINS",
    "METRICS",
    "METRICS_PORT",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "MIGRATE",
    "JWT_ALGORITHM",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_SCOPES",
    "JWT_OPERATOR",
    "JWKS_URL",
    "LOGIN_URL",
}
"""Of `asgi-apikey serve` alone."""

CLIENT_SECRETS: Final = frozenset({"TOKEN"})

CLIENT_VARIABLES: Final = CLIENT_SECRETS | {"SERVER"}
"""Of commands that work through a server."""

SECRETS: Final = KEY_SECRETS | SERVICE_SECRETS | CLIENT_SECRETS

VARIABLES: Final = KEY_VARIABLES | SERVICE_VARIABLES | CLIENT_VARIABLES
