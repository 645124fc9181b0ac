"""Saying no: on HTTP, on WebSockets, and in the application's own words."""

from __future__ import annotations

import pytest

from asgi_apikey.asgi.problems import Answers
from asgi_apikey.asgi.refusals import OnRefusal, Refusals
from asgi_apikey.asgi.types import Message, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, UnknownKey
from tests.asgi.driver import Reply, http, serve, websocket

pytestmark = pytest.mark.anyio


def refusing(on_refusal: OnRefusal | None = None):
    """An application that refuses everybody."""
    refusals = Refusals(Answers(realm="api", bearer=False, api_key=True), on_refusal=on_refusal)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await refusals.refuse(UnknownKey("secret-id"), scope, receive, send)

    return app


def words(*messages: Message, before: BaseException | None = None, after: BaseException | None = None) -> OnRefusal:
    """A hook whose application sends these messages, and raises before or after."""

    def hook(error: APIKeyError):
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                assert (await receive())["type"] == "websocket.connect"
            if before is not None:
                raise before
            for message in messages:
                await send(message)
            if after is not None:
                raise after

        return app

    return hook


TEAPOT = ({"type": "http.response.start", "status": 418, "headers": []}, {"type": "http.response.body", "body": b"tea"})
DENIED = ({"type": "websocket.http.response.start", "status": 418, "headers": []},)
CLOSED = ({"type": "websocket.accept"}, {"type": "websocket.close", "code": 4401})


async def test_the_standard_answer() -> None:
    """Start and body, with nothing of the error's evidence."""
    reply = await serve(refusing(), http())

    assert [m["type"] for m in reply.messages] == ["http.response.start", "http.response.body"]
    assert reply.status == 401
    assert b"secret-id" not in reply.body


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    """RFC 9110 section 9.3.2."""
    get, head = await serve(refusing(), http()), await serve(refusing(), http(method="HEAD"))

    assert head.headers == get.headers
    assert head.body == b""


async def test_whoever_adds_a_header_outside_adds_it_to_one_response() -> None:
    """The header list is made anew each time."""
    first = await serve(refusing(), http())
    first.messages[0]["headers"].append((b"x-request-id", b"1"))
    second = await serve(refusing(), http())

    assert second.header(b"x-request-id") == []


async def test_a_handshake_is_denied_with_the_same_answer() -> None:
    """Where the server offers it."""
    denied, refused = await serve(refusing(), websocket()), await serve(refusing(), http())

    assert [m["type"] for m in denied.messages] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert (denied.status, denied.headers, denied.body) == (refused.status, refused.headers, refused.body)


@pytest.mark.parametrize("extensions", [None, {}, {"tls": {}}, "absent"])
async def test_otherwise_it_is_closed_before_it_is_accepted(extensions) -> None:
    """With code 1008, after the connect event was taken."""
    scope = websocket(extensions=extensions)
    if extensions == "absent":
        del scope["extensions"]
    scope.update({} if extensions == "absent" else {"extensions": extensions})
    order: list[str] = []

    async def receive() -> Message:
        order.append("connect taken")
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        order.append(f"{message['type']} {message['code']}")

    await refusing()(scope, receive, send)

    assert order == ["connect taken", "websocket.close 1008"]


async def test_a_client_that_has_gone_is_not_answered() -> None:
    """Servers raise when something is sent to it."""

    async def receive() -> Message:
        return {"type": "websocket.disconnect"}

    async def send(message: Message) -> None:
        raise OSError

    await refusing()(websocket(), receive, send)


@pytest.mark.parametrize("send_fails_for", [http, websocket])
async def test_an_own_answer_replaces_the_standard_one(send_fails_for) -> None:
    """Nothing else is sent."""
    messages = TEAPOT if send_fails_for is http else DENIED
    reply = await serve(refusing(words(*messages)), send_fails_for())

    assert reply.messages == list(messages)


async def test_an_own_answer_may_close_with_its_own_code() -> None:
    """Browsers see the close code of an accepted WebSocket alone."""
    reply = await serve(refusing(words(*CLOSED)), websocket(denial=False))

    assert reply.messages == list(CLOSED)


def raising_hook(error: APIKeyError):
    """A hook that has no answer."""
    raise OSError("ak_live_secret")


@pytest.mark.parametrize(
    "hook",
    [raising_hook, words(before=OSError("ak_live_secret")), words(), lambda error: None, lambda error: "text"],
    ids=["hook raises", "application raises", "nothing sent", "None", "text"],
)
@pytest.mark.parametrize("make", [http, websocket])
async def test_whatever_the_hook_does_wrong_the_standard_answer_is_sent(caplog, hook, make) -> None:
    """And the log does not repeat the text of its error."""
    reply = await serve(refusing(hook), make())

    assert reply.status == 401
    assert "ak_live_secret" not in caplog.text


async def test_an_answer_that_breaks_off_is_not_started_again() -> None:
    """Its error is the application's own."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    with pytest.raises(OSError):
        await refusing(words(TEAPOT[0], after=OSError()))(http(), None, send)  # type: ignore[arg-type]

    assert messages == [TEAPOT[0]]


async def test_a_response_to_a_handshake_is_not_sent_to_a_server_that_cannot() -> None:
    """The hook's denial becomes a plain close."""
    reply = await serve(refusing(words(*DENIED)), websocket(denial=False))

    assert [m["type"] for m in reply.messages] == ["websocket.close"]


def test_a_reply_without_a_response_is_noticed() -> None:
    """The driver's own check."""
    with pytest.raises(StopIteration):
        _ = Reply([]).status
