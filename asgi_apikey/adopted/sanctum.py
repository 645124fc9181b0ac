"""Laravel Sanctum's personal access tokens: `<number of the row>|<secret>`; SHA-256 of the secret alone."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from asgi_apikey.adopted.digests import QuickDigests
from asgi_apikey.adopted.rows import Row, Standing, noted, record_of
from asgi_apikey.adopted.shapes import NamedShape, id_of_name
from asgi_apikey.adopted.systems import ForeignSystem, ForeignTable, Terms
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyRecord, KeyRequest

NAME: Final = "sanctum"
_SCHEME: Final = f"{NAME}+sha256$"
_NUMBER: Final = "[1-9][0-9]{0,18}"


def sanctum() -> ForeignSystem:
    """Return Sanctum, with or without its `token_prefix`, and the checksum of its newer versions."""
    specimen = f"9{'0' * 18}|{'0' * 40}".encode()
    pattern = rf"(?P<name>{_NUMBER})\|(?P<secret>[0-9A-Za-z_-]{{40,150}})"
    shape = NamedShape(NAME, pattern, specimen=specimen)

    def compare(presented: bytes, rest: str) -> bool:
        name, secret = shape.part(presented, "name"), shape.part(presented, "secret")
        if name is None or secret is None:
            return False
        made = f"{name.decode()}${hashlib.sha256(secret).hexdigest()}"
        return hmac.compare_digest(made.encode(), rest.encode())

    digests = QuickDigests(_SCHEME, rf"{_NUMBER}\$[0-9a-f]{{64}}", compare=compare, decoy=f"1${'0' * 64}")
    return ForeignSystem(name=NAME, shape=shape, digests=digests)


def _take(row: Row, terms: Terms) -> KeyRecord:
    number = row.needed("id")
    if not re.fullmatch(_NUMBER, number):
        raise InvalidRequest("id is not a number: keys of this table have another shape")
    owner = row.text("tokenable_id")
    request = KeyRequest(
        owner=owner or terms.owner,
        tenant=terms.tenant,
        environment=terms.environment,
        name=row.text("name"),
        scopes=row.names("abilities"),
        metadata=noted(adopted_id=number, tokenable_type=row.text("tokenable_type")),
    )
    return record_of(
        request,
        key_id=id_of_name(NAME, number),
        digest=f"{_SCHEME}{number}${row.sha256('token').hex()}",
        hint="",
        standing=Standing(
            created_at=row.instant("created_at"),
            expires_at=row.instant("expires_at"),
            last_used_at=row.instant("last_used_at"),
        ),
        system=NAME,
        now=terms.now,
    )


TABLES: Final = (ForeignTable(system=NAME, name="personal_access_tokens", order="id", take=_take),)
