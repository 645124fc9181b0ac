"""Four frameworks on two parsers, eight processes, one SQLite file."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from asgi_apikey.models import Seconds
from tests.integration.desk import Desk
from tests.integration.hosts import FRAMEWORKS, PARSERS, Host, parser, serving, start, stop

CACHE_TTL: Seconds = 0.5
"""Short, so that tests of what ends need not wait long; the hosts have no feed of changes."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the file and the logs are."""
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="session")
def desk(folder: Path) -> Iterator[Desk]:
    """The process that issues and ends keys."""
    desk = Desk(folder / "keys.db", secrets.token_urlsafe(32), cache_ttl=CACHE_TTL)
    desk.init()
    yield desk
    desk.close()


@pytest.fixture(scope="session")
def hosts(folder: Path, desk: Desk) -> Iterator[dict[str, Host]]:
    """Every framework on every parser, by name. All start at once: importing a framework is most of the work."""
    running: dict[str, Host] = {}
    with ExitStack() as stopping:
        for framework in FRAMEWORKS:
            for each in PARSERS:
                name = f"{framework}-{each}"
                host = start(f"{framework}_app:create", folder, desk.environ, name=name, options=parser(each))
                running[name] = host
                stopping.callback(stop, host)
        for host in running.values():
            host.calls()
        yield running
        for host in running.values():
            host.process.terminate()


@pytest.fixture(params=[f"{framework}-{each}" for framework in FRAMEWORKS for each in PARSERS])
def host(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Host:
    """One of the hosts."""
    return hosts[request.param]


@pytest.fixture(scope="session", params=PARSERS)
def everywhere(request: pytest.FixtureRequest, folder: Path, desk: Desk) -> Iterator[Host]:
    """An application that reads keys in every place there is, on one of the parsers."""
    options = parser(request.param)
    name = f"everywhere-{request.param}"
    with serving("starlette_app:create_with_every_place", folder, desk.environ, name=name, options=options) as host:
        yield host
