"""The variables of earlier systems, read as ours.

| variable | is |
|---|---|
| `DATABASE_URL` | `URL` |
| `DB_POOL_SIZE` + `DB_MAX_OVERFLOW` | `POOL_SIZE`; 5 and 10 where only one of them is given, as in SQLAlchemy |
| `REDIS_URL` | `REDIS`, unless `APIKEY_CACHE_BACKEND` is `memory` |
| `API_KEY_PEPPER`, `API_KEY_SECRET` | `PEPPER`, a single one |
| `API_KEY_HEADER_CACHE_TTL_SECONDS` | `CACHE_TTL`; 0 is `CONSISTENCY=strict`: nothing is remembered |
| `API_KEY_LAST_USED_THROTTLE_SECONDS` | `LAST_USED_RESOLUTION` |
| `JWT_SECRET`, `JWT_ALGORITHM`, `LOGIN_URL` | the same |

Pure: from texts to texts. Our own name goes before an alias, which may well be there for another program. Two aliases
of one setting must agree, since nobody could tell which one was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings.given import PREFIX, Given

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "DB_POOL_TIMEOUT": "a call of the store is answered within a second, waiting for a connection included",
    "DB_POOL_RECYCLE": "unused connections are closed after two minutes, and a dead one is replaced",
    "SQL_ECHO": "statements are never logged",
    "APIKEY_CACHE_REDIS_KEY_PREFIX": "what is in Redis is kept apart by its secret",
}
"""Accepted, so that an environment need not be changed, with why they do nothing."""

_BACKENDS: Final = ("memory", "redis")
_DEFAULTS: Final = {"DB_POOL_SIZE": "5", "DB_MAX_OVERFLOW": "10"}

Translated = tuple[str, str]
"""The name of a setting of ours, and its text."""


def _same(name: str) -> Callable[[Given], Translated]:
    return lambda given: (name, given.text)


def _pepper(given: Given) -> Translated:
    """A pepper of theirs is one text, and never the word for doing without."""
    if len(given.text.split()) != 1 or given.text.strip().lower() == "none":
        raise ConfigurationError(
            f"{given.place} must be one text without blanks; what other systems call so may be one of {PREFIX}PEPPER"
        )
    return "PEPPER", given.text


def _cache_ttl(given: Given) -> Translated:
    with suppress(ValueError):
        if float(given.text) == 0:
            return "CONSISTENCY", "strict"
    return "CACHE_TTL", given.text


ALIASES: Final[Mapping[str, Callable[[Given], Translated]]] = {
    "DATABASE_URL": _same("URL"),
    "REDIS_URL": _same("REDIS"),
    "API_KEY_PEPPER": _pepper,
    "API_KEY_SECRET": _pepper,
    "API_KEY_HEADER_CACHE_TTL_SECONDS": _cache_ttl,
    "API_KEY_LAST_USED_THROTTLE_SECONDS": _same("LAST_USED_RESOLUTION"),
    "JWT_SECRET": _same("JWT_SECRET"),
    "JWT_ALGORITHM": _same("JWT_ALGORITHM"),
    "LOGIN_URL": _same("LOGIN_URL"),
}
"""Those that stand for one setting."""

EVERY_ALIAS: Final = frozenset(ALIASES) | {*_DEFAULTS, *WITHOUT_EFFECT, "APIKEY_CACHE_BACKEND"}


def with_aliases(given: Mapping[str, Given]) -> tuple[dict[str, Given], tuple[str, ...]]:
    """Return the texts with those of aliases under our names, and what is to be said about it.

    Args:
        given: By the whole names of the variables, ours and others'.

    Raises:
        ConfigurationError: Two aliases say different things about one setting, or one cannot be read.
    """
    aliases = {name: each for name, each in given.items() if name in EVERY_ALIAS and each.text}
    notes = [f"{name} has no effect: {why}" for name, why in WITHOUT_EFFECT.items() if name in aliases]
    notes += _choose_backend(aliases, given)
    translated: dict[str, Given] = {}
    for name, each in (*aliases.items(), *_pool_size(aliases)):
        if name in ALIASES:
            ours, text = ALIASES[name](each)
            _add(translated, PREFIX + ours, Given(text, each.place))
        elif name == "POOL_SIZE":
            _add(translated, PREFIX + name, each)
    result = {name: each for name, each in given.items() if name not in EVERY_ALIAS}
    for name, each in translated.items():
        there = result.get(name)
        # An empty variable of ours is as good as none; an empty secret is found later on.
        if there is None or not there.text:
            result[name] = each
        elif not _equal(there.text, each.text):
            notes.append(f"{each.place} has no effect: {there.place} goes before it")
    return result, tuple(notes)


def _add(translated: dict[str, Given], name: str, added: Given) -> None:
    there = translated.setdefault(name, added)
    if not _equal(there.text, added.text):
        raise ConfigurationError(
            f"{there.place} and {added.place} are the same setting and say different things; leave one of them out"
        )


def _equal(one: str, other: str) -> bool:
    with suppress(ValueError):
        return float(one) == float(other)
    return one.split() == other.split()


def _choose_backend(aliases: dict[str, Given], given: Mapping[str, Given]) -> list[str]:
    """Leave `REDIS_URL` out where the cache is to be in memory; return what is to be said.

    Raises:
        ConfigurationError: Another backend.
    """
    backend = aliases.get("APIKEY_CACHE_BACKEND")
    if backend is None:
        return []
    chosen, ours = backend.text.strip().lower(), given.get(PREFIX + "REDIS")
    if chosen not in _BACKENDS:
        raise ConfigurationError(f"{backend.place} must be memory or redis")
    if chosen == "memory":
        aliases.pop("REDIS_URL", None)
        return [f"{backend.place} has no effect: {ours.place} goes before it"] if ours is not None and ours.text else []
    if "REDIS_URL" in aliases or (ours is not None and ours.text):
        return []
    return [f"{backend.place} is redis and there is no REDIS_URL: each process remembers for itself"]


def _pool_size(aliases: Mapping[str, Given]) -> list[tuple[str, Given]]:
    """Return the sum of both, since that is how many connections there may be.

    Raises:
        ConfigurationError: One is no whole number.
    """
    stated = [aliases[name] for name in _DEFAULTS if name in aliases]
    if not stated:
        return []
    for each in stated:
        if not (each.text.isascii() and each.text.isdigit()):
            raise ConfigurationError(f"{each.place} must be a whole number")
    total = sum(int(aliases[name].text if name in aliases else default) for name, default in _DEFAULTS.items())
    return [("POOL_SIZE", Given(str(total), " + ".join(each.place for each in stated)))]
