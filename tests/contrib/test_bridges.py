"""What every bridge does alike: who gets in, who is refused, and in whose words."""

from __future__ import annotations

import importlib
import json

import anyio
import pytest
from httpx import ASGITransport, AsyncClient, Response

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.types import ASGIApp, Message
from tests.asgi.driver import BOB, GOOD, OTHER, FakeKeys, websocket
from tests.contrib.conftest import WIDE

FRAMEWORKS = ("fastapi", "quart", "litestar", "blacksheep", "django")
WITH_WEBSOCKETS = FRAMEWORKS[:-1]

pytestmark = pytest.mark.anyio


@pytest.fixture(params=FRAMEWORKS)
def bare(request: pytest.FixtureRequest) -> ASGIApp:
    """One application of a framework, without a guard."""
    return importlib.import_module(f"tests.contrib.apps.{request.param}_app").create()


async def get(app: ASGIApp, path: str, key: bytes | None = None, *, method: str = "GET") -> Response:
    """Send one request."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path, headers={} if key is None else {"X-API-Key": key.decode()})


async def test_who_has_the_scope_gets_in(bare: ASGIApp, keys: FakeKeys) -> None:
    """By its name, or by a wildcard above it; the handler knows who is calling."""
    app = APIKeyMiddleware(bare, keys=keys)

    replies = [await get(app, path, key) for path in ("/orders", "/anybody") for key in (GOOD, WIDE)]

    assert [reply.status_code for reply in replies] == [200] * 4
    assert [reply.text.strip('"') for reply in replies] == ["alice", "wanda"] * 2


async def test_who_lacks_the_scope_gets_the_problem_of_the_middleware(bare: ASGIApp, keys: FakeKeys) -> None:
    """The same status, headers and body as if the middleware itself had asked."""
    asking = APIKeyMiddleware(bare, keys=keys, bearer=True, scopes=("orders:read",))
    app = APIKeyMiddleware(bare, keys=keys, bearer=True)

    wanted, reply = await get(asking, "/orders", OTHER), await get(app, "/orders", OTHER)

    assert reply.status_code == wanted.status_code == 403
    assert reply.content == wanted.content
    assert sorted(reply.headers.items()) == sorted(wanted.headers.items())


async def test_a_part_asks_for_all_in_it(bare: ASGIApp, keys: FakeKeys) -> None:
    """A router, a blueprint, a class: whatever stands for a part of the application."""
    app = APIKeyMiddleware(bare, keys=keys)

    assert (await get(app, "/closed/part", GOOD)).status_code == 200
    assert (await get(app, "/closed/part", OTHER)).status_code == 403


@pytest.mark.parametrize("path", ["/orders", "/anybody"])
async def test_anonymous_requests_are_challenged(bare: ASGIApp, keys: FakeKeys, path: str) -> None:
    """Where the middleware lets them through, on exempt paths, a route that asks for a key still does."""
    app = APIKeyMiddleware(bare, keys=keys, exempt=(path,), realm="shop", bearer=True)

    reply = await get(app, path, GOOD)

    assert reply.status_code == 401
    assert reply.json()["code"] == "missing_credential"
    assert reply.headers["www-authenticate"] == 'ApiKey realm="shop", Bearer realm="shop"'


@pytest.mark.parametrize("path", ["/orders", "/anybody", "/closed/part"])
async def test_without_a_middleware_nobody_gets_in(bare: ASGIApp, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has verified anything: 503, and the log says what is missing."""
    reply = await get(bare, path, GOOD)

    assert reply.status_code == 503
    assert reply.json()["code"] == "undecidable"
    assert reply.headers["retry-after"] == "1"
    assert "wrap the whole application" in caplog.text


async def test_a_principal_in_the_state_proves_nothing(bare: ASGIApp) -> None:
    """What somebody else has put where handlers read it does not open a route."""

    async def forging(scope, receive, send) -> None:
        scope["state"] = {"api_key": BOB}
        await bare(scope, receive, send)

    assert (await get(forging, "/anybody", GOOD)).status_code == 503


async def test_the_words_of_the_application_are_used(bare: ASGIApp, keys: FakeKeys) -> None:
    """`on_refusal` answers, and is asked once."""
    asked = []

    def refusing(error):
        asked.append(error)

        async def answering(scope, receive, send) -> None:
            body = json.dumps({"why": error.code}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 418, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return answering

    reply = await get(APIKeyMiddleware(bare, keys=keys, on_refusal=refusing), "/orders", OTHER)

    assert (reply.status_code, reply.json()) == (418, {"why": "missing_scope"})
    assert [error.code for error in asked] == ["missing_scope"]


@pytest.mark.parametrize("bare", WITH_WEBSOCKETS, indirect=True)
@pytest.mark.parametrize("denial", [True, False])
async def test_websockets_are_opened_for_who_has_the_scope(bare: ASGIApp, keys: FakeKeys, denial: bool) -> None:
    """And for nobody else: refused before they open, with a response or a close."""
    app = APIKeyMiddleware(bare, keys=keys)

    sent = [await handshake(app, key, denial=denial) for key in (GOOD, WIDE, OTHER)]

    kinds = [[message["type"] for message in messages] for messages in sent]
    assert ["websocket.accept" in each for each in kinds] == [True, True, False]
    assert [message.get("text") for message in sent[0] if "text" in message] == ["alice"]
    assert kinds[2][0] in ("websocket.close", "websocket.http.response.start")


async def handshake(app: ASGIApp, key: bytes, *, denial: bool) -> list[Message]:
    """Offer a WebSocket and return what the server was told; the client stays."""
    incoming: list[Message] = [{"type": "websocket.connect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop() if incoming else await anyio.sleep_forever()

    async def send(message: Message) -> None:
        sent.append(message)

    scope = websocket((b"x-api-key", key), scheme="ws", path="/updates", raw_path=b"/updates", denial=denial)
    with anyio.fail_after(30):
        await app(scope, receive, send)
    return sent
