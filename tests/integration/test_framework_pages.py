"""The pages about frameworks say what works: the blocks of a page are run, in order, as one file."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.hosts import FRAMEWORKS, ROOT

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=FRAMEWORKS)
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """One page as a module. Its application names a file in the current folder, which nobody has made."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "frameworks" / f"{request.param}.md").read_text()
    path = tmp_path / f"page_about_{request.param}.py"
    path.write_text("\n\n".join(_BLOCK.findall(text)))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Frameworks look up annotations by the name of the module.
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    yield module
    assert not (tmp_path / "keys.db").exists()


def test_the_page_keeps_its_word(page: ModuleType) -> None:
    """The test on the page passes, and the page's application exists."""
    assert callable(page.app)
    page.test_orders_need_a_scope()
