"""Open connections are ended when their key is, and nobody else's are."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from asgi_apikey.asgi.connection import Disconnected, demand_scopes
from asgi_apikey.asgi.connections import Connections, Live
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.require import require
from asgi_apikey.asgi.types import Message, Receive, Scope, Send
from asgi_apikey.contrib.admitted import admitted
from asgi_apikey.errors import (
    ConfigurationError,
    DisabledKey,
    ExpiredKey,
    InvalidToken,
    Overloaded,
    RevokedKey,
    StoreUnavailable,
)
from asgi_apikey.models import Principal
from tests.asgi.driver import ALICE, BOB, GOOD, OTHER, FakeKeys, http, key, serve, websocket
from tests.asgi.played import Feed, echo, playing
from tests.fakes import NOON, Gate, until

pytestmark = pytest.mark.anyio

GONE = {"type": "websocket.close", "code": 4401, "reason": "invalid_key"}


def revoke(keys: FakeKeys, presented: bytes = GOOD, error: Exception | None = None) -> None:
    """Revoke a key in another process, and hear of it."""
    keys.cached.pop(presented, None)
    keys.rejected[presented] = RevokedKey("an-id") if error is None else error
    keys.judge.mark += 1
    keys.connections.changed()


async def settled(keys: FakeKeys) -> None:
    """Wait until the key was verified anew."""
    before = len(keys.judge.rechecked)
    await until(lambda: len(keys.judge.rechecked) > before)
    await anyio.sleep(0.02)


@pytest.mark.parametrize("error", [RevokedKey("id"), DisabledKey("id"), ExpiredKey("id")], ids=repr)
async def test_a_websocket_is_closed_when_its_key_is_refused(keys, error) -> None:
    """With 4401, whatever the reason, and the application sees a client that has gone."""
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        played.says("hello")
        await played.got("websocket.send")
        revoke(keys, error=error)
        closed = await played.got("websocket.close")
        await played.ended()

    assert closed == GONE
    assert keys.connections.open == 0


async def test_an_idle_process_hears_of_it_without_being_told(keys) -> None:
    """The watch looks from time to time: a mark moved by nobody that wakes it is found as well."""
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        keys.cached.clear()
        keys.judge.mark += 1

        assert await played.got("websocket.close") == GONE


async def test_a_lease_that_ends_is_renewed_while_a_connection_is_open(keys) -> None:
    """Else nobody would hear of anything; nothing is verified for that."""
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        keys.judge.leased = False
        await until(lambda: keys.judge.leased)
        await anyio.sleep(0.02)
        played.says("still here")
        await played.got("websocket.send")

    assert keys.judge.rechecked == []


async def test_other_keys_are_not_disturbed(keys) -> None:
    """Only the key that has changed is verified, once for all its connections."""
    app = APIKeyMiddleware(echo, keys=keys)
    async with (
        playing(app, websocket(key())) as first,
        playing(app, websocket(key())) as second,
        playing(app, websocket(key(OTHER))) as other,
    ):
        await other.got("websocket.accept")
        revoke(keys)
        closed = [await first.got("websocket.close"), await second.got("websocket.close")]
        other.says("hello")
        await other.got("websocket.send")

    assert closed == [GONE, GONE]
    assert keys.judge.rechecked.count(GOOD) == 1


async def test_a_change_that_forbids_nothing_closes_nothing(keys) -> None:
    """A new name, or a rotation with a grace."""
    async with playing(APIKeyMiddleware(echo, keys=keys, scopes=["orders:read"]), websocket(key())) as played:
        await played.got("websocket.accept")
        keys.cached[GOOD] = replace(ALICE, name="another name")
        keys.judge.mark += 1
        keys.connections.changed()
        await settled(keys)
        played.says("hello")
        await played.got("websocket.send")

    assert [each["type"] for each in played.sent] == ["websocket.accept", "websocket.send"]


async def test_a_lost_scope_closes_what_a_bridge_has_asked_for(keys) -> None:
    """However often it asks; a principal of another key is not meant."""
    asked: list[Scope] = []

    async def bridged(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)
        for _ in range(3):
            admitted(scope, frozenset({"orders:read"}))
        demand_scopes(scope, BOB, frozenset({"nobody:has:this"}))
        await echo(scope, receive, send)

    async with playing(APIKeyMiddleware(bridged, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        needed = asked[0]["asgi_apikey.live"].needed
        keys.cached[GOOD] = replace(ALICE, scopes=frozenset())
        keys.judge.mark += 1
        closed = await played.got("websocket.close")

    assert needed == {"orders:read"}
    assert closed["code"] == 4403


@pytest.mark.parametrize("inside", [False, True], ids=["of the middleware", "of a part"])
async def test_a_lost_scope_closes_what_needs_it(keys, inside) -> None:
    """With 4403; what needs no scope stays open."""
    free = APIKeyMiddleware(echo, keys=keys)
    guarded = (
        APIKeyMiddleware(require(echo, "orders:read"), keys=keys)
        if inside
        else APIKeyMiddleware(echo, keys=keys, scopes=["orders:read"])
    )
    async with playing(guarded, websocket(key())) as played, playing(free, websocket(key())) as other:
        await played.got("websocket.accept")
        await other.got("websocket.accept")
        keys.cached[GOOD] = replace(ALICE, scopes=frozenset())
        keys.judge.mark += 1
        keys.connections.changed()
        closed = await played.got("websocket.close")
        other.says("hello")
        await other.got("websocket.send")

    assert closed == {"type": "websocket.close", "code": 4403, "reason": "missing_scope"}


async def test_a_layer_further_in_adds_its_scopes(keys) -> None:
    """It takes over the verdict, and what it asks for is asked for as long as the connection is open."""
    app = APIKeyMiddleware(APIKeyMiddleware(echo, keys=keys, scopes=["orders:read"]), keys=keys)
    async with playing(app, websocket(key())) as played:
        await played.got("websocket.accept")
        keys.cached[GOOD] = replace(ALICE, scopes=frozenset())
        keys.judge.mark += 1
        closed = await played.got("websocket.close")

    assert closed["code"] == 4403


async def test_no_message_passes_on_a_key_that_is_in_doubt(keys) -> None:
    """Neither way, though nobody has told us: what flows needs a key that holds, as a request does."""
    heard: list[str] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            heard.append(message["text"])

    keys.connections = Connections(keys.judge, keys.clock, interval=3_600)
    async with playing(APIKeyMiddleware(listen, keys=keys), websocket(key())) as played:
        played.says("before")
        await until(lambda: heard)
        keys.cached.clear()
        keys.judge.mark += 1
        played.says("after")
        closed = await played.got("websocket.close")

    assert closed == GONE
    assert heard == ["before"]


async def test_nothing_is_sent_on_a_key_that_is_in_doubt(keys) -> None:
    """What the application has for the client does not reach it any more."""
    feed = Feed()
    keys.connections = Connections(keys.judge, keys.clock, interval=3_600)
    async with playing(APIKeyMiddleware(feed, keys=keys), websocket(key())) as played:
        await played.got("websocket.send")
        keys.cached.clear()
        keys.judge.mark += 1
        number = len(played.texts())
        await played.got("websocket.close")
        await played.ended()

    assert len(played.texts()) == number
    assert isinstance(feed.told, Disconnected)


async def test_without_memory_every_message_is_verified(keys) -> None:
    """What was found out for the one before is not good enough: `consistency="strict"`."""
    keys.connections = Connections(keys.judge, keys.clock, interval=3_600)
    keys.judge.leased = keys.judge.renewable = False
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        played.says("before")
        await played.got("websocket.send")
        keys.rejected[GOOD], keys.cached = RevokedKey("id"), {}
        played.says("after")
        closed = await played.got("websocket.close")

    assert closed == GONE
    assert played.texts() == ["before"]


async def test_a_change_while_the_key_is_read_is_found(keys) -> None:
    """What was read before it says nothing about it."""
    reading, answers = Gate(), [ALICE]

    async def slow(presented: bytes) -> Principal:
        await reading.passed()
        if answers:
            return answers.pop()
        raise RevokedKey("id")

    keys.judge._recheck = slow
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        reading.shut()
        keys.judge.mark += 1
        await until(lambda: reading.waiting)
        keys.judge.mark += 1
        reading.open()

        assert await played.got("websocket.close") == GONE


async def test_a_key_that_is_good_again_is_watched_anew(keys) -> None:
    """Though what it was ended for has not gone yet."""

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await anyio.sleep_forever()

    async with (
        playing(APIKeyMiddleware(stubborn, keys=keys), websocket(key())) as old,
        playing(APIKeyMiddleware(echo, keys=keys), websocket(key(OTHER))) as other,
    ):
        await old.got("websocket.accept")
        revoke(keys, error=DisabledKey("id"))
        await old.got("websocket.close")
        keys.cached[GOOD] = ALICE
        async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as new:
            await new.got("websocket.accept")
            revoke(keys)
            closed = await new.got("websocket.close")
        other.says("hello")
        await other.got("websocket.send")

    assert closed == GONE


async def test_an_end_that_is_near_is_not_slept_through(keys) -> None:
    """A watch that has nothing to do for long is told of it."""
    keys.connections = Connections(keys.judge, keys.clock, interval=3_600)
    app = APIKeyMiddleware(echo, keys=keys)
    async with playing(app, websocket(key(OTHER))) as other:
        await other.got("websocket.accept")
        await anyio.sleep(0.02)
        keys.cached[GOOD] = replace(ALICE, expires_at=NOON + 0.05)
        async with playing(app, websocket(key())) as played:
            await played.got("websocket.accept")
            keys.rejected[GOOD], keys.cached = ExpiredKey("id"), {}
            keys.clock.advance(0.05)

            assert await played.got("websocket.close") == GONE


class TestOutage:
    """Nobody can tell whether the key is still good."""

    async def test_the_connection_stays_open_and_silent(self, keys) -> None:
        """And goes on where it was when it can be told again."""
        async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
            await played.got("websocket.accept")
            keys.rejected[GOOD], keys.cached = StoreUnavailable("away"), {}
            keys.judge.leased = keys.judge.renewable = False
            played.says("hello")
            await until(lambda: len(keys.judge.rechecked) >= 2)
            silent = list(played.sent)
            keys.cached, keys.judge.renewable = {GOOD: ALICE}, True
            keys.clock.advance(1)
            await played.got("websocket.send")

        assert [each["type"] for each in silent] == ["websocket.accept"]
        assert played.texts() == ["hello"]

    async def test_it_is_closed_when_that_takes_too_long(self, keys) -> None:
        """With 1013: come back later. The application is told."""
        app = APIKeyMiddleware(echo, keys=keys, live=Live(outage=30))
        async with playing(app, websocket(key())) as played:
            await played.got("websocket.accept")
            keys.rejected[GOOD], keys.cached = StoreUnavailable("away"), {}
            keys.judge.leased = keys.judge.renewable = False
            await settled(keys)
            open_before = keys.connections.open
            keys.clock.advance(31)
            closed = await played.got("websocket.close")
            await played.ended()

        assert open_before == 1
        assert closed == {"type": "websocket.close", "code": 1013, "reason": "undecidable"}

    async def test_a_fault_is_no_yes(self, keys, caplog) -> None:
        """A plug that raises what it should not is like one that does not answer; what it says is not logged."""
        app = APIKeyMiddleware(echo, keys=keys, live=Live(outage=0))
        async with playing(app, websocket(key())) as played:
            await played.got("websocket.accept")
            revoke(keys, error=RuntimeError("quotes the key"))
            closed = await played.got("websocket.close")

        assert closed["code"] == 1013
        assert "RuntimeError" in caplog.text
        assert "quotes" not in caplog.text

    async def test_two_outages_are_not_one(self, keys) -> None:
        """The time runs anew after it could be told again."""
        app = APIKeyMiddleware(echo, keys=keys, live=Live(outage=30))
        async with playing(app, websocket(key())) as played:
            await played.got("websocket.accept")
            for _ in range(2):
                keys.rejected[GOOD], keys.cached = StoreUnavailable("away"), {}
                keys.judge.leased = keys.judge.renewable = False
                await settled(keys)
                keys.clock.advance(20)
                keys.cached, keys.judge.renewable = {GOOD: ALICE}, True
                await until(lambda: keys.judge.leased)
                await anyio.sleep(0.03)
            played.says("hello")
            await played.got("websocket.send")

        assert "websocket.close" not in {each["type"] for each in played.sent}

    async def test_being_stopped_is_no_outage(self, keys) -> None:
        """A process that did not run for long asks before it closes anything."""
        app = APIKeyMiddleware(echo, keys=keys, live=Live(outage=0))
        async with playing(app, websocket(key())) as played:
            await played.got("websocket.accept")
            keys.judge.leased = False
            keys.clock.advance(3_600)
            await until(lambda: keys.judge.leased)
            played.says("hello")
            await played.got("websocket.send")

        assert "websocket.close" not in {each["type"] for each in played.sent}


class TestPausedClient:
    """A client that reads nothing."""

    async def test_it_blocks_nobody(self, keys, monkeypatch) -> None:
        """The others are closed at once, and its own application ends."""
        monkeypatch.setattr("asgi_apikey.asgi.connection.CLOSING_TIME", 0.05)
        feed = Feed()
        app = APIKeyMiddleware(feed, keys=keys)
        async with playing(app, websocket(key())) as paused, playing(app, websocket(key())) as other:
            await paused.got("websocket.send")
            paused.reading.shut()
            await until(lambda: paused.reading.waiting)
            revoke(keys)
            closed = await other.got("websocket.close")
            await paused.ended()

        assert closed == GONE
        assert keys.connections.open == 0

    async def test_it_gets_no_more_than_it_had(self, keys) -> None:
        """What was waiting for it is given up; it is told if it reads again in time."""
        feed = Feed()
        async with playing(APIKeyMiddleware(feed, keys=keys), websocket(key())) as paused:
            await paused.got("websocket.send")
            paused.reading.shut()
            await until(lambda: paused.reading.waiting)
            texts = paused.texts()
            revoke(keys)
            await until(lambda: feed.told)
            paused.reading.open()
            await paused.got("websocket.close")

        assert paused.texts() == texts


async def test_the_server_hears_of_the_close_before_the_application_has_returned(keys) -> None:
    """Else it would close the connection in its own way: granian without a code."""
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        played.reading.shut()
        revoke(keys)
        await until(lambda: played.reading.waiting)
        early = played.returned
        played.reading.open()
        await played.ended()

    assert not early
    assert played.sent[-1] == GONE


async def test_a_close_message_that_nobody_takes_is_given_up(keys, monkeypatch) -> None:
    """After a while; then the server may do what it likes."""
    monkeypatch.setattr("asgi_apikey.asgi.connection.CLOSING_TIME", 0.02)
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        played.reading.shut()
        revoke(keys)
        await played.ended()

    assert [each["type"] for each in played.sent] == ["websocket.accept"]


async def test_a_server_that_refuses_the_close_message_hides_nothing(keys) -> None:
    """It is not open any more: that is what was wanted, and no error of anybody."""

    async def gone(message: Message) -> None:
        if message["type"] == "websocket.close":
            raise RuntimeError("the connection is closed already")
        await played.send(message)

    app = APIKeyMiddleware(echo, keys=keys)

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, gone)

    async with playing(served, websocket(key())) as played:
        await played.got("websocket.accept")
        revoke(keys)
        await played.ended()

    assert keys.connections.open == 0


async def test_an_application_that_does_not_go_is_cancelled(keys, monkeypatch) -> None:
    """One that waits for something else than its client; after a while."""
    monkeypatch.setattr("asgi_apikey.asgi.connection.PARTING_TIME", 0.05)

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await anyio.sleep_forever()

    async with playing(APIKeyMiddleware(stubborn, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        revoke(keys)
        await played.got("websocket.close")
        await played.ended()


async def test_one_that_asks_again_and_again_keeps_nobody_from_running(keys, monkeypatch) -> None:
    """A disconnect is told each time, but not without letting others run."""
    monkeypatch.setattr("asgi_apikey.asgi.connection.PARTING_TIME", 0.05)

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while True:
            await receive()

    async with playing(APIKeyMiddleware(deaf, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        revoke(keys)
        await played.got("websocket.close")
        await played.ended()


async def test_the_end_of_a_key_is_known_in_advance(keys) -> None:
    """Nobody has to tell, and nobody has to look for it: the clock does."""
    keys.cached[GOOD] = replace(ALICE, expires_at=NOON + 10)
    keys.connections = Connections(keys.judge, keys.clock, interval=0.01)
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        keys.clock.advance(9)
        await anyio.sleep(0.05)
        open_before, asked = keys.connections.open, len(keys.judge.rechecked)
        keys.rejected[GOOD], keys.cached = ExpiredKey("id"), {}
        keys.clock.advance(1)
        closed = await played.got("websocket.close")

    assert (open_before, asked) == (1, 0)
    assert closed == GONE


class Tokens:
    """A verifier of tokens, which end."""

    def __init__(self) -> None:
        self.calls = 0
        self.over = False

    async def authenticate(self, presented: bytes) -> Principal:
        """Tell any token, until they are over."""
        self.calls += 1
        if self.over:
            raise InvalidToken("expired")
        return Principal(key_id="token-id", owner="tess", expires_at=NOON + 10, method="jwt")


async def test_a_token_is_verified_again_when_it_ends(keys) -> None:
    """Changes of keys are nothing to it."""
    tokens = Tokens()
    app = APIKeyMiddleware(echo, keys=keys, bearer=True, jwt=tokens)
    async with playing(app, websocket((b"authorization", b"Bearer a.b.c"))) as played:
        await played.got("websocket.accept")
        keys.judge.mark += 1
        keys.connections.changed()
        await anyio.sleep(0.05)
        calls = tokens.calls
        tokens.over = True
        keys.clock.advance(10)
        closed = await played.got("websocket.close")

    assert calls == 1
    assert closed == GONE


async def test_what_is_not_watched_stays_open(keys) -> None:
    """With `live=None`, as before."""
    async with playing(APIKeyMiddleware(echo, keys=keys, live=None), websocket(key())) as played:
        await played.got("websocket.accept")
        revoke(keys)
        played.says("hello")
        await played.got("websocket.send")

    assert keys.connections.open == 0


async def test_the_anonymous_are_not_watched(keys, inner) -> None:
    """They have no key that could end."""
    app = APIKeyMiddleware(inner, keys=keys, required=False, exempt=["/health"])
    await serve(app, websocket())
    await serve(app, websocket(key(), path="/health", raw_path=b"/health"))

    assert keys.connections.open == 0
    assert inner.calls == 2


class TestStreams:
    """Responses are cut off only where that is asked for."""

    async def test_by_default_they_go_on(self, keys) -> None:
        """And take the short way."""
        async with playing(APIKeyMiddleware(Feed(), keys=keys), http(key())) as played:
            await played.got("http.response.body")
            revoke(keys)
            number = len(played.sent)
            await until(lambda: len(played.sent) > number + 2)

        assert keys.judge.rechecked == []

    async def test_they_are_cut_off(self, keys, monkeypatch) -> None:
        """Not ended in good order, so that nobody takes the half for the whole."""
        monkeypatch.setattr("asgi_apikey.asgi.connection.CUTTING_TIME", 0.05)
        async with playing(APIKeyMiddleware(Feed(), keys=keys, live=Live(streams=True)), http(key())) as played:
            await played.got("http.response.body")
            revoke(keys)
            await played.ended()

        assert all(each["more_body"] for each in played.sent if each["type"] == "http.response.body")

    async def test_an_application_of_a_later_asgi_is_told_by_an_exception(self, keys) -> None:
        """From version 2.4 on; before, what is sent gets lost."""
        feed, scope = Feed(), http(key(), asgi={"version": "3.0", "spec_version": "2.4"})
        async with playing(APIKeyMiddleware(feed, keys=keys, live=Live(streams=True)), scope) as played:
            await played.got("http.response.body")
            revoke(keys)
            await played.ended()

        assert isinstance(feed.told, OSError)

    async def test_who_has_not_been_answered_is_answered(self, keys) -> None:
        """A request that waits for something is refused as a new one would be."""

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["type"] == "http.disconnect"

        async with playing(APIKeyMiddleware(waits, keys=keys, live=Live(streams=True)), http(key())) as played:
            await until(lambda: keys.connections.open)
            revoke(keys)
            answer = await played.got("http.response.start")

        assert answer["status"] == 401

    async def test_a_short_request_is_served_as_ever(self, keys, inner) -> None:
        """And leaves nothing behind."""
        reply = await serve(APIKeyMiddleware(inner, keys=keys, live=Live(streams=True)), http(key()))

        assert (reply.status, reply.body) == (200, b"hello")
        assert keys.connections.open == 0

    async def test_what_comes_after_the_answer_is_left_alone(self, keys, monkeypatch) -> None:
        """Work in the background belongs to a request that was let in."""
        monkeypatch.setattr("asgi_apikey.asgi.connection.CUTTING_TIME", 0.01)
        done = anyio.Event()

        async def later(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 202})
            await send({"type": "http.response.body", "body": b""})
            await done.wait()

        async with playing(APIKeyMiddleware(later, keys=keys, live=Live(streams=True)), http(key())) as played:
            await played.got("http.response.body")
            revoke(keys)
            await settled(keys)
            await anyio.sleep(0.03)
            early = played.returned
            done.set()
            await played.ended()

        assert not early


class TestLimit:
    """How many WebSockets a key may have open."""

    async def test_one_too_many_is_refused(self, keys) -> None:
        """With 429; another key is not concerned, and who leaves makes room."""
        app = APIKeyMiddleware(echo, keys=keys, live=Live(most_per_key=1))
        async with playing(app, websocket(key())) as first:
            await first.got("websocket.accept")
            refused = await serve(app, websocket(key()))
            async with playing(app, websocket(key(OTHER))) as other:
                await other.got("websocket.accept")
            first.says({"type": "websocket.disconnect", "code": 1000})
            await first.ended()
            async with playing(app, websocket(key())) as again:
                await again.got("websocket.accept")

        assert refused.status == 429
        assert b"too_many_connections" in refused.body

    async def test_requests_do_not_count(self, keys, inner) -> None:
        """Also where responses are watched."""
        live = Live(most_per_key=1, streams=True)
        async with playing(APIKeyMiddleware(echo, keys=keys, live=live), websocket(key())) as first:
            await first.got("websocket.accept")
            reply = await serve(APIKeyMiddleware(inner, keys=keys, live=live), http(key()))

        assert reply.status == 200

    async def test_a_refused_one_leaves_no_trace(self, keys, inner) -> None:
        """Neither in the state nor in the ASGI scope."""
        app = APIKeyMiddleware(echo, keys=keys, live=Live(most_per_key=1))
        scope = websocket(key())
        async with playing(app, websocket(key())) as first:
            await first.got("websocket.accept")
            await serve(app, scope)

        assert scope["state"]["api_key"] is None
        assert not [name for name in scope if name.startswith("asgi_apikey.")]


async def test_closing_the_keys_closes_their_connections(keys) -> None:
    """From then on nobody could tell whether they still stand."""
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        keys.connections.close()
        closed = await played.got("websocket.close")
        await played.ended()

    assert closed["code"] == 1013


async def test_a_client_that_goes_by_itself_is_not_closed(keys) -> None:
    """And is not watched any more."""
    async with playing(APIKeyMiddleware(echo, keys=keys), websocket(key())) as played:
        await played.got("websocket.accept")
        played.says({"type": "websocket.disconnect", "code": 1001})
        await played.ended()
        revoke(keys)
        await anyio.sleep(0.05)

    assert [each["type"] for each in played.sent] == ["websocket.accept"]
    assert keys.connections.open == 0


async def test_what_an_application_raises_is_raised(keys) -> None:
    """The watch hides nothing."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await serve(APIKeyMiddleware(broken, keys=keys), websocket(key()))

    assert keys.connections.open == 0


async def test_the_key_is_in_no_text_about_a_connection(keys) -> None:
    """What is held to verify it anew shows itself nowhere."""
    shown: list[str] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["asgi_apikey.live"]
        shown.extend((repr(connection), repr(vars(connection))))

    keys.stored[b"ak_live_very_secret"] = BOB
    await serve(APIKeyMiddleware(look, keys=keys, strip=True), websocket(key(b"ak_live_very_secret")))

    assert shown
    assert not [text for text in shown if "very_secret" in text]


@pytest.mark.parametrize(
    "options",
    [
        {"streams": 1},
        {"outage": -1},
        {"outage": float("inf")},
        {"outage": "10"},
        {"most_per_key": 0},
        {"most_per_key": 1.5},
    ],
    ids=repr,
)
def test_options_that_make_no_sense_are_refused(options) -> None:
    """While they are made."""
    with pytest.raises(ConfigurationError):
        Live(**options)


def test_keys_that_cannot_be_watched_need_a_word(keys, inner) -> None:
    """Fail closed: whoever cannot watch has to say that he does not want to."""
    del keys.connections
    with pytest.raises(ConfigurationError, match="live=None"):
        APIKeyMiddleware(inner, keys=keys)

    assert APIKeyMiddleware(inner, keys=keys, live=None)


def test_those_who_wait_for_a_key_are_counted(keys) -> None:
    """And let go of however they end."""
    with keys.connections.pending(1), pytest.raises(Overloaded), keys.connections.pending(1):
        pass
    with keys.connections.pending(1):
        pass
