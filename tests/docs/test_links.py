"""What the pages point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, anchors, code_words, links, name_of, pages, prose

_FILE = re.compile(r"(?:asgi_apikey|tests|docs|benchmarks|asgi|caches|hashers|repositories|invalidation)/[\w./-]*\w")


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the project, and to a heading of it where one is named."""
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not link.startswith(("https:", "http:")) and not _leads_to(target, anchor):
            broken.append(link)

    assert broken == []


def _leads_to(target: Path, anchor: str) -> bool:
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    """Modules may be named from the package's own folder."""
    named = {word.partition("::")[0] for word in code_words(prose(page)) if _FILE.fullmatch(word.partition("::")[0])}

    missing = {name for name in named if not (ROOT / name).exists() and not (ROOT / "asgi_apikey" / name).exists()}

    assert missing == set()


def test_every_page_can_be_found() -> None:
    """From the documentation's first page, by following links."""
    start = DOCS / "README.md"
    reached, ahead = {start}, [start]
    while ahead:
        page = ahead.pop()
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link}
        new = {target for target in targets if target.suffix == ".md" and target.exists()} - reached
        reached |= new
        ahead.extend(new)

    unreachable = {name_of(page) for page in pages() if page not in reached} - {"README.md"}

    assert unreachable == set()
