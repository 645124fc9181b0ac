"""djangorestframework-api-key 2.x and 3.x: `<prefix, 8>.<secret, 32>`; a Django hash of the whole key.

sha512$$<hex>                                      3.x
pbkdf2_sha256$<iterations>$<salt>$<base64>         2.x, with Django's default
argon2$argon2id$v=19$m=102400,t=2,p=8$…            2.x, where Argon2 is set up
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from typing import Final

from asgi_apikey.adopted.digests import EitherDigests, QuickDigests, SlowDigests
from asgi_apikey.adopted.rows import Row, Standing, noted, record_of
from asgi_apikey.adopted.shapes import NamedShape, id_of_name
from asgi_apikey.adopted.slow import bearable_argon2
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.hashers.argon2 import matches
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "djangorestframework-api-key"
_PREFIX: Final = "[0-9A-Za-z]{1,8}"
_PBKDF2: Final = re.compile(r"([1-9][0-9]{0,6})\$([!-#%-~]{1,64})\$([0-9A-Za-z+/]{43}=)")
_SCHEMES: Final = ("sha512$", "pbkdf2_sha256$", "argon2$")
_USUAL: Final = 600_000
_MOST: Final = 3_000_000
"""Iterations, about a second: whoever can write one row must not decide over the threads."""


def djangorestframework_api_key() -> ForeignSystem:
    """Return djangorestframework-api-key, of both versions."""
    shape = NamedShape(NAME, rf"(?P<name>{_PREFIX})\.[0-9A-Za-z]{{16,200}}", specimen=f"{'0' * 8}.{'0' * 32}".encode())
    sha512 = QuickDigests(f"{NAME}+sha512$", r"\$[0-9a-f]{128}", compare=_sha512, decoy=f"${'0' * 128}")
    pbkdf2 = SlowDigests(
        f"{NAME}+pbkdf2_sha256$",
        bearable=_bearable_pbkdf2,
        compare=_pbkdf2,
        decoy=f"{_USUAL}${'0' * 22}${'A' * 43}=",
    )
    argon2 = SlowDigests(
        f"{NAME}+argon2$",
        bearable=lambda rest: bearable_argon2(f"${rest}"),
        compare=lambda presented, rest: matches(presented, f"${rest}"),
        decoy=f"argon2id$v=19$m=102400,t=2,p=8${'A' * 22}${'A' * 43}",
    )
    return ForeignSystem(name=NAME, shape=shape, digests=EitherDigests(sha512, pbkdf2, argon2))


def _sha512(presented: bytes, rest: str) -> bool:
    return hmac.compare_digest(f"${hashlib.sha512(presented).hexdigest()}", rest)


def _bearable_pbkdf2(rest: str) -> bool:
    stored = _PBKDF2.fullmatch(rest)
    return stored is not None and int(stored[1]) <= _MOST


def _pbkdf2(presented: bytes, rest: str) -> bool:
    stored = _PBKDF2.fullmatch(rest)
    if stored is None:
        return False
    made = hashlib.pbkdf2_hmac("sha256", presented, stored[2].encode(), int(stored[1]))
    return hmac.compare_digest(b64encode(made).decode(), stored[3])


def _take(row: Row, terms: Terms) -> KeyRecord:
    prefix, made = row.needed("prefix"), row.needed("hashed_key")
    if not re.fullmatch(_PREFIX, prefix):
        raise InvalidRequest("prefix has characters that are not read here")
    if not made.startswith(_SCHEMES):
        raise InvalidRequest("hashed_key is of a scheme that is not read here")
    request = KeyRequest(
        owner=terms.owner or row.text("name"),
        tenant=terms.tenant,
        environment=terms.environment,
        name=row.text("name"),
        metadata=noted(adopted_id=prefix),
    )
    return record_of(
        request,
        key_id=id_of_name(NAME, prefix),
        digest=f"{NAME}+{made}",
        hint="",
        standing=Standing(
            created_at=row.instant("created"),
            expires_at=row.instant("expiry_date"),
            revoked=row.flag("revoked", default=False),
        ),
        system=NAME,
        now=terms.now,
    )


TABLES: Final = (ForeignTable(system=NAME, name="rest_framework_api_key_apikey", order="prefix", take=_take),)
