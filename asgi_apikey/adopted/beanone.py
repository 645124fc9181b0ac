"""beanone-apikey 0.x: 40 letters and digits; SHA-256 in hexadecimal digits."""

from __future__ import annotations

from typing import Final

from asgi_apikey.adopted.rows import Row, Standing, noted
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.adopted.whole import whole_record, whole_system
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "beanone-apikey"
_STATUSES: Final = frozenset({"active", "inactive", "revoked", "expired"})


def beanone_apikey() -> ForeignSystem:
    """Return beanone-apikey."""
    return whole_system(NAME, "[0-9A-Za-z]{40}", specimen="0" * 40)


def _take(row: Row, terms: Terms) -> KeyRecord:
    status = row.text("status").lower()
    if status not in _STATUSES:
        raise InvalidRequest("status is none of those that there are")
    expires_at = row.instant("expires_at")
    if status == "expired":
        expires_at = terms.now if expires_at is None else min(expires_at, terms.now)
    service = row.text("service_id")
    request = KeyRequest(
        owner=row.text("user_id") or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        name=row.text("name"),
        scopes=frozenset({f"service:{service}"} if service else ()),
        metadata=noted(service_id=service, adopted_id=row.text("id")),
    )
    standing = Standing(
        created_at=row.instant("created_at"),
        expires_at=expires_at,
        last_used_at=row.instant("last_used_at"),
        disabled=status == "inactive",
        revoked=status == "revoked",
    )
    return whole_record(request, standing, sha256=row.sha256("key_hash"), system=NAME, terms=terms)


TABLES: Final = (ForeignTable(system=NAME, name="api_keys", order="id", take=_take),)
