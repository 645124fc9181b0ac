"""`asgi-apikey serve` as a process: the whole story over sockets, its workers, its logs and its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosts import ROOT
from tests.servers import free_port

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
API = "/api/v1/api-keys"
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    """A service that runs.

    Attributes:
        port: On loopback.
        log: What it has written.
    """

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def ask(
        self, method: str, path: str, key: str = "", body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Send one request; return status, document and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        sent = {"X-API-Key": key} if key else {}
        content = None if body is None else json.dumps(body)
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, content, {**sent, **(headers or {})})
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw[:1] in (b"{", b"[") else raw, dict(answer.getheaders())
        finally:
            connection.close()

    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def environ(folder: Path) -> dict[str, str]:
    """An environment with nothing of the tests' own, but the pepper and the store."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASGI_APIKEY_")}
    ours = {"ASGI_APIKEY_URL": f"sqlite:///{folder}/keys.db", "ASGI_APIKEY_PEPPER": PEPPER, "PYTHONPATH": str(ROOT)}
    return {**clean, **ours, "PYTHONUNBUFFERED": "1"}


def command(folder: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one command of ours to its end."""
    return subprocess.run(
        [sys.executable, "-m", "asgi_apikey", *args],
        cwd=folder,
        env={**environ(folder), **more},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


@contextmanager
def serving(folder: Path, *options: str, **more: str) -> Iterator[Served]:
    """Serve on a free port until the end of the block."""
    port, log = free_port(), folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "asgi_apikey", "serve", "--port", str(port), "--log-level", "debug", *options],
            cwd=folder,
            env={**environ(folder), **more},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Served(port, log, process)
    try:
        _wait_for(served)
        yield served
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it did not stop: {log.read_text()}") from None


def _wait_for(served: Served) -> None:
    """Return when it listens: the log says so, in each of its workers."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        assert served.process.poll() is None, served.log.read_text()
        try:
            served.ask("GET", "/health")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(served.log.read_text())


def windows(secrets: Sequence[str]) -> set[str]:
    """Every piece of twelve characters of what is secret in keys, and of other secrets."""
    ends = [each[-39:] for each in secrets]
    return {each[at : at + 12] for each in ends for at in range(len(each) - 11)}


def test_the_whole_story_with_plain_http(tmp_path: Path) -> None:
    """Serve on an empty folder, first key by command, create, use, rotate, revoke; and no secret in the log."""
    with serving(tmp_path, "--metrics") as service:
        admin = command(tmp_path, "issue", "--owner", "admin", "--scope", "apikeys:*", "--scope", "orders:*", "-q")
        key = admin.stdout.strip()

        created = service.ask("POST", API, key, {"owner": "acme", "name": "ci", "scopes": ["orders:read"]})
        assert created[0] == 201, created
        customer, key_id = created[1]["key"], created[1]["record"]["key_id"]
        assert service.ask("GET", "/verify?scope=orders:read", customer)[0] == 200
        assert service.ask("GET", "/verify?scope=orders:write", customer)[0] == 403
        assert service.ask("GET", API, customer)[0] == 403

        rotated = service.ask("POST", f"{API}/{key_id}/rotate", key, {"grace": 0})
        assert rotated[0] == 201, rotated
        successor = rotated[1]["key"]
        assert service.ask("GET", "/verify", customer)[0] == 401
        assert service.ask("GET", "/verify", successor)[0] == 200

        status, receipt, _ = service.ask("POST", f"{API}/{rotated[1]['record']['key_id']}/revoke", key, {})
        assert status == 200, receipt
        assert service.ask("GET", "/verify", successor)[0] == 401
        assert service.ask("GET", f"/x/{successor}?api_key={successor}")[0] == 404

        status, text, _ = service.ask("GET", "/metrics")
        assert status == 200
        assert b'outcome="accepted"' in text
        assert b'outcome="revoked"' in text

    told = service.log.read_text()
    assert [piece for piece in windows([key, customer, successor, PEPPER]) if piece in told] == []
    assert any(line.get("key_id") == key_id and line["status"] == 200 for line in service.lines())


def test_a_stopped_service_has_written_what_it_counted(tmp_path: Path) -> None:
    """SIGTERM ends it in order: uses are in the store, and nobody is registered any more."""
    with serving(tmp_path) as service:
        key = command(tmp_path, "issue", "--owner", "acme", "-q").stdout.strip()
        for _ in range(3):
            assert service.ask("GET", "/verify", key)[0] == 200

    shown = json.loads(command(tmp_path, "show", "--json", key.split("_")[2]).stdout)
    with sqlite3.connect(tmp_path / "keys.db") as file:
        registered = file.execute("SELECT count(*) FROM api_key_workers").fetchone()
    file.close()
    assert shown["record"]["uses"] == 3
    assert registered == (0,)
    assert service.process.returncode in (0, -signal.SIGTERM)


def test_several_workers_serve_one_store(tmp_path: Path) -> None:
    """With options that they were not started with: each reads the same sources; a revoke reaches all of them."""
    config = tmp_path / "service.toml"
    config.write_text("prefix = 'acme'\nmetrics = true\n")
    with serving(tmp_path, "--workers", "2", "--config", str(config)) as service:
        admin = command(
            tmp_path, "issue", "--owner", "admin", "--scope", "apikeys:*", "-q", "--config", str(config)
        ).stdout.strip()
        issued = service.ask("POST", API, admin, {"owner": "acme", "name": "x"})
        statuses = {service.ask("GET", "/verify", issued[1]["key"])[0] for _ in range(20)}
        revoked = service.ask("POST", f"{API}/{issued[1]['record']['key_id']}/revoke", admin, {})
        after = {service.ask("GET", "/verify", issued[1]["key"])[0] for _ in range(20)}

    assert admin.startswith("acme_live_")
    assert (issued[0], revoked[0]) == (201, 200)
    assert (statuses, after) == ({200}, {401})


def test_the_metrics_port_serves_nothing_else(tmp_path: Path) -> None:
    """On loopback; and the service itself has no metrics then."""
    port = free_port()
    with serving(tmp_path, "--metrics-port", str(port)) as service:
        other = Served(port, service.log, service.process)
        status, text, _ = other.ask("GET", "/metrics")
        beside = service.ask("GET", "/metrics")[0]

    assert status == 200
    assert b"asgi_apikey_verdicts_total" in text
    assert beside == 404


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ASGI_APIKEY_PEPPER": "", "ASGI_APIKEY_URL": "memory:"}, "there and empty"),
        ({"API_KEY_SECRET": "q8Rv2Tn6Yw4Xz1Bd5Fh9Jk3Lm7Pc0Sg-", "API_KEY_PEPPER": "changeme"}, "say different things"),
    ],
    ids=str,
)
def test_it_does_not_start_unsafely(tmp_path: Path, more: dict[str, str], said: str) -> None:
    """Exit 4, the fix on standard error, no traceback."""
    outcome = command(tmp_path, "serve", "--port", str(free_port()), **more)

    assert (outcome.returncode, outcome.stdout) == (4, "")
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_without_its_store_it_serves_503_until_it_is_there(tmp_path: Path) -> None:
    """Nothing is made that was not asked for; what is made later is found."""
    with serving(tmp_path, "--no-migrate") as service:
        before = [service.ask("GET", path, "x" * 40)[0] for path in ("/health", "/ready")]
        key = command(tmp_path, "issue", "--owner", "acme", "-q").stdout.strip()
        after = [service.ask("GET", path, key)[0] for path in ("/ready", "/verify")]

    assert (before, after) == ([200, 503], [200, 200])
