"""`issue` and `rotate`: the commands that print a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asgi_apikey.models import DAY
from tests.cli.conftest import NOW, Console, Shell

BOTH = True


def test_issue_prints_the_key_alone_and_the_rest_to_standard_error(console: Console) -> None:
    """`KEY=$(asgi-apikey issue …)` holds the key and nothing else."""
    issued = console("issue", "--owner", "acme", "--name", "ci", "--scope", "b", "--scope", "a")

    key = issued.stdout.removesuffix("\n")
    assert key.startswith("ak_live_")
    assert key not in issued.stderr
    assert "scopes       a b" in issued.stderr
    assert console("verify", stdin=key).exit_code == 0


def test_issue_can_be_quiet(console: Console) -> None:
    """Then there is the key and nothing else at all."""
    issued = console("issue", "--owner", "acme", "--name", "ci", "--quiet")

    assert issued.stderr == ""
    assert len(issued.stdout.split()) == 1


def test_issue_keeps_everything_that_is_asked_for(console: Console) -> None:
    """Each option ends in the field of its name."""
    options = {
        "--tenant": "eu",
        "--environment": "test",
        "--name": "ci",
        "--description": "for the build",
        "--scope": "orders:read",
        "--metadata": '{"seats": 5}',
        "--not-before": "2027-02-01T00:00:00Z",
        "--expires-at": "2027-03-01T01:00:00+01:00",
    }
    options |= {} if console.through_server else {"--created-by": "root"}
    issued = console.json("issue", "--owner", "acme", *(word for option in options.items() for word in option))

    record = issued["record"]
    assert issued["key"].startswith("ak_test_")
    assert issued["receipt"] is None
    assert record == record | {
        "owner": "acme",
        "tenant": "eu",
        "environment": "test",
        "name": "ci",
        "description": "for the build",
        "scopes": ["orders:read"],
        "metadata": {"seats": 5},
        "not_before": "2027-02-01T00:00:00.000Z",
        "expires_at": "2027-03-01T00:00:00.000Z",
        "created_by": "root",
        "created_at": "2027-01-15T08:00:00.000Z",
        "status": "not_yet_valid",
        "version": 1,
    }


def test_a_lifetime_counts_from_now(console: Console) -> None:
    """`--expires-in 90d` is the instant ninety days after issuing."""
    _, key_id = console.issue("--expires-in", "90d")

    record = console.json("show", key_id)["record"]
    assert record["expires_at"] == "2027-04-15T08:00:00.000Z"


def test_issue_makes_the_store_where_there_is_none(shell: Shell) -> None:
    """The first key needs no `init`."""
    issued = shell("issue", "--owner", "acme", "--quiet")

    assert issued.returncode == 0
    assert (shell.folder / "keys.db").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--owner", " "], "owner must have"),
        (["--owner", "acme", "--scope", "two words"], "a scope is"),
        (["--owner", "acme", "--expires-at", "2020-01-01T00:00:00Z"], "in the future"),
        (["--owner", "acme", "--environment", "Live"], "environment"),
        (["--owner", "acme", "--expires-in", "999999999w"], "9999"),
    ],
)
def test_a_value_that_no_key_can_have_is_refused(console: Console, options: list[str], complaint: str) -> None:
    """Exit 1 with the rule in one line, and no key is made."""
    refused = console("issue", "--name", "x", *options)

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert complaint in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert console.json("list")["keys"] == []


def test_two_ends_contradict_each_other(console: Console) -> None:
    """A usage error, before anything is opened."""
    refused = console("issue", "--owner", "a", "--expires-in", "1d", "--expires-at", "2028-01-01T00:00:00Z")

    assert refused.exit_code == 2
    assert console.opened_with is None


def test_rotate_prints_a_successor_and_gives_the_old_key_a_day(console: Console) -> None:
    """Both work until the grace is over; then only the successor does."""
    old, key_id = console.issue("--scope", "orders:read")
    rotated = console("rotate", key_id)
    new = rotated.stdout.strip()

    assert [console("verify", stdin=key).exit_code for key in (old, new)] == [0, 0]
    assert f"replaces     {key_id}" in rotated.stderr
    assert f"The replaced key {key_id} works until 2027-01-16T08:00:00.000Z.\n" in rotated.stderr
    console.clock.now = NOW + DAY
    assert [console("verify", stdin=key).exit_code for key in (old, new)] == [1, 0]


def test_rotate_tells_the_effect_on_the_replaced_key(console: Console) -> None:
    """The JSON document has the receipt that `issue` has no use for."""
    _, key_id = console.issue()
    rotated = console.json("rotate", key_id, "--grace", "2h")

    assert rotated["record"]["replaces"] == key_id
    assert rotated["receipt"]["confirmed"] is False
    assert rotated["replaced_until"] == "2027-01-15T10:00:00.000Z"
    assert console.json("show", key_id)["record"]["expires_at"] == "2027-01-15T10:00:00.000Z"


def test_rotate_without_grace_has_to_be_confirmed(console: Console) -> None:
    """It ends a key that is in use."""
    _, key_id = console.issue()
    refused = console("rotate", key_id, "--grace", "0")
    confirmed = console("rotate", key_id, "--grace", "0", "--yes")

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert confirmed.exit_code == 0
    assert f"The replaced key {key_id} does not work any more.\n" in confirmed.stderr
    assert console.json("show", key_id)["record"]["status"] == "expired"


def test_a_question_leaves_nothing_beside_the_key(console: Console) -> None:
    """Asked at a terminal, standard output still holds the new key alone."""
    _, key_id = console.issue("--name", "ci")
    console.at_a_terminal = True
    rotated = console("rotate", key_id, "--grace", "0", stdin="y\n")

    assert rotated.stdout.startswith("ak_live_")
    assert len(rotated.stdout.split()) == 1
    assert f"End key {key_id} of acme (live, ci) now? [y/N] " in rotated.stderr


def test_a_key_that_could_not_be_written_is_named(shell: Shell) -> None:
    """On a full disk the key is lost, not forgotten: its id is there to be revoked."""
    with Path("/dev/full").open("wb") as full:
        lost = shell("issue", "--owner", "acme", "--quiet", stdout=full)
    (record,) = json.loads(shell("--json", "list").stdout)["keys"]

    assert lost.returncode == 1
    assert f"key {record['key_id']} was made, but could not be written" in lost.stderr
    assert lost.stderr.count("\n") == 1


def test_no_key_is_made_where_nobody_can_see_it(shell: Shell) -> None:
    """With standard output closed, nothing is stored."""
    refused = shell.script("apikey issue --owner acme >&-")

    assert refused.returncode == 2
    assert "standard output is closed" in refused.stderr
    assert not (shell.folder / "keys.db").exists()
