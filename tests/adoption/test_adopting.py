"""`asgi-apikey adopt`: a plan, the import, and doing it again."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_apikey.adopted.shapes import id_of_digest
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.models import KeyRecord
from tests.adoption.golden import GOLDEN, Golden, named
from tests.cli.conftest import Console

each_golden = pytest.mark.parametrize("golden", GOLDEN, ids=named)
BEANONE = next(each for each in GOLDEN if each.system == "beanone-apikey")


def adopt(console: Console, golden: Golden, path: Path, *options: str) -> tuple[int, str, str]:
    """Run the command over their database; return what came of it."""
    outcome = console(
        "adopt", "--from", golden.system, "--database-url", f"sqlite:///{path}", "--owner", "acme", *options
    )
    return outcome.exit_code, outcome.stdout, outcome.stderr


@each_golden
def test_a_table_is_taken_over_and_again(golden: Golden, console: Console, tmp_path: Path) -> None:
    """The second time finds everything there; their file is as it was."""
    path = golden.database(tmp_path / "theirs.db")
    before, count = path.read_bytes(), len(golden.rows)

    assert adopt(console, golden, path, "--yes", "--by", "ada")[:2] == (
        0,
        console_plan(golden) + f"{count} keys added, 0 were here already, 0 in conflict, 0 left out\n",
    )
    assert adopt(console, golden, path, "--yes")[:2] == (
        0,
        console_plan(golden) + f"0 keys added, {count} were here already, 0 in conflict, 0 left out\n",
    )
    assert path.read_bytes() == before
    assert console.json("audit", "tail", "-n", "1")["entries"][0]["actor"] == "ada"


def console_plan(golden: Golden) -> str:
    """What the plan says."""
    of_labels = {"active": "active", "ending": "active", "inactive": "disabled"}
    statuses = Counter(of_labels.get(label, label) for label in golden.keys)
    told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return f"{len(golden.rows)} rows, {len(golden.rows)} can be taken over: {told}\n"


def test_a_plan_changes_nothing(console: Console, tmp_path: Path) -> None:
    """Not even our store has to be there."""
    path = BEANONE.database(tmp_path / "theirs.db")
    code, out, _ = adopt(console, BEANONE, path, "--dry-run")

    assert (code, out) == (0, console_plan(BEANONE))
    assert console.json("list", "--all")["keys"] == []


def test_what_cannot_be_taken_is_told_with_its_reason(console: Console, tmp_path: Path) -> None:
    """By what tells the row apart there, never by its digest; the rest is taken."""
    broken = (
        {**BEANONE.rows[0], "id": "row-1", "key_hash": "not a hash"},
        {**BEANONE.rows[1], "id": "row-2", "expires_at": "some day"},
        {**BEANONE.rows[2], "id": "row-3", "user_id": "", "status": "LOST"},
    )
    path = replace(BEANONE, rows=(*broken, *BEANONE.rows[3:])).database(tmp_path / "theirs.db")
    code, out, err = adopt(console, BEANONE, path, "--yes")

    assert code == 1
    assert "2 keys added, 0 were here already, 0 in conflict, 3 left out" in out
    assert "1 cannot be: key_hash is not a SHA-256 (row-1)" in err
    assert "1 cannot be: expires_at is not a time (row-2)" in err
    assert "1 cannot be: status is none of those that there are (row-3)" in err
    assert "not a hash" not in out + err


def test_a_key_without_an_owner_there_needs_one_here(console: Console, tmp_path: Path) -> None:
    """Keys belong to somebody."""
    golden = next(each for each in GOLDEN if each.system == "keyshield")
    path = golden.database(tmp_path / "theirs.db")
    outcome = console("adopt", "--from", golden.system, "--database-url", f"sqlite:///{path}", "--yes", "--json")

    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout)["left_out"] == {
        "owner must have 1 to 255 characters, and not only spaces": {
            "count": 3,
            "rows": sorted(str(each["key_id"]) for each in golden.rows),
        }
    }


def test_what_ends_there_later_is_told_and_followed_when_asked(console: Console, tmp_path: Path) -> None:
    """Also for a key that is verified by one of our digests by now."""
    path = BEANONE.database(tmp_path / "theirs.db")
    adopt(console, BEANONE, path, "--yes")
    with sqlite3.connect(path) as theirs:
        theirs.execute("UPDATE api_keys SET status = 'REVOKED' WHERE status = 'ACTIVE'")
    theirs.close()
    told = adopt(console, BEANONE, path, "--yes")
    followed = adopt(console, BEANONE, path, "--yes", "--follow")
    after = adopt(console, BEANONE, path, "--yes")

    assert "2 keys have ended there since and work here; --follow ends them" in told[2]
    assert followed[1].endswith("2 keys have ended there since, and now here, too\n")
    assert "since" not in after[1] + after[2]
    assert {each["status"] for each in console.json("list", "--all")["keys"]} == {"revoked", "disabled", "expired"}


def test_a_key_of_another_system_with_the_same_id_is_a_conflict(console: Console, tmp_path: Path) -> None:
    """What is here is left as it is."""
    path = BEANONE.database(tmp_path / "theirs.db")
    key_id = id_of_digest(bytes.fromhex(BEANONE.rows[0]["key_hash"]))
    ours = KeyRecord(key_id=key_id, digest="sha256$of-another-key", owner="acme", created_at=0.0)
    anyio.run(console.repository.add, ours)
    code, out, err = adopt(console, BEANONE, path, "--yes")

    assert code == 1
    assert "4 keys added, 0 were here already, 1 in conflict" in out
    assert f"another key has the id: {key_id}" in err


@pytest.mark.parametrize(
    ("url", "code", "complaint"),
    [
        ("sqlite:///nowhere/at-all.db", 3, "cannot be read"),
        ("mysql://root:hunter22@db/keys", 4, ".csv, which every database can export"),
        ("keys.txt", 4, ".csv"),
    ],
)
def test_what_cannot_be_read_is_no_end_of_the_world(console: Console, url: str, code: int, complaint: str) -> None:
    """One line, and no password."""
    outcome = console("adopt", "--from", "keyshield", "--database-url", url, "--yes")

    assert outcome.exit_code == code
    assert complaint in outcome.stderr
    assert "hunter22" not in outcome.output


def test_an_interrupted_import_goes_on(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed is found there; the rest is added."""
    monkeypatch.setattr("asgi_apikey.adopted.sources.PAGE", 2)
    path = BEANONE.database(tmp_path / "theirs.db")
    put, calls = console.repository.archive.put, 0

    async def once(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable("gone")
        return await put(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(console.repository.archive, "put", once)
        code, _, err = adopt(console, BEANONE, path, "--yes")
    after = len(console.json("list", "--all")["keys"])
    _, out, _ = adopt(console, BEANONE, path, "--yes")

    assert (code, after) == (3, 2)
    assert "gone" in err
    assert "3 keys added, 2 were here already, 0 in conflict, 0 left out" in out


def test_the_answer_no_changes_nothing(console: Console, tmp_path: Path) -> None:
    """And where nobody can be asked, `--yes` is needed."""
    path = BEANONE.database(tmp_path / "theirs.db")

    assert adopt(console, BEANONE, path)[0] == 2
    assert console.json("list", "--all")["keys"] == []


def test_keys_of_kong_that_can_be_guessed_are_left_out(console: Console, tmp_path: Path) -> None:
    """By their ids; the keys themselves stand nowhere, neither in the output nor in the store."""
    kong = next(each for each in GOLDEN if each.system == "kong")
    chosen = ({**kong.rows[0], "id": "row-1", "key": "correct-horse-battery-staple-9"}, kong.rows[1])
    path = replace(kong, rows=chosen).database(tmp_path / "theirs.db")
    code, out, err = adopt(console, kong, path, "--yes")
    shown = out + err + console("list", "--all", "--json").stdout + console("export").stdout

    assert code == 1
    assert "1 keys added" in out
    assert "(row-1)" in err
    assert not [each["key"] for each in chosen if each["key"] in shown]
