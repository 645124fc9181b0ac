"""better-auth's API keys: a prefix, then 64 letters; SHA-256 of the whole key in base64url."""

from __future__ import annotations

import re
from typing import Final

from asgi_apikey.adopted.rows import Row, Standing, noted
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.adopted.whole import whole_record, whole_system
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "better-auth"


def better_auth(*, prefix: str = "", length: int = 64) -> ForeignSystem:
    """Return better-auth.

    Args:
        prefix: Its `defaultPrefix`, as it stands in front of the keys: with its underscore.
        length: Its `defaultKeyLength`: letters behind the prefix.
    """
    return whole_system(NAME, f"{re.escape(prefix)}[0-9A-Za-z]{{{length}}}", specimen=f"{prefix}{'a' * length}")


def _take(row: Row, terms: Terms) -> KeyRecord:
    request = KeyRequest(
        owner=row.text("referenceId", "userId", "reference_id", "user_id") or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        name=row.text("name"),
        scopes=_scopes(row),
        metadata=noted(adopted_id=row.text("id"), config_id=row.text("configId", "config_id")),
    )
    standing = Standing(
        created_at=row.instant("createdAt", "created_at"),
        expires_at=row.instant("expiresAt", "expires_at"),
        last_used_at=row.instant("lastRequest", "last_request"),
        # A key without uses left is refused there.
        disabled=not row.flag("enabled", default=True) or row.text("remaining") == "0",
    )
    return whole_record(request, standing, sha256=row.sha256("key"), system=NAME, terms=terms)


def _scopes(row: Row) -> frozenset[str]:
    """Its permissions are actions by resource: `{"files": ["read"]}` is `files:read`."""
    found = row.json("permissions")
    if found is None:
        return frozenset()
    if not isinstance(found, dict) or not all(isinstance(actions, list) for actions in found.values()):
        raise InvalidRequest("permissions are not actions by resource")
    return frozenset(f"{resource}:{action}" for resource, actions in found.items() for action in actions)


TABLES: Final = (ForeignTable(system=NAME, name="apikey", order="id", take=_take),)
