"""`expiring`: which keys end soon."""

from __future__ import annotations

import pytest

from asgi_apikey.models import DAY
from tests.cli.conftest import STORE_ONLY, Console

BOTH = True


def test_keys_that_end_soon_are_listed_next_one_first(console: Console) -> None:
    """The exit code says that there are some; those that are over, or cannot be used, are none."""
    _, later = console.issue("--expires-in", "10d")
    _, soon = console.issue("--expires-in", "2d", "--name", "ci")
    _, revoked = console.issue("--expires-in", "3d")
    console.issue("--expires-in", "20d")
    console.issue()
    console.through_server, through = False, console.through_server
    console("revoke", revoked, "--yes")
    console.through_server = through
    outcome = console("expiring", "--within", "14d")
    document = console("--json", "expiring")

    assert outcome.exit_code == document.exit_code == 1
    assert [line.split()[0] for line in outcome.stdout.splitlines()[1:]] == [soon, later]
    assert [each in document.stdout for each in (soon, later, revoked)] == [True, True, False]


def test_without_any_nothing_is_printed(console: Console) -> None:
    """So cron sends no mail."""
    console.issue("--expires-in", "20d")
    outcome = console("expiring")

    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")
    assert console.json("expiring") == {"keys": []}


def test_many_are_listed_on_all_pages(console: Console) -> None:
    """More than one page of them."""
    for _ in range(103):
        console.issue("--expires-in", "2d")

    assert len(console("expiring").stdout.splitlines()) == 104


def test_one_owner_can_be_asked_for(console: Console) -> None:
    """Or one tenant."""
    console.issue("--expires-in", "2d", "--tenant", "eu")

    assert console("expiring", "--owner", "other").exit_code == 0
    assert console("expiring", "--owner", "acme", "--tenant", "eu").exit_code == 1


@pytest.mark.parametrize("options", [("--within", "0"), ("--within", "soon"), ("--notify", "--owner", "acme")])
def test_what_makes_no_sense_is_refused(console: Console, options: tuple[str, ...]) -> None:
    """Before anything is read."""
    assert console("expiring", *options).exit_code == 2


@STORE_ONLY
def test_each_key_is_told_once(console: Console) -> None:
    """For each span, however often it is run."""
    console.issue("--expires-in", "2d")

    assert console("expiring", "--notify").stderr == "1 told now, the others before\n"
    assert console("expiring", "--notify").stderr == ""
    console.issue("--expires-in", "2d")
    console.clock.now += DAY / 2
    again = console("--json", "expiring", "--notify", "--within", "14d")
    assert again.exit_code == 1
    assert '"told": 1' in again.stdout


def test_a_server_tells_for_itself(console: Console) -> None:
    """What is told is kept in the store, and sent from where it is configured."""
    console.issue("--expires-in", "2d")
    console.through_server = True
    outcome = console("expiring", "--notify")

    assert outcome.exit_code == 2
    assert "--url" in outcome.stderr
