"""A key's own networks and routes, as requests meet them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.policy import restrictions_of
from tests.asgi.corpus.paths import EXEMPT, NEVER, PLAIN, decoded
from tests.asgi.driver import ALICE, COLD, GOOD, FakeKeys, http, key, serve, websocket

pytestmark = pytest.mark.anyio


def restricted(keys: FakeKeys, *, networks: tuple[str, ...] = (), routes: tuple[str, ...] = ()) -> None:
    """Restrict the key in memory and the one in the store."""
    rules = restrictions_of(frozenset(networks), frozenset(routes))
    keys.cached[GOOD] = keys.stored[COLD] = replace(ALICE, restrictions=rules)


@pytest.mark.parametrize("presented", [GOOD, COLD])
@pytest.mark.parametrize("make", [http, websocket])
async def test_a_key_works_in_its_networks_only(keys, inner, make, presented) -> None:
    """From elsewhere, and from nowhere (a Unix socket), the answer is 403, cached or not."""
    restricted(keys, networks=("192.0.2.0/24", "!192.0.2.9"))
    app = APIKeyMiddleware(inner, keys=keys)

    assert (await serve(app, make(key(presented), client=("192.0.2.9", 1)))).status == 403
    assert (await serve(app, make(key(presented), client=("198.51.100.1", 1)))).status == 403
    assert (await serve(app, make(key(presented), client=None))).status == 403
    assert inner.calls == 0
    await serve(app, make(key(presented), client=("192.0.2.1", 1)))
    await serve(app, make(key(presented), client=["::ffff:192.0.2.1", 1]))
    assert inner.calls == 2


@pytest.mark.parametrize("presented", [GOOD, COLD])
async def test_a_key_works_on_its_routes_only(keys, inner, presented) -> None:
    """Method and path; the answer is 403 with a code of its own."""
    restricted(keys, routes=("GET /orders/*", "/bills"))
    app = APIKeyMiddleware(inner, keys=keys)
    wrong = await serve(app, http(key(presented), method="POST", path="/orders/7", raw_path=b"/orders/7"))

    assert wrong.status == 403
    assert b'"route_not_allowed"' in wrong.body
    assert (await serve(app, http(key(presented), path="/orders", raw_path=b"/orders"))).status == 403
    assert inner.calls == 0
    for method, path in (("GET", "/orders/7"), ("HEAD", "/orders/"), ("DELETE", "/bills")):
        assert (await serve(app, http(key(presented), method=method, path=path, raw_path=path.encode()))).status == 200


async def test_a_handshake_is_more_than_a_get(keys, inner) -> None:
    """A key for reading opens no channel on which one can write; one that names WEBSOCKET, or no method, does."""
    for routes, status in ((("GET /*",), 403), (("WEBSOCKET /*",), 0), (("/*",), 0)):
        restricted(keys, routes=routes)
        reply = await serve(APIKeyMiddleware(inner, keys=keys), websocket(key()))
        assert (reply.status if status else 0) == status
    assert inner.calls == 2


async def test_routes_and_exempt_paths_agree_about_odd_spellings(keys, inner) -> None:
    """The corpus of paths that are never exempt holds none that is allowed, by the same patterns."""
    restricted(keys, routes=EXEMPT)
    app = APIKeyMiddleware(inner, keys=keys)
    for sent in NEVER:
        path, raw_path = decoded(sent)
        assert (await serve(app, http(key(), path=path, raw_path=raw_path))).status == 403
    for sent in PLAIN:
        path, raw_path = decoded(sent)
        assert (await serve(app, http(key(), path=path, raw_path=raw_path))).status == 200

    assert inner.calls == len(PLAIN)


async def test_the_whole_path_counts(keys, inner) -> None:
    """With the mount that the client knows, not what a router has left of it."""
    restricted(keys, routes=("/api/*",))
    app = APIKeyMiddleware(inner, keys=keys)

    assert (await serve(app, http(key(), path="/api/x", raw_path=b"/api/x", root_path="/api"))).status == 200
    assert (await serve(app, http(key(), path="/x", raw_path=b"/x", root_path="/api"))).status == 403


async def test_a_layer_further_in_does_not_judge_the_route_again(keys, inner) -> None:
    """There, a router may have cut the mount off the path."""
    restricted(keys, routes=("/api/*",))
    nested = APIKeyMiddleware(inner, keys=keys, scopes=["orders:read"])

    async def mount(scope, receive, send) -> None:
        await nested(scope | {"path": "/x", "raw_path": b"/x"}, receive, send)

    assert (
        await serve(APIKeyMiddleware(mount, keys=keys), http(key(), path="/api/x", raw_path=b"/api/x"))
    ).status == 200


async def test_restrictions_say_nothing_before_the_key_is_known(keys, inner) -> None:
    """A wrong key from a wrong address is a wrong key; an open path asks for nothing."""
    restricted(keys, networks=("192.0.2.0/24",))
    app = APIKeyMiddleware(inner, keys=keys, exempt=["/health"])

    assert (await serve(app, http(key(b"ak_live_nobody"), client=("198.51.100.1", 1)))).status == 401
    open_path = http(key(), path="/health", raw_path=b"/health", client=("198.51.100.1", 1))
    assert (await serve(app, open_path)).status == 200


async def test_a_wildcard_scope_is_enough(keys, inner) -> None:
    """In the middleware, cached or not."""
    keys.cached[GOOD] = keys.stored[COLD] = replace(ALICE, scopes=frozenset({"orders:*"}))

    for presented in (GOOD, COLD):
        assert (
            await serve(APIKeyMiddleware(inner, keys=keys, scopes=["orders:read"]), http(key(presented)))
        ).status == 200
        assert (
            await serve(APIKeyMiddleware(inner, keys=keys, scopes=["bills:read"]), http(key(presented)))
        ).status == 403
