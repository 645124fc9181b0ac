"""Every variable that commands read, in a few words each, for `--help`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from asgi_apikey.settings import PREFIX

VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "URL": "where the keys live; default: sqlite:///keys.db",
        "POOL_SIZE": "connections to PostgreSQL",
        "PEPPER": "peppers of digests, newest last; `none`: without",
        "PREFIX": "what keys start with; default: ak",
        "ENVIRONMENT": "of new keys, and of those that are accepted; default: live",
        "CHECKSUM_KEY": "checksum keys, newest last",
        "AUDIT_KEY": "keys that seal the audit, newest last",
        "CACHE_TTL": "seconds that servers remember a key",
        "CACHE_SIZE": "keys that a server remembers",
        "LAST_USED_RESOLUTION": "seconds that last_used_at may lag behind",
        "LIFETIME": "seconds that keys live when nobody says",
        "MAX_LIFETIME": "seconds that keys live at most",
        "MAX_KEYS_PER_OWNER": "live keys of one owner",
        "SINGLE_PROCESS": "1: one server is alone on its store",
        "CONSISTENCY": "leases, ttl or strict",
        "REDIS": "URL of a Redis for the bus and the shared cache",
        "CACHE_SECRET": "seals what goes through it",
        "ADOPTED": "other systems whose keys are accepted, see `adopt`",
        "ADOPTED_SECRET": "what they call their pepper or secret",
        "WEBHOOK_URL": "where events are sent",
        "WEBHOOK_SECRET": "signs them, newest last; `asgi-apikey webhooks secret`",
        "WEBHOOK_EVENTS": "which, such as `revoked expiring`; default: all",
        "WEBHOOK_PRIVATE": "1: also in the clear, and to private addresses",
        "SERVER": "work through this management API",
        "TOKEN": "who asks there: an API key that manages, or a JWT",
        "HOST": "serve: the address; default: 127.0.0.1",
        "PORT": "serve: the port; default: 8002",
        "WORKERS": "serve: processes",
        "TRUSTED_PROXIES": "serve: whose X-Forwarded-For is believed",
        "CORS_ORIGINS": "serve: whose pages may call it",
        "METRICS": "serve: 1: /metrics beside the rest",
        "METRICS_PORT": "serve: metrics on a port of their own",
        "LOG_LEVEL": "serve: debug, info, warning or error",
        "LOG_FORMAT": "serve: json or text",
        "MIGRATE": "serve: 1: make or migrate the store; 0: never",
        "JWT_SECRET": "serve: shared with the login service",
        "JWT_ALGORITHM": "serve: of tokens",
        "JWT_ISSUER": "serve: what iss must be",
        "JWT_AUDIENCE": "serve: what aud may be",
        "JWT_SCOPES": "serve: what everybody with a token may do",
        "JWT_OPERATOR": "serve: the role that manages everybody's keys",
        "JWKS_URL": "serve: where the issuer's public keys are",
        "LOGIN_URL": "serve: of the login service, for compatibility",
        "ENV_FILE": ".env files, as in PATH; --env-file",
        "CONFIG": "a TOML file; --config",
    }
)
"""By their names without the prefix, in the order in which they are shown."""


def listed() -> str:
    """Return them as lines of which none is to be wrapped."""
    width = max(map(len, VARIABLES))
    return "\b\n" + "\n".join(f"{PREFIX}{name:{width}}  {text}" for name, text in VARIABLES.items())
