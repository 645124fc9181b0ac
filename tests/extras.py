"""Which module may import which library: one module, one library, one extra."""

from __future__ import annotations

from typing import Final

OPTIONAL: Final[dict[str, str | tuple[str, ...]]] = {
    "aiosqlite": "asgi_apikey.repositories.sqlite",
    "asyncpg": (
        "asgi_apikey.repositories.postgres",
        "asgi_apikey.invalidation.postgres",
        "asgi_apikey.adopted.postgres",
    ),
    "bcrypt": "asgi_apikey.hashers.bcrypt",
    "click": "asgi_apikey.cli",
    "databases": "asgi_apikey.repositories.databases",
    "redis": (
        "asgi_apikey.redisaddress",
        "asgi_apikey.redisclient",
        "asgi_apikey.invalidation.redis",
        "asgi_apikey.caches.redis",
        "asgi_apikey.limiters.redis",
    ),
    "limits": "asgi_apikey.limiters.rates",
    "jwt": ("asgi_apikey.jwt", "asgi_apikey.service.tokens"),
    "guardpost": "asgi_apikey.contrib.blacksheep",
    "blacksheep": "asgi_apikey.contrib.blacksheep",
    "rest_framework": "asgi_apikey.contrib.djangorestframework",
    "django": "asgi_apikey.contrib.django",
    "asgiref": "asgi_apikey.contrib.django",
    "fastapi": "asgi_apikey.contrib.fastapi",
    "litestar": "asgi_apikey.contrib.litestar",
    "quart": "asgi_apikey.contrib.quart",
    "msgspec": "asgi_apikey.management",
    "starlette": (
        "asgi_apikey.management",
        "asgi_apikey.service.application",
        "asgi_apikey.service.health",
        "asgi_apikey.service.requests",
        "asgi_apikey.service.sidecar",
        "asgi_apikey.contrib.starlette",
    ),
    "uvicorn": "asgi_apikey.service.server",
    "prometheus_client": "asgi_apikey.metrics.prometheus",
    "opentelemetry": "asgi_apikey.metrics.opentelemetry",
    "httpx": "asgi_apikey.webhooks.httpx",
}
"""Library of an extra -> the only module, or package, that imports it; one for each plug, where it is for several."""

ONE_MODULE: Final = OPTIONAL | {"argon2": "asgi_apikey.hashers.argon2"}
"""The same, with the one library of the core that loads on first use."""


def is_within(module: str, packages: str | tuple[str, ...] | None) -> bool:
    """Whether a module is this package, or inside it; or so for one of several packages."""
    each = (packages,) if isinstance(packages, str) else packages or ()
    return any(module == package or module.startswith(f"{package}.") for package in each)
