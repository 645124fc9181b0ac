"""The audit on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Console

AUDIT_KEY = "u9Rk3Vw0-Zs6Lp1Xc8Mb4Yh7Jd2Tg5Nf"


@pytest.fixture
def keyed(console: Console) -> Console:
    """A console with an audit key, where a key was issued, amended and revoked."""
    console.environ["ASGI_APIKEY_AUDIT_KEY"] = AUDIT_KEY
    _, key_id = console.issue("--created-by", "ada")
    console("amend", key_id, "--name", "canary")
    console("revoke", key_id, "--yes", "--by", "bob", "--reason", "lost\nlaptop")
    return console


def test_a_sound_audit_is_said_to_be_so(keyed: Console) -> None:
    """Exit 0 and one line."""
    outcome = keyed("audit", "verify")

    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "3 entries: the audit is sound\n", "")


def test_without_an_audit_key_verify_says_what_it_cannot_see(console: Console) -> None:
    """Plain seals are no proof against whoever can write to the store."""
    console.issue()
    outcome = console("audit", "verify")

    assert outcome.exit_code == 0
    assert "Seals are plain SHA-256" in outcome.stderr
    assert console.json("audit", "verify")["keyed"] is False


def test_tampering_is_told_entry_by_entry(keyed: Console) -> None:
    """Exit 1; findings on standard error, and in the JSON document."""
    del keyed.repository.audit._entries[1]
    outcome, document = keyed("audit", "verify"), json.loads(keyed("--json", "audit", "verify").stdout)

    assert (outcome.exit_code, outcome.stdout) == (1, "2 entries: the audit is not sound\n")
    assert "entry 3: missing before this one: 2\n" in outcome.stderr
    assert document["sound"] is False
    assert {"number": 3, "what": "missing before this one: 2"} in document["findings"]


def test_tail_shows_the_newest_entries_and_no_values(keyed: Console) -> None:
    """Who, what, which fields, why; on one line each."""
    outcome = keyed("audit", "tail", "-n", "2")

    lines = outcome.stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:4] == ["2", "2027-01-15T08:00:00.000Z", "-", "amend"]
    assert "lost\\nlaptop" in lines[2]
    assert "bob" in lines[2]
    assert "canary" not in outcome.output


def test_tail_of_one_key(keyed: Console) -> None:
    """Only what was done to it."""
    _, key_id = keyed.issue()
    document = keyed.json("audit", "tail", "--key-id", key_id)

    assert [each["action"] for each in document["entries"]] == ["issue"]
    assert keyed("audit", "tail", "--key-id", "EKjzlXrUIG06").stderr == "no such entries\n"


def test_an_export_is_json_lines_with_a_signed_head(keyed: Console, tmp_path: Path) -> None:
    """It can be verified against later, when there is more, and tells when something is gone."""
    outcome = keyed("audit", "export")
    kept = tmp_path / "audit.jsonl"
    kept.write_text(outcome.stdout, encoding="utf-8")
    keyed.issue()
    later = keyed("audit", "verify", "--head", str(kept))
    del keyed.repository.audit._entries[2:]
    cut = keyed("audit", "verify", "--head", str(kept))

    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line.get("action") for line in lines] == ["issue", "amend", "revoke", None]
    assert lines[3]["head"]["number"] == 3
    assert later.exit_code == 0
    assert cut.exit_code == 1
    assert "entry 3, which an exported head names, is not there" in cut.stderr


def test_the_head_alone_is_enough_to_keep(keyed: Console, tmp_path: Path) -> None:
    """One line, however long the audit is; also to a file."""
    whole = keyed("audit", "export").stdout.splitlines()
    kept = tmp_path / "head.json"
    keyed("audit", "export", "--only-head", "-o", str(kept))

    assert kept.read_text(encoding="utf-8").splitlines() == whole[-1:]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"head": {}}', '{"head": {"number": "1"}}', "{", "x"])
def test_a_file_without_a_head_is_a_usage_error(keyed: Console, tmp_path: Path, text: str) -> None:
    """A truncated export must not pass for one that vouches for nothing."""
    kept = tmp_path / "audit.jsonl"
    kept.write_text(text, encoding="utf-8")
    outcome = keyed("audit", "verify", "--head", str(kept))

    assert outcome.exit_code == 2
    assert "does not end with a head" in outcome.stderr


def test_an_empty_audit_has_a_head_too(console: Console, tmp_path: Path) -> None:
    """So that the first export of a new store is one."""
    kept = tmp_path / "audit.jsonl"
    kept.write_text(console("audit", "export").stdout, encoding="utf-8")
    console.issue()

    assert console("audit", "verify", "--head", str(kept)).exit_code == 0
