"""How durations, instants, key ids and metadata are read from a command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.cli import values
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.models import DAY, HOUR, MINUTE


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90d", 90 * DAY),
        ("12h", 12 * HOUR),
        ("30m", 30 * MINUTE),
        ("45s", 45.0),
        ("2w", 14 * DAY),
        ("1d12h", 36 * HOUR),
        ("1w2d3h4m5s", 9 * DAY + 3 * HOUR + 4 * MINUTE + 5),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_a_number_with_its_unit(written: str, seconds: float) -> None:
    """Weeks to seconds, alone or together, largest first."""
    assert values.duration(written) == seconds


@pytest.mark.parametrize("written", ["", "90", "d", "12h1d", "-1d", "1.5d", "1 d", "1d ", "1M", "1y", "٣d", "1d\n"])
def test_a_duration_that_could_be_misread_is_refused(written: str) -> None:
    """No bare numbers, signs, fractions, blanks, months or foreign digits."""
    with pytest.raises(click.BadParameter, match="largest first"):
        values.duration(written)


@pytest.mark.parametrize(
    "written",
    [
        "2027-01-15T08:00:00Z",
        "2027-01-15t08:00:00z",
        "2027-01-15 08:00:00Z",
        "2027-01-15T09:00:00+01:00",
        "2027-01-15T00:30:00.000-07:30",
    ],
)
def test_an_instant_is_an_rfc_3339_date_time(written: str) -> None:
    """With Z or an offset, in either case, with or without a fraction."""
    assert values.instant(written) == 1_800_000_000.0


@pytest.mark.parametrize(
    "written",
    [
        "2027-01-15",
        "2027-01-15T08:00:00",
        "20270115T080000Z",
        "2027-W02-5T08:00:00Z",
        "2027-02-30T08:00:00Z",
        "2027-01-15T08:00:60Z",
        "2027-01-15T25:00:00Z",
        "2027-01-15T08:00:00+99:99",
        "1800000000",
        "tomorrow",
        "",
    ],
)
def test_an_instant_without_an_offset_or_of_no_calendar_is_refused(written: str) -> None:
    """What would need a guess, or never happens, is not taken."""
    with pytest.raises(click.BadParameter):
        values.instant(written)


@given(
    at=st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    offset=st.integers(min_value=-23 * 60 - 59, max_value=23 * 60 + 59),
)
def test_every_instant_is_read_as_it_was_written(at: datetime, offset: int) -> None:
    """Whatever the offset, the instant is the same."""
    written = at.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))

    assert values.instant(written.isoformat()) == pytest.approx(at.replace(tzinfo=UTC).timestamp(), abs=1e-6)


@pytest.mark.parametrize(
    "written",
    [
        "9fK2mQ7xT0aB",
        "ak_live_9fK2mQ7xT0aB",
        "acme_eu_test_9fK2mQ7xT0aB",
        "ak_live_9fK2mQ7xT0aB_…N3wS",
    ],
)
def test_a_key_id_is_taken_out_of_what_logs_and_tables_show(written: str) -> None:
    """Alone, after prefix and environment, and masked."""
    assert values.key_id(written) == "9fK2mQ7xT0aB"


@pytest.mark.parametrize(
    "written", ["", "EKjzlXrUIG0", "EKjzlXrUIG06c", "live_EKjzlXrUIG06", "a/../b", "EKjzlXrUIG06\n"]
)
def test_what_is_no_key_id_is_refused_without_repeating_it(written: str) -> None:
    """It may be a piece of a secret that somebody pasted."""
    with pytest.raises(click.BadParameter) as refusal:
        values.key_id(written)

    assert not written or written not in refusal.value.message


@given(
    environment=st.from_regex(r"[a-z][a-z0-9]{0,15}", fullmatch=True),
    prefix=st.from_regex(r"[a-z][a-z0-9_]{0,18}[a-z0-9]", fullmatch=True),
    checksum_keys=st.sampled_from([(), ("0123456789abcdef",)]),
    around=st.tuples(st.text(max_size=5), st.text(max_size=5)),
    lost=st.integers(min_value=0, max_value=6),
)
def test_a_whole_key_is_noticed_in_any_argument(
    environment: str, prefix: str, checksum_keys: tuple[str, ...], around: tuple[str, str], lost: int
) -> None:
    """Of any prefix and version, inside other text, even without its last characters."""
    key = KeyFormat(prefix, checksum_keys=checksum_keys).generate(environment).key

    assert values.holds_a_key(around[0] + key[: len(key) - lost] + around[1])


@pytest.mark.parametrize(
    "harmless",
    [
        "9fK2mQ7xT0aB",
        "ak_live_9fK2mQ7xT0aB",
        "ak_live_9fK2mQ7xT0aB_…N3wS",
        "commit=da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "trace_550e8400e29b_41d4a716446655440000",
        "orders:read",
    ],
)
def test_public_parts_and_other_identifiers_are_no_keys(harmless: str) -> None:
    """What may stand in a log may stand in an argument."""
    assert not values.holds_a_key(harmless)


def test_metadata_is_an_entry_or_an_object() -> None:
    """Entries are text; an object keeps its JSON types; both may be mixed."""
    merged = values.merged([values.metadata("team=blue=green"), values.metadata('{"seats": 5, "tags": ["a"]}')])

    assert merged == {"team": "blue=green", "seats": 5, "tags": ["a"]}


@pytest.mark.parametrize("written", ["team", "=blue", "", "{", '{"a": 1, "a": 2}', '{"a": ' * 100_000, "{1: 2}"])
def test_metadata_of_another_form_is_refused(written: str) -> None:
    """No name, no JSON, a name twice, or nested without end."""
    with pytest.raises(click.BadParameter):
        values.metadata(written)


def test_a_metadata_name_given_twice_is_refused() -> None:
    """Which of the two was meant cannot be told."""
    with pytest.raises(click.BadParameter, match="twice"):
        values.merged([{"a": "1"}, {"a": "2"}])
