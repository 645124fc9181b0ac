"""The pages about frameworks say what works: the Python blocks of a page, or of a section, are run as one file."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import DOCS, Block, anchors, blocks, links, name_of
from tests.docs.stage import Stage
from tests.integration.hosts import ROOT

PAGES: Final = sorted((DOCS / "frameworks").glob("*.md"))
OVERVIEW: Final = DOCS / "frameworks" / "README.md"
SEVERAL: Final = DOCS / "frameworks" / "others.md"
"""Each of its sections is about a framework of its own."""

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)

RUN: Final = """
import sys
sys.path[:0] = [{folder!r}, {root!r}]
for name in {files!r}:
    module = __import__(name)
    tests = [each for each in vars(module) if each.startswith("test_")]
    assert tests, name
    for each in tests:
        getattr(module, each)()
    if hasattr(module, "app"):
        assert callable(module.app)
    print(name, len(tests))
"""


def files(page: Path) -> Iterator[tuple[str, str]]:
    """The files that a page tells to write, by name."""
    text = page.read_text(encoding="utf-8")
    if page == SEVERAL:
        _, *parts = _SECTION.split(text)
        for title, part in zip(parts[::2], parts[1::2], strict=True):
            yield f"about_{title.lower()}", "\n\n".join(_BLOCK.findall(part))
    elif page != OVERVIEW:
        yield f"about_{page.stem}", "\n\n".join(_BLOCK.findall(text))


def test_what_the_pages_write_works(tmp_path: Path) -> None:
    """Every file can be imported as it is served, its tests pass, and it makes no store by itself."""
    written = dict(pair for page in PAGES for pair in files(page))
    for name, text in written.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    # A process of its own: Django and Sanic can be set up once in each.
    outcome = subprocess.run(
        [sys.executable, "-c", RUN.format(folder=str(tmp_path), root=str(ROOT), files=list(written))],
        cwd=tmp_path,
        env={**os.environ, "ASGI_APIKEY_PEPPER": secrets.token_urlsafe(32)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert re.findall(r"^(about_\w+) \d+$", outcome.stdout, re.MULTILINE) == list(written)
    assert not (tmp_path / "keys.db").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("page", PAGES, ids=name_of)
async def test_what_the_pages_type_works(page: Path, tmp_path: Path) -> None:
    """Commands are run beside the page's file; the overview's Python is run where it stands."""
    with Stage(tmp_path) as stage:
        for name, text in files(page):
            (tmp_path / ("shop.py" if page != SEVERAL else f"{name}.py")).write_text(text, encoding="utf-8")
        try:
            for block in blocks(page):
                if page == OVERVIEW or block.language != "python":
                    await stage.run(block)
        finally:
            await stage.close()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_pages_are_linked_and_their_links_lead_somewhere(page: Path) -> None:
    """From the overview, and to files and headings that exist."""
    told = [link for link in links(page) if "://" not in link]
    broken = [link for link in told if not _leads_somewhere(page, link)]

    assert broken == []
    assert page == OVERVIEW or page.name in links(OVERVIEW)


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_its_language(page: Path) -> None:
    """A block without one would be run by nobody."""
    told: list[Block] = list(blocks(page))

    assert {block.language for block in told} <= {"python", "console"}
    assert told
