"""suna's pairs: `pk_<32>:sk_<32>`; HMAC-SHA256 of the secret half under its `API_KEY_SECRET`."""

from __future__ import annotations

import hmac
import re
from typing import Final

from asgi_apikey.adopted.digests import QuickDigests
from asgi_apikey.adopted.rows import Row, Standing, noted, record_of
from asgi_apikey.adopted.shapes import NamedShape, id_of_name
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "suna"
_SCHEME: Final = f"{NAME}+hmac-sha256$"
_PUBLIC: Final = "pk_[0-9A-Za-z]{32}"
_STATUSES: Final = frozenset({"active", "revoked", "expired"})


def suna(*, secret: str) -> ForeignSystem:
    """Return suna.

    Args:
        secret: Its `API_KEY_SECRET`.

    Raises:
        ConfigurationError: There is none.
    """
    if not secret:
        raise ConfigurationError("suna: give its API_KEY_SECRET: secret='…'")
    specimen = f"pk_{'0' * 32}:sk_{'0' * 32}".encode()
    shape = NamedShape(NAME, rf"(?P<name>{_PUBLIC}):(?P<secret>sk_[0-9A-Za-z]{{32}})", specimen=specimen)
    under = secret.encode()

    def compare(presented: bytes, rest: str) -> bool:
        name, half = shape.part(presented, "name"), shape.part(presented, "secret")
        if name is None or half is None:
            return False
        made = f"{name.decode()}${hmac.digest(under, half, 'sha256').hex()}"
        return hmac.compare_digest(made.encode(), rest.encode())

    digests = QuickDigests(_SCHEME, rf"{_PUBLIC}\$[0-9a-f]{{64}}", compare=compare, decoy=f"pk_{'0' * 32}${'0' * 64}")
    return ForeignSystem(name=NAME, shape=shape, digests=digests)


def _take(row: Row, terms: Terms) -> KeyRecord:
    public, status = row.needed("public_key"), row.text("status").lower() or "active"
    if not re.fullmatch(_PUBLIC, public):
        raise InvalidRequest("public_key is not pk_ and 32 letters and digits")
    if status not in _STATUSES:
        raise InvalidRequest("status is none of those that there are")
    expires_at = row.instant("expires_at")
    if status == "expired":
        expires_at = terms.now if expires_at is None else min(expires_at, terms.now)
    request = KeyRequest(
        owner=row.text("account_id") or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        name=row.text("title"),
        description=row.text("description"),
        metadata=noted(adopted_id=row.text("key_id"), public_key=public),
    )
    return record_of(
        request,
        key_id=id_of_name(NAME, public),
        digest=f"{_SCHEME}{public}${row.sha256('secret_key_hash').hex()}",
        hint="",
        standing=Standing(
            created_at=row.instant("created_at"),
            expires_at=expires_at,
            last_used_at=row.instant("last_used_at"),
            revoked=status == "revoked",
        ),
        system=NAME,
        now=terms.now,
    )


TABLES: Final = (ForeignTable(system=NAME, name="api_keys", order="key_id", take=_take),)
