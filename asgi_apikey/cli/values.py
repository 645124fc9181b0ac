"""How durations, instants, key ids and metadata are written on a command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import click

from asgi_apikey.keyformat import ENVIRONMENT_SHAPE, HINT_LENGTH, KEY_ID_LENGTH, PREFIX_SHAPE
from asgi_apikey.keyformat import holds_a_key as holds_a_key
from asgi_apikey.models import DAY, HOUR, MINUTE, Instant, JSONValue, Metadata, Seconds

_DURATION: Final = re.compile(
    r"(?=\d)(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII
)
_UNITS: Final = (7 * DAY, DAY, HOUR, MINUTE, 1.0)

# RFC 3339, section 5.6, date-time. `fromisoformat` alone would also take week dates and instants without an offset.
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)

_BASE62: Final = "[0-9A-Za-z]"
_KEY_ID: Final = re.compile(
    rf"(?:{PREFIX_SHAPE.pattern}_{ENVIRONMENT_SHAPE}_)?({_BASE62}{{{KEY_ID_LENGTH}}})(?:_…{_BASE62}{{{HINT_LENGTH}}})?"
)


def duration(value: str) -> Seconds:
    """Return the seconds in `90d`, `12h`, `30m`, `1d12h`; `0` needs no unit.

    Raises:
        BadParameter: No unit, an unknown one, or not largest first.
    """
    match = _DURATION.fullmatch("0s" if value == "0" else value)
    if match is None:
        raise click.BadParameter("write numbers with their units, largest first: 90d, 12h, 30m, 45s, 2w, 1d12h")
    return sum(int(count) * unit for count, unit in zip(match.groups("0"), _UNITS, strict=True))


def instant(value: str) -> Instant:
    """Return the Unix seconds of an RFC 3339 date-time such as `2027-01-31T00:00:00Z`.

    Raises:
        BadParameter: Another format, no offset, or no such day or time.
    """
    if _INSTANT.fullmatch(value) is None:
        raise click.BadParameter("write it as 2027-01-31T00:00:00Z, or with an offset such as +01:00 (RFC 3339)")
    try:
        return datetime.fromisoformat(value.upper()).timestamp()
    except ValueError as error:
        raise click.BadParameter("there is no such day or time") from error


def key_id(value: str) -> str:
    """Return the bare key id from `9fK2mQ7xT0aB`, `ak_live_9fK2mQ7xT0aB`, or a masked key as logs show it.

    Raises:
        BadParameter: Nothing of the kind. What was given is not repeated: it may be part of a secret.
    """
    match = _KEY_ID.fullmatch(value)
    if match is None:
        raise click.BadParameter(
            f"not a key id: {KEY_ID_LENGTH} letters and digits, such as 9fK2mQ7xT0aB, or ak_live_9fK2mQ7xT0aB"
        )
    return match[1]


def metadata(value: str) -> Metadata:
    """Return the one entry of `name=text`, or the entries of a JSON object.

    Raises:
        BadParameter: Neither, or a JSON object with a name in it twice.
    """
    if value.startswith("{"):
        return _json_object(value)
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise click.BadParameter('write name=text, or a JSON object such as {"seats": 5}')
    return {name: text}


def merged(pieces: Iterable[Metadata]) -> Metadata:
    """Return all entries as one object.

    Raises:
        BadParameter: A name is given twice; which one was meant cannot be told.
    """
    try:
        return _distinct([entry for piece in pieces for entry in piece.items()])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--metadata") from error


def _json_object(value: str) -> Metadata:
    try:
        return dict(json.loads(value, object_pairs_hook=_distinct))
    except RecursionError as error:
        raise click.BadParameter("nested too deeply") from error
    except ValueError as error:
        raise click.BadParameter(f"not a JSON object: {error}") from error


def _distinct(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands in it twice")
    return result
