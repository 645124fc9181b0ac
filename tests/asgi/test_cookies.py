"""A key in a cookie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.cookies import MAX_PAIRS, cookie_values, without_cookie
from asgi_apikey.errors import AmbiguousCredential


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b"k=1", b""),
        (b"k=1; a=2", b"a=2"),
        (b"a=2; k=1", b"a=2"),
        (b"a=2; k=1; b=3", b"a=2; b=3"),
        (b"k=1;k=2; a=3", b"a=3"),
        (b"a=kk; kk=2", b"a=kk; kk=2"),
        (b"a=b", b"a=b"),
    ],
)
def test_the_other_cookies_stay(line, left) -> None:
    """Only pairs of the name go."""
    assert without_cookie(line, b"k") == left


@given(st.lists(st.sampled_from([b"k", b"=", b";", b" ", b"\t", b"a", b"\xff"]), max_size=12).map(b"".join))
def test_nothing_of_the_name_is_left(line) -> None:
    """Whatever was found is gone afterwards."""
    assert cookie_values(without_cookie(line, b"k"), b"k") == []


def test_too_many_pairs_are_refused() -> None:
    """A line that holds the name is searched to a bound."""
    with pytest.raises(AmbiguousCredential):
        cookie_values(b"a;" * MAX_PAIRS + b"k=1", b"k")
