"""GAME's `apikey_service`: `gme_live_<8>.<secret>`; SHA-256 of the whole key, and the prefix in a column of its own."""

from __future__ import annotations

import re
from typing import Final

from asgi_apikey.adopted.digests import SHA256Digests
from asgi_apikey.adopted.rows import Row, Standing, noted, record_of
from asgi_apikey.adopted.shapes import NamedShape, id_of_name
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "game"
_PREFIX: Final = r"gme_[a-z]{1,16}_[0-9A-Za-z_-]{8}"


def game() -> ForeignSystem:
    """Return GAME."""
    specimen = f"gme_live_{'0' * 8}.{'0' * 32}".encode()
    shape = NamedShape(NAME, rf"(?P<name>{_PREFIX})\.[0-9A-Za-z_-]{{20,100}}", specimen=specimen)
    return ForeignSystem(name=NAME, shape=shape, digests=SHA256Digests(NAME))


def _take(row: Row, terms: Terms) -> KeyRecord:
    prefix = row.needed("apiKey")
    if not re.fullmatch(_PREFIX, prefix):
        raise InvalidRequest("apiKey is not a prefix")
    request = KeyRequest(
        owner=row.text("client", "oauth_user_id") or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        description=row.text("description"),
        metadata=noted(adopted_id=prefix, made_by=row.text("createdBy")),
    )
    return record_of(
        request,
        key_id=id_of_name(NAME, prefix),
        digest=SHA256Digests(NAME).written(row.sha256("apiKeyHash")),
        hint="",
        standing=Standing(created_at=row.instant("created_at"), disabled=not row.flag("active", default=True)),
        system=NAME,
        now=terms.now,
    )


TABLES: Final = (ForeignTable(system=NAME, name="apikey", order="apiKey", take=_take),)
