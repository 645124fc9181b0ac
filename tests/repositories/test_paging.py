"""Cursors: one spelling for each position, and nothing else is taken."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyQuery
from asgi_apikey.repositories.paging import page_of, position_of, start_of
from asgi_apikey.repositories.records import from_micros, storable
from tests.contracts.repository import a_record

KEY_IDS = st.text(min_size=1).filter(storable)


@given(KEY_IDS, st.integers(-(2**52), 2**52))
def test_a_cursor_says_where_the_page_ended(key_id: str, micros: int) -> None:
    """The next page starts after the last record of this one, whatever its id and age."""
    last = a_record(key_id, created_at=from_micros(micros))
    cursor = page_of([last, a_record("next")], limit=1).next_cursor

    assert start_of(KeyQuery(cursor=cursor)) == position_of(last)


def test_a_last_page_has_no_cursor() -> None:
    """Where nothing follows, no cursor is given, and an empty page is a page."""
    assert page_of([a_record()], limit=1).next_cursor is None
    assert page_of([], limit=1).next_cursor is None


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_whatever_is_taken_is_spelled_our_way(cursor: str) -> None:
    """Any other text raises InvalidRequest and nothing else; what is accepted is what we would write."""
    try:
        position = start_of(KeyQuery(cursor=cursor))
    except InvalidRequest:
        return
    assert position is not None
    text = f"{position.created_at},{position.key_id}".encode()
    assert base64.urlsafe_b64encode(text).decode().rstrip("=") == cursor


OTHER = ["1", "1,", ",a", "+1,a", "01,a", " 1,a", "1_0,a", "1.0,a", "٣,a", "9" * 5000 + ",a", f"{2**63},a", "1,\0"]


@pytest.mark.parametrize("text", OTHER)
def test_other_numbers_and_ids_are_refused(text: str) -> None:
    """Numbers that Python would read and databases would not, and ids that no record has, make no cursor."""
    cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    with pytest.raises(InvalidRequest, match="cursor"):
        start_of(KeyQuery(cursor=cursor))
