"""What the pages show works when it is done."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import click
import pytest

from asgi_apikey.cli.application import application
from asgi_apikey.cli.session import Session
from tests.docs.pages import ROOT, Block, blocks, name_of, pages
from tests.docs.stage import Stage

SPELLED: Final = ("docs/howto/command-line.md", "docs/howto/databases.md")
"""Pages whose blocks need a world of their own, such as keys that exist, or a terminal: their spelling is tested."""

RUN: Final = [page for page in pages() if name_of(page) not in SPELLED and any(blocks(page))]

FILES: Final = {"service.log", "FILE", "keys.toml", "keys.jsonl", ".env", "service.toml"}
"""Names of files on the pages, which need not be there."""

_CALL = re.compile(r"(?<![\w=.\-\[])asgi-apikey [^|#<>&;)]*")

LANGUAGES: Final = {"python", "sh", "console", "text", "json"}


@pytest.mark.anyio
@pytest.mark.parametrize("page", RUN, ids=name_of)
async def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """From top to bottom in an empty folder, each prints and gives what the page says."""
    with Stage(tmp_path) as stage:
        try:
            for block in blocks(page):
                await stage.run(block)
        finally:
            await stage.close()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_says_its_language(page: Path) -> None:
    """A block without one would be run by nobody, and nobody would notice."""
    assert {block.language for block in blocks(page)} <= LANGUAGES | {"sql", "ini", "mermaid"}


def command_lines() -> list[tuple[str, str]]:
    """Every call of `asgi-apikey` in any shell block, with the place where it stands."""
    shell = [block for page in pages() for block in blocks(page) if block.language in ("sh", "console")]
    return [call for block in shell for call in _calls(block)]


def _calls(block: Block) -> list[tuple[str, str]]:
    return [
        (f"{block.page}:{block.line + number}", call.strip())
        for number, line in enumerate(block.text.splitlines())
        for call in _CALL.findall(line)
    ]


@pytest.mark.parametrize(("place", "call"), command_lines(), ids=lambda value: value)
def test_every_command_line_is_spelled_right(place: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command and each of its options exist, and take what they are given."""
    monkeypatch.chdir(ROOT)
    _, name, *arguments = (word for word in shlex.split(call) if word != "--json")
    command = application.get_command(click.Context(application), name)
    assert command is not None, f"{place}: there is no command {name!r}"

    # An argument that names a file need not be there.
    given = ["README.md" if each in FILES else each for each in arguments]
    command.make_context(name, given, obj=Session({})).close()
