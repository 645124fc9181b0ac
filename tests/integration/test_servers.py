"""The corpus of odd requests on the other servers: what uvicorn's parsers refuse, nobody lets in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from asgi_apikey import IssuedKey
from tests.integration.corpus import CASES, Case
from tests.integration.desk import Desk
from tests.integration.fleet import serving
from tests.integration.hosts import Host
from tests.integration.test_raw_http import outcome

SERVERS: Final = ("granian", "hypercorn", "daphne")

SPEAKS_HTTP_2: Final = frozenset({"HTTP/2 preface", "h2c"})
"""What begins another protocol on servers that speak it."""

STAYS: Final = "half a handshake"
"""After it, and after a refused handshake, these servers wait for another request, longer than a test should."""

REFUSED: Final = frozenset({0, 100, 400, 401})
"""Whatever the corpus allows, a refusal is as good; 100 only says that a body was asked for."""


def cases(server: str) -> Iterator[Case]:
    """What can be asked of a server within the time of a test."""
    for case in CASES:
        begins_other = server != "daphne" and case.name in SPEAKS_HTTP_2 | {STAYS}
        stays_open = server == "granian" and case.name.startswith("WebSocket ")
        if not begins_other and not stays_open:
            yield case


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, desk: Desk) -> Iterator[dict[str, Host]]:
    """One application on each of them."""
    folder: Path = tmp_path_factory.mktemp("servers")
    with serving("tests.integration.oneapp:app", SERVERS, folder, desk.environ) as hosts:
        yield {host.name: host for host in hosts}


@pytest.fixture(scope="module")
def issued(desk: Desk) -> IssuedKey:
    """A good key."""
    return desk.run(desk.keys.issue(owner="acme"))


@pytest.mark.parametrize(
    ("server", "case"),
    [pytest.param(server, case, id=f"{server}-{case.name}") for server in SERVERS for case in cases(server)],
)
def test_odd_requests(server: str, case: Case, servers: dict[str, Host], issued: IssuedKey) -> None:
    """Nothing odd gets in, nothing but the one open path is open, and nothing without a key is 500."""
    seen = outcome(servers[server], case, issued.key)

    # Daphne cannot deny a handshake with a response; granian raises inside the application that reads a broken body.
    also = {403} if server == "daphne" and case.name.startswith("WebSocket ") else set()
    also |= {500} if (server, case.name) == ("granian", "no size of a chunk") else set()
    assert (case.statuses | REFUSED | also).issuperset(seen.statuses)
    assert seen.calls <= case.calls
