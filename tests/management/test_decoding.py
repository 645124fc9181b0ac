"""From bytes to what a verb takes."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.management.decoding import decoded_body, decoded_query, parameters_of
from asgi_apikey.management.operations import OPERATIONS
from asgi_apikey.management.schemas import AuditQuery, BulkEnding, Filters, KeyPatch, NewKey, Nothing, Search, Waiting

BODIES = sorted({each.body for each in OPERATIONS if each.body}, key=lambda each: each.__name__)
QUERIES = sorted({each.query for each in OPERATIONS}, key=lambda each: each.__name__)


@pytest.mark.parametrize("kind", [*BODIES, *QUERIES, Filters], ids=lambda kind: kind.__name__)
def test_every_schema_of_input_is_closed(kind: type[msgspec.Struct]) -> None:
    """A field that is not in it is a mistake, and never ignored."""
    assert kind.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize(
    ("body", "kind", "path", "detail"),
    [
        (b'{"owner":"o"}', NewKey, "name", "required"),
        (b"", NewKey, "name", "required"),
        (b'{"where":{"colour":1}}', Search, "where.colour", "there is no such field"),
        (b'{"where":{"status":"hunter2"}}', Search, "where.status", "none of the possible values"),
        (b'{"where":{"tags":["a",1]}}', Search, "where.tags[1]", "Expected str, got int"),
        (b'{"reason":"x"}', BulkEnding, "where", "required"),
        (b'{"name":"  "}', KeyPatch, "name", "must not be blank"),
        (b'{"hunter2 hunter2":1}', KeyPatch, "?", "there is no such field"),
        (b'{"x`\\n":1}', KeyPatch, "?", "there is no such field"),
        (b'"hunter2"', KeyPatch, "", "Expected object, got str"),
        (b"hunter2", KeyPatch, "", "the body is not JSON in UTF-8, or nested too deeply"),
    ],
)
def test_a_refusal_says_where_and_repeats_nothing(
    body: bytes, kind: type[msgspec.Struct], path: str, detail: str
) -> None:
    """But the name of a field that looks like one."""
    with pytest.raises(InvalidRequest) as caught:
        decoded_body(body, kind)

    assert (caught.value.path, str(caught.value)) == (path, detail)
    assert caught.value.__cause__ is None


def test_without_a_body_all_is_left_out() -> None:
    """Where nothing has to be there."""
    assert decoded_body(b"", KeyPatch) == KeyPatch()
    assert decoded_body(b"", Nothing) == Nothing()


def test_parameters_are_read_as_what_they_are() -> None:
    """Those of a struct in the struct stand beside the others; a collection is repeated."""
    search = decoded_query(
        b"tags=a&tags=b&status=active&revoked=0&idle_for=1.5&limit=7&ascending=true&name=a+b%26c"
        b"&created_after=2026-01-01T00:00:00%2B02:00&sort=name&owner=",
        Search,
    )

    assert (search.limit, search.ascending, search.sort) == (7, True, "name")
    assert (search.where.tags, search.where.status, search.where.revoked) == (["a", "b"], "active", False)
    assert (search.where.idle_for, search.where.name, search.where.owner) == (1.5, "a b&c", "")
    assert search.where.created_after is not None
    assert search.where.created_after.isoformat() == "2026-01-01T00:00:00+02:00"


@pytest.mark.parametrize(
    ("query", "wanted"), [(b"", True), (b"wait=1", True), (b"wait=0", False), (b"wait=false", False)]
)
def test_flags_have_two_spellings(query: bytes, wanted: bool) -> None:
    """Of each value."""
    assert decoded_query(query, Waiting).wait is wanted


@pytest.mark.parametrize(
    "query", [b"wait=no", b"wait=", b"wait=2", b"wait", b"wait=0&wait=0", b"wait=TRUE", b"wait=null"]
)
def test_other_spellings_are_refused(query: bytes) -> None:
    """With the parameter's name."""
    with pytest.raises(InvalidRequest) as caught:
        decoded_query(query, Waiting)

    assert caught.value.path == "wait"


def test_a_number_that_does_not_fit_is_refused() -> None:
    """Stores count in 64 bits."""
    for number in ("9223372036854775808", "99999999999999999999", "-1", "1e3", "0x10", "1_0", " 1", "+1"):
        with pytest.raises(InvalidRequest):
            decoded_query(f"after={number}".encode(), AuditQuery)
    assert decoded_query(b"after=9223372036854775807", AuditQuery).after == 2**63 - 1


@given(st.binary(max_size=80), st.sampled_from([*BODIES, *QUERIES]))
def test_whatever_comes_is_read_or_refused(raw: bytes, kind: type[msgspec.Struct]) -> None:
    """Nothing else comes of it."""
    for decoded in (decoded_body, decoded_query):
        with suppress(InvalidRequest):
            assert isinstance(decoded(raw, kind), kind)


def test_every_parameter_is_of_a_kind_that_can_be_written_in_a_query() -> None:
    """Text, numbers, flags, instants, names, and lists of text."""
    kinds = {type(each.kind).__name__ for query in QUERIES for each in parameters_of(query).values()}

    assert kinds <= {"StrType", "IntType", "FloatType", "BoolType", "DateTimeType", "EnumType", "ListType"}
