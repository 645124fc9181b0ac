"""`verify --explain`."""

from __future__ import annotations

import json

from tests.cli.conftest import STORE_ONLY, Console, forged

BOTH = True


@STORE_ONLY
def test_every_stage_is_told_in_its_order(console: Console) -> None:
    """One line each; the exit code is that of the answer."""
    key, key_id = console.issue("--network", "10.0.0.0/8", "--origin", "https://a.example", "--scope", "a")
    told = console("verify", "--explain", "--address", "10.0.0.1", "--origin", "https://a.example", stdin=key)

    assert told.exit_code == 0
    assert [line.split()[0] for line in told.stdout.splitlines()] == [
        *("parsed", "environment", "remembered", "record", "digest", "standing"),
        *("networks", "origins", "routes", "scopes"),
    ]
    assert key_id in told.stdout
    assert key not in told.output


@STORE_ONLY
def test_what_is_not_given_is_missing(console: Console) -> None:
    """A key that is bound to networks is refused without an address, as a request without one is."""
    key, key_id = console.issue("--network", "10.0.0.0/8")
    outcome = console("--json", "verify", "--explain", stdin=key)
    document = json.loads(outcome.stdout)

    decisions = {each["name"]: each["decision"] for each in document["stages"]}
    assert (outcome.exit_code, document["accepted"], document["key_id"]) == (1, False, key_id)
    assert (decisions["networks"], decisions["routes"]) == ("refused", "passed")


@STORE_ONLY
def test_another_secret_is_told_apart_from_an_unknown_key(console: Console) -> None:
    """To whoever has the store, and to nobody else."""
    _, key_id = console.issue()
    told = console("verify", "--explain", stdin=forged(key_id))

    assert told.exit_code == 1
    assert "the secret is another one" in told.stdout


def test_a_server_explains_nothing(console: Console) -> None:
    """Why a key is rejected is told nobody over a network; that it is, is."""
    key, _ = console.issue("--origin", "https://a.example")
    told = console("verify", "--explain", stdin=key)

    assert told.exit_code == (2 if console.through_server else 1)
    assert console("verify", "--origin", "https://a.example", stdin=key).exit_code == 0
    assert console("verify", "--origin", "https://b.example", stdin=key).exit_code == 1


def test_origins_are_set_and_removed(console: Console) -> None:
    """As networks and routes are."""
    _, key_id = console.issue("--origin", "https://A.example:443", "--origin", "https://*.example.org")

    assert console.json("show", key_id)["record"]["origins"] == ["https://*.example.org", "https://a.example"]
    amended = console.json("amend", key_id, "--origin", "https://b.example")["record"]
    assert amended["origins"] == ["https://b.example"]
    assert console.json("amend", key_id, "--no-origins")["record"]["origins"] == []
    assert console("amend", key_id, "--origin", "https://b.example", "--no-origins").exit_code == 2
