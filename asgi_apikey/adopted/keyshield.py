"""keyshield 2.x, and fastapi-api-key 0.x and 1.x, from which it comes.

    ak_v1-<id, 16 hex digits>-<secret, 64 of base62>        2.x; before, `ak-…-…`
    argon2    Argon2id of the secret and behind it the pepper
    bcrypt    2.x: of HMAC-SHA-256 of the secret under the pepper; before: of the first 72 bytes of secret and pepper

What is stored does not tell which of the two bcrypts it was, so there are two systems.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from asgi_apikey.adopted.digests import Digests, EitherDigests
from asgi_apikey.adopted.rows import Row, Standing, noted, record_of
from asgi_apikey.adopted.shapes import NamedShape, id_of_name
from asgi_apikey.adopted.slow import NAME, argon2_digests, bcrypt_digests
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Take, Terms
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.models import KeyRecord, KeyRequest

KEYSHIELD: Final = "keyshield"
FASTAPI_API_KEY: Final = "fastapi-api-key"
_INPUT: Final = 72
"""Bytes that bcrypt looks at."""

Scheme: TypeAlias = Literal["argon2", "bcrypt"]


def keyshield(
    *, pepper: str, prefix: str = "ak_v1", separator: str = "-", schemes: tuple[Scheme, ...] = ("argon2",)
) -> ForeignSystem:
    """Return keyshield 2.x.

    Args:
        pepper: Its pepper, whatever that is worth: the keys are random.
        prefix: Its `global_prefix`.
        separator: Its `separator`.
        schemes: Its hashers, the usual one first; `bcrypt` needs the extra of this name.

    Raises:
        ConfigurationError: One of these is not possible.
        MissingExtra: The extra `bcrypt` is not installed.
    """
    under = _peppered(pepper)
    return _system(KEYSHIELD, pepper, prefix, separator, schemes, lambda secret: hmac.digest(under, secret, "sha256"))


def fastapi_api_key(
    *, pepper: str, prefix: str = "ak", separator: str = "-", schemes: tuple[Scheme, ...] = ("argon2",)
) -> ForeignSystem:
    """Return fastapi-api-key 0.x and 1.x; arguments and errors are those of `keyshield`."""
    behind = _peppered(pepper)

    def truncated(secret: bytes) -> bytes:
        # Of a longer secret not every byte would count. What is returned for it, nobody has hashed.
        return (secret + behind)[:_INPUT] if len(secret) <= _INPUT else b"\0"

    return _system(FASTAPI_API_KEY, pepper, prefix, separator, schemes, truncated)


def _system(
    name: str,
    pepper: str,
    prefix: str,
    separator: str,
    schemes: tuple[Scheme, ...],
    for_bcrypt: Callable[[bytes], bytes],
) -> ForeignSystem:
    if len(separator) != 1 or not "!" <= separator <= "~" or separator in prefix or not prefix:
        raise ConfigurationError(f"{name}: a separator is one character that is not in the prefix")
    if re.fullmatch(NAME, separator):
        raise ConfigurationError(f"{name}: keys with the separator {separator!r} cannot be read")
    pattern = f"{re.escape(prefix)}{re.escape(separator)}(?P<name>{NAME}){re.escape(separator)}"
    secret = f"(?P<secret>(?:(?!{re.escape(separator)})[!-~]){{16,200}})"
    shape = NamedShape(name, pattern + secret, specimen=f"{prefix}{separator}{'0' * 16}{separator}{'0' * 64}".encode())
    behind = _peppered(pepper)

    def digests_of(scheme: Scheme) -> Digests:
        if scheme == "argon2":
            return argon2_digests(f"{name}+argon2$", shape, lambda each: each + behind)
        return bcrypt_digests(f"{name}+bcrypt$", shape, for_bcrypt)

    if not schemes or not set(schemes) <= {"argon2", "bcrypt"}:
        raise ConfigurationError(f"{name}: schemes are 'argon2' and 'bcrypt'")
    usual, *others = [digests_of(each) for each in dict.fromkeys(schemes)]
    return ForeignSystem(
        name=name,
        shape=shape,
        digests=EitherDigests(usual, *others),
    )


def _taking(system: str) -> Take:
    def take(row: Row, terms: Terms) -> KeyRecord:
        name, made = row.needed("key_id"), row.needed("key_hash")
        if not re.fullmatch(NAME, name):
            raise InvalidRequest("key_id has characters that are not read here")
        scheme = "argon2" if made.startswith("$argon2id$") else "bcrypt"
        request = KeyRequest(
            owner=terms.owner,
            tenant=terms.tenant,
            environment=terms.environment,
            name=row.text("name"),
            description=row.text("description"),
            scopes=row.names("scopes"),
            metadata=noted(adopted_id=row.text("id"), adopted_key_id=name),
        )
        standing = Standing(
            created_at=row.instant("created_at"),
            expires_at=row.instant("expires_at"),
            last_used_at=row.instant("last_used_at"),
            disabled=not row.flag("is_active", default=True),
        )
        return record_of(
            request,
            key_id=id_of_name(system, name),
            digest=f"{system}+{scheme}${name}{made}",
            hint=row.text("key_secret_last"),
            standing=standing,
            system=system,
            now=terms.now,
        )

    return take


def _peppered(pepper: str) -> bytes:
    if not pepper:
        raise ConfigurationError("give the pepper that the keys were hashed with: pepper='…'")
    return pepper.encode()


TABLES: Final = tuple(
    ForeignTable(system=name, name="api_keys", order="key_id", take=_taking(name))
    for name in (KEYSHIELD, FASTAPI_API_KEY)
)
