"""Unkey: a prefix of the workspace's choice, then base58; SHA-256 of the whole key in base64.

Its API hands out everything about a key but the digest, so a row comes from its table, or from whoever has made the
keys and kept theirs. The API's names are read as well as the table's.
"""

from __future__ import annotations

import re
from typing import Final

from asgi_apikey.adopted.rows import Row, Standing, noted
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.adopted.whole import whole_record, whole_system
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "unkey"
_BASE58: Final = "[1-9A-HJ-NP-Za-km-z]"


def unkey(*, prefix: str = "") -> ForeignSystem:
    """Return Unkey.

    Args:
        prefix: What its keys start with, before an underscore; empty: keys without one.
    """
    start = f"{prefix}_" if prefix else ""
    return whole_system(NAME, f"{re.escape(start)}{_BASE58}{{20,200}}", specimen=f"{start}{'1' * 22}")


def _take(row: Row, terms: Terms) -> KeyRecord:
    request = KeyRequest(
        owner=row.text("external_id", "externalId", "owner_id", "ownerId", "identity_id") or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        name=row.text("name"),
        scopes=row.names("permissions"),
        metadata=noted(adopted_id=row.text("id", "keyId")),
    )
    standing = Standing(
        created_at=row.instant("created_at_m", "createdAt", "created_at"),
        expires_at=row.instant("expires", "expires_at"),
        last_used_at=row.instant("last_used_at", "lastUsedAt"),
        disabled=not row.flag("enabled", default=True),
        revoked=row.instant("deleted_at_m", "deleted_at") is not None,
    )
    return whole_record(request, standing, sha256=row.sha256("hash"), system=NAME, terms=terms)


TABLES: Final = (ForeignTable(system=NAME, name="keys", order="id", take=_take),)
