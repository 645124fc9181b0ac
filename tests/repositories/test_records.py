"""Records and rows: what is stored is what is read."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidRequest, StoreUnavailable
from asgi_apikey.frozen import FrozenObject
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories.records import (
    COLUMNS,
    from_micros,
    from_row,
    rounded,
    storable,
    storable_version,
    to_micros,
    to_row,
)
from tests.contracts.repository import FULL, a_record

INT64 = st.integers(-(2**63) + 10**6, 2**63 - 10**6)
TEXT = st.text().filter(storable)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_every_field_of_a_record_is_a_column() -> None:
    """No field is forgotten: the columns are the fields."""
    assert set(COLUMNS) == {field.name for field in dataclasses.fields(KeyRecord)}


@given(INT64)
def test_a_microsecond_is_read_as_the_nearest_instant_and_stays_there(micros: int) -> None:
    """Reading, writing and reading again gives the first reading, over the whole range of 64 bits."""
    assert rounded(from_micros(micros)) == from_micros(micros)


@given(st.integers(-(2**33) * 10**6, 2**33 * 10**6))
def test_microseconds_are_exact_for_centuries(micros: int) -> None:
    """From 1697 to 2242 an instant of whole microseconds is stored as just those."""
    assert to_micros(from_micros(micros)) == micros


@given(st.floats(-1e12, 1e12))
def test_rounding_moves_an_instant_by_half_a_microsecond_at_most(instant: float) -> None:
    """Beside what a float cannot express anyway, 0.5 µs is all that is lost, and rounding twice loses no more."""
    assert abs(rounded(instant) - instant) <= 0.5e-6 + math.ulp(instant)
    assert rounded(rounded(instant)) == rounded(instant)


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=2))
def test_rounding_keeps_the_order(instants: list[float]) -> None:
    """What was not later is not later afterwards."""
    first, second = sorted(instants)

    assert to_micros(first) <= to_micros(second)


@pytest.mark.parametrize("instant", [math.nan, math.inf, -math.inf, 1e13, -1e300, 10**400])
def test_instants_beyond_64_bits_are_refused(instant: float) -> None:
    """Infinities, NaN and the far future are no instants."""
    with pytest.raises(InvalidRequest):
        to_micros(instant)


@given(
    text=st.lists(TEXT, min_size=11, max_size=11),
    names=st.lists(TEXT.filter(bool), min_size=3, max_size=3),
    scopes=st.frozensets(TEXT.filter(lambda name: bool(name) and " " not in name)),
    instants=st.lists(st.none() | INT64.map(from_micros), min_size=5, max_size=5),
    counts=st.lists(st.integers(1, 2**63 - 1), min_size=2, max_size=2),
    metadata=st.dictionaries(st.text(), JSON),
)
def test_any_storable_record_comes_back(
    text: list[str],
    names: list[str],
    scopes: frozenset[str],
    instants: list[float | None],
    counts: list[int],
    metadata: dict[str, object],
) -> None:
    """Whatever can be stored is read back the same, through the types of a real database."""
    record = KeyRecord(
        key_id=names[0],
        digest=names[1],
        version=counts[0],
        owner=text[0],
        tenant=text[1],
        environment=text[2],
        name=text[3],
        description=text[4],
        hint=text[5],
        scopes=scopes,
        created_at=instants[0] or 0.0,
        created_by=text[6],
        not_before=instants[1],
        expires_at=instants[2],
        disabled_at=instants[3],
        revoked_at=instants[4],
        revoked_by=text[7],
        revoke_reason=text[8],
        replaces=names[2],
        last_used_at=None,
        uses=counts[1],
        metadata=metadata,  # type: ignore[arg-type]
    )
    marks = ", ".join("?" for _ in COLUMNS)
    connection = sqlite3.connect(":memory:")
    row = connection.execute(f"SELECT {marks}", to_row(record)).fetchone()
    connection.close()
    read = from_row(row)

    assert dataclasses.replace(read, metadata={}) == dataclasses.replace(record, metadata={})
    assert to_row(read) == to_row(record)


@given(st.dictionaries(st.text(), JSON))
def test_equal_metadata_is_stored_as_equal_text(metadata: dict[str, object]) -> None:
    """The order in which metadata was written down does not show in the row."""
    reverse = dict(reversed(metadata.items()))

    assert to_row(a_record(metadata=metadata)) == to_row(a_record(metadata=reverse))


def test_metadata_is_read_only_all_the_way_down() -> None:
    """Objects in lists and lists in objects, however they are nested."""
    record = a_record(metadata={"a": {"b": [{"c": [1, {"d": {}}]}]}, "e": {"f": {}}})
    metadata = from_row(to_row(record)).metadata

    assert metadata == {"a": {"b": ({"c": (1, {"d": {}})},)}, "e": {"f": {}}}
    assert {type(each) for each in _parts(metadata)} == {FrozenObject, tuple, int}


def _parts(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, Mapping | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(each)


def test_scopes_are_stored_in_one_order() -> None:
    """A set has no order, its row has: names sorted by code point."""
    row = dict(zip(COLUMNS, to_row(a_record(scopes=frozenset({"b", "a", "B"}))), strict=True))

    assert row["scopes"] == "B a b"


@pytest.mark.parametrize(
    "damage", [{"metadata": "x"}, {"metadata": "[]"}, {"scopes": None}, {"created_at": None}, {"expires_at": "soon"}]
)
def test_a_damaged_row_is_unavailable(damage: dict[str, object]) -> None:
    """A row that does not hold a record is neither a record nor nothing."""
    row = dict(zip(COLUMNS, to_row(FULL), strict=True)) | damage

    with pytest.raises(StoreUnavailable):
        from_row(tuple(row.values()))  # type: ignore[arg-type]


def test_a_row_of_another_length_is_unavailable() -> None:
    """Columns too few or too many are noticed."""
    for row in (to_row(FULL)[:-1], (*to_row(FULL), None)):
        with pytest.raises(StoreUnavailable):
            from_row(row)


@given(st.text())
def test_storable_text_is_what_utf8_can_say_without_nul(text: str) -> None:
    """The quick check of ASCII agrees with the definition."""
    encodable = not any(0xD800 <= ord(character) < 0xE000 for character in text)

    assert storable(text) is (encodable and "\0" not in text)


@given(st.integers())
def test_a_version_that_no_column_holds_is_one_that_no_record_has(version: int) -> None:
    """Versions outside 1 to 2**63 - 1 become 0."""
    assert storable_version(version) == (version if 1 <= version < 2**63 else 0)
