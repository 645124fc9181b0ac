"""`openapi`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from asgi_apikey.management.openapi import openapi_document
from tests.cli.conftest import Console


def test_openapi_prints_the_document_that_is_served(console: Console) -> None:
    """To a server that is named, else to the root."""
    outcome = console("openapi")
    mounted = console("openapi", "--server", "/api-keys")

    assert json.loads(outcome.stdout) == openapi_document()
    assert json.loads(mounted.stdout) == openapi_document(server="/api-keys")


def test_openapi_needs_no_settings(console: Console) -> None:
    """It says what there is, not what is configured."""
    console.environ = {"ASGI_APIKEY_NONSENSE": "1"}

    assert console("openapi").exit_code == 0


@pytest.mark.parametrize("library", ["msgspec", "starlette"])
def test_without_the_libraries_it_says_what_to_install(library: str) -> None:
    """As every other plug does."""
    script = f"import sys; sys.modules[{library!r}] = None; from asgi_apikey.cli import main; main()"

    outcome = subprocess.run(
        [sys.executable, "-c", script, "openapi"], capture_output=True, text=True, timeout=60, check=False
    )

    assert outcome.returncode == 4
    assert "pip install 'asgi-apikey[api]'" in outcome.stderr
