"""`amend`, `disable`, `enable`, `revoke`, `delete`, and what they ask before."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.cli.conftest import NOW, STORE_ONLY, Console, forged

BOTH = True

FULL = (
    *("--name", "ci", "--description", "build", "--scope", "a", "--scope", "b", "--metadata", "team=blue"),
    *("--not-before", "2027-01-01T00:00:00Z", "--expires-at", "2028-01-01T00:00:00Z"),
)
DESTRUCTIVE = [["revoke"], ["delete"], ["rotate", "--grace", "0"]]


def record_of(console: Console, key_id: str) -> Any:
    """What `show` tells about a key."""
    return console.json("show", key_id)["record"]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--name", "new"], {"name": "new"}),
        (["--description", "new"], {"description": "new"}),
        (["--scope", "c"], {"scopes": ["c"]}),
        (["--no-scopes"], {"scopes": []}),
        (["--metadata", "a=1", "--metadata", '{"b": {"c": []}}'], {"metadata": {"a": "1", "b": {"c": []}}}),
        (["--no-metadata"], {"metadata": {}}),
        (["--not-before", "2027-06-01T00:00:00Z"], {"not_before": "2027-06-01T00:00:00.000Z"}),
        (["--no-start"], {"not_before": None}),
        (["--expires-in", "2d"], {"expires_at": "2027-01-17T08:00:00.000Z"}),
        (["--expires-at", "2027-06-01T00:00:00Z"], {"expires_at": "2027-06-01T00:00:00.000Z"}),
        (["--no-expiry"], {"expires_at": None}),
    ],
)
def test_amend_changes_what_is_given_and_nothing_else(
    console: Console, options: list[str], changed: dict[str, object]
) -> None:
    """An empty text empties; `--no-…` removes; what is absent stays."""
    _, key_id = console.issue(*FULL)
    before = record_of(console, key_id)
    amended = console("amend", key_id, *options)

    after = record_of(console, key_id)
    assert amended.stdout == f"{key_id} amended\n"
    assert after | {"status": before["status"]} == before | changed | {"version": 2}


@STORE_ONLY
@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--name", ""], {"name": ""}),
        (["--metadata", '{"b": null}'], {"metadata": {"b": None}}),
    ],
)
def test_the_store_itself_takes_what_a_server_does_not(
    console: Console, options: list[str], changed: dict[str, object]
) -> None:
    """A name that is not there, and `null`, by which a server is told to remove something."""
    _, key_id = console.issue(*FULL)
    console("amend", key_id, *options)
    console.through_server = True
    refused = console("amend", key_id, *options)

    assert record_of(console, key_id).items() >= changed.items()
    assert refused.exit_code == 1


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--if-version", "1"],
        ["--scope", "a", "--no-scopes"],
        ["--metadata", "a=1", "--no-metadata"],
        ["--not-before", "2027-06-01T00:00:00Z", "--no-start"],
        ["--expires-in", "1d", "--no-expiry"],
        ["--expires-in", "1d", "--expires-at", "2027-06-01T00:00:00Z"],
    ],
)
def test_an_amendment_of_nothing_or_of_opposites_is_a_usage_error(console: Console, options: list[str]) -> None:
    """Nothing is opened for it."""
    _, key_id = console.issue()
    console.opened_with = None
    refused = console("amend", key_id, *options)

    assert refused.exit_code == 2
    assert console.opened_with is None


def test_disable_and_enable_go_to_and_fro(console: Console) -> None:
    """Without a question: both can be taken back."""
    key, key_id = console.issue()

    assert console("disable", key_id).stdout == f"{key_id} disabled\n"
    assert console("verify", stdin=key).exit_code == 1
    assert console("enable", key_id).stdout == f"{key_id} enabled\n"
    assert console("verify", stdin=key).exit_code == 0


def test_revoke_keeps_the_record_with_reason_and_actor(console: Console) -> None:
    """Revoking again changes neither."""
    _, key_id = console.issue()
    by = [] if console.through_server else ["--by", "root"]
    console("revoke", key_id, "--yes", *by, "--reason", "leaked")
    again = console("revoke", key_id, "--yes", "--reason", "again")

    record = record_of(console, key_id)
    assert again.exit_code == 0
    assert (record["revoked_by"], record["revoke_reason"]) == ("root", "leaked")
    assert record["revoked_at"] == "2027-01-15T08:00:00.000Z"


def test_delete_removes_the_record(console: Console) -> None:
    """Afterwards the id is not found."""
    _, key_id = console.issue()

    assert console("delete", key_id, "--yes").stdout == f"{key_id} deleted\n"
    assert console("show", key_id).exit_code == 1


def test_a_change_says_until_when_servers_may_not_know(console: Console) -> None:
    """A command is a process beside the servers, so it never claims more than they do."""
    _, key_id = console.issue()
    plain = console("disable", key_id)
    document = console.json("enable", key_id)

    assert plain.stderr == "servers that have seen the key lately hear of it within 5 seconds\n"
    assert document["record"]["status"] == "active"
    assert document["receipt"] == document["receipt"] | {"confirmed": False, "max_staleness": 5.0}


@pytest.mark.parametrize(
    "verb", ["amend --name x", "disable", "enable", "revoke --yes", "delete --yes", "rotate", "show"]
)
def test_an_unknown_key_id_is_told(console: Console, verb: str) -> None:
    """Exit 1, one line, with the id."""
    outcome = console(*verb.split(), "EKjzlXrUIG06")

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr == "Error: no key with id 'EKjzlXrUIG06'\n"


@pytest.mark.parametrize("verb", ["amend --name x", "disable", "enable", "rotate"])
def test_a_revoked_key_stays_revoked(console: Console, verb: str) -> None:
    """What its state does not allow is refused with exit 1."""
    _, key_id = console.issue()
    console("revoke", key_id, "--yes")

    assert console(*verb.split(), key_id).exit_code == 1
    assert record_of(console, key_id)["status"] == "revoked"


@pytest.mark.parametrize("verb", ["amend --name x", "disable", "enable", "revoke --yes", "delete --yes", "rotate"])
def test_a_change_can_be_tied_to_a_version(console: Console, verb: str) -> None:
    """Another change in between makes it fail instead of overwriting."""
    _, key_id = console.issue()
    console("amend", key_id, "--name", "other")
    stale = console(*verb.split(), key_id, "--if-version", "1")
    current = console(*verb.split(), key_id, "--if-version", "2")

    assert (stale.exit_code, current.exit_code) == (1, 0)
    assert "no longer at version 1" in stale.stderr


@pytest.mark.parametrize("verb", DESTRUCTIVE, ids=" ".join)
def test_what_cannot_be_undone_needs_consent(console: Console, verb: list[str]) -> None:
    """Without a terminal and without `--yes` it is a usage error, before the store or standard input is read."""
    key, key_id = console.issue()
    console.opened_with = None
    by_id = console(*verb, key_id)
    by_key = console(*verb, "--key", stdin=key)

    assert (by_id.exit_code, by_key.exit_code) == (2, 2)
    assert "add --yes" in by_id.stderr
    assert console.opened_with is None


@pytest.mark.parametrize("verb", DESTRUCTIVE, ids=" ".join)
@pytest.mark.parametrize(
    ("answer", "exit_code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1), ("yep\n", 1)]
)
def test_a_terminal_is_asked(console: Console, verb: list[str], answer: str, exit_code: int) -> None:
    """Only a plain yes is one; the question names the key as a person knows it."""
    key, key_id = console.issue("--name", "ci")
    console.at_a_terminal = True
    outcome = console(*verb, key_id, stdin=answer)
    console.at_a_terminal = False

    assert outcome.exit_code == exit_code
    assert f"key {key_id} of acme (live, ci)" in outcome.stderr
    assert console("verify", stdin=key).exit_code == (0 if exit_code else 1)


@pytest.mark.parametrize(
    "verb", ["disable", "revoke --yes", "delete --yes", "rotate --grace 0 --yes", "amend --name x"]
)
def test_a_presented_key_names_itself(console: Console, verb: str) -> None:
    """`--key` works on the key that comes over standard input."""
    key, _ = console.issue()
    changed = console(*verb.split(), "--key", stdin=key)

    assert changed.exit_code == 0
    assert key not in changed.output


@pytest.mark.parametrize(
    "verb", ["disable", "revoke --yes", "delete --yes", "rotate --yes --grace 0", "amend --name x"]
)
def test_a_made_up_key_with_somebody_elses_id_changes_nothing(console: Console, verb: str) -> None:
    """Key ids are public: a "leaked key" somebody sends in is believed only when its secret matches."""
    _, key_id = console.issue()
    before = record_of(console, key_id)
    refused = console(*verb.split(), "--key", stdin=forged(key_id))

    why = "invalid" if console.through_server else "wrong_secret"
    assert (refused.exit_code, refused.stderr) == (1, f"Error: key rejected: {why}\n")
    assert record_of(console, key_id) == before


@pytest.mark.parametrize("verb", ["show", "amend --name x", "disable", "revoke --yes", "rotate"])
def test_exactly_one_key_is_named(console: Console, verb: str) -> None:
    """Neither none nor both ways at once."""
    key, key_id = console.issue()

    assert console(*verb.split()).exit_code == 2
    assert console(*verb.split(), key_id, "--key", stdin=key).exit_code == 2


def test_a_server_is_not_told_who_asks(console: Console) -> None:
    """It knows by the token; who gives another name is told so, and nothing is changed."""
    _, key_id = console.issue()
    console.through_server = True
    refused = console("revoke", key_id, "--yes", "--by", "somebody else")

    assert refused.exit_code == 1
    assert "by the token who asks" in refused.stderr
    assert record_of(console, key_id)["status"] == "active"


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ("{}", "{}"),
        ('{"a": {"b": 1, "c": {"d": 2}}, "e": [1]}', '{"a": {"c": {"f": 3}}, "e": {"g": 1}}'),
        ('{"a": {"b": 1}}', '{"a": 1, "b": {"c": {"d": "x"}}}'),
        ('{"a": [{"b": null}]}', '{"a": [{"c": null}]}'),
    ],
)
def test_metadata_are_replaced_all_the_way_down(console: Console, before: str, wanted: str) -> None:
    """A server merges what it is sent, so it is sent what makes one of the other."""
    _, key_id = console.issue("--metadata", before)
    console("amend", key_id, "--metadata", wanted)

    assert record_of(console, key_id)["metadata"] == json.loads(wanted)


def test_revoking_says_how_many_of_the_lineage_go_along(console: Console) -> None:
    """With `--only`, it is the one."""
    _, key_id = console.issue("--name", "ci")
    replace(console, through_server=False)("rotate", key_id)
    console.at_a_terminal = True
    asked = console("revoke", key_id, stdin="n\n")
    only = console("revoke", key_id, "--only", stdin="n\n")

    assert asked.stderr.startswith(f"Revoke key {key_id} of acme (live, ci) and 1 other key of its lineage? [y/N] ")
    assert only.stderr.startswith(f"Revoke key {key_id} of acme (live, ci)? [y/N] ")


def test_an_expired_key_can_be_given_a_new_end(console: Console) -> None:
    """The way back from a forgotten renewal."""
    key, key_id = console.issue("--expires-in", "1h")
    console.clock.now = NOW + 7_200
    console("amend", key_id, "--expires-in", "1d")

    assert console("verify", stdin=key).exit_code == 0
