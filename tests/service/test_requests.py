"""Request ids and the lines that the log gets."""

from __future__ import annotations

import json
import logging

import pytest

from asgi_apikey import logs
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.logs import FIELDS, REQUEST_ID
from asgi_apikey.service.requests import RequestLog, note
from tests.asgi.driver import http, serve, websocket
from tests.fakes import FakeClock


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request id that it sees."""
    note(scope, key_id="k1", nothing=None)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": REQUEST_ID.get().encode()})


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises what quotes a secret."""
    raise RuntimeError("canary")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the access log gets, from debug on."""
    caplog.set_level(logging.DEBUG, logger="asgi_apikey.access")
    return caplog


def layer(app: object = inner) -> RequestLog:
    """A layer around an application."""
    return RequestLog(app, clock=FakeClock())  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize("sent", [b"3f0e8a34-9a4e-4f3e-8a35-1d8ad94c2a9e", b"01HZX8P2ABCD", b"abcdef12"])
async def test_a_sane_request_id_is_kept(log: pytest.LogCaptureFixture, sent: bytes) -> None:
    """It is in the context of the request, in the answer and in the log."""
    reply = await serve(layer(), http((b"x-request-id", sent)))

    assert reply.body == sent
    assert reply.header(b"x-request-id") == [sent]
    assert REQUEST_ID.get() == ""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b"short"],
        [b"a" * 37],
        [b"has blank"],
        [b"a\tb\tc\td\te"],
        [b"ak_live_9fK2mQ7xT0aB"],
        [b"eyJhbGciOiJIUzI1.e30.x"],
        [b"abcdef12", b"abcdef12"],
        [b"caf\xe9cafe"],
    ],
    ids=repr,
)
async def test_any_other_is_replaced(lines: list[bytes]) -> None:
    """Also what could be a credential that went into the wrong header; and two are none."""
    reply = await serve(layer(), http(*((b"x-request-id", each) for each in lines)))

    assert reply.body not in lines
    assert len(reply.body) == 16
    assert reply.header(b"x-request-id") == [reply.body]


@pytest.mark.anyio
async def test_the_line_tells_what_was_asked_and_answered_and_no_query(log: pytest.LogCaptureFixture) -> None:
    """Queries carry secrets, so of them only that there was one."""
    await serve(layer(), http(path="/orders", query_string=b"api_key=canary"))

    [record] = log.records
    assert record.getMessage() == "GET /orders?... 200"
    assert getattr(record, FIELDS) == {
        "method": "GET",
        "path": "/orders?...",
        "status": 200,
        "ms": 0.0,
        "client": "192.0.2.1",
        "key_id": "k1",
    }


@pytest.mark.anyio
async def test_a_long_path_is_cut(log: pytest.LogCaptureFixture) -> None:
    """A log must not grow by what strangers send."""
    await serve(layer(), http(path="/" + "x" * 10_000))

    assert len(log.records[0].getMessage()) < 600


@pytest.mark.anyio
async def test_health_checks_are_told_while_debugging_only(log: pytest.LogCaptureFixture) -> None:
    """There is one every few seconds."""
    await serve(layer(), http(path="/health"))

    assert [record.levelname for record in log.records] == ["DEBUG"]


@pytest.mark.anyio
async def test_an_error_is_answered_and_told_without_its_text(log: pytest.LogCaptureFixture) -> None:
    """500 with a request id, so that somebody can find the line."""
    reply = await serve(layer(failing), http())

    assert reply.status == 500
    assert reply.header(b"x-request-id")
    assert "RuntimeError" in log.text
    assert "canary" not in log.text + reply.body.decode()


@pytest.mark.anyio
async def test_other_connections_pass_as_they_are() -> None:
    """A WebSocket's handshake is nobody's request yet."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = websocket()
    await serve(RequestLog(app, clock=FakeClock()), scope)

    assert seen == [scope]


@pytest.mark.anyio
async def test_a_line_in_json_has_the_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    """Written by the formatter, inside of the request."""
    handler = logging.StreamHandler()
    handler.setFormatter(logs.JSONLines(str))
    logger = logging.getLogger("asgi_apikey.access")
    logger.addHandler(handler)
    before, logger.level = logger.level, logging.INFO
    try:
        await serve(layer(), http((b"x-request-id", b"abcdef12")))
    finally:
        logger.removeHandler(handler)
        logger.level = before

    assert json.loads(capsys.readouterr().err)["request_id"] == "abcdef12"
