"""Every framework on every server decides alike, and the published table says what they do."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.integration.desk import Desk
from tests.integration.everywhere import FRAMEWORKS
from tests.integration.fleet import COMMANDS, ROOT, serving
from tests.integration.matrix import CASES, EVERYTHING, HTTP, WEBSOCKET, Seen, observe, published, table

PAGE = ROOT / "docs" / "frameworks" / "README.md"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """All cases, asked once."""
    folder: Path = tmp_path_factory.mktemp("matrix")
    desk = Desk(folder / "keys.db", secrets.token_urlsafe(32), cache_ttl=0.5)
    desk.init()
    with serving(EVERYTHING, COMMANDS, folder, desk.environ) as hosts:
        found = observe(hosts, desk)
    desk.close()
    return found


def test_everything_was_asked(seen: list[Seen]) -> None:
    """No server, framework, protocol or case is missing."""
    assert {each.server for each in seen} == set(COMMANDS)
    assert {each.framework for each in seen} == set(FRAMEWORKS)
    assert {each.protocol for each in seen} == {HTTP, WEBSOCKET}
    assert {each.case.name for each in seen} == {case.name for case in CASES}


def test_the_same_decision_everywhere(seen: list[Seen]) -> None:
    """Who gets in and who does not depends neither on the server nor on the framework."""
    wrong = [each for each in seen if not each.is_right]

    assert wrong == []


def test_the_published_table_is_what_was_seen(seen: list[Seen]) -> None:
    """Cell by cell; `python -m tests.integration.matrix --write docs/frameworks/README.md` renews it."""
    assert published(PAGE.read_text(encoding="utf-8")).splitlines() == table(seen).splitlines()
