"""What a command asks for: a presented key, and consent. Never from the argument list."""

from __future__ import annotations

import sys

import click

from asgi_apikey.cli.session import Session

# A key has at most 256 bytes; the rest is for blanks and line ends around it.
_MOST = 4_096


def presented_key(session: Session) -> bytes:
    """Return the key that stands alone on standard input, or ask for it at a terminal without showing it.

    Raises:
        UsageError: There is nothing, or more than one word. What there is, is not repeated.
    """
    if session.interactive():
        asked: str = click.prompt("Key", hide_input=True, err=True)
        words = asked.encode(errors="surrogateescape").split()
    else:
        words = _standard_input().split()
    if len(words) != 1:
        raise click.UsageError("standard input must hold one key and nothing else")
    return words[0]


def check_consent(session: Session, *, yes: bool) -> None:
    """Refuse early what nobody can be asked about.

    Raises:
        UsageError: There is neither `--yes` nor a terminal.
    """
    if not yes and not session.interactive():
        raise click.UsageError("this cannot be undone and there is no terminal to ask at; add --yes")


def ask_consent(question: str, *, yes: bool) -> None:
    """Ask, unless `--yes` has answered.

    Raises:
        Abort: The answer is no.
    """
    if yes:
        return
    # Not `click.confirm`: its prompt leaves a blank on standard output, where a new key must stand alone.
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise click.Abort


def _standard_input() -> bytes:
    return b"" if sys.stdin is None else sys.stdin.buffer.read(_MOST)
