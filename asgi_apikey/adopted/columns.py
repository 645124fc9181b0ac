"""A table of one's own with a column of SHA-256, such as people build beside FastAPI-users."""

from __future__ import annotations

from typing import Final

from asgi_apikey.adopted.rows import Row, Standing, noted
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.adopted.whole import whole_record, whole_system
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "sha256"
_DIGESTS: Final = ("key_hash", "hashed_key", "token_hash", "api_key_hash", "key_sha256", "sha256", "hash", "digest")


def sha256_columns(*, pattern: str, specimen: str) -> ForeignSystem:
    r"""Return a system of one's own.

    Args:
        pattern: Of its keys: a regular expression of the whole key, such as `acme_[0-9a-f]{64}`. It should match
            nothing else, and only what cannot be guessed.
        specimen: A key of this shape that nobody has.

    Raises:
        ConfigurationError: The specimen is not of this shape.
    """
    return whole_system(NAME, pattern, specimen=specimen)


def _take(row: Row, terms: Terms) -> KeyRecord:
    request = KeyRequest(
        owner=row.text("owner", "owner_id", "user_id", "account_id", "client", "client_id") or terms.owner,
        tenant=row.text("tenant", "tenant_id") or terms.tenant,
        environment=terms.environment,
        name=row.text("name", "title", "label"),
        description=row.text("description"),
        scopes=row.names("scopes"),
        metadata=noted(adopted_id=row.text("id")),
    )
    standing = Standing(
        created_at=row.instant("created_at", "created"),
        expires_at=row.instant("expires_at", "expires", "expiry_date"),
        last_used_at=row.instant("last_used_at"),
        disabled=not (row.flag("is_active", default=True) and row.flag("active", default=True)),
        revoked=row.flag("revoked", default=False) or row.instant("revoked_at") is not None,
    )
    return whole_record(request, standing, sha256=row.sha256(*_DIGESTS), system=NAME, terms=terms)


TABLES: Final = (ForeignTable(system=NAME, name="api_keys", order="id", take=_take),)
