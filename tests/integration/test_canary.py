"""A key that must be found nowhere: driven through every verb and many failures, then looked for in all that is left.

Looked for are all pieces of twelve characters of its secret part: of which its id, its prefix and its hint are none.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import APIKeyError
from asgi_apikey.hashers.peppers import new_pepper
from asgi_apikey.management.operations import OPERATIONS
from asgi_apikey.models import KeyRequest
from tests.integration.test_service import API, PEPPER, Served, command, environ, serving, windows
from tests.servers import RedisServer

CACHE_SECRET = "q7Xn2-Rv9wL4tZ8mK1bY6cF3hJ5gD0sP"  # of this test alone


def wrong(key: str) -> str:
    """The same id, another secret, of which most is right."""
    return key[:-8] + ("a" if key[-8] != "a" else "b") + key[-7:]


def bodies(canary: str) -> Mapping[str, object]:
    """What each verb takes."""
    return {
        "issue_key": {"owner": "acme", "name": "another", "scopes": ["orders:read"]},
        "search_keys": {"where": {"owner": "acme"}},
        "count_keys": {},
        "revoke_keys": {"where": {"owner": "nobody"}},
        "verify_key": {"key": canary, "scopes": ["orders:read"]},
        "amend_key": {"description": "a canary"},
        "rotate_key": {"grace": 3600},
        "revoke_key": {"reason": "the end of the test"},
    }


def key_in(document: object) -> str | None:
    """The key that an answer shows, as those do that have made one."""
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) else None


def everything_once(service: Served, admin: str, canary: str, key_id: str) -> Iterator[tuple[int, object]]:
    """Every verb, by the operator about the canary, and by the canary itself; what ends it comes last."""
    last = ("disable_key", "enable_key", "revoke_key", "delete_key")
    order = sorted(OPERATIONS, key=lambda each: last.index(each.name) if each.name in last else -1)
    for operation in order:
        path = API + operation.path.replace("{key_id}", key_id).rstrip("/")
        body = None if operation.method == "GET" else bodies(canary).get(operation.name, {})
        if operation.name == "audit":
            path += f"?key_id={key_id}"
        for caller in (canary, wrong(canary), admin):
            yield service.ask(operation.method, path, caller, body)[:2]


def misplaced(canary: str) -> Iterator[tuple[str, str, str, object, Mapping[str, str]]]:
    """The canary where it does not belong: method, path, key, body, headers."""
    escaped = canary.replace("_", "%5F")
    for path in (f"/{canary}", f"{API}/{canary}", f"{API}/{canary}/revoke", f"/verify?api_key={canary}"):
        yield "GET", path, "", None, {}
    yield "GET", f"{API}?name={escaped}&cursor={canary}", "", None, {}
    yield "GET", f"/verify?scope={canary}", canary, None, {"X-Original-URI": f"/x?api_key={canary}"}
    for name in ("X-Request-ID", "Idempotency-Key", "If-Match", "User-Agent", "Cookie", "Referer", "X-Forwarded-For"):
        yield "POST", API, "", {"name": "x", "owner": "acme"}, {name: canary}
    for field in ("name", "owner", "scopes", canary):
        yield "POST", API, "", {"name": "x", "owner": "acme", field: canary}, {}
    yield "POST", f"{API}/verify", "", {"key": [canary]}, {}
    yield "POST", API, "", {"name": canary * 2_000}, {}
    yield "GET", API, canary, None, {"Authorization": f"Bearer {canary}"}
    yield "GET", API, "", None, {"Authorization": f"Basic {canary}"}
    yield "GET", API, "", None, {"Authorization": f"Bearer {canary}.{canary}.{canary}"}
    yield canary, API, canary, None, {}


def broken_off(service: Served, canary: str) -> None:
    """Requests that are no HTTP, or end in the middle."""
    for text in (
        f"GET / HTTP/1.1\r\nX-API-Key: {canary}\r\nX-API-Key : {canary}\r\n\r\n",
        f'POST {API} HTTP/1.1\r\nHost: x\r\nX-API-Key: {canary}\r\nContent-Length: 900\r\n\r\n{{"name": "{canary}',
        f"{canary}\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while connection.recv(65_536):
                    pass


def titles_of(*pids: int) -> str:
    """What the process list shows."""
    files = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "comm")]
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def dump_of(redis: RedisServer) -> str:
    """All that Redis holds, as it would write it to its disk; not compressed."""
    redis.execute("CONFIG", "SET", "rdbcompression", "no")
    redis.execute("CONFIG", "SET", "dbfilename", "canary.rdb")
    redis.execute("SAVE")
    # `--dir` is also its working directory.
    return (Path(f"/proc/{redis.pid}/cwd") / "canary.rdb").read_bytes().decode("latin-1")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """The store does not answer: somebody else writes to it for ever."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def test_a_key_is_in_nothing_that_a_service_leaves_behind(tmp_path: Path, redis: RedisServer) -> None:
    """Logs at debug, answers, metrics, the database, Redis, the process list: no piece of it, whatever happened."""
    secrets: list[str] = []
    shown: list[str] = []
    more = {"ASGI_APIKEY_REDIS": redis.url, "ASGI_APIKEY_CACHE_SECRET": CACHE_SECRET}
    with serving(tmp_path, "--metrics", **more) as service:
        scopes = ("--scope", "apikeys:*", "--scope", "orders:*")
        admin = command(tmp_path, "issue", "--owner", "admin", "-q", *scopes, **more).stdout.strip()
        made = service.ask("POST", API, admin, {"owner": "acme", "name": "canary", "scopes": ["orders:read"]})[1]
        canary, key_id = made["key"], made["record"]["key_id"]
        secrets += [admin, canary, wrong(canary)]

        answers = [service.ask("GET", "/verify", key)[:2] for key in (canary, wrong(canary))]
        for method, path, key, body, headers in misplaced(canary):
            answers.append(service.ask(method, path, key or admin, body, headers)[:2])
        broken_off(service, canary)
        for verb in (["verify"], ["show", "--key"], ["amend", "--key", "--name", "x"]):
            outcome = subprocess.run(
                [sys.executable, "-m", "asgi_apikey", *verb],
                env={**environ(tmp_path), **more},
                input=canary.encode(),
                capture_output=True,
                check=True,
                timeout=60,
            )
            shown += [outcome.stdout.decode(), outcome.stderr.decode()]
        waiting = subprocess.Popen(
            [sys.executable, "-m", "asgi_apikey", "verify"],
            env={**environ(tmp_path), **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert waiting.stdin is not None
        waiting.stdin.write(canary.encode())
        waiting.stdin.flush()
        shown.append(titles_of(service.process.pid, waiting.pid))
        waiting.communicate(timeout=60)
        with locked(tmp_path / "keys.db"):
            answers += [service.ask("GET", path, wrong(canary))[:2] for path in ("/verify", API, f"{API}/me")]
            answers.append(service.ask("POST", f"{API}/{key_id}/disable", admin, {})[:2])
        with redis.frozen():
            answers.append(service.ask("GET", "/verify", canary)[:2])
            answers.append(service.ask("POST", f"{API}/{key_id}/disable", admin, {})[:2])
        answers += everything_once(service, admin, canary, key_id)
        shown.append(service.ask("GET", "/metrics")[1].decode())
        shown.append(str(service.ask("GET", "/openapi.json", canary)[1]))

    made_later = [key for _, document in answers if (key := key_in(document))]
    secrets += made_later
    shown += [str(document) for _, document in answers if not key_in(document)]
    left = {path.name: path.read_bytes().decode("latin-1") for path in tmp_path.iterdir() if path.is_file()}
    left["redis"] = dump_of(redis)
    pieces = windows([*secrets, PEPPER, CACHE_SECRET])

    assert len(made_later) >= 2
    assert {"serve.log", "keys.db"} <= set(left)
    assert '"level": "debug"' in left["serve.log"]
    assert {status for status, _ in answers} >= {200, 201, 400, 401, 403, 404, 413, 422, 503}
    assert 500 not in {status for status, _ in answers}
    assert [name for name, text in left.items() for piece in pieces if piece in text] == []
    assert [text for text in shown for piece in pieces if piece in text] == []


def verbs(keys: APIKeys, key: str, key_id: str) -> list[Callable[[], Awaitable[object]]]:
    """Everything that takes a key, or makes one."""
    return [
        lambda: keys.verify(key.encode()),
        lambda: keys.authenticate(key.encode()),
        lambda: keys.authenticate(wrong(key).encode()),
        lambda: keys.adopt(key, KeyRequest(owner="acme")),
        lambda: keys.adopt(wrong(key), KeyRequest(owner="acme")),
        lambda: keys.issue(owner="acme"),
        lambda: keys.issue(owner=key, name=key * 10, scopes={key + " "}),
        lambda: keys.amend(key_id, name=key * 10),
        lambda: keys.rotate(key_id),
        lambda: keys.disable(key_id),
        lambda: keys.enable(key_id),
        lambda: keys.revoke(key_id),
        lambda: keys.get(key),
        lambda: keys.find(cursor=key),
        lambda: keys.delete(key_id),
        keys.close,
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["none", "locked", "garbage", "gone"])
async def test_no_traceback_repeats_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """Whatever the store does: neither errors nor their causes, nor what was logged, name more than its id."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "keys.db"
    told: list[str] = []
    async with APIKeys(f"sqlite:///{path}", pepper=new_pepper()) as keys:
        await keys.repository.open(create=True)
        issued = await keys.issue(owner="acme")
        with contextlib.ExitStack() as faults:
            if fault == "locked":
                faults.enter_context(locked(path))
            elif fault == "garbage":
                path.write_bytes(b"\0" * 4096 * 40)
            elif fault == "gone":
                path.unlink()
            failures = 0
            tried = verbs(keys, issued.key, issued.record.key_id)
            # A locked store is waited for.
            for verb in tried if fault != "locked" else [tried[0], tried[2], tried[3], tried[9]]:
                try:
                    told.append(repr(await verb()))
                except APIKeyError as error:
                    failures += 1
                    told += ["".join(traceback.format_exception(error)), repr(error), repr(error.args)]

    pieces = windows([issued.key, wrong(issued.key)])
    assert failures >= (2 if fault == "locked" else 4)
    assert [text for text in [*told, caplog.text] for piece in pieces if piece in text] == []
