"""`/verify`: four statuses, and headers that a proxy may pass on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey import APIKeys, Principal
from asgi_apikey.errors import APIKeyError
from asgi_apikey.service.sidecar import Sidecar, described
from tests.asgi.driver import FakeKeys, every_error, http, key, serve, serve_now

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"


@pytest.fixture
async def keys() -> AsyncIterator[APIKeys]:
    """Keys in memory."""
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        yield keys


async def ask(keys: APIKeys, headers: Mapping[str, str] | list[tuple[str, str]], query: str = "") -> httpx.Response:
    """Ask whether a request may pass."""
    transport = httpx.ASGITransport(Sidecar(keys), client=("192.0.2.7", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
        return await client.get(f"/verify{query}", headers=headers)


def original(key: str, method: str, uri: str) -> dict[str, str]:
    """The headers of a question about a request."""
    return {"X-API-Key": key, "X-Original-Method": method, "X-Original-URI": uri}


@pytest.mark.anyio
async def test_a_good_key_is_200_with_whose_it_is(keys: APIKeys) -> None:
    """In headers, scopes sorted; the body is empty and nothing may be cached."""
    issued = await keys.issue(owner="acme", tenant="eu", scopes={"b:read", "a:*"})

    answer = await ask(keys, {"Authorization": f"Bearer {issued.key}"})

    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
    assert answer.headers["x-api-key-id"] == issued.record.key_id
    assert answer.headers["x-api-key-owner"] == "acme"
    assert answer.headers["x-api-key-tenant"] == "eu"
    assert answer.headers["x-api-key-scopes"] == "a:* b:read"


@pytest.mark.anyio
async def test_no_key_a_bad_one_and_two_are_401(keys: APIKeys) -> None:
    """Because nginx would take 400 for a fault of ours."""
    issued = await keys.issue(owner="acme")
    revoked = await keys.issue(owner="acme")
    await keys.revoke(revoked.record.key_id)
    bad = keys.format.generate("live").key

    statuses = [
        (await ask(keys, headers)).status_code
        for headers in (
            {},
            {"X-API-Key": "x"},
            {"X-API-Key": bad},
            {"X-API-Key": revoked.key},
            {"X-API-Key": issued.key, "Authorization": f"Bearer {issued.key}"},
        )
    ]

    assert statuses == [401] * 5


@pytest.mark.anyio
async def test_a_scope_that_is_asked_for_and_not_granted_is_403(keys: APIKeys) -> None:
    """All that are named are needed; a wildcard covers."""
    key = (await keys.issue(owner="acme", scopes={"orders:*"})).key

    statuses = [
        (await ask(keys, {"X-API-Key": key}, query)).status_code
        for query in (
            "?scope=orders:read",
            "?scope=orders:read&scope=orders:write",
            "?scope=orders:read&scope=bills:read",
        )
    ]

    assert statuses == [200, 200, 403]


@pytest.mark.anyio
@pytest.mark.parametrize("query", ["?scopes=a", "?scope=", "?scope=a%20b", "?a", "?scope=%ff", "?scope=a&x=1"])
async def test_a_question_that_is_not_understood_is_503(keys: APIKeys, query: str) -> None:
    """Passed over, a misspelt parameter would leave the door open."""
    key = (await keys.issue(owner="acme", scopes={"a"})).key

    answer = await ask(keys, {"X-API-Key": key}, query)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "uri", "status"),
    [
        ("GET", "/orders/7?x=/../..", 200),
        ("HEAD", "/orders/7", 200),
        ("POST", "/orders/7", 403),
        ("GET", "/bills", 403),
        ("GET", "/orders/../bills", 403),
        ("GET", "//orders/7", 403),
        ("GET", "/orders/%2e%2e/bills", 403),
        ("GET", "/%6frders/7", 403),
        ("GET", "/orders/%C3%A9", 200),
        ("GET", "http://host/orders/7", 403),
        ("GET", "", 403),
        ("", "/orders/7", 403),
    ],
)
async def test_routes_are_those_of_the_original_request(keys: APIKeys, method: str, uri: str, status: int) -> None:
    """Not of the question; an odd spelling is nobody's route."""
    key = (await keys.issue(owner="acme", routes={"GET /orders/*"})).key

    assert (await ask(keys, original(key, method, uri))).status_code == status


@pytest.mark.anyio
async def test_without_the_original_request_a_restricted_key_does_not_pass(keys: APIKeys) -> None:
    """A proxy that does not say what it is about opens nothing; a key for everything needs no saying."""
    restricted = (await keys.issue(owner="acme", routes={"/verify"})).key
    free = (await keys.issue(owner="acme")).key

    assert (await ask(keys, {"X-API-Key": restricted})).status_code == 403
    assert (await ask(keys, {"X-API-Key": free})).status_code == 200


@pytest.mark.anyio
async def test_two_originals_cannot_be_decided(keys: APIKeys) -> None:
    """One of them is the client's."""
    key = (await keys.issue(owner="acme", routes={"GET /a"})).key
    headers = [*original(key, "GET", "/a").items(), ("X-Original-URI", "/b")]

    assert (await ask(keys, headers)).status_code == 503


@pytest.mark.anyio
async def test_opening_a_websocket_is_not_reading(keys: APIKeys) -> None:
    """A proxy passes `Upgrade` on."""
    reads = (await keys.issue(owner="acme", routes={"GET /ws"})).key
    opens = (await keys.issue(owner="acme", routes={"WEBSOCKET /ws"})).key
    upgrade = {"Upgrade": "websocket"}

    assert (await ask(keys, original(reads, "GET", "/ws") | upgrade)).status_code == 403
    assert (await ask(keys, original(opens, "GET", "/ws") | upgrade)).status_code == 200


@pytest.mark.anyio
async def test_the_network_is_that_of_the_client(keys: APIKeys) -> None:
    """As the server in front has told it."""
    inside = (await keys.issue(owner="acme", networks={"192.0.2.0/24"})).key
    outside = (await keys.issue(owner="acme", networks={"198.51.100.0/24"})).key

    assert (await ask(keys, {"X-API-Key": inside})).status_code == 200
    assert (await ask(keys, {"X-API-Key": outside})).status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
async def test_whatever_is_wrong_one_of_four_statuses_is_answered(kind: type[APIKeyError]) -> None:
    """And never 200, whatever `authenticate` raises."""
    keys, error = FakeKeys(), kind.__new__(kind)
    Exception.__init__(error, "x")
    error.__dict__.update(key_id="k", retry_after=2.0, required=frozenset({"a"}), readings=())
    keys.rejected[b"bad"] = error

    reply = await serve(Sidecar(keys), http(key(b"bad")))

    assert reply.status in {401, 403, 503}


@pytest.mark.anyio
async def test_an_unforeseen_error_is_503() -> None:
    """Its text stays here."""
    keys = FakeKeys()
    keys.rejected[b"bad"] = RuntimeError("secret")

    reply = await serve(Sidecar(keys), http(key(b"bad")))

    assert reply.status == 503
    assert b"secret" not in reply.body


@given(raw=st.lists(st.tuples(st.sampled_from([b"x-original-uri", b"x-original-method", b"x-api-key"]), st.binary())))
def test_no_bytes_in_headers_break_it(raw: list[tuple[bytes, bytes]]) -> None:
    """Each question gets one of the four answers."""
    assert serve_now(Sidecar(FakeKeys()), http(*raw)).status in {200, 401, 403, 503}


@given(
    owner=st.text(min_size=1, max_size=40),
    scopes=st.frozensets(st.text(min_size=1, max_size=10), max_size=4),
    tenant=st.text(max_size=20),
)
def test_nothing_of_a_record_breaks_out_of_its_header(owner: str, scopes: frozenset[str], tenant: str) -> None:
    """Whatever stands in the store: visible ASCII and single blanks, and the owner can be read back."""
    headers = described(Principal(key_id="9fK2mQ7xT0aB", owner=owner, tenant=tenant, scopes=scopes))

    assert all(value.isascii() and value.decode().isprintable() for _, value in headers)
    assert all(b"  " not in value for _, value in headers)
    assert len(dict(headers)) == len(headers)
