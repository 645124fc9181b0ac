"""Kong's key-auth: keys as they are, in plain text. They are hashed on the way in, and never kept.

Whoever made a key by hand may have made one that can be guessed: such a one is not taken over.
"""

from __future__ import annotations

import hashlib
from typing import Final

from asgi_apikey.adopted.rows import Row, Standing, noted
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.adopted.whole import whole_record, whole_system
from asgi_apikey.models import KeyRecord, KeyRequest
from asgi_apikey.statickeys import check_guessable

NAME: Final = "kong"


def kong(*, pattern: str = "[0-9A-Za-z]{32}", specimen: str = "0" * 32) -> ForeignSystem:
    """Return Kong.

    Args:
        pattern: Of its keys, if they were not made by Kong: a regular expression of the whole key.
        specimen: A key of this shape that nobody has.

    Raises:
        ConfigurationError: The specimen is not of this shape.
    """
    return whole_system(NAME, pattern, specimen=specimen)


def _take(row: Row, terms: Terms) -> KeyRecord:
    key = row.needed("key")
    check_guessable(key)
    created_at, lifetime = row.instant("created_at"), row.instant("ttl")
    consumer = row.json("consumer")
    named = Row(consumer).text("username", "custom_id", "id") if isinstance(consumer, dict) else ""
    request = KeyRequest(
        owner=named or row.text("consumer_id") or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        tags=row.names("tags"),
        metadata=noted(adopted_id=row.text("id")),
    )
    standing = Standing(
        created_at=created_at,
        # In the database Kong writes an instant, in its API seconds from the making.
        expires_at=lifetime
        if lifetime is None or created_at is None or lifetime > created_at
        else created_at + lifetime,
    )
    sha256 = hashlib.sha256(key.encode()).digest()
    return whole_record(request, standing, sha256=sha256, system=NAME, terms=terms, hint=key)


TABLES: Final = (ForeignTable(system=NAME, name="keyauth_credentials", order="id", take=_take),)
