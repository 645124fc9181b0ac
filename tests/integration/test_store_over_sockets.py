"""A store that is missing, moved away or locked, under a serving application."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from asgi_apikey.keyformat import KeyFormat
from tests.integration.desk import Desk
from tests.integration.hosts import PARSERS, Host, parser, serving
from tests.integration.wire import get


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store will be."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def absent(folder: Path) -> Iterator[Desk]:
    """The desk of a store that nobody has made yet."""
    desk = Desk(folder / "keys.db", secrets.token_urlsafe(32), cache_ttl=0.001)
    yield desk
    desk.close()


@pytest.fixture(params=PARSERS)
def storeless(request: pytest.FixtureRequest, tmp_path: Path, absent: Desk) -> Iterator[Host]:
    """An application that was started without its store; it reads every key anew."""
    options = parser(request.param)
    with serving("starlette_app:create", tmp_path, absent.environ, name="storeless", options=options) as host:
        yield host


def test_serving_without_a_store(storeless: Host, absent: Desk, folder: Path) -> None:
    """Without its file an application starts and answers 503, makes no file, and serves once the file is there."""
    stranger = KeyFormat("ak").generate("live").key
    before = storeless.calls()

    reply = get(storeless.port, "/", {"X-API-Key": stranger})
    without_key = storeless.status()
    after = storeless.calls()
    made_by_serving = (folder / "keys.db").exists()
    absent.init()
    issued = absent.run(absent.keys.issue(owner="acme"))

    assert reply.status == 503
    assert int(reply.header("retry-after")) >= 1
    assert reply.json()["code"] == "store_unavailable"
    assert without_key == 401
    assert after == before
    assert not made_by_serving
    assert storeless.status(issued.key) == 200
    assert storeless.status(stranger) == 401


def test_a_store_that_is_moved_away(storeless: Host, absent: Desk, folder: Path) -> None:
    """Moved away, the store is missed at once; another one in its place is not used; back again, it is."""
    absent.init()
    issued = absent.run(absent.keys.issue(owner="acme"))
    assert storeless.status(issued.key) == 200
    foreign_folder = folder.with_name("foreign")
    foreign_folder.mkdir()
    foreign = Desk(foreign_folder / "keys.db", absent.pepper, cache_ttl=1.0)
    foreign.init()
    foreign_key = foreign.run(foreign.keys.issue(owner="mallory")).key
    foreign.close()
    before = storeless.calls()

    # Whole folders, because SQLite finds the files beside a database by its name.
    aside = folder.rename(folder.with_name("aside"))
    moved = storeless.status(issued.key)
    made_by_serving = folder.exists()
    foreign_folder.rename(folder)
    replaced = [storeless.status(issued.key), storeless.status(foreign_key)]
    after = storeless.calls()
    folder.rename(foreign_folder)
    aside.rename(folder)

    assert moved == 503
    assert not made_by_serving
    assert replaced == [503, 503]
    assert after == before
    assert storeless.status(issued.key) == 200


def test_a_locked_store_is_read(storeless: Host, absent: Desk, folder: Path) -> None:
    """While another process holds the write lock, a key that was never seen before is let in."""
    absent.init()
    issued = absent.run(absent.keys.issue(owner="acme"))

    with closing(sqlite3.connect(folder / "keys.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        status = storeless.status(issued.key)
        writer.execute("ROLLBACK")

    assert status == 200


def test_stopping_writes_usage(tmp_path: Path, absent: Desk) -> None:
    """A process that is asked to end writes the counts it holds before it does."""
    absent.init()
    issued = absent.run(absent.keys.issue(owner="acme"))

    with serving("starlette_app:create", tmp_path, absent.environ, name="counted") as host:
        answered = [host.status(issued.key) for _ in range(3)]

    assert answered == [200] * 3
    assert absent.run(absent.keys.get(issued.record.key_id)).uses == 3
