"""Limits at the command line, on the store and through a server."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Console

BOTH = True


def test_limits_are_given_replaced_and_removed(console: Console) -> None:
    """Each in its one spelling; what is not named stays."""
    issued = console.json(
        *("issue", "--owner", "acme", "--name", "x", "--limit", "100/60 seconds", "--limit", "quota 2000/day")
    )["record"]
    key_id = issued["key_id"]
    renamed = console.json("amend", key_id, "--name", "y")["record"]
    amended = console.json("amend", key_id, "--limit", "credits 500/month")["record"]
    removed = console.json("amend", key_id, "--no-limits")["record"]

    assert issued["limits"] == renamed["limits"] == ["100/minute", "quota 2000/day"]
    assert amended["limits"] == ["credits 500/month"]
    assert removed["limits"] == []
    assert console("amend", key_id, "--limit", "1/day", "--no-limits").exit_code == 2


@pytest.mark.parametrize("limit", ["100", "100/fortnight", "quota 5/minute"])
def test_what_is_no_limit_is_refused(console: Console, limit: str) -> None:
    """With what is one in the message."""
    refused = console("issue", "--owner", "acme", "--name", "x", "--limit", limit)

    assert refused.exit_code != 0
    assert "100/minute" in refused.stderr
