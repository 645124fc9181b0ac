"""All systems whose keys can be taken over, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from asgi_apikey.adopted import (
    beanone,
    betterauth,
    columns,
    djangorestframework,
    game,
    keyshield,
    kong,
    litellm,
    sanctum,
    suna,
    unkey,
)
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable
from asgi_apikey.errors import ConfigurationError, InvalidRequest

TABLES: Final[Sequence[ForeignTable]] = (
    *keyshield.TABLES,
    *beanone.TABLES,
    *game.TABLES,
    *suna.TABLES,
    *djangorestframework.TABLES,
    *sanctum.TABLES,
    *unkey.TABLES,
    *betterauth.TABLES,
    *litellm.TABLES,
    *kong.TABLES,
    *columns.TABLES,
)
"""Where each of them has its keys."""


def table_of(system: str) -> ForeignTable:
    """Return where a system has its keys.

    Raises:
        InvalidRequest: There is none of this name.
    """
    for each in TABLES:
        if each.system == system:
            return each
    raise InvalidRequest(f"there is no system {system!r}; known are {', '.join(each.system for each in TABLES)}")


def systems_of(words: Sequence[str], *, secret: str = "") -> tuple[ForeignSystem, ...]:
    """Return the systems that are configured in words, such as `keyshield`, `unkey:prefix=acme`.

    Args:
        words: A name each, and behind a colon its options, separated by commas; values separated by `+`.
        secret: What systems that have one call their pepper or secret. Two with different ones are given in code.

    Raises:
        ConfigurationError: There is no such system, or it has no such option.
        MissingExtra: A library that one needs is not installed.
    """
    return tuple(_system_of(word, secret) for word in words)


def _system_of(word: str, secret: str) -> ForeignSystem:
    name, _, written = word.partition(":")
    factory = FACTORIES.get(name)
    if factory is None:
        raise ConfigurationError(f"there is no system {name!r} to adopt keys of; known are {', '.join(FACTORIES)}")
    given = dict(each.partition("=")[::2] for each in written.split(",") if each)
    unknown = given.keys() - factory.options
    if unknown:
        raise ConfigurationError(
            f"{name} has no option {min(unknown)!r}; it has {', '.join(factory.options) or 'none'}"
        )
    return factory.make(given, secret)


@dataclass(frozen=True, slots=True)
class Factory:
    """Makes a system from texts.

    Attributes:
        make: From its options and its secret.
        options: Names of what can be given.
    """

    make: Callable[[Mapping[str, str], str], ForeignSystem]
    options: tuple[str, ...] = ()


def _schemes(given: Mapping[str, str]) -> tuple[keyshield.Scheme, ...]:
    words = given.get("schemes", "argon2").split("+")
    schemes: dict[str, keyshield.Scheme] = {"argon2": "argon2", "bcrypt": "bcrypt"}
    try:
        return tuple(schemes[each] for each in words)
    except KeyError as error:
        raise ConfigurationError("schemes are argon2, bcrypt, or argon2+bcrypt") from error


def _keyshield(given: Mapping[str, str], secret: str) -> ForeignSystem:
    return keyshield.keyshield(pepper=secret, prefix=given.get("prefix", "ak_v1"), schemes=_schemes(given))


def _fastapi_api_key(given: Mapping[str, str], secret: str) -> ForeignSystem:
    return keyshield.fastapi_api_key(pepper=secret, prefix=given.get("prefix", "ak"), schemes=_schemes(given))


def _better_auth(given: Mapping[str, str], _: str) -> ForeignSystem:
    length = given.get("length", "64")
    if not (length.isascii() and length.isdigit() and 32 <= int(length) <= 200):
        raise ConfigurationError("better-auth: length is a number of letters, 32 to 200")
    return betterauth.better_auth(prefix=given.get("prefix", ""), length=int(length))


FACTORIES: Final[Mapping[str, Factory]] = {
    keyshield.KEYSHIELD: Factory(_keyshield, ("prefix", "schemes")),
    keyshield.FASTAPI_API_KEY: Factory(_fastapi_api_key, ("prefix", "schemes")),
    beanone.NAME: Factory(lambda given, _: beanone.beanone_apikey()),
    game.NAME: Factory(lambda given, _: game.game()),
    suna.NAME: Factory(lambda given, secret: suna.suna(secret=secret)),
    djangorestframework.NAME: Factory(lambda given, _: djangorestframework.djangorestframework_api_key()),
    sanctum.NAME: Factory(lambda given, _: sanctum.sanctum()),
    unkey.NAME: Factory(lambda given, _: unkey.unkey(prefix=given.get("prefix", "")), ("prefix",)),
    betterauth.NAME: Factory(_better_auth, ("prefix", "length")),
    litellm.NAME: Factory(lambda given, _: litellm.litellm()),
    kong.NAME: Factory(lambda given, _: kong.kong()),
}
"""Those that can be configured in the environment; for the others, give `adopted=` in code."""
