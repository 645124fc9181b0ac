"""Pages by position: a cursor names the last record seen, so inserts and deletions never shift a page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyPage, KeyQuery, KeyRecord
from asgi_apikey.repositories.records import storable, to_micros

MAX_LIMIT: Final = 100
_INT64_END: Final = 2**63


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record stands in the order "newest first, ties by key id".

    Attributes:
        created_at: Microseconds, as stored.
    """

    created_at: int
    key_id: str

    @property
    def rank(self) -> tuple[int, str]:
        """Smaller comes first."""
        return (-self.created_at, self.key_id)


def position_of(record: KeyRecord) -> Position:
    """Return the record's place in the order of pages."""
    return Position(to_micros(record.created_at), record.key_id)


def limit_of(query: KeyQuery) -> int:
    """Return the page size.

    Raises:
        InvalidRequest: Not an integer from 1 to 100.
    """
    if query.limit not in range(1, MAX_LIMIT + 1):
        raise InvalidRequest(f"limit must be an integer from 1 to {MAX_LIMIT}")
    return int(query.limit)


def start_of(query: KeyQuery) -> Position | None:
    """Return the position after which the page starts; None for the first page.

    Raises:
        InvalidRequest: The cursor was not made by `page_of`.
    """
    if query.cursor is None:
        return None
    position = _decoded(query.cursor)
    # Accepting nothing but our own spelling leaves one cursor per position, and no parser to play with.
    if position is None or _encoded(position) != query.cursor:
        raise InvalidRequest("cursor is not one of ours; start again without it")
    return position


def page_of(records: Sequence[KeyRecord], limit: int) -> KeyPage:
    """Return the first `limit` of the records found; one more found than that means that a page follows."""
    shown = tuple(records[:limit])
    more = len(records) > limit
    return KeyPage(shown, _encoded(position_of(shown[-1])) if more else None)


def _encoded(position: Position) -> str:
    text = f"{position.created_at},{position.key_id}"
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def _decoded(cursor: str) -> Position | None:
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
        created_at, _, key_id = text.partition(",")
        position = Position(int(created_at), key_id)
    except (UnicodeError, binascii.Error, ValueError):
        return None
    inside = -_INT64_END <= position.created_at < _INT64_END
    return position if inside and key_id and storable(key_id) else None
