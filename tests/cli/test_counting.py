"""Usage on the command line."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import anyio
import pytest

from asgi_apikey.cli.counting import bars
from asgi_apikey.models import DAY, HOUR, HourlyUsage, Usage
from tests.cli.conftest import NOW, Console

BOTH = True


def count(console: Console, *batch: Usage) -> None:
    """Write usage as a server does."""
    anyio.run(partial(console.repository.record_usage, batch))


def test_a_day_is_twenty_four_bars(console: Console) -> None:
    """The newest hour last, each with its numbers; the longest bar is the busiest hour."""
    _, key_id = console.issue("--name", "ci")
    count(
        console,
        Usage(key_id, 1_000, NOW - 1, (("disabled", 5),)),
        Usage(key_id, 1, NOW - 3 * HOUR),
        Usage(key_id, 9, NOW - 2 * DAY),
    )
    console.clock.now = NOW + 60
    outcome = console("usage", key_id)

    lines = outcome.stdout.splitlines()
    assert outcome.exit_code == 0
    assert len(lines) == 1 + 24 + 1
    assert lines[0] == f"key {key_id} of acme (live, ci)"
    assert lines[1].startswith("2027-01-14 09:00  ")
    assert lines[23] == f"2027-01-15 07:00  {'█' * 40}  1,000  refused: disabled 5"
    assert lines[21] == f"2027-01-15 05:00  {'▏':40}  1"
    assert lines[24] == f"2027-01-15 08:00  {'':40}  0"
    assert lines[25] == "accepted 1,001, refused 5; since it was issued, accepted 1,010"


def test_usage_as_json(console: Console) -> None:
    """Only hours in which something happened."""
    _, key_id = console.issue()
    count(console, Usage(key_id, 2, NOW - 1, (("disabled", 5),)))
    document = console.json("usage", key_id)

    assert document == {
        "key_id": key_id,
        "uses": 2,
        "last_used_at": "2027-01-15T07:59:59.000Z",
        "hours": [{"hour": "2027-01-15T07:00:00.000Z", "accepted": 2, "refused": {"disabled": 5}}],
    }


def test_a_span_can_be_chosen(console: Console) -> None:
    """Both ends as instants; the wrong way round is a usage error."""
    _, key_id = console.issue()
    count(console, *[Usage(key_id, 1, NOW - number * HOUR) for number in range(5)])
    span = ["--since", "2027-01-15T05:00:00Z", "--until", "2027-01-15T07:00:00Z"]
    document = console.json("usage", key_id, *span)

    assert [each["hour"][11:13] for each in document["hours"]] == ["05", "06"]
    assert console("usage", key_id, "--since", "2028-01-15T05:00:00Z").exit_code == 2


def test_usage_of_nobody_is_told(console: Console) -> None:
    """Exit 1, as with every unknown id."""
    assert console("usage", "EKjzlXrUIG06").exit_code == 1


def test_old_hours_are_removed_on_demand(console: Console) -> None:
    """What is younger stays."""
    _, key_id = console.issue()
    count(console, Usage(key_id, 1, NOW - 3 * DAY), Usage(key_id, 1, NOW - HOUR))
    outcome = replace(console, through_server=False)("prune-usage", "--keep", "2d")
    document = console.json("usage", key_id, "--since", "2027-01-01T00:00:00Z")

    assert outcome.stdout == "hourly counts are kept for 2 days\n"
    assert len(document["hours"]) == 1


def test_a_long_span_shows_its_newest_busy_hours() -> None:
    """A terminal is not filled with a year of idle hours."""
    hours = tuple(HourlyUsage(NOW + number * 2 * HOUR, number, {}) for number in range(100))
    lines = bars(hours, since=NOW, until=NOW + 200 * HOUR)

    assert len(lines) == 24
    assert lines[-1].endswith("  99")


@pytest.mark.parametrize("most", [1, 3, 7, 320, 10**9])
def test_every_request_is_seen(most: int) -> None:
    """One among very many still has the thinnest bar there is; no bar is wider than its column."""
    hours = (HourlyUsage(NOW, 1, {}), HourlyUsage(NOW + HOUR, most, {}))
    thin, full = bars(hours, since=NOW, until=NOW + 2 * HOUR)

    assert thin[18:58].strip()
    assert full[18:58] == "█" * 40
