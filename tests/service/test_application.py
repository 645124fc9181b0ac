"""The whole service, in this process: what is served where, who is let in, what the log tells."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import jwt
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.service.application import API, application
from asgi_apikey.service.wiring import keys_of, redactor_of
from asgi_apikey.settings import Configuration, ServiceSettings, Settings

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
SECRET = "Zp7-uY2_sW9kN4rT6bV1xC8mJ3hL5dQa"
TOKENS = ServiceSettings(
    jwt_secret=SECRET, jwt_issuer="login", jwt_audience=("api",), jwt_scopes=("apikeys:read",), jwt_operator="boss"
)


@asynccontextmanager
async def served(
    settings: ServiceSettings | None = None, keys: APIKeys | None = None
) -> AsyncIterator[tuple[APIKeys, httpx.AsyncClient]]:
    """The service over a store in memory, and a client of it."""
    keys = keys or APIKeys("memory:", pepper=PEPPER)
    app = application(keys, settings or ServiceSettings())
    transport = httpx.ASGITransport(app)
    async with keys, httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield keys, client


async def manager(keys: APIKeys, *scopes: str) -> dict[str, str]:
    """The header of a key that manages."""
    return {"X-API-Key": (await keys.issue(owner="admin", scopes={*scopes, "apikeys:*"})).key}


@pytest.mark.anyio
async def test_each_path_has_one_spelling() -> None:
    """What is spelled oddly, or stands below, is nowhere."""
    async with served() as (keys, client):
        header = await manager(keys)
        good = [(await client.get(path, headers=header)).status_code for path in ("/health", "/ready", "/verify", API)]
        odd = ("/", "/health/", "//health", "/Health", "/health/x", "/%68ealth", "/verify/x", "/metrics", "/api/v1")
        statuses = {path: (await client.get(path, headers=header)).status_code for path in odd}

    assert good == [200] * 4
    assert statuses == dict.fromkeys(odd, 404)


@pytest.mark.anyio
async def test_what_is_nowhere_is_a_problem_document() -> None:
    """As everything else that goes wrong."""
    async with served() as (_, client):
        answer = await client.get("/nowhere")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.anyio
async def test_the_description_stands_at_the_root() -> None:
    """The document, which tells where the API is and how callers present themselves, and the page."""
    async with served() as (_, client):
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")

    assert document["servers"][0]["url"] == API
    assert "ApiKey" in document["components"]["securitySchemes"]
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.anyio
async def test_nobody_manages_without_a_key_for_it() -> None:
    """Not without a key, not with one for data, however much data it is for."""
    async with served() as (keys, client):
        data = (await keys.issue(owner="acme", scopes={"*"})).key
        body = {"owner": "acme", "name": "x"}
        anonymous = await client.post(API, json=body)
        with_data = await client.post(API, json=body, headers={"X-API-Key": data})
        managing = await client.post(API, json=body, headers=await manager(keys))

    assert (anonymous.status_code, with_data.status_code, managing.status_code) == (401, 403, 201)


def token(**claims: object) -> dict[str, str]:
    """The header of a token of the login service."""
    told = {"iss": "login", "aud": "api", "sub": "alice", "exp": time.time() + 60, **claims}
    return {"Authorization": f"Bearer {jwt.encode(told, SECRET, algorithm='HS256')}"}


@pytest.mark.anyio
async def test_people_manage_with_tokens_where_those_are_configured() -> None:
    """As owners with the scopes that everybody has, and as operators with the role for it; other roles are nothing."""
    async with served(TOKENS) as (keys, client):
        await keys.issue(owner="acme")
        of_alice = await keys.issue(owner="alice")
        mine = await client.get(API, headers=token(scope="everything orders:read"))
        written = await client.post(API, json={"owner": "alice", "name": "x"}, headers=token())
        all_keys = await client.get(API, headers=token(realm_access={"roles": ["boss"]}))
        expired = await client.get(API, headers=token(exp=time.time() - 100))

    assert [each["key_id"] for each in mine.json()["keys"]] == [of_alice.record.key_id]
    assert written.status_code == 403
    assert len(all_keys.json()["keys"]) == 2
    assert expired.status_code == 401


@pytest.mark.anyio
async def test_tokens_are_nothing_where_they_are_not_configured() -> None:
    """A Bearer value is a key then, and this is none."""
    async with served() as (_, client):
        assert (await client.get(API, headers=token())).status_code == 401


@pytest.mark.anyio
async def test_metrics_are_served_when_asked_for() -> None:
    """And not else."""
    async with served() as (_, client):
        without = await client.get("/metrics")
    async with served(ServiceSettings(metrics=True)) as (_, client):
        told = await client.get("/metrics")

    assert without.status_code == 404
    assert told.status_code == 200
    assert "asgi_apikey_verdicts_total" in told.text


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}


@pytest.mark.anyio
async def test_other_origins_are_let_in_only_if_they_are_listed() -> None:
    """Exactly; without cookies."""
    origin = "https://console.example"
    async with served(ServiceSettings(cors_origins=(origin,))) as (_, client):
        listed = await client.options(API, headers={"Origin": origin, **PREFLIGHT})
        other = await client.options(API, headers={"Origin": "https://evil.example", **PREFLIGHT})
        simple = await client.get("/health", headers={"Origin": "https://evil.example"})
    async with served() as (_, client):
        off = await client.get("/health", headers={"Origin": origin})

    assert listed.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in listed.headers
    assert other.status_code == 400
    assert "access-control-allow-origin" not in {*other.headers, *simple.headers, *off.headers}


@pytest.mark.anyio
async def test_the_log_and_the_audit_tell_the_same_request_id() -> None:
    """The client's, where it has sent a sane one."""
    async with served() as (keys, client):
        header = await manager(keys)
        answer = await client.post(
            API, json={"owner": "acme", "name": "x"}, headers={**header, "X-Request-ID": "abcdef-123456"}
        )
        made = await client.post(API, json={"owner": "acme", "name": "y"}, headers=header)
        entries = await keys.repository.audit.entries(0, limit=10)

    assert answer.headers["x-request-id"] == "abcdef-123456"
    assert [each.correlation_id for each in entries] == ["", "abcdef-123456", made.headers["x-request-id"]]


@pytest.mark.anyio
async def test_no_verb_writes_a_secret_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """At debug, from every logger of ours; not a piece of twelve characters of any key or secret."""
    caplog.set_level(logging.DEBUG)
    async with served(TOKENS) as (keys, client):
        header = await manager(keys, "orders:*")
        secrets = [header["X-API-Key"], PEPPER, SECRET, token()["Authorization"]]
        created = (
            await client.post(API, json={"owner": "acme", "name": "ci", "scopes": ["orders:read"]}, headers=header)
        ).json()
        key, key_id = created["key"], created["record"]["key_id"]
        secrets.append(key)
        for path in ("/verify", f"/verify?scope={key}", f"/{key}", f"{API}/{key}", f"{API}?owner={key}"):
            await client.get(path, headers={"X-API-Key": key})
            await client.get(path, headers={**header, "X-Request-ID": key})
            await client.get(path, headers={"Authorization": f"Bearer {key}", **header})
            await client.get(path, headers=token())
        secrets.append((await client.post(f"{API}/{key_id}/rotate", json={}, headers=header)).json()["key"])
        await client.post(f"{API}/verify", json={"key": key}, headers=header)
        await client.post(f"{API}/{key_id}/revoke", json={"reason": key}, headers=header)
        await client.post(API, content=f'{{"owner": "{key}', headers=header)
    redact = redactor_of(Configuration(keys=Settings(pepper=(PEPPER,)), service=TOKENS), keys)
    told = redact("\n".join(record.getMessage() + str(record.__dict__) for record in caplog.records))

    # Of a key, what stands behind its public id: version, secret, checksum.
    ends = [each[-39:] for each in secrets]
    pieces = [each[at : at + 12] for each in ends for at in range(len(each) - 11)]
    assert len(caplog.records) > 20
    assert [piece for piece in pieces if piece in told] == []


def test_a_service_needs_a_pepper_or_a_word() -> None:
    """Also over SQLite, where a library would only warn."""
    with pytest.raises(ConfigurationError, match="asgi-apikey pepper"):
        keys_of(Settings(url="sqlite:///keys.db"))

    keys_of(Settings(url="memory:", pepper=None))


def test_a_redis_needs_a_secret() -> None:
    """Named as the variable that it is."""
    with pytest.raises(ConfigurationError, match="ASGI_APIKEY_CACHE_SECRET"):
        keys_of(Settings(pepper=(PEPPER,), redis="redis://cache"))


@pytest.mark.anyio
async def test_the_lifespan_opens_and_closes_the_keys() -> None:
    """What was counted is written at its end."""
    keys = APIKeys("memory:", pepper=PEPPER)
    app, sent = application(keys, ServiceSettings()), []
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, str]:
        if len(incoming) == 1:
            issued = await keys.issue(owner="acme")
            await keys.authenticate(issued.key.encode())
        return incoming.pop(0)

    async def send(message: object) -> None:
        sent.append(json.dumps(message))

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)  # type: ignore[arg-type]

    assert ["complete" in each for each in sent] == [True, True]
    assert [record.uses for record in (await keys.find()).records] == [1]
