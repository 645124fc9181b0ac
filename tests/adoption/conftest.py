"""The console of the command line's tests, for these."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import PEPPER, Console, Shell


@pytest.fixture
def console() -> Console:
    """The command over one store in memory."""
    return Console()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The command as a process of its own, over a file in an empty folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASGI_APIKEY_")}
    ours = {
        "ASGI_APIKEY_URL": "sqlite:///keys.db",
        "ASGI_APIKEY_PEPPER": PEPPER,
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }
    return Shell(tmp_path, clean | ours)
