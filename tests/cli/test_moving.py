"""Export and import on the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Console


@pytest.fixture
def full(console: Console) -> Console:
    """A console with some keys."""
    for number in range(5):
        console.issue("--name", f"key {number}", "--scope", "a", "--metadata", "plan=pro", "--expires-in", "1d")
    return console


def all_of(console: Console) -> dict[str, object]:
    """What a store holds, by key id."""
    return {each["key_id"]: each for each in console.json("list", "--all")["keys"]}


def exported(console: Console, path: Path) -> list[str]:
    """Export to a new file; return its lines."""
    outcome = console("export", "-o", str(path))
    assert outcome.exit_code == 0, outcome.output
    return path.read_text(encoding="utf-8").splitlines()


def test_keys_move_from_store_to_store(full: Console, tmp_path: Path) -> None:
    """They work there as here, and the file holds no key."""
    key, _ = full.issue()
    lines = exported(full, tmp_path / "keys.jsonl")
    other = Console()
    outcome = other("import", str(tmp_path / "keys.jsonl"), "--by", "ada")
    again = other("import", str(tmp_path / "keys.jsonl"))

    assert outcome.stdout == "6 keys added, 0 were here already, 0 in conflict\n"
    assert again.stdout == "0 keys added, 6 were here already, 0 in conflict\n"
    assert (outcome.exit_code, again.exit_code) == (0, 0)
    assert all_of(other) == all_of(full)
    assert other("verify", stdin=key).exit_code == 0
    assert key not in "".join(lines)
    assert (json.loads(lines[0]), json.loads(lines[-1])) == ({"asgi_apikey": "keys", "format": 1}, {"end": 6})
    assert other.json("audit", "tail", "-n", "1")["entries"][0]["actor"] == "ada"
    assert stat.S_IMODE((tmp_path / "keys.jsonl").stat().st_mode) == 0o600


def test_export_to_standard_output_is_the_same(full: Console, tmp_path: Path) -> None:
    """For pipes."""
    assert full("export").stdout.splitlines() == exported(full, tmp_path / "keys.jsonl")


def test_an_existing_file_is_not_overwritten(full: Console, tmp_path: Path) -> None:
    """It may be the only backup there is."""
    exported(full, tmp_path / "keys.jsonl")

    assert full("export", "-o", str(tmp_path / "keys.jsonl")).exit_code == 2
    assert full("export", "--resume").exit_code == 2
    assert "complete already" in full("export", "-o", str(tmp_path / "keys.jsonl"), "--resume").stderr


@pytest.mark.parametrize("kept", [0, 1, 2, 5])
@pytest.mark.parametrize("torn", ["", '{"key_id": "x'])
def test_an_interrupted_export_goes_on(full: Console, tmp_path: Path, kept: int, torn: str) -> None:
    """A line that was being written is written again; the result is as if nothing had happened."""
    whole = exported(full, tmp_path / "whole.jsonl")
    part = tmp_path / "part.jsonl"
    part.write_text("".join(f"{line}\n" for line in whole[:kept]) + torn, encoding="utf-8")
    outcome = full("export", "-o", str(part), "--resume")

    assert outcome.exit_code == 0, outcome.output
    assert part.read_text(encoding="utf-8").splitlines() == whole


def test_a_file_that_was_cut_off_is_told(full: Console, tmp_path: Path) -> None:
    """What is there is imported; exit 1, as something is missing."""
    lines = exported(full, tmp_path / "keys.jsonl")
    (tmp_path / "keys.jsonl").write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    outcome = (other := Console())("import", str(tmp_path / "keys.jsonl"))

    assert outcome.exit_code == 1
    assert "it was cut off" in outcome.stderr
    assert len(all_of(other)) == 2


def test_a_conflict_is_told_and_nothing_is_overwritten(full: Console, tmp_path: Path) -> None:
    """Exit 1, with the ids; the other keys are imported."""
    lines = exported(full, tmp_path / "keys.jsonl")
    entry = json.loads(lines[1])
    digest = entry["digest"]
    entry["digest"] = digest[:-1] + ("A" if digest[-1] != "A" else "B")
    (tmp_path / "keys.jsonl").write_text("\n".join([lines[0], json.dumps(entry), *lines[2:]]) + "\n", encoding="utf-8")
    before = all_of(full)
    outcome = full("import", str(tmp_path / "keys.jsonl"))

    assert outcome.exit_code == 1
    assert outcome.stdout == "0 keys added, 4 were here already, 1 in conflict\n"
    assert f"another key has the id: {entry['key_id']}\n" in outcome.stderr
    assert all_of(full) == before


def test_digests_that_cannot_be_compared_are_told(full: Console, tmp_path: Path) -> None:
    """They are imported all the same: the pepper can still come."""
    exported(full, tmp_path / "keys.jsonl")
    other = Console()
    other.environ["ASGI_APIKEY_PEPPER"] = "w7Kd2Rz9-Ub5Qe8Ny1Mf4Hx6Jc3Vp0Sg"
    outcome = other("import", str(tmp_path / "keys.jsonl"))

    assert outcome.exit_code == 0
    assert "5 keys have digests that these settings cannot compare" in outcome.stderr


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("x", "line 3: not a line of JSON"),
        ("[]", "line 3: not a JSON object"),
        ("{}", "line 3: no key_id"),
        ('{"key_id": "a", "digest": "b", "owner": "c", "created_at": 0, "new": 1}', "line 3: unknown column 'new'"),
        ('{"key_id": "a", "digest": "b", "owner": "c", "created_at": "0"}', "line 3: a value that no column can have"),
        ('{"key_id": "a", "digest": "b", "owner": "c", "created_at": 0.5}', "line 3: created_at: neither"),
        ('{"key_id": "a", "digest": "b", "owner": "c", "created_at": true}', "line 3: created_at: neither"),
        ('{"key_id": "a", "digest": "b", "owner": 5, "created_at": 0}', "line 3: owner: must be text"),
        ('{"key_id": "a", "digest": "b", "owner": "c", "created_at": 0, "scopes": "b a"}', "line 3: scopes: not as"),
        ('{"key_id": "a", "digest": "b", "owner": "c", "created_at": 0, "metadata": "[]"}', "line 3: a value that"),
        ('{"asgi_apikey": "keys", "format": 2}', "line 3: not an export of format 1"),
        ('{"asgi_apikey": "keys", "format": 1}', "line 3: another export begins here"),
        ('{"end": "6"}', "line 3: the last line tells a number"),
        ('{"end": 1}', "line 4: more after the last line"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named(full: Console, tmp_path: Path, line: str, complaint: str) -> None:
    """By its number; nothing of its batch is added."""
    lines = exported(full, tmp_path / "keys.jsonl")
    lines.insert(2, line)
    (tmp_path / "keys.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = (other := Console())("import", str(tmp_path / "keys.jsonl"))

    assert outcome.exit_code == 1
    assert complaint in outcome.stderr
    assert all_of(other) == {}


def test_an_interrupted_import_goes_on_where_it_ended(console: Console, tmp_path: Path) -> None:
    """Every batch that was committed is passed over, also its counts; the place is forgotten at the end."""
    file = tmp_path / "keys.jsonl"
    template = '{{"key_id": "key{:05}", "digest": "sha256$x{}", "owner": "acme", "created_at": 0}}'
    lines = ['{"asgi_apikey": "keys", "format": 1}', *(template.format(number, number) for number in range(1_200))]
    file.write_text("\n".join([*lines, "torn"]) + "\n", encoding="utf-8")
    broken = console("import", str(file))
    remembered = json.loads(Path(f"{file}.cursor").read_text(encoding="utf-8"))
    file.write_text("\n".join([*lines, '{"end": 1200}']) + "\n", encoding="utf-8")
    outcome = console("import", str(file))

    assert broken.exit_code == 1
    assert (remembered["lines"], remembered["added"]) == (1_000, 999)
    assert outcome.stdout == "1,200 keys added, 0 were here already, 0 in conflict\n"
    assert outcome.exit_code == 0
    assert list(tmp_path.iterdir()) == [file]


def test_a_place_in_another_file_is_not_taken_for_one_in_this(full: Console, tmp_path: Path) -> None:
    """It begins at the beginning."""
    file = tmp_path / "keys.jsonl"
    exported(full, file)
    Path(f"{file}.cursor").write_text('{"file": "other", "lines": 4}', encoding="utf-8")

    assert Console()("import", str(file)).stdout == "5 keys added, 0 were here already, 0 in conflict\n"
