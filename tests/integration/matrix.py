"""What a key is worth: every framework on every server, on HTTP and WebSockets, case by case.

    python -m tests.integration.matrix --write docs/frameworks/README.md

asks them all and writes the table of the page; without `--write` it prints it.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from tests.integration.desk import Desk
from tests.integration.everywhere import FRAMEWORKS
from tests.integration.fleet import COMMANDS, serving
from tests.integration.hosts import Host
from tests.integration.wire import exchange

EVERYTHING: Final = "tests.integration.allapps:app"

BEGIN: Final = "<!-- written by `python -m tests.integration.matrix` -->"
END: Final = "<!-- end -->"

HTTP: Final = "HTTP"
WEBSOCKET: Final = "WebSocket"

IN: Final = frozenset({"200", "open"})
STRANGER: Final = frozenset({"401"})
LACKING: Final = frozenset({"403"})
ROUTED: Final = IN | {"204", "404", "405"}
"""The framework's own business: the request has reached it."""
NOWHERE: Final = frozenset({"404", "403", "500"})
"""The same where no route is. Frameworks close such WebSockets, or raise; servers make something of it."""

_PREFLIGHT: Final = "Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n"
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to ask for.

    Attributes:
        name: Head of its column.
        path: What is asked for, inside a framework; on WebSockets another one.
        key: Which of the keys is sent, empty for none.
        allowed: What may come of it.
        socket_path: The same for WebSockets, None if that makes no sense there.
        needs: What some frameworks do not have.
        below_root: Whether the server is told to be below a `root_path`.
    """

    name: str
    path: str
    key: str
    allowed: frozenset[str]
    socket_path: str | None = None
    needs: str = ""
    below_root: bool = False
    method: str = "GET"
    headers: str = ""


CASES: Final = (
    Case("let in", "/", "good", IN, "/ws"),
    Case("no key", "/", "", STRANGER, "/ws"),
    Case("bad key", "/", "bad", STRANGER, "/ws"),
    Case("revoked", "/", "revoked", STRANGER, "/ws"),
    Case("has the scope", "/orders", "good", IN, "/orders/ws"),
    Case("lacks it", "/orders", "unscoped", LACKING, "/orders/ws"),
    Case("exempt", "/health", "", IN),
    Case("preflight", "/", "", ROUTED, method="OPTIONS", headers=_PREFLIGHT),
    Case("mounted", "/part/", "good", IN, "/part/", needs="mounts"),
    Case("mounted, no key", "/part/", "", STRANGER, "/part/", needs="mounts"),
    Case("no such path", "/nowhere", "good", NOWHERE, "/nowhere"),
    Case("the same, no key", "/nowhere", "", STRANGER, "/nowhere"),
    Case("root_path", "/", "good", ROUTED, "/ws", below_root=True),
    Case("root_path, no key", "/", "", STRANGER, "/ws", below_root=True),
    Case("root_path, exempt", "/health", "", ROUTED, below_root=True),
)

LACKS: Final[Mapping[str, frozenset[str]]] = {
    "quart": frozenset({"mounts"}),
    "django": frozenset({"mounts", WEBSOCKET}),
    "falcon": frozenset({"mounts"}),
    "sanic": frozenset({"mounts"}),
    "connexion": frozenset({"mounts", WEBSOCKET}),
}
"""What a framework does not have, or has no way of its own for."""


UNSERVED: Final = frozenset({("sanic", "daphne", HTTP), ("sanic", "daphne", WEBSOCKET), ("quart", "daphne", WEBSOCKET)})
"""What does not work with or without a key: Sanic wants a lifespan, Quart a scheme, and Daphne has neither."""

LATE: Final = frozenset({"sanic"})
"""Frameworks that open a WebSocket before a handler can refuse it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one case.

    Attributes:
        outcome: A status, `open` for a WebSocket that was opened, `closed again` for one that was closed before it
            said anything, or `closed` for a connection without an answer.
    """

    server: str
    framework: str
    protocol: str
    case: Case
    outcome: str

    @property
    def is_right(self) -> bool:
        """Whether the middleware has decided as it should; whatever else happens is the framework's business."""
        server, allowed = self.server.split()[0], self.case.allowed
        if allowed is not STRANGER and (self.framework, server, self.protocol) in UNSERVED:
            return self.outcome == "500"
        if self.protocol == HTTP:
            return self.outcome in allowed
        if allowed is STRANGER:
            # Daphne cannot deny a handshake with a response: it makes a 403 of a close.
            return self.outcome == ("403" if server == "daphne" else "401")
        if allowed is LACKING and self.framework in LATE:
            return self.outcome == "closed again"
        return self.outcome in (NOWHERE | IN if allowed is ROUTED else allowed)


def observe(hosts: list[Host], desk: Desk) -> list[Seen]:
    """Ask every server for everything."""
    issued = {name: desk.run(desk.keys.issue(owner="acme", scopes=scopes)) for name, scopes in _GRANTS.items()}
    keys = {name: each.key for name, each in issued.items()} | {"": "", "bad": "garbage"}
    for host in hosts:
        for framework in FRAMEWORKS:
            # It is in every cache before it is revoked.
            _http(host.port, framework, CASES[0], keys["revoked"])
    receipt = desk.run(desk.keys.revoke(issued["revoked"].record.key_id))
    time.sleep(receipt.max_staleness)
    return [
        Seen(host.name, framework, protocol, case, _ask(host.port, framework, protocol, case, keys[case.key]))
        for host in hosts
        for framework in FRAMEWORKS
        for protocol in (HTTP, WEBSOCKET)
        for case in cases(host.name, framework, protocol)
    ]


_GRANTS: Final[Mapping[str, set[str]]] = {"good": {"orders:read"}, "unscoped": set(), "revoked": {"orders:read"}}


def cases(server: str, framework: str, protocol: str) -> Iterator[Case]:
    """What this framework can be asked for on this server; of a protocol it lacks, whether strangers are refused."""
    lacks = LACKS.get(framework, frozenset())
    for case in CASES:
        exists = protocol == HTTP or case.socket_path is not None
        possible = case.needs not in lacks and (protocol not in lacks or case.allowed is STRANGER)
        if exists and possible and case.below_root == server.endswith("below a root_path"):
            yield case


def _ask(port: int, framework: str, protocol: str, case: Case, key: str) -> str:
    return (_http if protocol == HTTP else _websocket)(port, framework, case, key)


def _http(port: int, framework: str, case: Case, key: str) -> str:
    path = "/orders/" if (framework, case.path) == ("starlette", "/orders") else case.path
    lines = f"X-API-Key: {key}\r\n" if key else ""
    request = f"{case.method} /{framework}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    reply = exchange(port, f"{request}{case.headers}{lines}\r\n".encode())[0]
    if reply.status == 200 and case.path in ("/", "/part/") and case.method == "GET":
        assert b'"acme"' in reply.body, reply
    return "closed" if reply.status is None else str(reply.status)


def _websocket(port: int, framework: str, case: Case, key: str) -> str:
    address = f"ws://127.0.0.1:{port}/{framework}{case.socket_path}"
    headers = {"X-API-Key": key} if key else {}
    try:
        with connect(address, additional_headers=headers, open_timeout=_PATIENCE, compression=None) as socket:
            return "open" if '"acme"' in str(socket.recv(timeout=_PATIENCE)) else "open, but for nobody"
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    except ConnectionClosed:
        return "closed again"
    except (InvalidHandshake, EOFError, ConnectionError):
        return "closed"


def table(seen: list[Seen]) -> str:
    """Return the table: a row for each framework and protocol, a column for each case."""
    heads = ["framework", "", *(case.name for case in CASES)]
    rows = [heads, ["---"] * len(heads)]
    for framework in FRAMEWORKS:
        for protocol in (HTTP, WEBSOCKET):
            those = [each for each in seen if (each.framework, each.protocol) == (framework, protocol)]
            rows.append(
                [_TITLES[framework], protocol, *(_cell([e for e in those if e.case is case]) for case in CASES)]
            )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_TITLES: Final = {
    "starlette": "Starlette",
    "fastapi": "FastAPI",
    "litestar": "Litestar",
    "quart": "Quart",
    "blacksheep": "BlackSheep",
    "django": "Django",
    "falcon": "Falcon",
    "sanic": "Sanic",
    "connexion": "Connexion",
}


def _cell(seen: list[Seen]) -> str:
    """What all servers gave, and after it those that gave something else."""
    if not seen:
        return "\N{EN DASH}"
    [(usual, _), *_] = Counter(each.outcome for each in seen).most_common()
    others = [f"{each.server.split()[0]} {each.outcome}" for each in seen if each.outcome != usual]
    return "; ".join([usual, *dict.fromkeys(others)])


def main() -> None:
    """Ask, and print or write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.matrix")
    parser.add_argument("--write", type=Path)
    page: Path | None = parser.parse_args().write
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        desk = Desk(folder / "keys.db", secrets.token_urlsafe(32), cache_ttl=0.5)
        desk.init()
        with serving(EVERYTHING, COMMANDS, folder, desk.environ) as hosts:
            written = table(observe(hosts, desk))
        desk.close()
    if page is None:
        print(written)
        return
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{written}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def published(text: str) -> str:
    """Return the table that stands on the page."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


if __name__ == "__main__":
    main()
