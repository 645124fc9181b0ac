"""What all bridges share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.contrib.admitted import Granted, answer_to, granted_to, merged
from asgi_apikey.errors import MissingScope
from asgi_apikey.models import Principal
from asgi_apikey.policy import missing_scopes
from tests.asgi.driver import ALICE, websocket

SCOPES = st.sampled_from(
    [
        "*",
        "orders",
        "orders:*",
        "orders:read",
        "orders:read:own",
        "orders.*",
        "orders.read",
        "apikeys:*",
        "apikeys:read",
    ]
)


@given(st.frozensets(SCOPES), SCOPES)
def test_granted_scopes_answer_as_the_policy_does(granted: frozenset[str], wanted: str) -> None:
    """Whoever asks with `in` is told what the middleware would have decided."""
    assert (wanted in Granted(granted)) == (not missing_scopes(granted, {wanted}))


@pytest.mark.parametrize("odd", [None, 7, b"orders:read", ("orders:read",)])
def test_what_is_no_scope_is_not_granted(odd: object) -> None:
    """Not even to a key that may do everything."""
    assert odd not in Granted({"*"})


def test_nobody_is_granted_anything() -> None:
    """Not even what the framework adds for everybody who is somebody."""
    everybody = Principal(key_id="k", owner="o", scopes=frozenset())

    assert granted_to(None, "authenticated") == frozenset()
    assert granted_to(everybody, "authenticated") == {"authenticated"}
    assert granted_to(ALICE) == ALICE.scopes


def test_headers_of_one_name_become_one_line() -> None:
    """For frameworks that keep headers by name; several challenges may stand on one line."""
    assert merged([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {"a": "1, 3", "b": "2"}


@pytest.mark.anyio
async def test_an_answer_exists_even_where_a_handshake_can_only_be_closed() -> None:
    """The framework closes it; what it would have said is the standard answer."""
    answer = await answer_to(MissingScope(frozenset({"a"})), websocket(denial=False))

    assert answer.status == 403
