"""Let in and refused, over sockets, in every framework on every parser."""

from __future__ import annotations

import json
from typing import Final

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from asgi_apikey import IssuedKey
from asgi_apikey.keyformat import CHECKSUM_LENGTH, crc32_checksum
from tests.integration.desk import Desk
from tests.integration.hosts import Host
from tests.integration.wire import Reply, get

REJECTED: Final = {
    "type": "urn:asgi-apikey:error:invalid_key",
    "title": "API key rejected",
    "status": 401,
    "detail": "The API key is not accepted.",
    "code": "invalid_key",
}


@pytest.fixture(scope="module")
def issued(desk: Desk) -> IssuedKey:
    """A key that may read orders."""
    return desk.run(desk.keys.issue(owner="acme", name="ci", scopes={"orders:read"}))


@pytest.fixture(scope="module")
def unscoped(desk: Desk) -> IssuedKey:
    """A key that may do nothing in particular."""
    return desk.run(desk.keys.issue(owner="acme"))


def test_handlers_read_who_is_calling(host: Host, issued: IssuedKey) -> None:
    """A key issued by another process lets in at once, and the handler knows whose it is; the second time too."""
    replies = [get(host.port, "/", {"X-API-Key": issued.key}) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert [reply.json() for reply in replies] == [{"owner": "acme", "name": "ci"}] * 2


def test_a_request_without_a_key_is_challenged(host: Host) -> None:
    """No key is 401 with a challenge and a problem, and the application is not called."""
    before = host.calls()

    reply = get(host.port, "/")

    assert reply.status == 401
    assert reply.header("www-authenticate") == 'ApiKey realm="api"'
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    assert reply.json()["code"] == "missing_credential"
    assert host.calls() == before


def test_all_rejected_keys_look_alike(host: Host, desk: Desk, issued: IssuedKey) -> None:
    """Garbage, an unknown id, a wrong secret, a revoked and a disabled key get the same status, headers and body."""
    revoked = desk.run(desk.keys.issue(owner="acme"))
    desk.run(desk.keys.revoke(revoked.record.key_id))
    deleted = desk.run(desk.keys.issue(owner="acme"))
    desk.run(desk.keys.delete(deleted.record.key_id))
    disabled = desk.run(desk.keys.issue(owner="acme"))
    desk.run(desk.keys.disable(disabled.record.key_id))
    wrong = desk.keys.format.generate("live").key.split("_")
    wrong_secret = recalculated("_".join([*issued.key.split("_")[:3], wrong[3]]))
    before = host.calls()

    answers = [
        get(host.port, "/", {"X-API-Key": key})
        for key in ("garbage", deleted.key, wrong_secret, revoked.key, disabled.key)
    ]

    assert answers[0].status == 401
    assert answers[0].json() == REJECTED
    assert {shown(answer) for answer in answers} == {shown(answers[0])}
    assert host.calls() == before


def test_exempt_path_answers_anybody(host: Host, issued: IssuedKey) -> None:
    """The exempt path needs no key, and whoever carries one is anonymous there all the same."""
    replies = [get(host.port, "/health", headers) for headers in ({}, {"X-API-Key": issued.key}, {"X-API-Key": "?"})]

    assert [reply.status for reply in replies] == [200] * 3
    assert [reply.json() for reply in replies] == [{"anonymous": True}] * 3


def test_routes_that_do_not_exist_are_guarded(host: Host, issued: IssuedKey) -> None:
    """Without a key nobody learns which routes there are; with one the framework answers 404 and 405."""
    before = host.calls()
    without = [host.status(None, "/nowhere"), host.status(None, "/body")]
    between = host.calls()
    with_key = [host.status(issued.key, "/nowhere"), host.status(issued.key, "/body")]

    assert without == [401, 401]
    assert between == before
    assert with_key == [404, 405]


def test_a_scope_opens_a_part(host: Host, issued: IssuedKey, unscoped: IssuedKey) -> None:
    """Each framework's own way of asking for a scope lets one key in and refuses another with 403."""
    path = "/orders/" if host.name.startswith("starlette") else "/orders"

    statuses = [host.status(key, path) for key in (issued.key, unscoped.key, None)]

    assert statuses == [200, 403, 401]


def test_websocket_handlers_read_who_has_connected(host: Host, issued: IssuedKey) -> None:
    """A WebSocket with a key is accepted, and the handler knows whose it is."""
    with connect(f"ws://127.0.0.1:{host.port}/ws", additional_headers={"X-API-Key": issued.key}) as websocket:
        said = websocket.recv(timeout=30)

    assert json.loads(said) == {"owner": "acme"}


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "garbage"}], ids=["no key", "bad key"])
def test_websockets_are_refused_before_they_open(host: Host, headers: dict[str, str]) -> None:
    """A WebSocket without a good key gets the same 401 as a request would, and the application is not called."""
    before = host.calls()

    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{host.port}/ws", additional_headers=headers):
        pass

    response = refused.value.response
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'ApiKey realm="api"'
    assert json.loads(response.body)["code"] == ("invalid_key" if headers else "missing_credential")
    assert host.calls() == before


def shown(reply: Reply) -> tuple[object, ...]:
    """Everything a client sees of a reply, but for the hour."""
    return reply.status, tuple(line for line in reply.headers if line[0] != "date"), reply.body


def recalculated(key: str) -> str:
    """Return a key of version 1 with the checksum that belongs to it."""
    body = key[:-CHECKSUM_LENGTH]
    return body + crc32_checksum(body.encode()).decode()
