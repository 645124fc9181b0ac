"""A record as one line of JSON, for moving keys between stores: digests, never keys.

    {"asgi_apikey": "keys", "format": 1}
    {"key_id": "9fK2mQ7xT0aB", "digest": "hmac-sha256$…", "version": 3, "owner": "acme", …}
    {"end": 1}

Every column has its stored value, see `records`: instants are microseconds since 1970, scopes and other sets one text,
metadata JSON within JSON. Columns without a value are left out. The last line tells how many keys there are, so that a
file that was cut off is known as such.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, cast

from asgi_apikey.errors import InvalidRequest, StoreUnavailable
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories.records import COLUMNS, Value, from_row, to_row

FORMAT: Final = 1
_KNOWN: Final = frozenset(COLUMNS)
_TYPES: Final = frozenset({str, int, type(None)})
_NEEDED: Final = ("key_id", "digest", "owner", "created_at")
_DEFAULTS: Final[Mapping[str, Value]] = dict(
    zip(COLUMNS, to_row(KeyRecord(key_id="_", digest="_", owner="_", created_at=0.0)), strict=True)
)


def header() -> str:
    """Return the first line."""
    return json.dumps({"asgi_apikey": "keys", "format": FORMAT})


def footer(keys: int) -> str:
    """Return the last line of a file with so many keys."""
    return json.dumps({"end": keys})


def line_of(record: KeyRecord) -> str:
    """Return the line of a record."""
    columns = zip(COLUMNS, to_row(record), strict=True)
    return json.dumps({name: value for name, value in columns if value is not None})


def read(line: str) -> KeyRecord | int | None:
    """Return what a line holds: a record; for the last line, how many there should be; None for the first one.

    Raises:
        InvalidRequest: None of these. The message repeats no value.
    """
    try:
        columns = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("not a line of JSON") from error
    if not isinstance(columns, dict):
        raise InvalidRequest("not a JSON object")
    if "asgi_apikey" in columns:
        if columns != {"asgi_apikey": "keys", "format": FORMAT}:
            raise InvalidRequest(f"not an export of format {FORMAT}; was it made by a newer version?")
        return None
    if "end" in columns:
        if len(columns) != 1 or type(columns["end"]) is not int:
            raise InvalidRequest("the last line tells a number of keys and nothing else")
        return int(columns["end"])
    return _record(columns)


def _record(columns: Mapping[str, object]) -> KeyRecord:
    unknown = sorted(columns.keys() - _KNOWN)
    if unknown:
        raise InvalidRequest(f"unknown column {unknown[0]!r}; was it exported by a newer version?")
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise InvalidRequest(f"no {missing[0]}")
    for name, value in columns.items():
        if type(value) not in _TYPES:
            raise InvalidRequest(f"{name}: neither text nor an integer")
    # Without a lineage, a key begins its own.
    given = cast("dict[str, Value]", {**_DEFAULTS, "lineage": columns["key_id"], **columns})
    try:
        record = from_row([given[name] for name in COLUMNS])
    except StoreUnavailable as error:
        raise InvalidRequest("a value that no column can have") from error
    # Only what is written the same way again has been understood.
    row = dict(zip(COLUMNS, to_row(record), strict=True))
    if not columns.items() <= row.items():
        name = next(name for name, value in columns.items() if row[name] != value)
        raise InvalidRequest(f"{name}: not as it is stored")
    return record
