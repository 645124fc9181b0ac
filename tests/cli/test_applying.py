"""`apply`: the store is made to match a file, and only ever the file's own keys."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from asgi_apikey.keyformat import KeyFormat
from tests.cli.conftest import NOW, PEPPER, Console

OURS = KeyFormat().generate("live").key
FILE = """
id = "team-a"

[[key]]
name = "ci"
owner = "acme"
scopes = ["orders:read"]

[[key]]
name = "given"
owner = "acme"
key_env = "GIVEN_KEY"
expires_at = 2027-06-01T00:00:00Z
metadata = { plan = "pro" }
"""


class Desk:
    """A console beside a file of declarations."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.console = console
        self.file = folder / "keys.toml"
        self.secrets = folder / "secrets.env"
        self.console.environ["GIVEN_KEY"] = OURS
        self.write(FILE)

    def write(self, text: str) -> None:
        """Change the file."""
        self.file.write_text(text, encoding="utf-8")

    def apply(self, *options: str, exit_code: int = 0) -> str:
        """Apply the file; return what is printed."""
        self.secrets.unlink(missing_ok=True)
        outcome = self.console("apply", str(self.file), "--secrets", str(self.secrets), *options)
        assert outcome.exit_code == exit_code, outcome.output
        return outcome.output

    def records(self) -> list[dict[str, object]]:
        """What the store holds, by name."""
        keys: list[dict[str, object]] = self.console.json("list", "--all")["keys"]
        return sorted(keys, key=lambda each: (str(each["name"]), str(each["status"])))


@pytest.fixture
def desk(console: Console, tmp_path: Path) -> Desk:
    """An empty store and the file."""
    return Desk(console, tmp_path)


def test_a_new_file_makes_its_keys(desk: Desk) -> None:
    """A diff first; what is made is written to a file that only its owner can read, and works."""
    printed = desk.apply("--yes")

    [line] = desk.secrets.read_text(encoding="utf-8").splitlines()
    name, _, key = line.partition("=")
    assert "+ ci  of acme (live), from a new key" in printed
    assert "+ given  of acme (live), from GIVEN_KEY" in printed
    assert name == "API_KEY_CI"
    assert key not in printed
    assert stat.S_IMODE(desk.secrets.stat().st_mode) == 0o600
    assert desk.console("verify", stdin=key).exit_code == 0
    assert desk.console("verify", stdin=OURS).exit_code == 0
    assert [(each["name"], each["scopes"], each["metadata"], each["created_by"]) for each in desk.records()] == [
        ("ci", ["orders:read"], {}, "apply:team-a"),
        ("given", [], {"plan": "pro"}, "apply:team-a"),
    ]


def test_applying_again_changes_nothing(desk: Desk) -> None:
    """Nothing is asked, nothing is written."""
    desk.apply("--yes")
    before = desk.records()
    printed = desk.apply("--yes")

    assert printed == "nothing to do\n"
    assert desk.records() == before
    assert not desk.secrets.exists()


def test_what_can_be_amended_is(desk: Desk) -> None:
    """The key stays the same; the diff tells each field."""
    desk.apply("--yes")
    [ci, given] = desk.records()
    desk.write(FILE.replace('["orders:read"]', '["orders:read", "orders:write"]').replace("2027-06-01", "2027-07-01"))
    printed = desk.apply("--yes")

    [new_ci, new_given] = desk.records()
    assert f"~ ci  {ci['key_id']}\n    scopes: orders:read -> orders:read orders:write\n" in printed
    assert "    expires_at: 2027-06-01T00:00:00.000Z -> 2027-07-01T00:00:00.000Z\n" in printed
    assert new_ci == ci | {"scopes": ["orders:read", "orders:write"], "version": 2}
    assert new_given == given | {"expires_at": "2027-07-01T00:00:00.000Z", "version": 2}


def test_what_is_no_longer_declared_is_revoked(desk: Desk) -> None:
    """With the reason; keys of others are left alone, also of other files."""
    _, other = desk.console.issue("--name", "other", "--created-by", "apply:team-b")
    desk.apply("--yes")
    desk.write('id = "team-a"')
    printed = desk.apply("--yes")

    standing = {each["name"]: each["status"] for each in desk.records()}
    assert printed.count("\n- ") + printed.startswith("- ") == 2
    assert standing == {"ci": "revoked", "given": "revoked", "other": "active"}
    assert desk.console.json("show", other)["record"]["version"] == 1


def test_a_new_owner_means_a_new_key(desk: Desk) -> None:
    """An owner cannot be amended: the old key is revoked and another is made."""
    desk.apply("--yes")
    desk.write(FILE.replace('name = "ci"\nowner = "acme"', 'name = "ci"\nowner = "umbrella"'))
    printed = desk.apply("--yes")

    assert "+ ci  of umbrella" in printed
    assert "- ci  " in printed
    assert [(each["owner"], each["status"]) for each in desk.records() if each["name"] == "ci"] == [
        ("umbrella", "active"),
        ("acme", "revoked"),
    ]


def test_another_key_in_the_variable_replaces_the_one_before(desk: Desk) -> None:
    """The way to rotate a key that is made elsewhere."""
    desk.apply("--yes")
    desk.console.environ["GIVEN_KEY"] = newer = KeyFormat().generate("live").key
    desk.apply("--yes")

    assert desk.console("verify", stdin=newer).exit_code == 0
    assert desk.console("verify", stdin=OURS).exit_code == 1


def test_a_dry_run_only_shows(desk: Desk) -> None:
    """Exit 1 when there is something to do, 0 when there is not."""
    printed = desk.apply("--dry-run", exit_code=1)
    nothing = desk.records()
    desk.apply("--yes")

    assert "+ ci" in printed
    assert nothing == []
    assert desk.apply("--dry-run") == "nothing to do\n"


def test_the_diff_as_json(desk: Desk) -> None:
    """One document, without a key in it."""
    outcome = desk.console("--json", "apply", str(desk.file), "--dry-run")

    document = json.loads(outcome.stdout)
    assert [each["name"] for each in document["create"]] == ["ci", "given"]
    assert (document["amend"], document["revoke"], document["dry_run"]) == ([], [], True)
    assert OURS not in outcome.output


def test_it_asks_before_it_changes(desk: Desk) -> None:
    """Without a terminal `--yes` is needed; at one, only a yes is a yes."""
    without = desk.console("apply", str(desk.file))
    desk.console.at_a_terminal = True
    refused = desk.console("apply", str(desk.file), "--secrets", str(desk.secrets), stdin="n\n")
    desk.console.at_a_terminal = False

    assert (without.exit_code, refused.exit_code) == (2, 1)
    assert desk.records() == []


def test_no_key_is_made_that_nobody_would_see(desk: Desk) -> None:
    """`--secrets` has to name a new file."""
    missing = desk.console("apply", str(desk.file), "--yes")
    desk.secrets.write_text("old", encoding="utf-8")
    there = desk.console("apply", str(desk.file), "--yes", "--secrets", str(desk.secrets))

    assert (missing.exit_code, there.exit_code) == (2, 2)
    assert desk.secrets.read_text(encoding="utf-8") == "old"
    assert desk.records() == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "begin the file with an id"),
        ('id = "a b"', "begin the file with an id"),
        ("id = ", "not TOML"),
        ('id = "a"\nkeys = 1', "the file has no 'keys'"),
        ('id = "a"\n[key]\nname = "x"', r"write each key as a \[\[key\]\] table"),
        ('id = "a"\n[[key]]\nowner = "x"', "key 1: name must have"),
        ('id = "a"\n[[key]]\nname = "x"', "key 'x': owner must have"),
        ('id = "a"\n[[key]]\nname = "x"\nowner = "y"\nscope = "z"', "key 1 has no 'scope'"),
        ('id = "a"\n[[key]]\nname = "x"\nowner = "y"\nscopes = "z"', "key 'x': scopes must be"),
        ('id = "a"\n[[key]]\nname = "x"\nowner = "y"\nexpires_at = 2027-01-01', "key 'x': write expires_at with an"),
        ('id = "a"\n[[key]]\nname = "x"\nowner = "y"\nkey_env = ""', "key 'x': key_env is the name"),
        ('id = "a"\n[[key]]\nname = "x"\nowner = "y"\nkey_env = "ABSENT"', "key 'x': ABSENT does not hold a key"),
        ('id = "a"\n[[key]]\nname = "x"\nowner = "y"\nkey_env = "ASGI_APIKEY_PEPPER"', "does not hold a key"),
        ('id = "a"\n' + '[[key]]\nname = "x"\nowner = "y"\n' * 2, "key 'x' is declared twice"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(desk: Desk, text: str, complaint: str) -> None:
    """Exit 4, with the place, before anything is changed."""
    desk.write(text)
    outcome = desk.console("apply", str(desk.file), "--yes")

    assert outcome.exit_code == 4
    assert re.search(complaint, outcome.stderr)
    assert PEPPER not in outcome.output


def test_a_revoked_or_expired_key_of_the_file_is_made_anew(desk: Desk) -> None:
    """What has ended cannot be brought back; the file says that there has to be one."""
    desk.write(FILE.split('[[key]]\nname = "given"')[0])
    desk.apply("--yes")
    [first] = desk.records()
    desk.console("revoke", str(first["key_id"]), "--yes")
    desk.console.clock.now = NOW + 60
    printed = desk.apply("--yes")

    assert "+ ci" in printed
    assert [each["status"] for each in desk.records()] == ["active", "revoked"]


def test_a_given_key_that_is_there_already_is_not_taken_over(desk: Desk) -> None:
    """Revoked, or somebody else's: the file cannot have it, and says so instead of showing the same diff for ever."""
    desk.apply("--yes")
    given = next(each for each in desk.records() if each["name"] == "given")
    desk.console("revoke", str(given["key_id"]), "--yes")
    printed = desk.apply("--yes", exit_code=1)

    assert f"key {given['key_id']} from GIVEN_KEY is in the store already" in printed
