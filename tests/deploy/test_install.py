"""The extra `serve` brings all that the service needs, and nothing has to be known beside its name."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.deploy.files import ROOT
from tests.integration.wire import get
from tests.servers import ServerProcess, free_port

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment after `pip install 'asgi-apikey[serve]'`."""
    folder = tmp_path_factory.mktemp("install")
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    # The versions that everything else is tested with; what to install is up to the extra.
    pins = folder / "pins.txt"
    lines = (ROOT / "constraints" / "serve.txt").read_text(encoding="utf-8").splitlines()
    pins.write_text("\n".join(line.rstrip(" \\") for line in lines if line[:1].isalpha()), encoding="utf-8")
    command = [folder / "venv" / "bin" / "pip", "install", "--quiet", "--constraint", pins, f"{wheel}[serve]"]
    subprocess.run(command, check=True)
    return folder / "venv" / "bin"


def test_the_service_starts_from_the_extra_alone(environment: Path, tmp_path: Path) -> None:
    """With its embedded store, its metrics and its management API."""
    port = free_port()
    process = ServerProcess(tmp_path / "served")
    process.folder.mkdir()
    settings = ["ASGI_APIKEY_PEPPER=none", f"ASGI_APIKEY_PORT={port}", "ASGI_APIKEY_METRICS=1"]

    def ready() -> bool:
        with suppress(OSError):
            return get(port, "/ready").status == 200
        return False

    try:
        process.start(["/usr/bin/env", *settings, environment / "asgi-apikey", "serve"], ready)
        statuses = {path: get(port, path).status for path in ("/health", "/metrics", "/verify", "/api/v1/api-keys")}
    finally:
        process.discard()

    assert statuses == {"/health": 200, "/metrics": 200, "/verify": 401, "/api/v1/api-keys": 401}


def test_stores_and_hashers_of_choice_are_not_in_it(environment: Path) -> None:
    """Who needs PostgreSQL or Redis says so, and is told how."""
    listed = subprocess.run(
        [environment / "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    installed = {line.partition("==")[0] for line in listed.stdout.splitlines()}

    assert installed.isdisjoint({"asyncpg", "redis", "databases", "bcrypt", "SQLAlchemy"})
