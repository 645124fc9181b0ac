"""A key in the query string: found strictly, redacted always."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.query import MAX_FIELDS, REDACTED, QueryParameter
from asgi_apikey.errors import AmbiguousCredential

PARAMETER = QueryParameter("api_key")

pieces = st.sampled_from([b"api_key", b"api%5fkey", b"%61pi_key", b"=", b"&", b"%", b";", b"+", b"a", b"REDACTED"])
queries = st.lists(pieces | st.binary(max_size=2), max_size=12).map(b"".join)


@given(query=queries)
def test_it_sees_what_the_standard_library_sees(query) -> None:
    """Whatever `parse_qsl` calls an occurrence is one for us, so no framework inside finds another."""
    theirs = [
        v for k, v in parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1") if k == "api_key"
    ]
    ours = PARAMETER.values(query)

    assert len(ours) == len(theirs) or theirs == ["REDACTED"]
    assert all(mine in {b"", other.encode("latin-1")} for mine, other in zip(ours, theirs, strict=False))


@given(query=queries)
def test_redacting_keeps_all_other_fields_and_is_stable(query) -> None:
    """Every occurrence reads the placeholder afterwards, and doing it again changes nothing."""
    redacted = PARAMETER.redacted(query)

    assert set(PARAMETER.values(redacted)) <= {REDACTED}
    assert PARAMETER.redacted(redacted) == redacted
    assert PARAMETER.removed(redacted) == PARAMETER.removed(query)
    assert PARAMETER.values(PARAMETER.removed(query)) == []


@pytest.mark.parametrize(
    ("query", "redacted", "removed"),
    [
        (b"", b"", b""),
        (b"a=1&b=2", b"a=1&b=2", b"a=1&b=2"),
        (b"api_key=s3cret", b"api_key=REDACTED", b""),
        (b"a=1&api_key=s3cret&b=2", b"a=1&api_key=REDACTED&b=2", b"a=1&b=2"),
        (b"api%5Fkey=s3cret&&", b"api_key=REDACTED&&", b"&"),
        (b"api_key=s3cret&api_key=s4cret", b"api_key=REDACTED&api_key=REDACTED", b""),
        (b"api_key", b"api_key=REDACTED", b""),
        (b"a=%zz&api_key=s3cret%", b"a=%zz&api_key=REDACTED", b"a=%zz"),
    ],
)
def test_redacted_and_removed(query, redacted, removed) -> None:
    """Examples."""
    assert PARAMETER.redacted(query) == redacted
    assert PARAMETER.removed(query) == removed


def test_too_many_fields_are_refused_and_redacted_as_a_whole() -> None:
    """Nobody searches them, so nobody can say which of them is a key."""
    query = b"a&" * MAX_FIELDS + b"api_key=s3cret"
    with pytest.raises(AmbiguousCredential):
        PARAMETER.values(query)

    assert PARAMETER.redacted(query) == PARAMETER.removed(query) == REDACTED
