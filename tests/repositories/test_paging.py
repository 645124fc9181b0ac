"""Cursors: they continue the search they came from, and nothing else."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import KeyQuery, SortBy, Status
from asgi_apikey.repositories.paging import Cursors, position_of
from tests.contracts.repository import NOW, a_record

CURSORS = Cursors(b"one key")
QUERY = KeyQuery(owner="acme", tags=frozenset({"a", "b"}), limit=1)


def a_cursor(query: KeyQuery = QUERY, **facts: object) -> str:
    """The cursor behind a first page of one record."""
    cursor = CURSORS.page_of(query, [a_record(**facts), a_record("next")]).next_cursor
    assert cursor is not None
    return cursor


@given(st.floats(0, 1e10), st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_a_cursor_leads_back_to_its_record(at: float, name: str) -> None:
    """For every order: the position that is read is the one that was written."""
    record = a_record("é-1", created_at=at, name=name, expires_at=at, last_used_at=None)
    for sort in SortBy:
        query = KeyQuery(sort=sort, limit=1)
        cursor = CURSORS.page_of(query, [record, record]).next_cursor

        assert CURSORS.start_of(replace(query, cursor=cursor)) == position_of(record, sort)


def test_the_last_page_has_no_cursor() -> None:
    """A cursor is only there when something follows."""
    assert CURSORS.page_of(QUERY, [a_record()]).next_cursor is None
    assert CURSORS.page_of(QUERY, []).next_cursor is None


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "other"},
        {"owner": None},
        {"tenant": ""},
        {"tags": frozenset({"a"})},
        {"scopes": frozenset({"a", "b"})},
        {"status": Status.ACTIVE},
        {"revoked": False},
        {"idle_for": 1.0},
        {"sort": SortBy.NAME},
        {"ascending": True},
    ],
)
def test_a_cursor_is_of_one_search(change: dict[str, object]) -> None:
    """Taken to another one, whose filters or order it would mix with its own, it is refused."""
    with pytest.raises(InvalidRequest, match="cursor"):
        CURSORS.start_of(replace(QUERY, cursor=a_cursor(), **change))  # type: ignore[arg-type]


def test_the_size_of_pages_may_change_on_the_way() -> None:
    """The limit is no part of the search."""
    assert CURSORS.start_of(replace(QUERY, cursor=a_cursor(), limit=100)) == position_of(a_record(), SortBy.CREATED_AT)


def test_another_store_refuses_it() -> None:
    """Each signs with a key of its own."""
    with pytest.raises(InvalidRequest, match="cursor"):
        Cursors(b"another key").start_of(replace(QUERY, cursor=a_cursor()))


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    """Whichever bit of it is turned."""
    signed = bytearray(base64.urlsafe_b64decode(a_cursor() + "=="))
    at = data.draw(st.integers(0, len(signed) - 1))
    signed[at] ^= 1 << data.draw(st.integers(0, 7))
    cursor = base64.urlsafe_b64encode(bytes(signed)).decode().rstrip("=")

    with pytest.raises(InvalidRequest, match="cursor"):
        CURSORS.start_of(replace(QUERY, cursor=cursor))


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    """With InvalidRequest and nothing else, whatever it is."""
    with pytest.raises(InvalidRequest, match="cursor"):
        CURSORS.start_of(replace(QUERY, cursor=cursor))


def test_a_position_without_its_signature_is_refused() -> None:
    """Nobody reads from a place of his own choice."""
    payload = json.dumps([int(NOW * 1_000_000), "key1"]).encode()
    cursor = base64.urlsafe_b64encode(bytes(16) + payload).decode().rstrip("=")

    with pytest.raises(InvalidRequest, match="cursor"):
        CURSORS.start_of(replace(QUERY, cursor=cursor))


def test_another_spelling_of_a_cursor_is_refused() -> None:
    """There is one cursor per position and search."""
    for cursor in (a_cursor() + "=", a_cursor() + "\n", " " + a_cursor()):
        with pytest.raises(InvalidRequest, match="cursor"):
            CURSORS.start_of(replace(QUERY, cursor=cursor))
