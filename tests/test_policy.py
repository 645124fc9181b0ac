"""Admission: which scopes are missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.policy import missing_scopes

SCOPES = st.frozensets(st.text(min_size=1, max_size=3))


@given(SCOPES, SCOPES)
def test_what_is_missing_is_what_was_asked_for_and_not_granted(
    granted: frozenset[str], required: frozenset[str]
) -> None:
    """Nothing else is reported, and granting it admits."""
    missing = missing_scopes(granted, required)

    assert missing <= required
    assert not missing & granted
    assert missing_scopes(granted | missing, required) == frozenset()


def test_requiring_nothing_admits_everybody() -> None:
    """Authentication is another question."""
    assert missing_scopes(frozenset(), ()) == frozenset()


def test_scopes_are_compared_exactly() -> None:
    """No prefixes, no wildcards, no case folding: a scope is a name."""
    granted = frozenset({"orders", "orders:*", "ORDERS:READ", "*"})

    assert missing_scopes(granted, ["orders:read"]) == {"orders:read"}


def test_one_string_where_names_belong_admits_nobody() -> None:
    """`"orders"` is read as its letters; that is a mistake, and it fails closed."""
    assert missing_scopes(frozenset({"orders"}), "orders") == frozenset("orders")
