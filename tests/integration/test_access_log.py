"""Keys outside of headers: read from every place, and never in what the server writes down."""

from __future__ import annotations

import json
import re

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asgi_apikey import IssuedKey
from tests.integration.desk import Desk
from tests.integration.hosts import Host
from tests.integration.wire import get


@pytest.fixture(scope="module")
def issued(desk: Desk) -> IssuedKey:
    """A good key."""
    return desk.run(desk.keys.issue(owner="acme"))


def test_every_place_lets_in(everywhere: Host, issued: IssuedKey) -> None:
    """A key is read from the header, as a bearer, from the query string and from a cookie."""
    key = issued.key
    headers = [{"X-API-Key": key}, {"Authorization": f"bEaReR {key}"}, {"Cookie": f"a=b; api_key={key}"}]

    statuses = [get(everywhere.port, "/", each).status for each in headers]
    statuses += [
        everywhere.status(None, f"/?x=1&api_key={key}"),
        everywhere.status(None, f"/?api%5Fkey={escaped(key)}"),
    ]

    assert statuses == [200] * 5


def test_two_places_are_ambiguous(everywhere: Host, issued: IssuedKey) -> None:
    """The same good key in two places is 400, whichever they are, and the application is not called."""
    key = issued.key
    before = everywhere.calls()

    statuses = [
        get(everywhere.port, f"/?api_key={key}", {"X-API-Key": key}).status,
        get(everywhere.port, f"/?api_key={key}&api_key={key}").status,
        get(everywhere.port, "/", {"X-API-Key": key, "Authorization": f"Bearer {key}"}).status,
        get(everywhere.port, "/", {"X-API-Key": key, "Cookie": f"api_key={key}"}).status,
        get(everywhere.port, "/", {"Cookie": f"api_key={key}; api_key={key}"}).status,
    ]

    assert statuses == [400] * 5
    assert everywhere.calls() == before


def test_the_access_log_holds_no_key(everywhere: Host, desk: Desk) -> None:
    """However a key is written into the address, and whatever becomes of the request, the log does not show it."""
    key = desk.run(desk.keys.issue(owner="acme")).key
    bad = desk.keys.format.generate("live").key
    addresses = [
        f"/?api_key={key}",
        f"/?api_key={bad}",
        f"/?api_key={escaped(key)}",
        f"/?%61pi_key={key}",
        f"/?api_key={key}&api_key={bad}",
        f"/?a=1&api_key={key}%zz&b=2",
        f"/?api_key={key}{'x' * 300}",
        f"/health?api_key={key}",
        f"/nowhere?api_key={key}",
        f"/?{'&' * 1_200}api_key={key}",
    ]

    statuses = [get(everywhere.port, address).status for address in addresses]
    with connect(f"ws://127.0.0.1:{everywhere.port}/ws?api_key={key}") as websocket:
        owner = json.loads(websocket.recv(timeout=30))
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://127.0.0.1:{everywhere.port}/ws?api_key={bad}"),
    ):
        pass
    get(everywhere.port, "/health?the=last")
    log = everywhere.log.read_text()

    assert statuses == [200, 401, 200, 200, 400, 401, 401, 200, 404, 400]
    assert owner == {"owner": "acme"}
    assert refused.value.response.status_code == 401
    assert "/health?the=last" in log, "the log has been read too early to tell"
    assert "/?a=1&api_key=REDACTED&b=2" in log
    for secret in (key, bad):
        tail = secret.rpartition("_")[2]
        assert tail not in log
        assert tail not in unescaped(log)
        assert tail[8:24] not in unescaped(log)


def escaped(key: str) -> str:
    """Return the key with every character as an escape."""
    return "".join(f"%{ord(character):02x}" for character in key)


def unescaped(text: str) -> str:
    """Return the text with escapes undone, those of escapes too."""
    while (plain := re.sub("%([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)) != text:
        text = plain
    return text
