"""Which module may import which library: one module, one library, one extra."""

from __future__ import annotations

from typing import Final

OPTIONAL: Final = {
    "aiosqlite": "asgi_apikey.repositories.sqlite",
    "bcrypt": "asgi_apikey.hashers.bcrypt",
    "click": "asgi_apikey.cli",
}
"""Library of an extra -> the only module, or package, that imports it."""

ONE_MODULE: Final = OPTIONAL | {"argon2": "asgi_apikey.hashers.argon2"}
"""The same, with the one library of the core that loads on first use."""


def is_within(module: str, package: str | None) -> bool:
    """Whether a module is this package, or inside it."""
    return package is not None and (module == package or module.startswith(f"{package}."))
