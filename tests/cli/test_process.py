"""The command as a process: real pipes, a real terminal, a real file, and an installation without its libraries."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

WITHOUT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["asgi-apikey", "list"]
from asgi_apikey.cli import main
main()
"""


def test_the_life_of_a_key_in_a_shell_script(shell: Shell) -> None:
    """Issue, verify, rotate, revoke and verify again, each a process of its own over one file."""
    outcome = shell.script(
        """
        set -e
        apikey init >/dev/null
        KEY=$(apikey issue --owner acme --scope orders:read --expires-in 90d --quiet)
        printf %s "$KEY" | apikey verify >/dev/null
        NEW=$(printf %s "$KEY" | apikey rotate --key --grace 0 --yes --quiet)
        ! printf %s "$KEY" | apikey verify 2>/dev/null
        printf %s "$NEW" | apikey verify >/dev/null
        printf %s "$NEW" | apikey revoke --key --yes --reason leaked
        ! printf %s "$NEW" | apikey verify
        """
    )

    assert outcome.returncode == 0, outcome.stderr
    assert "revoked" in outcome.stdout
    assert outcome.stdout.endswith("rejected: revoked\n")


def test_without_a_store_the_command_to_make_one_is_told(shell: Shell) -> None:
    """Exit 3, and looking does not create it."""
    outcomes = [shell(*verb) for verb in (["list"], ["show", "EKjzlXrUIG06"], ["revoke", "EKjzlXrUIG06", "--yes"])]

    assert [outcome.returncode for outcome in outcomes] == [3, 3, 3]
    assert all("asgi-apikey init" in outcome.stderr for outcome in outcomes)
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(("library", "extra"), [("click", "cli"), ("aiosqlite", "sqlite")])
def test_a_missing_library_is_named_with_its_extra(shell: Shell, library: str, extra: str) -> None:
    """The entry point is installed with the core, so it has to say what else to install: exit 4, one line."""
    outcome = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(library=library)],
        cwd=shell.folder,
        env=shell.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (outcome.returncode, outcome.stdout) == (4, "")
    assert f"pip install 'asgi-apikey[{extra}]'" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_another_missing_module_is_not_taken_for_click(shell: Shell) -> None:
    """A broken installation shows itself as what it is."""
    outcome = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(library="json")],
        cwd=shell.folder,
        env=shell.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "No module named 'json" in outcome.stderr
    assert "asgi-apikey[cli]" not in outcome.stderr


@pytest.mark.parametrize("verb", [["verify"], ["show", "--key"], ["check-format"]], ids=" ".join)
def test_closed_standard_input_is_a_usage_error(shell: Shell, verb: list[str]) -> None:
    """A daemon without streams gets an answer, not a traceback."""
    outcome = shell.script(f"apikey {' '.join(verb)} <&-")

    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    assert "standard input" in outcome.stderr


def test_a_reader_that_leaves_early_is_no_error_to_show(shell: Shell) -> None:
    """`asgi-apikey list | head -1` prints no traceback."""
    shell("issue", "--owner", "acme")
    outcome = shell.script("apikey list --json | true")

    assert outcome.returncode == 0
    assert outcome.stderr == ""


def test_a_name_the_terminal_cannot_show_is_escaped(shell: Shell) -> None:
    """An encoding error must not end a command half way."""
    shell("issue", "--owner", "Łdź")
    shell.environ["PYTHONIOENCODING"] = "latin-1"
    listed = shell("list")

    assert listed.returncode == 0
    assert r"\u0141d\u017a" in listed.stdout


def test_no_pepper_is_warned_of_beside_the_output(shell: Shell) -> None:
    """The warning never mixes with what a script reads."""
    del shell.environ["ASGI_APIKEY_PEPPER"]
    shell("init")
    listed = shell("--json", "list")

    assert json.loads(listed.stdout) == {"keys": [], "next_cursor": None}
    assert "asgi-apikey pepper" in listed.stderr


def read_until(terminal: int, expected: bytes) -> bytes:
    """What appears on the terminal, up to and including `expected`."""
    seen = b""
    while expected not in seen:
        seen += os.read(terminal, 1024)
    return seen


def test_at_a_real_terminal_the_key_is_hidden_and_the_question_asked(shell: Shell) -> None:
    """Typed into a prompt, the key appears nowhere; the answer ends the command."""
    key = shell("issue", "--owner", "acme", "--quiet").stdout.strip()
    terminal, line = pty.openpty()
    attributes = termios.tcgetattr(line)
    process = shell.start("revoke", "--key", stdin=line, stderr=line, start_new_session=True)
    os.close(line)
    try:
        seen = read_until(terminal, b"Key: ")
        os.write(terminal, f"{key}\n".encode())
        seen += read_until(terminal, b"[y/N] ")
        os.write(terminal, b"y\n")
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(terminal)

    assert process.returncode == 0
    assert key.encode() not in seen + out
    assert key[-39:].encode() not in seen + out
    assert out.endswith(b" revoked\n")
    assert attributes[3] & termios.ECHO


def test_completion_is_offered_to_the_shell(shell: Shell) -> None:
    """By click, under the variable that the documentation names."""
    shell.environ["_ASGI_APIKEY_COMPLETE"] = "bash_source"
    offered = shell()

    assert offered.returncode == 0
    assert "complete" in offered.stdout


def test_the_entry_point_runs_main() -> None:
    """What `pip` installs as `asgi-apikey` is the same function."""
    script = Path(sys.executable).with_name("asgi-apikey")
    outcome = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=False)

    assert outcome.returncode == 0
    assert outcome.stdout.startswith("Usage: asgi-apikey ")
