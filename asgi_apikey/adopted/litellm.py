"""LiteLLM's virtual keys: `sk-` and 16 random bytes in base64url; SHA-256 in hexadecimal digits.

A key of somebody's own choice, such as `sk-1234`, is stored the same way and is of another shape: it is not accepted.
"""

from __future__ import annotations

from typing import Final

from asgi_apikey.adopted.rows import Row, Standing, noted
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.adopted.whole import whole_record, whole_system
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "litellm"


def litellm() -> ForeignSystem:
    """Return LiteLLM."""
    return whole_system(NAME, "sk-[0-9A-Za-z_-]{22}", specimen=f"sk-{'A' * 22}")


def _take(row: Row, terms: Terms) -> KeyRecord:
    request = KeyRequest(
        owner=row.text("user_id", "team_id") or terms.owner,
        tenant=row.text("organization_id") or terms.tenant,
        environment=terms.environment,
        name=row.text("key_alias"),
        metadata=noted(team_id=row.text("team_id")),
    )
    standing = Standing(
        created_at=row.instant("created_at"),
        expires_at=row.instant("expires"),
        last_used_at=row.instant("last_active"),
        disabled=row.flag("blocked", default=False),
    )
    return whole_record(
        request, standing, sha256=row.sha256("token"), system=NAME, terms=terms, hint=row.text("key_name")
    )


TABLES: Final = (ForeignTable(system=NAME, name="LiteLLM_VerificationToken", order="token", take=_take),)
