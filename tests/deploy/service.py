"""`asgi-apikey serve` in a process of its own, and the command beside it, as an operator uses the two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.deploy.files import ROOT
from tests.integration.wire import get
from tests.servers import LOOPBACK, ServerProcess, free_port

_ENV: Final = "/usr/bin/env"
_SIGTERM: Final = 15


@dataclass(frozen=True, slots=True)
class Service:
    """A running one, over an SQLite file of its own."""

    port: int
    process: ServerProcess
    environ: Mapping[str, str] = field(repr=False)

    @property
    def store(self) -> Path:
        """The file that it keeps the keys in."""
        return self.process.folder / "keys.db"

    def command(self, *arguments: str) -> Any:
        """Run `asgi-apikey` with the same settings and return what it prints, read as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "asgi_apikey", *arguments, "--json"],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def issue(self, *options: str, owner: str = "acme") -> tuple[str, str]:
        """Make a key; return it, and its id."""
        made = self.command("issue", "--owner", owner, *options)
        return made["key"], made["record"]["key_id"]


@contextmanager
def serving() -> Iterator[Service]:
    """Run one on a free port, behind a proxy of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="asgi-apikey-service-"))
    port = free_port()
    environ = {
        "ASGI_APIKEY_URL": f"sqlite:///{folder / 'keys.db'}",
        "ASGI_APIKEY_PEPPER": "none",
        "ASGI_APIKEY_PORT": str(port),
        "ASGI_APIKEY_TRUSTED_PROXIES": LOOPBACK,
        "PYTHONPATH": str(ROOT),
    }
    process = ServerProcess(folder)
    try:
        settings = [f"{name}={value}" for name, value in environ.items()]
        process.start([_ENV, *settings, sys.executable, "-m", "asgi_apikey", "serve"], lambda: _is_ready(port))
        yield Service(port, process, environ)
        process.stop(_SIGTERM)
    finally:
        process.discard()


def _is_ready(port: int) -> bool:
    with suppress(OSError):
        return get(port, "/ready").status == 200
    return False
