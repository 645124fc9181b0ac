"""`list`, `show`, `verify`."""

from __future__ import annotations

import json

import pytest

from asgi_apikey.models import HOUR, Status
from tests.cli.conftest import NOW, STORE_ONLY, Console, forged

BOTH = True


def test_list_shows_newest_first_and_what_a_person_looks_for(console: Console) -> None:
    """One line per key under one heading."""
    _, older = console.issue("--name", "first")
    console.clock.now += HOUR
    _, newer = console.issue("--name", "second", "--expires-in", "1d")
    listed = console("list")

    heading, *lines = listed.stdout.splitlines()
    assert heading.startswith("KEY ID")
    assert [line.split()[0] for line in lines] == [newer, older]
    assert "2027-01-16T09:00:00.000Z" in lines[0]
    assert listed.stderr == ""


def test_an_empty_list_says_so_beside_the_output(console: Console) -> None:
    """Standard output stays empty for scripts."""
    listed = console("list", "--owner", "nobody")

    assert (listed.exit_code, listed.stdout, listed.stderr) == (0, "", "no such keys\n")


def test_list_filters(console: Console) -> None:
    """Each option narrows; the default tenant can be asked for by its empty name."""
    _, plain = console.issue()
    _, other = console.issue("--tenant", "eu", "--environment", "test")
    console("disable", other)

    def found(*options: str) -> list[str]:
        return [record["key_id"] for record in console.json("list", *options)["keys"]]

    assert found("--tenant", "") == found("--environment", "live") == found("--status", "active") == [plain]
    assert found("--tenant", "eu") == found("--status", "disabled") == [other]
    assert found("--owner", "nobody") == []


def test_every_status_can_be_asked_for(console: Console) -> None:
    """The choices are those of the model, by value."""
    outcomes = [console("list", "--status", status.value).exit_code for status in Status]

    assert outcomes == [0] * len(Status)


def test_pages_follow_each_other_by_cursor_and_all_joins_them(console: Console) -> None:
    """No key twice, none left out."""
    for _ in range(5):
        console.clock.now += 1
        console.issue()
    everything = console.json("list", "--all", "--limit", "2")
    pages = [console.json("list", "--limit", "2")]
    while pages[-1]["next_cursor"]:
        pages.append(console.json("list", "--limit", "2", "--cursor", pages[-1]["next_cursor"]))

    assert [len(page["keys"]) for page in pages] == [2, 2, 1]
    assert [record for page in pages for record in page["keys"]] == everything["keys"]
    assert everything["next_cursor"] is None
    assert "there are more: --cursor " in console("list", "--limit", "2").stderr


def test_a_cursor_of_somebody_else_is_refused(console: Console) -> None:
    """Exit 1: the store was asked and said no."""
    assert console("list", "--cursor", "bm9uc2Vuc2U").exit_code == 1


@pytest.mark.parametrize("before", ["", "ak_live_"])
def test_show_tells_all_but_the_digest(console: Console, before: str) -> None:
    """By key id, alone or with the readable part before it."""
    _, key_id = console.issue("--metadata", "team=blue")
    shown = console("show", before + key_id)

    assert shown.exit_code == 0
    assert 'metadata       {"team": "blue"}' in shown.stdout
    assert "digest" not in shown.stdout
    assert "hmac" not in shown.stdout


@STORE_ONLY
def test_show_finds_a_presented_key(console: Console) -> None:
    """`--key` reads it from standard input, whatever its standing and environment; a server knows active ones."""
    key, key_id = console.issue("--environment", "test")
    console("revoke", key_id, "--yes")

    record = console.json("show", "--key", stdin=f"  {key}\r\n")["record"]

    assert (record["key_id"], record["status"]) == (key_id, "revoked")


def test_verify_prints_the_principal(console: Console) -> None:
    """As handlers see it, with exit 0."""
    key, key_id = console.issue("--scope", "orders:read", "--expires-in", "1d")

    assert console.json("verify", stdin=key) == {
        "accepted": True,
        "reason": None,
        "key_id": key_id,
        "principal": {
            "key_id": key_id,
            "owner": "acme",
            "tenant": "",
            "environment": "live",
            "name": "",
            "scopes": ["orders:read"],
            "metadata": {},
            "expires_at": "2027-01-16T08:00:00.000Z",
            "method": "api_key",
            "account": None,
        },
    }
    assert console("verify", stdin=key).stdout.startswith("accepted\nkey_id       ")
    assert "owner        acme" in console("verify", stdin=key).stdout


@pytest.mark.parametrize(
    ("reason", "options", "change"),
    [
        ("revoked", [], ["revoke", "--yes"]),
        ("disabled", [], ["disable"]),
        ("unknown", [], ["delete", "--yes"]),
        ("expired", ["--expires-in", "1h"], None),
        ("not_yet_valid", ["--not-before", "2028-01-01T00:00:00Z"], None),
        ("wrong_environment", ["--environment", "test"], None),
    ],
)
def test_verify_says_why_not(console: Console, reason: str, options: list[str], change: list[str] | None) -> None:
    """Whoever has the store may know, others only that it is not; exit 1, an answer on standard output."""
    key, key_id = console.issue(*options)
    if change is not None:
        console(change[0], key_id, *change[1:])
    console.clock.now = NOW + HOUR

    plain = console("verify", stdin=key)
    document = console("--json", "verify", stdin=key)

    told = "invalid" if console.through_server else reason
    assert (plain.exit_code, plain.stdout, plain.stderr) == (1, f"rejected: {told}\n", "")
    assert document.exit_code == 1
    assert json.loads(document.stdout) == {
        "accepted": False,
        "principal": None,
        "reason": told,
        "key_id": None if console.through_server else key_id,
    }


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ([], None),
        (["--scope", "orders:read"], None),
        (["--scope", "orders:read", "--scope", "bills:read"], "missing_scope"),
        (["--address", "192.0.2.7", "--method", "GET", "--path", "/orders/7"], None),
        (["--address", "192.0.2.8", "--method", "GET", "--path", "/orders/7"], "network_not_allowed"),
        (["--address", "192.0.2.7", "--method", "PUT", "--path", "/orders/7"], "route_not_allowed"),
        (["--address", "192.0.2.7", "--method", "GET", "--path", "/orders/../x"], "route_not_allowed"),
        (["--address", "192.0.2.7"], "route_not_allowed"),
    ],
)
def test_verify_asks_about_an_occasion(console: Console, asked: list[str], reason: str | None) -> None:
    """Where and for what the key may be used matters where something of the request is said."""
    options = ("--scope", "orders:*", "--network", "192.0.2.7", "--route", "GET /orders/*")
    key, key_id = console.issue(*options)
    outcome = console("--json", "verify", *asked, stdin=key)
    document = json.loads(outcome.stdout)

    assert outcome.exit_code == (0 if reason is None else 1)
    assert (document["accepted"], document["reason"], document["key_id"]) == (reason is None, reason, key_id)
    assert document["principal"]["owner"] == "acme"


def test_verify_compares_the_secret_before_the_standing(console: Console) -> None:
    """Of a revoked key with another secret, only the wrong secret is told."""
    _, key_id = console.issue()
    console("revoke", key_id, "--yes")

    rejected = console("verify", stdin=forged(key_id))

    assert rejected.stdout == ("rejected: invalid\n" if console.through_server else "rejected: wrong_secret\n")


@pytest.mark.parametrize("presented", ["nonsense", "ak_live_x", "\N{GREEK SMALL LETTER ALPHA}", "x" * 5_000, "';--"])
def test_what_is_no_key_is_malformed(console: Console, presented: str) -> None:
    """Rejected without asking the store, and not repeated."""
    rejected = console("verify", stdin=presented)

    why = "invalid" if console.through_server else "malformed"
    assert (rejected.exit_code, rejected.output) == (1, f"rejected: {why}\n")


@pytest.mark.parametrize("given", [b"", b"\n", b"one two", b"one\ntwo\n"])
def test_one_key_is_read_and_nothing_else(console: Console, given: bytes) -> None:
    """Nothing, or more than a key, is a usage error."""
    refused = console("verify", stdin=given)

    assert refused.exit_code == 2
    assert "must hold one key and nothing else" in refused.stderr


@STORE_ONLY
def test_looking_at_a_key_is_no_use_of_it(console: Console) -> None:
    """`last_used_at` tells of the holder, not of whoever checks the key."""
    key, key_id = console.issue()
    console("verify", stdin=key)
    console("show", "--key", stdin=key)

    record = console.json("show", key_id)["record"]

    assert (record["uses"], record["last_used_at"]) == (0, None)


@STORE_ONLY
def test_a_digest_under_another_pepper_is_a_matter_of_configuration(console: Console) -> None:
    """Forgetting the server's pepper must not read like a forged key."""
    key, _ = console.issue()
    console.environ["ASGI_APIKEY_PEPPER"] = "vB8-hQ2_xN5wM7kT1fL4zR9cD3jY6sGa"
    outcome = console("verify", stdin=key)

    assert outcome.exit_code == 4
    assert "set ASGI_APIKEY_PEPPER to the peppers that the server has" in outcome.stderr


def test_a_key_of_the_prompt_is_not_shown(console: Console) -> None:
    """At a terminal the key is asked for, hidden, on standard error."""
    key, _ = console.issue()
    console.at_a_terminal = True
    verified = console("verify", stdin=f"{key}\n")

    assert verified.exit_code == 0
    assert key not in verified.output
    assert verified.stderr.startswith("Key: ")
