"""Pages by position: a cursor names the last record seen, so inserts and deletions never shift a page.

A cursor is signed together with the query that it continues. So it cannot be made up to read from elsewhere, nor be
taken to another query, whose order or filters it would quietly mix with its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyPage, KeyQuery, KeyRecord, SortBy
from asgi_apikey.repositories.search import sort_value

MAX_LIMIT: Final = 100
_MAC: Final = 16
_LONGEST: Final = 4_096


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record stands in the order of a query; those of the same value follow by key id.

    Attributes:
        value: What the records are sorted by, as stored.
    """

    value: int | str
    key_id: str


def position_of(record: KeyRecord, sort: SortBy) -> Position:
    """Return the record's place in the order of pages."""
    return Position(sort_value(record, sort), record.key_id)


def limit_of(query: KeyQuery) -> int:
    """Return the page size.

    Raises:
        InvalidRequest: Not an integer from 1 to 100.
    """
    if query.limit not in range(1, MAX_LIMIT + 1):
        raise InvalidRequest(f"limit must be an integer from 1 to {MAX_LIMIT}")
    return int(query.limit)


class Cursors:
    """Writes and reads the cursors of one store.

    Args:
        key: What they are signed with (HMAC-SHA-256, 128 bits of it). Whoever continues a list must have the same.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def start_of(self, query: KeyQuery) -> Position | None:
        """Return the position after which the page starts; None for the first page.

        Raises:
            InvalidRequest: The cursor was not made by `page_of` for this query.
        """
        if query.cursor is None:
            return None
        signed = _decoded(query.cursor)
        mac, payload = signed[:_MAC], signed[_MAC:]
        if not payload or not hmac.compare_digest(mac, self._mac(query, payload)):
            raise InvalidRequest("cursor is not of this search; start again without it")
        value, key_id = json.loads(payload)
        return Position(value, key_id)

    def page_of(self, query: KeyQuery, records: Sequence[KeyRecord]) -> KeyPage:
        """Return the page of the records found; one more found than the limit means that a page follows."""
        limit = limit_of(query)
        shown = tuple(records[:limit])
        if len(records) <= limit:
            return KeyPage(shown, None)
        last = position_of(shown[-1], query.sort)
        payload = json.dumps([last.value, last.key_id], separators=(",", ":"), ensure_ascii=False).encode()
        signed = self._mac(query, payload) + payload
        return KeyPage(shown, base64.urlsafe_b64encode(signed).decode("ascii").rstrip("="))

    def _mac(self, query: KeyQuery, payload: bytes) -> bytes:
        asked = json.dumps(
            {each.name: getattr(query, each.name) for each in fields(query) if each.name not in ("limit", "cursor")},
            default=sorted,
            sort_keys=True,
        )
        # The first is of fixed length, so no other pair of the two gives the same message.
        message = hashlib.sha256(asked.encode()).digest() + payload
        return hmac.digest(self._key, b"asgi-apikey cursor 1\0" + message, "sha256")[:_MAC]


def _decoded(cursor: object) -> bytes:
    """Return the bytes of a cursor in our own spelling; empty for anything else: one cursor per position."""
    if not isinstance(cursor, str) or len(cursor) > _LONGEST:
        return b""
    try:
        signed = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (UnicodeError, binascii.Error, ValueError):
        return b""
    return signed if base64.urlsafe_b64encode(signed).decode("ascii").rstrip("=") == cursor else b""
