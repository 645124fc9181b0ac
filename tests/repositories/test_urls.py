"""From URLs to repositories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.repositories import MemoryRepository, SQLRepository, open_repository
from tests.contracts.repository import a_record


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_memory(url: str) -> None:
    """`memory:` is a repository of its own each time."""
    assert isinstance(open_repository(url), MemoryRepository)
    assert open_repository(url) is not open_repository(url)


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
async def test_sqlite_absolute(scheme: str, tmp_path: Path) -> None:
    """Four slashes: an absolute path. Nothing is made before its first use."""
    store = open_repository(f"{scheme}:///{tmp_path}/keys.db")
    assert not (tmp_path / "keys.db").exists()
    await store.add(a_record())
    await store.close()

    assert isinstance(store, SQLRepository)
    assert (tmp_path / "keys.db").exists()


@pytest.mark.anyio
async def test_sqlite_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes: a path from the current folder."""
    monkeypatch.chdir(tmp_path)
    store = open_repository("sqlite:///keys.db")
    await store.add(a_record())
    await store.close()

    assert (tmp_path / "keys.db").exists()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "memory:, sqlite:"),
        ("memory", "memory:, sqlite:"),
        ("keys.db", "memory:, sqlite:"),
        ("mysql://root:hunter2@localhost/keys", "memory:, sqlite:"),
        ("memory:keys", "'memory:'"),
        ("sqlite:", "sqlite:///relative"),
        ("sqlite://", "sqlite:///relative"),
        ("sqlite:///", "sqlite:///relative"),
        ("sqlite://keys.db", "sqlite:///relative"),
        ("sqlite:keys.db", "sqlite:///relative"),
        ("sqlite:///:memory:", "'memory:'"),
        ("sqlite:///keys.db?timeout=5", "no options"),
    ],
)
def test_other_urls_are_refused_with_the_fix(url: str, complaint: str) -> None:
    """What is not a URL of ours says what to write instead, and never repeats a password."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        open_repository(url)

    assert "hunter2" not in str(caught.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without aiosqlite an sqlite: URL says which extra to install."""
    for module in [name for name in sys.modules if name.startswith("asgi_apikey.repositories.sqlite")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aiosqlite", None)

    with pytest.raises(MissingExtra, match=r"asgi-apikey\[sqlite\]"):
        open_repository("sqlite:///keys.db")


def test_importing_the_package_imports_no_driver() -> None:
    """The repositories can be imported where no database library is installed."""
    script = "import sys, asgi_apikey.repositories; print('aiosqlite' in sys.modules, 'sqlite3' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert ended.stdout == "False False\n"
