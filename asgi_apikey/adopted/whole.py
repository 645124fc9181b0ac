"""What systems have in common whose keys carry no id, and that have stored SHA-256 of the whole key."""

from __future__ import annotations

from asgi_apikey.adopted.digests import SHA256Digests
from asgi_apikey.adopted.rows import Standing, record_of
from asgi_apikey.adopted.shapes import WholeShape, id_of_digest
from asgi_apikey.adopted.systems import ForeignSystem, Terms
from asgi_apikey.models import KeyRecord, KeyRequest


def whole_system(name: str, pattern: str, *, specimen: str) -> ForeignSystem:
    """Return such a system.

    Args:
        name: Of it.
        pattern: Of its keys.
        specimen: A key of this shape that nobody has.
    """
    return ForeignSystem(name=name, shape=WholeShape(pattern, specimen=specimen.encode()), digests=SHA256Digests(name))


def whole_record(
    request: KeyRequest, standing: Standing, *, sha256: bytes, system: str, terms: Terms, hint: str = ""
) -> KeyRecord:
    """Return the record of one of its keys.

    Raises:
        InvalidRequest: A value that a key cannot have.
    """
    return record_of(
        request,
        key_id=id_of_digest(sha256),
        digest=SHA256Digests(system).written(sha256),
        hint=hint,
        standing=standing,
        system=system,
        now=terms.now,
    )
