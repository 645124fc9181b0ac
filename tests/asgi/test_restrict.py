"""A key's own networks, routes and origins, as requests meet them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.restrict import STAGES
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.policy import restrictions_of
from tests.asgi.corpus.paths import EXEMPT, NEVER, PLAIN, decoded
from tests.asgi.driver import ALICE, COLD, GOOD, FakeKeys, http, key, serve, websocket

pytestmark = pytest.mark.anyio


def restricted(
    keys: FakeKeys,
    *,
    networks: tuple[str, ...] = (),
    routes: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
) -> None:
    """Restrict the key in memory and the one in the store."""
    rules = restrictions_of(frozenset(networks), frozenset(routes), frozenset(origins))
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


# ---- proxies ----


@pytest.mark.parametrize("presented", [GOOD, COLD])
async def test_behind_a_trusted_proxy_the_client_counts(keys, inner, presented) -> None:
    """And nobody is believed who is not one; where the client is unknown, a key with networks is refused."""
    restricted(keys, networks=("198.51.100.0/24",))
    app = APIKeyMiddleware(inner, keys=keys, trusted_proxies=("10.0.0.0/8",))
    told = {
        (("10.0.0.1", 1), b"1.1.1.1, 198.51.100.7"): 200,
        (("10.0.0.1", 1), b"198.51.100.7, 1.1.1.1"): 403,
        (("10.0.0.1", 1), b"unknown"): 403,
        (("192.0.2.9", 1), b"198.51.100.7"): 403,
        (("198.51.100.7", 1), b"1.1.1.1"): 200,
    }

    for (client, line), status in told.items():
        sent = http(key(presented), (b"x-forwarded-for", line), client=client)
        assert (await serve(app, sent)).status == status, line
    twice = http(key(presented), *[(b"x-forwarded-for", b"198.51.100.7")] * 2, client=("10.0.0.1", 1))
    assert (await serve(app, twice)).status == 403


async def test_failures_are_charged_to_the_client_and_where_it_is_unknown_to_the_proxy(keys, inner) -> None:
    """Whoever garbles the header must not get out of paying."""
    app = APIKeyMiddleware(inner, keys=keys, trusted_proxies=("10.0.0.0/8",), forwarded_header="Forwarded")

    for line in (b"for=198.51.100.7", b"for=unknown"):
        await serve(app, http(key(b"ak_live_nobody"), (b"forwarded", line), client=("10.0.0.1", 1)))
    assert [client for _, client in keys.asked] == ["198.51.100.7", "10.0.0.1"]


# ---- origins ----


@pytest.mark.parametrize("presented", [GOOD, COLD])
@pytest.mark.parametrize("make", [http, websocket])
async def test_a_key_works_on_its_pages_only(keys, inner, make, presented) -> None:
    """Without an `Origin`, or with two, it does not work at all; the answer is 403 with a code of its own."""
    restricted(keys, origins=("https://app.example.com", "https://*.example.org"))
    app = APIKeyMiddleware(inner, keys=keys)

    for origins in ((), (b"https://evil.example",), (b"null",), (b"https://app.example.com",) * 2, (b"",)):
        reply = await serve(app, make(key(presented), *((b"origin", each) for each in origins)))
        assert reply.status == 403
        assert b'"origin_not_allowed"' in reply.body
    assert inner.calls == 0
    for origin in (b"https://app.example.com", b"https://a.example.org"):
        await serve(app, make(key(presented), (b"Origin", origin)))
    assert inner.calls == 2


async def test_a_preflight_of_a_page_passes_without_its_key(keys, inner) -> None:
    """It carries none; the request after it is judged."""
    restricted(keys, origins=("https://app.example.com",))
    app = APIKeyMiddleware(inner, keys=keys)
    asked = ((b"origin", b"https://evil.example"), (b"access-control-request-method", b"GET"))

    assert (await serve(app, http(*asked, method="OPTIONS"))).status == 200
    assert (await serve(app, http(key(), asked[0]))).status == 403


# ---- on trial ----


@pytest.mark.parametrize("presented", [GOOD, COLD])
async def test_what_is_on_trial_is_counted_and_not_refused(keys, inner, presented, caplog) -> None:
    """Each stage by itself; the log names the key and the code, once a minute."""
    restricted(keys, networks=("198.51.100.0/24",), routes=("/bills",), origins=("https://app.example.com",))
    app = APIKeyMiddleware(
        inner, keys=keys, scopes=["bills:read"], report_only=("networks", "routes", "origins", "scopes")
    )

    assert [(await serve(app, http(key(presented)))).status for _ in range(3)] == [200] * 3
    assert keys.rehearsal.counts == dict.fromkeys(
        ("network_not_allowed", "route_not_allowed", "origin_not_allowed", "missing_scope"), 3
    )
    assert sorted(each.event for each in caplog.records) == ["would_refuse"] * 4
    assert {each.fields["code"] for each in caplog.records} == set(keys.rehearsal.counts)


@pytest.mark.parametrize("presented", [GOOD, COLD])
@pytest.mark.parametrize("spared", ["networks", "routes", "origins", "scopes"])
async def test_what_is_not_on_trial_is_refused_as_ever(keys, inner, presented, spared) -> None:
    """A trial of one restriction softens no other, whichever of them would have been named first."""
    restricted(keys, networks=("198.51.100.0/24",), routes=("/bills",), origins=("https://app.example.com",))
    good = {
        "networks": {"client": ("198.51.100.7", 1)},
        "routes": {"path": "/bills", "raw_path": b"/bills"},
    }
    app = APIKeyMiddleware(inner, keys=keys, scopes=["bills:read"], report_only=(spared,))

    for wrong in ("networks", "routes", "origins", "scopes"):
        granted = frozenset({"bills:read"} - ({"bills:read"} if wrong == "scopes" else set()))
        for store, name in ((keys.cached, GOOD), (keys.stored, COLD)):
            store[name] = replace(store[name], scopes=granted)
        page = () if wrong == "origins" else ((b"origin", b"https://app.example.com"),)
        parts = {name: value for each in good if each != wrong for name, value in good[each].items()}
        reply = await serve(app, http(key(presented), *page, **parts))
        assert reply.status == (200 if wrong == spared else 403), wrong
    assert sum(keys.rehearsal.counts.values()) == 1


async def test_a_trial_lets_nobody_in_who_is_not_known(keys, inner) -> None:
    """Without a key, with a wrong one, or anonymous where that is not allowed, all is as ever."""
    app = APIKeyMiddleware(inner, keys=keys, scopes=["bills:read"], report_only=tuple(STAGES))

    assert (await serve(app, http())).status == 401
    assert (await serve(app, http(key(b"ak_live_nobody")))).status == 401
    assert not keys.rehearsal.counts


@pytest.mark.parametrize("report_only", ["networks", ("network",), 7, None])
def test_a_trial_of_nothing_that_exists_is_refused(keys, inner, report_only) -> None:
    """At construction, with the names that there are."""
    with pytest.raises(ConfigurationError, match="networks, origins, routes, scopes"):
        APIKeyMiddleware(inner, keys=keys, report_only=report_only)


def test_a_trial_needs_somebody_to_tell(keys, inner) -> None:
    """Or what it finds would be lost."""
    del keys.rehearsal

    with pytest.raises(ConfigurationError, match="rehearsal"):
        APIKeyMiddleware(inner, keys=keys, report_only=("networks",))
    APIKeyMiddleware(inner, keys=keys)
