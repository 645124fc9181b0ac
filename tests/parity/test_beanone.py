"""Parity with beanone-apikey: what its users had is here, or its page says why not."""

from __future__ import annotations

import httpx
import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.service.application import API, application
from asgi_apikey.settings import ServiceSettings, configuration
from asgi_apikey.settings.given import from_environ
from tests.parity.conftest import World, missing

PAGE = "coming-from-beanone-apikey.md"
THERE = {
    *("POST /", "GET /", "DELETE /{key_id}", "GET /test-auth", "GET /health", "/docs", "/api/v1/api-keys"),
    *("name", "service_id", "expires_at", "plaintext_key", "DATABASE_URL", "DB_POOL_SIZE", "DB_MAX_OVERFLOW"),
    *("DB_POOL_TIMEOUT", "DB_POOL_RECYCLE", "SQL_ECHO", "JWT_SECRET", "JWT_ALGORITHM", "LOGIN_URL", "*"),
}

pytestmark = pytest.mark.anyio


async def test_the_page_names_all_that_was_there() -> None:
    """Each endpoint, field and variable."""
    assert missing(PAGE, THERE) == set()


async def test_the_paths_are_the_same(world: World) -> None:
    """And what they answer, where nothing can be said against it."""
    test_auth = await world.ask("GET", "/test-auth", key=world.owner)
    health = await world.http.get("/health")
    docs = await world.http.get("/docs")
    listed = await world.ask("GET", "/", key=world.owner)

    assert API == "/api/v1/api-keys"
    assert ServiceSettings().port == 8002
    assert test_auth.json() == {"status": "success"}
    assert health.json() == {"status": "healthy"}
    assert (docs.status_code, listed.status_code) == (200, 200)
    assert {each["owner"] for each in listed.json()["keys"]} == {"acme"}


async def test_create_and_delete(world: World) -> None:
    """201 and the secret once; only one's own is deleted, what is gone is 404."""
    _, foreign = await world.make(owner="bolt")
    _, own = await world.make(key=world.owner)
    statuses = [
        (await world.ask("DELETE", f"/{key_id}", key=world.owner)).status_code
        for key_id in (foreign["key_id"], own["key_id"], own["key_id"])
    ]

    assert statuses == [404, 200, 404]


@pytest.mark.parametrize(
    "fields",
    [
        {"service_id": "billing"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2040-01-01T00:00:00"},
    ],
    ids=str,
)
async def test_what_was_taken_or_broke_is_422(world: World, fields: dict[str, object]) -> None:
    """A field that does not exist, an end in the past, an end without an offset."""
    answer = await world.ask("POST", "/", {"name": "x", "owner": "acme"} | fields)

    assert answer.status_code == 422


async def test_a_service_id_is_metadata_and_a_scope(world: World) -> None:
    """Shown by the one, checked by the other; nobody makes keys for a service that is not his."""
    key, _ = await world.make(metadata={"service_id": "billing"}, scopes=["service:billing"], key=world.owner)
    ours = await world.http.get("/verify?scope=service:billing", headers={"X-API-Key": key})
    others = await world.http.get("/verify?scope=service:mail", headers={"X-API-Key": key})
    wanted = {"name": "x", "scopes": ["service:mail"]}
    told = await world.ask("POST", "/verify", {"key": key}, key=world.owner)

    assert (ours.status_code, others.status_code) == (200, 403)
    assert (await world.ask("POST", "/", wanted, key=world.owner)).status_code == 403
    assert told.json()["metadata"] == {"service_id": "billing"}


async def test_every_failure_is_401_and_two_credentials_are_400(world: World) -> None:
    """With challenges, which it had not; a bad key beside a good one does not fall through."""
    absent = await world.ask("GET", "/", key="")
    bad = await world.ask("GET", "/", key="a" * 40)
    two = await world.ask("GET", "/", key="a" * 40, Authorization=f"Bearer {world.owner}")

    assert (absent.status_code, bad.status_code, two.status_code) == (401, 401, 400)
    assert "www-authenticate" in absent.headers
    assert absent.json()["code"] == "missing_credential"


async def test_its_default_secret_is_refused() -> None:
    """`changeme` signs nobody's tokens here."""
    given = {"JWT_SECRET": "changeme", "ASGI_APIKEY_JWT_ISSUER": "x", "ASGI_APIKEY_JWT_AUDIENCE": "fastapi-users:auth"}

    with pytest.raises(ConfigurationError):
        settings = configuration(from_environ(given)).service
        from asgi_apikey.service.tokens import token_verifier

        token_verifier(settings, environment="live")


async def test_every_page_of_the_web_may_not_call_it(world: World) -> None:
    """Listed origins may."""
    with pytest.raises(ConfigurationError, match="list the origins"):
        ServiceSettings(cors_origins=("*",))
    app = application(world.keys, ServiceSettings(cors_origins=("https://console.example",)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        listed = await client.get("/health", headers={"Origin": "https://console.example"})
        other = await client.get("/health", headers={"Origin": "https://elsewhere.example"})

    assert listed.headers["access-control-allow-origin"] == "https://console.example"
    assert "access-control-allow-origin" not in other.headers


async def test_its_environment_is_understood() -> None:
    """As it stands in its compose file, with a secret that is one."""
    read = configuration(
        from_environ(
            {
                "DATABASE_URL": "sqlite+aiosqlite:///./apikey.db",
                "DB_POOL_SIZE": "5",
                "DB_MAX_OVERFLOW": "10",
                "DB_POOL_TIMEOUT": "30",
                "DB_POOL_RECYCLE": "1800",
                "SQL_ECHO": "false",
                "JWT_ALGORITHM": "HS256",
                "LOGIN_URL": "http://localhost:8001",
            }
        )
    )

    assert (read.keys.url, read.keys.pool_size) == ("sqlite+aiosqlite:///./apikey.db", 15)
    assert {note.split()[0] for note in read.notes} >= {"DB_POOL_TIMEOUT", "DB_POOL_RECYCLE", "SQL_ECHO"}
