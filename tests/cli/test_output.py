"""What is shown of keys."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.cli import output, values
from asgi_apikey.models import KeyRecord, Principal, Receipt

RECORD = KeyRecord(key_id="9fK2mQ7xT0aB", digest="CANARY", owner="acme", created_at=1_800_000_000.0)
EXTENDED = dataclasses.replace(RECORD, scopes=frozenset("edcba"), name="ci\x1b[2J\n\u202eevil", metadata={"a": [1, {}]})


def test_a_record_is_shown_without_its_digest_and_with_everything_else() -> None:
    """A column that is added later has to be decided on here."""
    shown = output.record_fields(RECORD, 0.0)

    assert set(shown) == {field.name for field in dataclasses.fields(KeyRecord)} - {"digest"} | {"status"}
    assert "CANARY" not in json.dumps(shown, default=dict)


def test_a_principal_and_a_receipt_are_shown_whole() -> None:
    """By the names of their attributes; the receipt's record stands beside it."""
    principal = Principal(key_id="9fK2mQ7xT0aB", owner="acme")
    receipt = Receipt(record=RECORD, confirmed=True, workers=1, acknowledged=1, elapsed=0.0, max_staleness=0.0)

    assert set(output.principal_fields(principal)) == {
        field.name
        for field in dataclasses.fields(Principal)
        if field.name not in ("restrictions", "limits")  # shown with the record
    }
    assert set(output.receipt_fields(receipt)) == {field.name for field in dataclasses.fields(Receipt)} - {"record"}


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_an_instant_is_shown_as_it_can_be_given_again(milliseconds: int) -> None:
    """RFC 3339 out, RFC 3339 in, the same millisecond."""
    shown = output.rfc3339(milliseconds / 1000)

    assert shown is not None
    assert round(values.instant(shown) * 1000) == milliseconds


def test_an_instant_is_shown_in_utc_to_the_millisecond() -> None:
    """Always of the same width, so that texts sort like instants."""
    assert output.rfc3339(1_800_000_000.5) == "2027-01-15T08:00:00.500Z"
    assert output.rfc3339(None) is None


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Every pipe and terminal can take it, and it reads back as it was."""
    output.write_json({"record": output.record_fields(EXTENDED, 0.0)})

    written = capsys.readouterr().out
    assert written.isascii()
    assert written.count("\n") == 1
    assert json.loads(written)["record"]["metadata"] == {"a": [1, {}]}


def test_a_name_cannot_rewrite_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, line ends and invisible characters are shown, not performed."""
    output.write_records([EXTENDED], 0.0)
    output.write_fields(output.record_fields(EXTENDED, 0.0))
    output.write_fields({"question": output.described(EXTENDED)})

    written = capsys.readouterr().out
    assert all(char.isprintable() for line in written.split("\n") for char in line)
    assert written.count(r"ci\x1b[2J\n\u202eevil") == 3


def test_a_table_shows_a_few_scopes_and_how_many_more(capsys: pytest.CaptureFixture[str]) -> None:
    """A key with a hundred scopes stays one readable line; `show` has them all."""
    output.write_records([RECORD, EXTENDED], 0.0)

    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["KEY", "ID"]
    assert "active" in first
    assert "a b c +2" in second
    assert heading.index("OWNER") == first.index("acme") == second.index("acme")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ((), "-"),
        ({}, "-"),
        (0, "0"),
        (True, "True"),
        (["a", "b"], "a b"),
        ({"k": "é"}, '{"k": "é"}'),
    ],
)
def test_nothing_is_shown_as_a_dash(value: object, shown: str) -> None:
    """An empty cell would leave open whether something was cut off."""
    assert output.cell(value) == shown  # type: ignore[arg-type]
