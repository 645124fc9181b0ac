"""A key that comes as the first message, and refusals that a browser can read."""

from __future__ import annotations

import anyio
import pytest

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.require import require
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.asgi.websockets import WebSockets
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from tests.asgi.driver import ALICE, GOOD, OTHER, FakeKeys, Inner, key, serve, websocket
from tests.asgi.played import echo, playing
from tests.asgi.test_connections import GONE, revoke
from tests.fakes import until

pytestmark = pytest.mark.anyio

SENT = WebSockets(first_message=60)


def guard(app, keys: FakeKeys, websockets: WebSockets = SENT, **options) -> APIKeyMiddleware:
    """An application whose WebSockets may send their key."""
    return APIKeyMiddleware(app, keys=keys, websockets=websockets, **options)


async def test_the_first_message_may_be_the_key(keys) -> None:
    """The application sees none of it: it accepts what was accepted already, and reads what comes after."""
    async with playing(guard(echo, keys), websocket()) as played:
        await played.got("websocket.accept")
        played.says(GOOD.decode(), "hello")
        await played.got("websocket.send")

    assert [each["type"] for each in played.sent] == ["websocket.accept", "websocket.send"]
    assert played.texts() == ["hello"]


async def test_the_application_knows_who_it_is(keys, inner) -> None:
    """As with a key in a header."""
    async with playing(guard(inner, keys), websocket()) as played:
        played.says(GOOD.decode())
        await played.ended()

    assert inner.seen == [ALICE]


async def test_a_key_in_the_handshake_is_as_good(keys) -> None:
    """Then the first message is the application's, and so is the handshake."""
    async with playing(guard(echo, keys), websocket(key())) as played:
        played.says("hello")
        await played.got("websocket.send")

    assert played.texts() == ["hello"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("ak_live_unknown", 4401),
        ("", 4401),
        ('{"key": "x"}', 4401),
        ("x" * 5_000, 4401),
        ({"type": "websocket.receive", "bytes": GOOD}, 4401),
        ({"type": "websocket.receive", "text": None, "bytes": GOOD}, 4401),
        (OTHER.decode(), 4403),
    ],
    ids=["unknown", "empty", "JSON", "long", "bytes", "no text", "without the scope"],
)
async def test_what_is_no_accepted_key_closes(keys, inner, message, code) -> None:
    """With a code, for it is too late for a response."""
    async with playing(guard(inner, keys, scopes=["orders:read"]), websocket()) as played:
        played.says(message)
        closed = await played.got("websocket.close")
        await played.ended()

    assert [each["type"] for each in played.sent] == ["websocket.accept", "websocket.close"]
    assert closed["code"] == code
    assert inner.calls == 0


async def test_a_store_that_does_not_answer_closes_for_now(keys, inner) -> None:
    """With 1013: cannot decide is not no."""
    keys.rejected[b"ak_live_some"] = StoreUnavailable("away")
    async with playing(guard(inner, keys), websocket()) as played:
        played.says("ak_live_some")
        closed = await played.got("websocket.close")

    assert closed["code"] == 1013


async def test_a_part_that_needs_more_closes_with_a_code(keys, inner) -> None:
    """Also further in nobody can answer the handshake any more."""
    async with playing(guard(require(inner, "orders:read"), keys), websocket()) as played:
        played.says(OTHER.decode())
        closed = await played.got("websocket.close")

    assert (closed["code"], closed["reason"], inner.calls) == (4403, "missing_scope", 0)


async def test_who_says_nothing_is_not_waited_for(keys, inner) -> None:
    """Only for so long."""
    async with playing(guard(inner, keys, WebSockets(first_message=0.02)), websocket()) as played:
        closed = await played.got("websocket.close")
        await played.ended()

    assert closed == {"type": "websocket.close", "code": 4401, "reason": "missing_credential"}
    assert inner.calls == 0


async def test_a_client_that_does_not_take_the_answer_is_not_waited_for(keys, inner) -> None:
    """The time runs from the handshake."""
    async with playing(guard(inner, keys, WebSockets(first_message=0.02)), websocket()) as played:
        played.reading.shut()
        await until(lambda: played.reading.waiting)
        await anyio.sleep(0.05)
        played.reading.open()
        await played.ended()

    assert inner.calls == 0


async def test_who_goes_before_is_gone(keys, inner) -> None:
    """Nothing is sent to nobody."""
    async with playing(guard(inner, keys), websocket()) as played:
        await played.got("websocket.accept")
        played.says({"type": "websocket.disconnect", "code": 1001})
        await played.ended()

    assert [each["type"] for each in played.sent] == ["websocket.accept"]
    assert inner.calls == 0


async def test_only_so_many_are_waited_for(keys, inner) -> None:
    """The others are told to come back, before anything is accepted; who has presented a key makes room."""
    app = guard(echo, keys, WebSockets(first_message=60, most_pending=1))
    async with playing(app, websocket()) as first:
        await first.got("websocket.accept")
        refused = await serve(app, websocket())
        with_key = await serve(guard(inner, keys, WebSockets(first_message=60, most_pending=1)), websocket(key()))
        first.says(GOOD.decode(), "hello")
        await first.got("websocket.send")
        async with playing(app, websocket()) as second:
            await second.got("websocket.accept")

    assert refused.status == 503
    assert with_key.messages[0]["type"] == "websocket.accept"


async def test_exempt_paths_are_not_asked(keys, inner) -> None:
    """They need no key."""
    await serve(guard(inner, keys, exempt=["/health"]), websocket(path="/health", raw_path=b"/health"))

    assert inner.seen == [None]


async def test_a_layer_further_in_does_not_ask_again(keys) -> None:
    """It takes over the verdict."""
    async with playing(guard(guard(echo, keys), keys), websocket()) as played:
        played.says(GOOD.decode(), "hello")
        await played.got("websocket.send")

    assert played.texts() == ["hello"]


async def test_it_is_watched_like_any_other(keys) -> None:
    """And closed when its key is revoked."""
    async with playing(guard(echo, keys), websocket()) as played:
        played.says(GOOD.decode(), "hello")
        await played.got("websocket.send")
        revoke(keys)
        closed = await played.got("websocket.close")

    assert closed == GONE


async def test_the_first_offered_subprotocol_is_chosen(keys) -> None:
    """The application comes too late to choose."""
    async with playing(guard(echo, keys), websocket(subprotocols=["chat", "v2.chat"])) as played:
        accepted = await played.got("websocket.accept")

    assert accepted["subprotocol"] == "chat"


async def test_an_application_that_denies_it_closes_it(keys) -> None:
    """A response comes too late; what its status says is said by a code."""

    async def denies(scope: Scope, receive: Receive, send: Send) -> None:
        assert "websocket.http.response" not in scope["extensions"]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"not here"})

    async with playing(guard(denies, keys), websocket()) as played:
        played.says(GOOD.decode())
        await played.ended()

    assert [each.get("code") for each in played.sent] == [None, 4404]


async def test_own_words_come_as_a_code(keys, inner) -> None:
    """What `on_refusal` answers with is too late for a response; nothing is logged about that."""

    def teapot(error):
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"short and stout"})

        return answer

    async with playing(guard(inner, keys, on_refusal=teapot), websocket()) as played:
        played.says("ak_live_nobodys")
        closed = await played.got("websocket.close")

    assert closed["code"] == 4418


class TestCloseCodes:
    """For pages in browsers, which cannot see the response that denies a handshake."""

    @pytest.mark.parametrize(
        ("scope", "code", "reason"),
        [
            (websocket(), 4401, "missing_credential"),
            (websocket(key(b"ak_live_nobodys")), 4401, "invalid_key"),
            (websocket(key(OTHER)), 4403, "missing_scope"),
            (websocket(key(), key()), 4400, "ambiguous_credential"),
        ],
        ids=["none", "bad", "without the scope", "two"],
    )
    async def test_a_refused_handshake_is_accepted_and_closed(self, keys, inner, scope, code, reason) -> None:
        """With a code that says why, and no more than a response would."""
        app = guard(inner, keys, WebSockets(close_codes=True), scopes=["orders:read"])
        reply = await serve(app, dict(scope))

        assert [each["type"] for each in reply.messages] == ["websocket.accept", "websocket.close"]
        assert (reply.messages[1]["code"], reply.messages[1]["reason"]) == (code, reason)
        assert inner.calls == 0

    async def test_it_is_accepted_as_browsers_want_it(self, keys, inner) -> None:
        """With one of the subprotocols they have offered, else the code would be 1006; never with a key."""
        app = guard(inner, keys, WebSockets(close_codes=True, subprotocol=True))
        offered = ["apikey.ak_live_nobodys", "apikey"]
        line = (b"sec-websocket-protocol", ", ".join(offered).encode())
        reply = await serve(app, websocket(line, subprotocols=offered))
        other = await serve(app, websocket(subprotocols=["chat"]))

        assert reply.messages[0]["subprotocol"] == "apikey"
        assert other.messages[0]["subprotocol"] == "chat"

    async def test_requests_are_answered_as_ever(self, keys, inner) -> None:
        """They have a status."""
        from tests.asgi.driver import http

        assert (await serve(guard(inner, keys, WebSockets(close_codes=True)), http())).status == 401


@pytest.mark.parametrize(
    "options",
    [{"subprotocol": "yes"}, {"close_codes": 1}, {"first_message": 0}, {"first_message": True}, {"most_pending": 0}],
    ids=repr,
)
def test_options_that_make_no_sense_are_refused(options) -> None:
    """While they are made."""
    with pytest.raises(ConfigurationError):
        WebSockets(**options)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"websockets": SENT, "required": False}, "first_message=None"),
        ({"websockets": None}, "write websockets=WebSockets"),
        ({"websockets": {"subprotocol": True}}, "write websockets=WebSockets"),
        ({"live": True}, "write live=Live"),
    ],
    ids=repr,
)
def test_options_that_do_not_fit_are_refused(keys, options, fix) -> None:
    """While the application is wired, with what to write instead."""
    with pytest.raises(ConfigurationError, match=fix):
        APIKeyMiddleware(Inner(), keys=keys, **options)


def test_a_first_message_needs_keys_that_count(keys, inner) -> None:
    """Else strangers could hold any number of connections."""
    del keys.connections
    with pytest.raises(ConfigurationError, match="counts"):
        guard(inner, keys, live=None)
