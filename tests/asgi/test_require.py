"""Scopes for a part of the application."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.require import require, require_any
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import ALICE, COLD, GOOD, OTHER, FakeKeys, http, key, serve, websocket

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("make", [http, websocket])
async def test_all_scopes_are_needed(keys, inner, make) -> None:
    """Those with them pass, others get 403, also over an asked store."""
    app = APIKeyMiddleware(require(inner, "orders:read"), keys=keys)
    both = APIKeyMiddleware(require(inner, "orders:read", "orders:write"), keys=keys)

    assert (await serve(app, make(key(OTHER)))).status == 403
    assert (await serve(both, make(key()))).status == 403
    assert inner.calls == 0
    await serve(app, make(key()))
    await serve(app, make(key(COLD)))
    assert inner.calls == 2


async def test_without_scopes_any_principal_will_do(keys, inner) -> None:
    """But not nobody, wherever the request was let through anonymously."""
    app = APIKeyMiddleware(require(inner), keys=keys, required=False, exempt=["/health"])

    assert (await serve(app, http(key(OTHER)))).status == 200
    assert (await serve(app, http())).status == 401
    assert (await serve(app, http(key(), path="/health", raw_path=b"/health"))).status == 401


async def test_it_answers_with_the_middlewares_words(keys, inner) -> None:
    """The same challenge, the same hook."""

    def words(error):
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 418, "headers": []})

        return app

    bearer = APIKeyMiddleware(require(inner, "b", "a"), keys=keys, bearer=True, header=None, realm="mine")
    hooked = APIKeyMiddleware(require(inner, "a"), keys=keys, on_refusal=words)
    reply = await serve(bearer, http((b"authorization", b"Bearer " + OTHER)))

    assert reply.header(b"www-authenticate") == [b'Bearer realm="mine", error="insufficient_scope", scope="a b"']
    assert (await serve(hooked, http(key()))).status == 418


@pytest.mark.parametrize(
    "forged", [{}, {"state": {"api_key": ALICE}}, {"user": ALICE}, {"asgi_apikey.admission": None}], ids=repr
)
async def test_without_a_middleware_nobody_gets_in(inner, caplog, forged) -> None:
    """State alone proves nothing; the answer is 503 and the log says what is wrong."""
    reply = await serve(require(inner), http(key(), **forged))

    assert reply.status == 503
    assert inner.calls == 0
    assert "no APIKeyMiddleware" in caplog.text


async def test_what_handlers_write_into_the_state_opens_nothing(keys, inner) -> None:
    """The verdict is kept where it cannot be mistaken."""

    async def careless(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["api_key"] = ALICE
        await require(inner)(scope, receive, send)

    reply = await serve(APIKeyMiddleware(careless, keys=keys, required=False), http())

    assert reply.status == 401
    assert inner.calls == 0


async def test_lifespans_pass_and_unknown_kinds_do_not() -> None:
    """As in the middleware."""
    kinds = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    await require(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        await require(app)({"type": "webtransport"}, None, None)  # type: ignore[arg-type]

    assert kinds == ["lifespan"]


async def test_the_innermost_verdict_counts() -> None:
    """Of two middlewares with different keys, the nearer one speaks."""
    outer, inner_keys = FakeKeys(), FakeKeys()
    reached = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["state"]["api_key"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    nearer = APIKeyMiddleware(require(app, "orders:read"), keys=inner_keys, header="X-Inner", required=False)
    both = APIKeyMiddleware(nearer, keys=outer)

    assert (await serve(both, http(key()))).status == 401
    assert (await serve(both, http(key(OTHER), key(name=b"x-inner")))).status == 200
    assert reached == [ALICE]


async def test_one_of_several_scopes_is_enough(keys, inner) -> None:
    """`require_any`, also within `require`: a, and b or c."""
    either = APIKeyMiddleware(require_any(inner, "orders:read", "bills:read"), keys=keys)
    nested = APIKeyMiddleware(require(require_any(inner, "x", "orders:read"), "y"), keys=keys)

    assert (await serve(either, http(key()))).status == 200
    assert (await serve(either, http(key(OTHER)))).status == 403
    assert (await serve(nested, http(key()))).status == 403
    keys.cached[GOOD] = replace(ALICE, scopes=frozenset({"orders:*", "y"}))
    assert (await serve(nested, http(key()))).status == 200


async def test_any_of_no_scopes_is_a_mistake(inner) -> None:
    """Nobody could get in; and anonymous requests do not get in either way."""
    with pytest.raises(ConfigurationError, match="require_any"):
        require_any(inner)


async def test_anonymous_requests_hold_none_of_the_scopes(keys, inner) -> None:
    """They are asked for a key."""
    app = APIKeyMiddleware(require_any(inner, "orders:read"), keys=keys, required=False)

    assert (await serve(app, http())).status == 401
