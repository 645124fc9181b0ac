"""A console for the command line: in this process over one memory store, and as real processes over one file.

The console works on the store itself, or through a server that has it: `BOTH = True` in a module runs each of its
tests with either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from click.testing import CliRunner, Result

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import Scope
from asgi_apikey.cli.application import application
from asgi_apikey.cli.session import Session
from asgi_apikey.cli.wire import Address, Answer, Headers, Transport
from asgi_apikey.errors import InvalidKey
from asgi_apikey.keyformat import crc32_checksum
from asgi_apikey.management import EVERY_ACTION, Caller, Management
from asgi_apikey.models import Actor, Instant, Seconds
from asgi_apikey.repositories import MemoryRepository
from asgi_apikey.settings import Settings
from tests.management.desk import ANYTHING

STORE_ONLY = pytest.mark.parametrize("through_server", [False], ids=["store"])
"""For a test of what a server does not do, in a module with `BOTH`."""

SERVER = "https://keys.example"
TOKEN = "a-token-that-the-server-knows"  # not a secret of anybody

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


async def authorised(scope: Scope) -> Caller:
    """Whoever has the token may do everything."""
    if (b"authorization", f"Bearer {TOKEN}".encode()) not in scope["headers"]:
        raise InvalidKey
    return Caller(actor=Actor("root"), grant=ANYTHING, actions=EVERY_ACTION)


@dataclass(slots=True)
class Served:
    """Calls the management API in this process, as over a network.

    Attributes:
        keys: Of the server.
        address: Where the command believes to send it.
    """

    keys: APIKeys
    address: Address

    async def send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        """Call it."""
        app = Management(self.keys, authorised)
        base = f"https://{self.address.host}"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            answer = await client.request(method, path, headers=dict(headers), content=body)
        await self.keys.close()
        return Answer(answer.status_code, answer.content, answer.headers.get("www-authenticate", ""))


@dataclass(slots=True)
class Console:
    """Runs commands one after the other, as a shell would, on one store in memory.

    Attributes:
        through_server: The management API stands between the command and the store.
        transport: Instead of that API.
    """

    clock: StoppedClock = field(default_factory=StoppedClock)
    repository: MemoryRepository = field(default_factory=MemoryRepository)
    environ: dict[str, str] = field(
        default_factory=lambda: {"ASGI_APIKEY_URL": "sqlite:///unused.db", "ASGI_APIKEY_PEPPER": PEPPER}
    )
    at_a_terminal: bool = False
    opened_with: Settings | None = None
    through_server: bool = False
    transport: Transport | None = None

    def __call__(self, *args: str, stdin: str | bytes = "") -> Result:
        """Run one command; an unexpected exception fails the test."""
        environ = self.environ
        if self.through_server:
            environ = {"ASGI_APIKEY_SERVER": SERVER, "ASGI_APIKEY_TOKEN": TOKEN}
        session = Session(
            environ,
            open_keys=self.open,
            reach=self.reach,
            clock=self.clock,
            interactive=lambda: self.at_a_terminal,
        )
        return CliRunner().invoke(application, args, input=stdin, obj=session, catch_exceptions=False)

    def json(self, *args: str, stdin: str = "") -> Any:
        """Run a command that has to succeed with `--json`, and return its document."""
        outcome = self("--json", *args, stdin=stdin)
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    def issue(self, *args: str) -> tuple[str, str]:
        """Issue a key for acme, on the store itself; return it and its id."""
        issued = replace(self, through_server=False).json("issue", "--owner", "acme", *args)
        return issued["key"], issued["record"]["key_id"]

    def reach(self, address: Address) -> Transport:
        """Serve the same store, unless there is another server."""
        return self.transport or Served(self.open(Settings.from_env(self.environ)), address)

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
def through_server() -> bool:
    """Whether the console works through a server."""
    return False


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with `BOTH` on the store and through a server."""
    if "through_server" not in metafunc.fixturenames or not getattr(metafunc.module, "BOTH", False):
        return
    if not any(each.args[0] == "through_server" for each in metafunc.definition.iter_markers("parametrize")):
        metafunc.parametrize("through_server", [False, True], ids=["store", "server"])


@pytest.fixture
def console(through_server: bool) -> Console:
    """A console with an empty store."""
    return Console(through_server=through_server)


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
