"""Asking about a presented key, about oneself, and about the service."""

from __future__ import annotations

from typing import cast

import anyio
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.management import KeyAuthoriser
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import Watched, until
from tests.management.desk import Desk, by_header, client_of, problem
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio


async def test_a_good_key_is_active_and_told_about(desk: Desk) -> None:
    """With what a service needs to decide."""
    made = await desk.make(scopes=["orders:read"], metadata={"plan": "pro"}, expires_in_days=1)

    told = (await desk.ask("POST", "/verify", {"key": made["key"]})).json()

    assert told == {
        "active": True,
        "key_id": made["record"]["key_id"],
        "owner": "alice",
        "tenant": "",
        "environment": "live",
        "name": "a key",
        "scopes": ["orders:read"],
        "expires_at": made["record"]["expires_at"],
        "metadata": {"plan": "pro"},
    }


async def test_every_other_key_looks_the_same(desk: Desk) -> None:
    """Unknown, wrong, revoked, disabled, expired by its start, of another environment, foreign, and no key at all."""
    made = {name: await desk.make() for name in ("wrong", "revoked", "disabled", "deleted")}
    ids = {name: each["record"]["key_id"] for name, each in made.items()}
    await desk.ask("POST", f"/{ids['revoked']}/revoke")
    await desk.ask("POST", f"/{ids['disabled']}/disable")
    await desk.ask("DELETE", f"/{ids['deleted']}")
    early = await desk.make(not_before="2300-01-01T00:00:00Z")
    test = await desk.make(environment="test")
    presented = [
        made["revoked"]["key"],
        made["disabled"]["key"],
        made["deleted"]["key"],
        made["wrong"]["key"][:-8] + "AAAAAAAA",
        early["key"],
        test["key"],
        "",
        " \t",
        "nonsense",
        "é" * 40,
        "x" * 10_000,
    ]

    answers = [await desk.ask("POST", "/verify", {"key": key}) for key in presented]
    foreign = await desk.of("bob").ask("POST", "/verify", {"key": made["wrong"]["key"]})
    tenants = await desk.of("tenant-root").ask("POST", "/verify", {"key": made["wrong"]["key"]})

    assert {answer.content for answer in [*answers, foreign, tenants]} == {b'{"active":false}'}
    assert {answer.status_code for answer in [*answers, foreign, tenants]} == {200}


@pytest.mark.parametrize(
    ("restrictions", "asked", "refusal"),
    [
        ({"scopes": ["orders:*"]}, {"scopes": ["orders:read"]}, None),
        ({"scopes": ["orders:read"]}, {"scopes": ["orders:read", "orders:write"]}, "missing_scope"),
        ({"networks": ["10.0.0.0/8"]}, {"address": "10.1.2.3"}, None),
        ({"networks": ["10.0.0.0/8"]}, {"address": "192.0.2.1"}, "network_not_allowed"),
        ({"networks": ["10.0.0.0/8"]}, {"address": "ten"}, "network_not_allowed"),
        ({"networks": ["10.0.0.0/8"]}, {}, "network_not_allowed"),
        ({"routes": ["GET /orders/*"]}, {"method": "GET", "path": "/orders/7"}, None),
        ({"routes": ["GET /orders/*"]}, {"method": "POST", "path": "/orders/7"}, "route_not_allowed"),
        ({"routes": ["GET /orders/*"]}, {"path": "/orders/7"}, "route_not_allowed"),
        ({"routes": ["GET /orders/*"]}, {"method": "GET"}, "route_not_allowed"),
        ({"routes": ["GET /orders/*"]}, {"method": "GET", "path": "/orders/../7"}, "route_not_allowed"),
        ({"routes": ["/orders/*"]}, {}, "route_not_allowed"),
        ({"origins": ["https://*.example.com"]}, {"origin": "https://a.example.com"}, None),
        ({"origins": ["https://*.example.com"]}, {"origin": "https://example.com"}, "origin_not_allowed"),
        ({"origins": ["https://*.example.com"]}, {}, "origin_not_allowed"),
    ],
)  # fmt: skip
async def test_a_good_key_is_active_only_for_what_it_may(
    quick: Desk, restrictions: dict[str, object], asked: dict[str, object], refusal: str | None
) -> None:
    """Who leaves out where it was presented is told no: the answer must never be wider than the key."""
    key = (await quick.make(**restrictions))["key"]

    told = (await quick.ask("POST", "/verify", {"key": key, **asked})).json()

    assert (told["active"], told.get("refusal")) == (refusal is None, refusal)


@pytest.mark.parametrize("name", ["", "orders read", 'a"b', "\u00e9", "\u0000"])
async def test_what_is_no_scope_is_not_answered(quick: Desk, name: str) -> None:
    """A key for everything covers every name, so a slip of who asks must not be a yes."""
    key = (await quick.make(scopes=["*"]))["key"]

    answer = await quick.ask("POST", "/verify", {"key": key, "scopes": ["orders:read", name]})

    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["path"] == "scopes"


@pytest.mark.parametrize(("field", "most"), [("address", 64), ("method", 32), ("path", 8_192)])
async def test_what_is_told_about_a_request_has_bounds(quick: Desk, field: str, most: int) -> None:
    """Failures are remembered by address: nobody must be able to fill a memory with them."""
    within = await quick.ask("POST", "/verify", {"key": "x", field: "a" * most})
    beyond = await quick.ask("POST", "/verify", {"key": "x", field: "a" * (most + 1)})

    assert within.json() == {"active": False}
    assert problem(beyond) == (422, "invalid_request")
    assert beyond.json()["errors"][0]["path"] == field


async def test_a_revoked_key_is_not_active_however_well_it_is_remembered(desk: Desk) -> None:
    """The store is asked, not memory."""
    made = await desk.make()
    await desk.keys.authenticate(made["key"].encode())
    assert (await desk.ask("POST", "/verify", {"key": made["key"]})).json()["active"] is True

    record = await desk.keys.repository.get(made["record"]["key_id"])
    assert record is not None
    await desk.keys.repository.delete(record.key_id, version=1)

    assert (await desk.ask("POST", "/verify", {"key": made["key"]})).json() == {"active": False}


async def test_everybody_can_ask_who_he_is(desk: Desk) -> None:
    """Even who may do nothing else."""
    me = (await desk.of("alice").ask("GET", "/me")).json()
    powerless = (await desk.of("powerless").ask("GET", "/me")).json()

    assert me == {
        "actor": "alice",
        "owner": "alice",
        "tenant": "",
        "actions": ["audit", "read", "revoke", "verify", "write"],
        "scopes": ["*"],
        "until": None,
        "key": None,
    }
    assert powerless["actions"] == []
    assert (await desk.of("reader").ask("GET", "/me")).json()["until"] == "1970-01-01T00:00:00Z"


async def test_who_comes_with_a_key_is_told_about_it(desk: Desk) -> None:
    """Without its secret."""
    issued = await desk.keys.issue(owner="alice", scopes={"apikeys:read", "orders:read"}, expires_in=3600)

    async with client_of(desk.keys.management(KeyAuthoriser(desk.keys))) as client:
        answer = await client.get("/me", headers={"x-api-key": issued.key})

    me = answer.json()
    assert me["key"]["key_id"] == issued.record.key_id
    assert (me["owner"], me["actions"], me["scopes"]) == ("alice", ["read"], ["orders:read"])
    assert me["until"] == me["key"]["expires_at"]
    assert issued.key not in answer.text


async def test_test_auth_is_for_everybody_who_is_somebody(desk: Desk) -> None:
    """And tells nothing."""
    answer = await desk.of("powerless").ask("GET", "/test-auth")
    nobody = await desk.of("nobody").ask("GET", "/test-auth")

    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    assert problem(nobody) == (401, "missing_credential")


async def test_health_and_readiness_need_no_credential(desk: Desk) -> None:
    """A probe has none."""
    health, ready = await desk.http.get("/health"), await desk.http.get("/ready")

    assert (health.status_code, health.json()) == (200, {"status": "healthy"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def keys_over(store: Watched) -> APIKeys:
    """Keys in a store that can be stopped and watched."""
    return APIKeys(repository=cast(KeyRepository, store), pepper=PEPPER, single_process=True)


async def test_without_the_store_the_process_is_healthy_and_not_ready(anyio_backend: str) -> None:
    """Why is for the log: a probe is told nothing."""
    store = Watched(MemoryRepository())
    store.failures["get"] = StoreUnavailable("password=hunter2")

    async with client_of(keys_over(store).management(by_header)) as client:
        ready, health = await client.get("/ready"), await client.get("/health")

    assert health.status_code == 200
    assert problem(ready) == (503, "store_unavailable")
    assert ready.headers["retry-after"] == "1"
    assert "hunter2" not in ready.text


async def test_a_flood_of_probes_is_one_read(anyio_backend: str) -> None:
    """Nobody who is nobody can make the store work; what is wrong with one of them is not told to the others."""
    store = Watched(MemoryRepository())
    store.before["get"].shut()
    answers: list[int] = []

    async with client_of(keys_over(store).management(by_header)) as client, anyio.create_task_group() as tasks:

        async def probe(path: str) -> None:
            answers.append((await client.get(path)).status_code)

        for number in range(50):
            tasks.start_soon(probe, "/ready?x=1" if number == 0 else "/ready")
        await until(lambda: store.calls["get"] and answers)
        store.before["get"].open()

    assert store.calls["get"] == 1
    assert sorted(answers) == [200] * 49 + [422]
