"""`revoke-where` and `prune`; and the filters, which `list` has too."""

from __future__ import annotations

import pytest

from asgi_apikey.models import DAY
from tests.cli.conftest import STORE_ONLY, Console

BOTH = True


def found(console: Console, *options: str) -> list[str]:
    """The ids of the keys that are listed."""
    return [record["key_id"] for record in console.json("list", *options)["keys"]]


def test_keys_are_issued_with_tags_networks_and_routes(console: Console) -> None:
    """Each option repeats; rules are shown in their one spelling."""
    issued = console.json(
        *("issue", "--owner", "acme", "--name", "x", "--tag", "ci", "--tag", "eu"),
        *("--network", "192.0.2.7", "--network", "!10.0.0.0/8", "--route", "POST,GET /orders/*"),
    )["record"]

    assert issued["tags"] == ["ci", "eu"]
    assert issued["networks"] == ["!10.0.0.0/8", "192.0.2.7/32"]
    assert issued["routes"] == ["GET,POST /orders/*"]
    assert issued["lineage"] == issued["key_id"]


def test_they_are_amended_and_removed(console: Console) -> None:
    """Giving them replaces all; each has its own way to have none."""
    _, key_id = console.issue("--tag", "ci", "--network", "10.0.0.0/8", "--route", "/x")
    amended = console.json("amend", key_id, "--tag", "new", "--no-networks", "--route", "GET /y")["record"]

    assert (amended["tags"], amended["networks"], amended["routes"]) == (["new"], [], ["GET /y"])
    amended = console.json("amend", key_id, "--no-tags", "--network", "::1", "--no-routes")["record"]
    assert (amended["tags"], amended["networks"], amended["routes"]) == ([], ["::1/128"], [])
    for what in ("tag", "network", "route"):
        assert console("amend", key_id, f"--{what}", "x", f"--no-{what}s").exit_code == 2


@pytest.mark.parametrize(("option", "value"), [("--network", "10.0.0.1/8"), ("--route", "get /x"), ("--tag", "a b")])
def test_what_is_none_of_them_is_refused(console: Console, option: str, value: str) -> None:
    """With what is right in the message."""
    refused = console("issue", "--owner", "acme", "--name", "x", option, value)

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert option[2:] in refused.stderr


def test_every_filter_of_the_list_narrows(console: Console) -> None:
    """Alone and together."""
    _, first = console.issue("--name", "Build bot", "--tag", "ci", "--scope", "orders:*", "--created-by", "ada")
    console.clock.now += DAY
    _, second = console.issue("--name", "other", "--expires-in", "10d")

    for options in (
        ("--name", "Build bot"), ("--name-contains", "BUILD"), ("--tag", "ci"), ("--scope", "orders:read"),
        ("--any-scope", "x", "--any-scope", "orders:write"), ("--created-by", "ada"), ("--endless",),
        ("--created-before", "2027-01-16T00:00:00Z"), ("--idle-for", "1d"), ("--lineage", first),
    ):  # fmt: skip
        assert found(console, *options) == [first]
    for options in (
        ("--expires-before", "2027-02-01T00:00:00Z"), ("--created-after", "2027-01-16T00:00:00Z"),
        ("--expires-after", "2027-01-20T00:00:00Z"), ("--lineage", second, "--never-used"),
    ):  # fmt: skip
        assert found(console, *options) == [second]
    assert found(console, "--used-after", "2020-01-01T00:00:00Z") == found(console, "--tag", "c") == []
    assert found(console, "--sort", "name", "--ascending") == [first, second]
    assert found(console, "--never-used", "--sort", "expires_at") == [first, second]


def test_keys_are_counted(console: Console) -> None:
    """With the same filters, on all pages."""
    for _ in range(3):
        console.issue("--tag", "ci")
    console.issue()

    assert console("list", "--count", "--tag", "ci", "--limit", "1").stdout == "3\n"
    assert console.json("list", "--count") == {"count": 4}


def test_many_keys_are_revoked_at_once(console: Console) -> None:
    """A dry run says how many; what was revoked before does not count."""
    _, revoked = console.issue("--tag", "leak")
    console("revoke", revoked, "--yes")
    ids = {console.issue("--tag", "leak")[1] for _ in range(2)}
    _, other = console.issue()

    assert console("revoke-where", "--tag", "leak", "--dry-run").stdout == "2 keys would be revoked\n"
    receipt = console.json("revoke-where", "--tag", "leak", "--reason", "leaked", "--yes")["receipt"]
    assert (receipt["matched"], set(receipt["key_ids"]), receipt["dry_run"]) == (2, ids, False)
    assert found(console, "--status", "active") == [other]
    assert console("revoke-where", "--tag", "leak", "--yes").stdout == "0 keys revoked\n"


def test_without_a_filter_or_consent_nothing_is_revoked(console: Console) -> None:
    """All keys are never meant by leaving something out."""
    _, key_id = console.issue()

    assert console("revoke-where", "--yes").exit_code == 2
    assert console("revoke-where", "--owner", "acme").exit_code == 2
    console.at_a_terminal = True
    assert console("revoke-where", "--owner", "acme", stdin="n\n").exit_code == 1
    assert found(console, "--status", "active") == [key_id]
    asked = console("revoke-where", "--owner", "acme", stdin="y\n")
    assert "This ends 1 key of 1 owner. Revoke? [y/N]" in asked.stderr
    console.at_a_terminal = False
    assert found(console, "--status", "active") == []


def test_revoking_takes_the_lineage_along_unless_only_one_is_meant(console: Console) -> None:
    """`--only` for the one."""
    _, first = console.issue()
    second = console.json("rotate", first)["record"]["key_id"]

    console("revoke", first, "--only", "--yes")
    assert found(console, "--status", "active") == [second]
    console("revoke", first, "--yes")
    assert found(console, "--status", "active") == []


def test_rotating_again_replaces_the_key_that_got_lost(console: Console) -> None:
    """Nobody has used it, so it is revoked."""
    _, first = console.issue()
    lost = console.json("rotate", first)["record"]["key_id"]
    again = console.json("rotate", first)["record"]["key_id"]

    assert set(found(console, "--status", "active")) == {first, again}
    assert found(console, "--status", "revoked") == [lost]


def test_the_question_says_how_much_would_end(console: Console) -> None:
    """Keys are counted, and their owners; those that are revoked already do not count."""
    for number in range(103):
        console.issue("--tag", "leak", "--tenant", f"t{number % 2}")
    _, revoked = console.issue("--tag", "leak", "--tenant", "t3")
    console("revoke", revoked, "--yes")
    console.at_a_terminal = True
    asked = console("revoke-where", "--tag", "leak", stdin="n\n")

    assert asked.stderr.startswith("This ends 103 keys of 2 owners. Revoke? [y/N] ")
    assert asked.exit_code == 1


@STORE_ONLY
def test_pruning_says_how_much_it_would_delete(console: Console) -> None:
    """What ended, and what was revoked, so long ago."""
    console.issue("--expires-in", "1d")
    _, early = console.issue()
    _, late = console.issue()
    console("revoke", early, "--yes")
    console.clock.now += 91 * DAY
    console("revoke", late, "--yes")
    console.at_a_terminal = True
    asked = console("prune", stdin="n\n")

    assert asked.stderr.startswith("This deletes the records of 2 keys. Prune? [y/N] ")


def test_long_dead_keys_are_pruned(console: Console) -> None:
    """With consent; the others stay."""
    console.issue("--expires-in", "1d")
    _, alive = console.issue()
    console.clock.now += 91 * DAY

    console.through_server = False
    assert console("prune").exit_code == 2
    assert console("prune", "--dead-for", "100d", "--yes").stdout == "0 keys pruned\n"
    assert console.json("prune", "--yes") == {"pruned": 1}
    assert found(console) == [alive]
