"""Completion in shells."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from asgi_apikey.cli.application import application
from asgi_apikey.cli.variables import VARIABLES
from asgi_apikey.settings.configuration import CONFIG, ENV_FILE
from asgi_apikey.settings.given import PREFIX
from asgi_apikey.settings.names import VARIABLES as NAMES
from tests.cli.conftest import Console, Shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(console: Console, shell: str) -> None:
    """It calls the command under its own name."""
    script = console("completion", shell)

    assert script.exit_code == 0
    assert f"_ASGI_APIKEY_COMPLETE={shell}_complete" in script.stdout
    assert "asgi-apikey" in script.stdout


def test_bash_takes_the_script(console: Console, tmp_path: object) -> None:
    """It is valid, and defines the completion of the command."""
    bash = shutil.which("bash")
    assert bash is not None
    script = console("completion", "bash").stdout + "\ncomplete -p asgi-apikey\n"
    outcome = subprocess.run([bash], input=script, capture_output=True, text=True, timeout=30, check=False)

    assert outcome.returncode == 0, outcome.stderr
    assert "asgi-apikey" in outcome.stdout


def test_commands_and_options_are_completed(shell: Shell) -> None:
    """What the shell asks for."""
    shell.environ |= {"_ASGI_APIKEY_COMPLETE": "bash_complete", "COMP_WORDS": "asgi-apikey rev", "COMP_CWORD": "1"}
    commands = shell.script("exec asgi-apikey").stdout if shutil.which("asgi-apikey") else completed(shell)

    assert "plain,revoke\n" in commands
    assert "plain,revoke-where\n" in commands


def completed(shell: Shell) -> str:
    """What the entry point answers where its program is not on PATH."""
    code = "import sys; sys.argv[0] = 'asgi-apikey'; from asgi_apikey.cli import main; main()"
    return subprocess.run(
        [__import__("sys").executable, "-c", code],
        env=shell.environ,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout


def test_the_help_lists_every_variable(console: Console) -> None:
    """Each on a line of its own, with what it is."""
    helped = console("--help").stdout

    assert set(VARIABLES) == NAMES | {CONFIG.removeprefix(PREFIX), ENV_FILE.removeprefix(PREFIX)}
    for name, text in VARIABLES.items():
        assert f"{PREFIX}{name} " in helped
        assert text in helped
    assert application.epilog is not None
