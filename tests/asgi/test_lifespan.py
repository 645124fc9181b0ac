"""Warming up and closing `keys` around the lifespan of the application inside."""

from __future__ import annotations

import anyio
import pytest

from asgi_apikey.asgi import lifespan
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.types import Message, Receive, Scope, Send
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from tests.asgi.driver import ALICE, FakeKeys, http, key, serve

pytestmark = pytest.mark.anyio

STARTED, STOPPED = "lifespan.startup.complete", "lifespan.shutdown.complete"


class Server:
    """The server's side of one lifespan; notes what it is told in the log of the keys."""

    def __init__(self, keys: FakeKeys, state: object = None) -> None:
        self.keys = keys
        self.scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        if state is not None:
            self.scope["state"] = state
        self.events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        self.failures: list[Message] = []

    async def run(self, app: object) -> list[str]:
        """Run it to its end; return the log."""
        await APIKeyMiddleware(app, keys=self.keys)(self.scope, self.receive, self.send)  # type: ignore[arg-type]
        return self.keys.log

    async def receive(self) -> Message:
        """Startup, shutdown, then nothing ever."""
        if not self.events:
            await anyio.sleep_forever()
        return self.events.pop(0)

    async def send(self, message: Message) -> None:
        """Note it."""
        self.keys.log.append(message["type"])
        if message["type"].endswith("failed"):
            self.failures.append(message)


def app(*, startup: str = "complete", shutdown: str = "complete", log: list[str] | None = None):
    """An application with a lifespan, whose answers are given."""

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        if log is not None:
            log.append("inside starts")
        await send({"type": f"lifespan.startup.{startup}"})
        if startup == "failed":
            return
        assert (await receive())["type"] == "lifespan.shutdown"
        if log is not None:
            log.append("inside stops")
        await send({"type": f"lifespan.shutdown.{shutdown}"})

    return inside


async def raises_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Like Django."""
    raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Like many a hand-written middleware."""


async def raises_after_receiving(scope: Scope, receive: Receive, send: Send) -> None:
    """Looks at the event first."""
    await receive()
    raise KeyError


async def ignores_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns after the startup."""
    await receive()
    await send({"type": STARTED})


async def takes_shutdown_silently(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns without an answer to the shutdown."""
    await ignores_shutdown(scope, receive, send)
    await receive()


async def test_keys_are_open_while_the_application_is(keys) -> None:
    """Opened before its startup, closed after its shutdown and before the server hears of it."""
    log = await Server(keys).run(app(log=keys.log))

    assert log == ["open", "inside starts", STARTED, "inside stops", "close", STOPPED]


@pytest.mark.parametrize(
    "inside", [raises_at_once, returns_at_once, raises_after_receiving, ignores_shutdown, takes_shutdown_silently]
)
async def test_an_application_without_lifespan_is_answered_for(keys, inside) -> None:
    """The server sees a complete lifespan, and the keys are opened and closed once."""
    log = await Server(keys).run(inside)

    assert sorted(log) == sorted(["open", STARTED, "close", STOPPED])
    assert log[:2] == ["open", STARTED]


async def test_a_failed_startup_is_passed_on(keys) -> None:
    """And the keys are closed."""
    log = await Server(keys).run(app(startup="failed"))

    assert log == ["open", "lifespan.startup.failed", "close"]


async def test_a_failed_shutdown_is_passed_on(keys) -> None:
    """After the keys were closed."""
    log = await Server(keys).run(app(shutdown="failed"))

    assert log[-2:] == ["close", "lifespan.shutdown.failed"]


@pytest.mark.parametrize("answer", [STARTED, "lifespan.startup.failed"])
async def test_an_error_after_the_startup_was_answered_is_the_applications(keys, answer) -> None:
    """Starlette answers "failed" and raises; it is not swallowed, and the keys are closed."""

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": answer})
        raise OSError

    with pytest.raises(OSError):
        await Server(keys).run(inside)

    assert keys.log == ["open", answer, "close"]


async def test_a_missing_store_does_not_keep_the_application_from_starting(keys, caplog) -> None:
    """Its requests are answered 503 until the store is there; the log says so."""
    keys.opening = keys.closing = StoreUnavailable()
    log = await Server(keys).run(app())

    assert log == ["open", STARTED, "close", STOPPED]
    assert caplog.text.count("without the key store") == 2


async def test_wrong_wiring_does(keys) -> None:
    """The server is told why, and the application never starts."""
    keys.opening = ConfigurationError("write pepper=…")
    server = Server(keys)
    log = await server.run(app())

    assert log == ["open", "lifespan.startup.failed"]
    assert server.failures == [{"type": "lifespan.startup.failed", "message": "write pepper=…"}]


async def test_a_fault_while_opening_is_not_hidden(keys) -> None:
    """It reaches the server as it is."""
    keys.opening = OSError()
    with pytest.raises(OSError):
        await Server(keys).run(app())


async def test_the_lifespans_state_is_remembered_while_it_runs(keys) -> None:
    """On `keys`, so that every middleware of the application knows it, and forgotten afterwards."""
    state: dict[str, object] = {}
    remembered = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["pool"] = 1
        remembered.append(dict(keys.lifespan_states))

        async def look(scope: Scope, receive: Receive, send: Send) -> None:
            remembered.append(scope["state"])

        await serve(APIKeyMiddleware(look, keys=keys), http(key(), state=state))
        await app()(scope, receive, send)

    await Server(keys, state).run(inside)

    assert remembered == [{id(state): state}, {"pool": 1, "api_key": ALICE}]
    assert state == {"pool": 1}
    assert keys.lifespan_states == {}


@pytest.mark.parametrize("state", [None, 7])
async def test_a_lifespan_needs_no_state(keys, state) -> None:
    """Daphne and old servers have none."""
    await Server(keys, state).run(app())

    assert keys.lifespan_states == {}


async def test_nested_middlewares_open_and_close_once(keys) -> None:
    """The outer one does it; another `keys` inside has its own."""
    others = FakeKeys()
    inside = APIKeyMiddleware(APIKeyMiddleware(app(), keys=others), keys=keys)
    log = await Server(keys).run(inside)

    assert log == ["open", STARTED, "close", STOPPED]
    assert others.log == ["open", "close"]


async def test_a_cancelled_lifespan_closes(keys) -> None:
    """Even where the server gives up on us."""
    server = Server(keys)
    server.events.pop()
    with anyio.move_on_after(0.01):
        await server.run(app())

    assert keys.log == ["open", STARTED, "close"]


async def test_closing_is_bounded(keys, monkeypatch, caplog) -> None:
    """A store that hangs does not keep the process from ending."""
    monkeypatch.setattr(lifespan, "CLOSING_TIME", 0.01)
    keys.close = anyio.sleep_forever
    log = await Server(keys).run(app())

    assert log[-1] == STOPPED
    assert "given up" in caplog.text
