"""The pages as data: code blocks, headings, links, table rows and what stands in backticks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code.

    Attributes:
        line: Where its first line stands, from 1.
        language: First word after the fence.
        title: Name of the file that it is, or empty.
    """

    page: str
    line: int
    language: str
    title: str
    text: str


def pages() -> list[Path]:
    """Every page for users, README first. Other tests own the folder `frameworks`."""
    found = sorted(path for path in DOCS.rglob("*.md") if "frameworks" not in path.parts)
    return [ROOT / "README.md", *found]


def name_of(page: Path) -> str:
    """Its path from the root of the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Its blocks of code, top to bottom; an indented one stands in a list."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = _TITLE.search(rest)
        line = text.count("\n", 0, match.start("text")) + 1
        yield Block(name_of(page), line, language, title[1] if title else "", textwrap.dedent(match["text"]))


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[str]:
    """The texts of its headings, without backticks."""
    return [heading.replace("`", "") for heading in _HEADING.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`, by GitHub's rule."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page))
    return {heading.replace(" ", "-") for heading in kept}


def links(page: Path) -> list[str]:
    """The targets of its links; one that is broken over two lines counts too."""
    return _LINK.findall(re.sub(r"\s+", " ", prose(page)))


def code_words(text: str) -> set[str]:
    """Whatever stands in backticks."""
    return set(_CODE.findall(text))


def section(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next one of the same or a higher level.

    Raises:
        LookupError: There is no such heading.
    """
    text = prose(page)
    for match in re.finditer(r"^(#{1,6}) (.+)$", text, re.MULTILINE):
        if match[2].replace("`", "") == heading:
            below = text[match.end() :]
            end = re.search(rf"^#{{1,{len(match[1])}}} ", below, re.MULTILINE)
            return below[: end.start()] if end else below
    raise LookupError(f"{name_of(page)} has no heading {heading!r}")


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without their heads; cells without the blanks around them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [number for number, row in enumerate(cells) if row and all(set(cell) <= set("-:") for cell in row)]
    heads = {number - 1 for number in rules}
    return [row for number, row in enumerate(cells) if number not in heads and number not in rules]
