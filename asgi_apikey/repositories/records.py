"""How a record is stored: one row of portable values, the same for every repository.

* An `Instant` is an integer of microseconds, UTC: the same on every database, where timestamp types differ in
  range, zone and resolution. `rounded` says what a given instant becomes; it never moves by more than 0.5 µs.
* Scopes and tags are their sorted names, separated by single spaces; networks, origins, routes and limits are their
  rules in the one spelling that `policy`, `origins` and `limits` give them, the first two separated by spaces, the
  others by line ends.
* Metadata is canonical JSON: sorted keys, no white space, ASCII.

Every repository stores records through `to_row` and gives back what `from_row` makes of it, so a caller sees the
same record whichever store is behind. What cannot be stored by all of them is refused here, by all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final, TypeAlias, cast

from asgi_apikey.errors import InvalidRequest, StoreUnavailable
from asgi_apikey.frozen import FrozenObject
from asgi_apikey.limits import limit_text
from asgi_apikey.models import NO_METADATA, Instant, KeyRecord, Metadata, RecordPatch, Revocation, frozen_json
from asgi_apikey.origins import origin_text
from asgi_apikey.policy import network_text, route_text

Value: TypeAlias = str | int | None
"""What a column can hold: the types that all our databases share without loss."""

Row: TypeAlias = Sequence[Value]
"""Values in the order of the statement's columns."""

MICROSECONDS: Final = 1_000_000
_INT64_END: Final = 2**63
_LAST_SECOND: Final = _INT64_END // MICROSECONDS
_EMPTY_JSON: Final = "{}"
# Made once: `json.dumps` and `json.loads` with options make one for each call.
_CANONICAL_JSON: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_FROZEN_OBJECTS: Final = json.JSONDecoder(object_hook=FrozenObject).decode
_NONE: Final[frozenset[str]] = frozenset()


def storable(text: str) -> bool:
    """Whether every database can hold `text`: PostgreSQL refuses NUL, and lone surrogates have no UTF-8."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def storable_version(version: int) -> int:
    """Return `version`, or 0, which no record is ever at, when no 64-bit column could hold it."""
    return version if 0 < version < _INT64_END else 0


def to_micros(instant: Instant) -> int:
    """Return the microsecond nearest to `instant`.

    Whole seconds and their fraction are converted apart: one product of the two loses microseconds after 2255,
    because 2**53 of them have passed then.

    Raises:
        InvalidRequest: Not finite, or outside 64 bits.
    """
    # The bound comes first, as it also refuses infinities, NaN and integers too long to become a float.
    if not -_LAST_SECOND < instant < _LAST_SECOND:
        raise InvalidRequest("must be a finite instant that fits into 64 bits of microseconds")
    whole, part = divmod(instant, 1)
    return int(whole) * MICROSECONDS + round(part * MICROSECONDS)


def from_micros(micros: int) -> Instant:
    """Return the instant nearest to `micros`; `from_micros(to_micros(x))` changes nothing when applied again."""
    return micros / MICROSECONDS


def rounded(instant: Instant) -> Instant:
    """Return what `instant` is after it was stored and read.

    Raises:
        InvalidRequest: It cannot be stored.
    """
    return from_micros(to_micros(instant))


def _text(value: object) -> str:
    if not isinstance(value, str) or not storable(value):
        raise InvalidRequest("must be text without NUL and lone surrogates")
    return value


def _name(value: object) -> str:
    if not value:
        raise InvalidRequest("must not be empty")
    return _text(value)


def _optional_name(value: object) -> str | None:
    return None if value is None else _name(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < _INT64_END:
        raise InvalidRequest("must be an integer from 0 to 2**63 - 1")
    return int(value)


def _version(value: object) -> int:
    if value == 0:
        raise InvalidRequest("must be at least 1")
    return _count(value)


def _instant(value: object) -> int:
    if not isinstance(value, int | float):
        raise InvalidRequest("must be Unix seconds")
    return to_micros(value)


def _optional_instant(value: object) -> int | None:
    return None if value is None else _instant(value)


def _scopes(value: object) -> str:
    if value == _NONE:
        return ""
    # The type first that it usually is: to ask an abstract one takes as long as everything else here.
    if not isinstance(value, frozenset | Set):
        raise InvalidRequest("must be a set of names")
    names = sorted(_name(each) for each in value)
    if any(" " in name for name in names):
        # Read back, "a b" would be two scopes: a grant that nobody made.
        raise InvalidRequest("a name must not contain a space")
    return " ".join(names)


def _networks(value: object) -> str:
    return " ".join(_rules(value, network_text))


def _routes(value: object) -> str:
    return "\n".join(_rules(value, route_text))


def _limits(value: object) -> str:
    return "\n".join(_rules(value, limit_text))


def _origins(value: object) -> str:
    return " ".join(_rules(value, origin_text))


def _rules(value: object, spelled: Callable[[object], str]) -> list[str]:
    if value == _NONE:
        return []
    if not isinstance(value, frozenset | Set):
        raise InvalidRequest("must be a set of rules")
    return sorted({_text(spelled(each)) for each in value})


def _metadata(value: object) -> str:
    if not isinstance(value, dict | Mapping):
        raise InvalidRequest("must be a JSON object")
    if not value:
        return _EMPTY_JSON
    try:
        return _CANONICAL_JSON(_plain_json(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("must be JSON: text keys, finite numbers, no cycles, not nested too deeply") from error


def _plain_json(value: object) -> object:
    """Return `value` with read-only mappings and sequences made into what `json` can write."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | Mapping):
        if not all(isinstance(key, str) for key in value):
            # `json` would turn the key 1 into "1" silently.
            raise TypeError("a key is not text")
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain_json(item) for item in value]
    return value


_STORED: Final[Mapping[str, Callable[[object], Value]]] = {
    "key_id": _name,
    "digest": _name,
    "version": _version,
    "owner": _text,
    "tenant": _text,
    "environment": _text,
    "name": _text,
    "description": _text,
    "hint": _text,
    "scopes": _scopes,
    "created_at": _instant,
    "created_by": _text,
    "not_before": _optional_instant,
    "expires_at": _optional_instant,
    "disabled_at": _optional_instant,
    "revoked_at": _optional_instant,
    "revoked_by": _text,
    "revoke_reason": _text,
    "replaces": _optional_name,
    "last_used_at": _optional_instant,
    "uses": _count,
    "metadata": _metadata,
    "lineage": _name,
    "tags": _scopes,
    "networks": _networks,
    "routes": _routes,
    "limits": _limits,
    "origins": _origins,
}

COLUMNS: Final[tuple[str, ...]] = tuple(_STORED)
"""Every column of a stored record, in the order of `to_row` and `from_row`."""


REVOKED: Final = ("revoked_at", "revoked_by", "revoke_reason")
"""The columns that a revocation sets."""


def stored(name: str, value: object) -> Value:
    """Return how the column `name` holds `value`.

    Raises:
        InvalidRequest: It cannot; the message names the column, never the value.
    """
    try:
        return _STORED[name](value)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from error.__cause__


def to_row(record: KeyRecord) -> tuple[Value, ...]:
    """Return the record's values in the order of `COLUMNS`.

    Raises:
        InvalidRequest: A value cannot be stored; the message names its column, never the value.
    """
    row: list[Value] = []
    name = ""
    try:
        for name, encoded in _STORED.items():
            row.append(encoded(getattr(record, name)))
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from error.__cause__
    return tuple(row)


def patch_values(patch: RecordPatch) -> dict[str, Value]:
    """Return the columns that the patch sets, with their stored values.

    Raises:
        InvalidRequest: A value cannot be stored, or the patch would take back a revocation.
    """
    values = {name: stored(name, value) for name, value in patch.columns().items()}
    if "revoked_at" in values and values["revoked_at"] is None:
        raise InvalidRequest("revoked_at: a revocation is for good")
    return values


def revocation_values(revocation: Revocation) -> tuple[Value, ...]:
    """Return the stored values of the columns `REVOKED`.

    Raises:
        InvalidRequest: A value cannot be stored.
    """
    values = (revocation.at, revocation.by, revocation.reason)
    return tuple(stored(name, value) for name, value in zip(REVOKED, values, strict=True))


def from_row(row: Row) -> KeyRecord:
    """Return the record that a row with `COLUMNS` holds.

    Raises:
        StoreUnavailable: The row is not one that `to_row` wrote: it was changed by other means, or damaged.
    """
    try:
        return _record(row)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise StoreUnavailable("a stored record cannot be read; was it changed by other means?") from error


# The slots of a record. Its own `__init__` goes through `object.__setattr__`, since a record is frozen: 3.5 µs for what
# takes 1.3 µs here. What it adds, a lineage for a record without one, no stored record needs.
_FILL: Final = tuple(getattr(KeyRecord, name).__set__ for name in COLUMNS)


def _record(row: Row) -> KeyRecord:
    # Spelled out, column by column: this runs on every cold request, and a loop over codecs costs three times as much.
    (
        key_id,
        digest,
        version,
        owner,
        tenant,
        environment,
        name,
        description,
        hint,
        scopes,
        created_at,
        created_by,
        not_before,
        expires_at,
        disabled_at,
        revoked_at,
        revoked_by,
        revoke_reason,
        replaces,
        last_used_at,
        uses,
        metadata,
        lineage,
        tags,
        networks,
        routes,
        limits,
        origins,
    ) = cast(
        "tuple[str, str, int, str, str, str, str, str, str, str, int, str, int | None, int | None, int | None,"
        " int | None, str, str, str | None, int | None, int, str, str, str, str, str, str, str]",
        row,
    )
    values = (
        key_id,
        digest,
        version,
        owner,
        tenant,
        environment,
        name,
        description,
        hint,
        _NONE if scopes == "" else frozenset(scopes.split(" ")),
        created_at / MICROSECONDS,
        created_by,
        None if not_before is None else not_before / MICROSECONDS,
        None if expires_at is None else expires_at / MICROSECONDS,
        None if disabled_at is None else disabled_at / MICROSECONDS,
        None if revoked_at is None else revoked_at / MICROSECONDS,
        revoked_by,
        revoke_reason,
        replaces,
        None if last_used_at is None else last_used_at / MICROSECONDS,
        uses,
        NO_METADATA if metadata == _EMPTY_JSON else _read_metadata(metadata),
        lineage or key_id,
        _NONE if tags == "" else frozenset(tags.split(" ")),
        _NONE if networks == "" else frozenset(networks.split(" ")),
        _NONE if routes == "" else frozenset(routes.split("\n")),
        _NONE if limits == "" else frozenset(limits.split("\n")),
        _NONE if origins == "" else frozenset(origins.split(" ")),
    )
    record = object.__new__(KeyRecord)
    for fill, value in zip(_FILL, values, strict=True):
        fill(record, value)
    return record


def _read_metadata(text: str) -> Metadata:
    # Without lists, objects are all there is to freeze: done while reading it costs 0.7 µs instead of 1.9.
    value = frozen_json(json.loads(text)) if "[" in text else _FROZEN_OBJECTS(text)
    if not isinstance(value, FrozenObject):
        raise ValueError("metadata is not a JSON object")
    return value
