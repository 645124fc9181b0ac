"""`doctor`: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import PEPPER, Shell


def test_a_good_set_up_exits_0(shell: Shell) -> None:
    """Settings first, then what was found; the first key that manages is asked for."""
    shell("init")
    told = shell("doctor")

    assert told.returncode == 0, told.stderr
    assert "present, id " in told.stdout
    assert "schema " in told.stdout
    assert "asgi-apikey issue --owner admin" in told.stdout
    assert PEPPER not in told.stdout + told.stderr


def test_a_store_that_is_not_there_exits_3(shell: Shell) -> None:
    """And is not made."""
    told = shell("doctor", "--json")

    document = json.loads(told.stdout)
    assert (told.returncode, document["ok"]) == (3, False)
    assert any(each["topic"] == "store" and each["level"] == "unavailable" for each in document["findings"])
    assert list(shell.folder.iterdir()) == []


def test_a_wrong_configuration_exits_4(shell: Shell) -> None:
    """One that cannot be read is said on standard error, one that cannot be used among the findings."""
    shell.environ["ASGI_APIKEY_PORT"] = "many"
    unreadable = shell("doctor")
    del shell.environ["ASGI_APIKEY_PORT"]
    shell.environ["ASGI_APIKEY_PEPPER"] = "short"
    unusable = shell("doctor")

    assert (unreadable.returncode, unreadable.stdout) == (4, "")
    assert "ASGI_APIKEY_PORT" in unreadable.stderr
    assert unusable.returncode == 4
    assert "at least 32" in unusable.stdout


def test_files_are_read_when_asked(shell: Shell) -> None:
    """`.env` and TOML, before or behind the command's name, by every command."""
    del shell.environ["ASGI_APIKEY_URL"]
    Path(shell.folder, "a.env").write_text("DATABASE_URL=sqlite:///theirs.db\nSQL_ECHO=1\n")
    Path(shell.folder, "c.toml").write_text("prefix = 'acme'\n")
    issued = shell("--env-file", "a.env", "issue", "--config", "c.toml", "--owner", "acme", "--quiet")
    told = shell("doctor", "--json", "--env-file", "a.env", "--config", "c.toml")

    document = json.loads(told.stdout)
    assert issued.stdout.startswith("acme_live_")
    assert document["settings"]["url"] == "sqlite:///theirs.db"
    assert any("SQL_ECHO has no effect" in each["text"] for each in document["findings"])
    assert (shell.folder / "theirs.db").exists()
