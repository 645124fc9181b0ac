"""A console for the command line: in this process over one memory store, and as real processes over one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner, Result

from asgi_apikey import APIKeys
from asgi_apikey.cli.application import application
from asgi_apikey.cli.session import Session
from asgi_apikey.keyformat import crc32_checksum
from asgi_apikey.models import Instant, Seconds
from asgi_apikey.repositories import MemoryRepository
from asgi_apikey.settings import Settings

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
NOW = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""


def forged(key_id: str) -> str:
    """A key with this id and a right checksum, but a made-up secret."""
    body = f"ak_live_{key_id}_1{'x' * 32}"
    return body + crc32_checksum(body.encode()).decode()


@dataclass(slots=True)
class StoppedClock:
    """Stands still until it is set."""

    now: Instant = NOW

    def wall(self) -> Instant:
        """The instant it was set to."""
        return self.now

    def monotonic(self) -> Seconds:
        """The same, as seconds."""
        return self.now


@dataclass(slots=True)
class Console:
    """Runs commands one after the other, as a shell would, on one store in memory."""

    clock: StoppedClock = field(default_factory=StoppedClock)
    repository: MemoryRepository = field(default_factory=MemoryRepository)
    environ: dict[str, str] = field(
        default_factory=lambda: {"ASGI_APIKEY_URL": "sqlite:///unused.db", "ASGI_APIKEY_PEPPER": PEPPER}
    )
    at_a_terminal: bool = False
    opened_with: Settings | None = None

    def __call__(self, *args: str, stdin: str | bytes = "") -> Result:
        """Run one command; an unexpected exception fails the test."""
        session = Session(self.environ, open_keys=self.open, clock=self.clock, interactive=lambda: self.at_a_terminal)
        return CliRunner().invoke(application, args, input=stdin, obj=session, catch_exceptions=False)

    def json(self, *args: str, stdin: str = "") -> Any:
        """Run a command that has to succeed with `--json`, and return its document."""
        outcome = self("--json", *args, stdin=stdin)
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    def issue(self, *args: str) -> tuple[str, str]:
        """Issue a key for acme; return it and its id."""
        issued = self.json("issue", "--owner", "acme", *args)
        return issued["key"], issued["record"]["key_id"]

    def open(self, settings: Settings) -> APIKeys:
        """Wire the parts as the settings say, but for the store and the clock."""
        self.opened_with = settings
        return APIKeys(
            repository=self.repository,
            pepper=settings.pepper,
            prefix=settings.prefix,
            environment=settings.environment,
            checksum_keys=settings.checksum_keys,
            cache_ttl=settings.cache_ttl,
            single_process=settings.single_process,
            audit_key=settings.audit_key or None,
            clock=self.clock,
        )


@pytest.fixture
def console() -> Console:
    """A console with an empty store."""
    return Console()


@dataclass(slots=True)
class Shell:
    """Starts the command as a process of its own, over a SQLite file in an empty folder."""

    folder: Path
    environ: dict[str, str]

    def start(
        self, *args: str, stdin: int | IO[bytes] | None = subprocess.PIPE, prefix: Sequence[str] = (), **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start `python -m asgi_apikey`, with pipes where nothing else is said."""
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "asgi_apikey", *args],
            cwd=self.folder,
            env=self.environ,
            stdin=stdin,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
        )

    def __call__(self, *args: str, stdin: bytes = b"", **streams: Any) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        with self.start(*args, **streams) as process:
            out, err = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(args, process.returncode, (out or b"").decode(), (err or b"").decode())

    def script(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in which `apikey` is the command."""
        command = f'apikey() {{ "{sys.executable}" -m asgi_apikey "$@"; }}\n{text}'
        return subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder, with nothing of the tests' own environment that could change the outcome."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASGI_APIKEY_")}
    package = str(Path(__file__).parent.parent.parent)
    ours = {"ASGI_APIKEY_URL": "sqlite:///keys.db", "ASGI_APIKEY_PEPPER": PEPPER, "PYTHONPATH": package}
    return Shell(tmp_path, clean | ours)
