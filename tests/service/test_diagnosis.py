"""What `asgi-apikey doctor` finds out, on good set-ups and broken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.service.diagnosis import diagnosed, memory_limit
from asgi_apikey.service.findings import MIB, Finding, Level, exit_code_of, secret_id, shown, without_password
from asgi_apikey.settings import Configuration, configuration
from asgi_apikey.settings.given import from_environ
from tests.servers import PostgresServer, RedisServer, free_port

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
SECRET = "Zp7-uY2_sW9kN4rT6bV1xC8mJ3hL5dQa"
TOKENS = {"JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "api"}


def configured(**given: str) -> Configuration:
    """The configuration that variables of ours make, with a pepper and an audit key."""
    ours = {"PEPPER": PEPPER, "AUDIT_KEY": SECRET, **given}
    return configuration(from_environ({f"ASGI_APIKEY_{name}": text for name, text in ours.items() if text}))


def texts(findings: tuple[Finding, ...], level: Level) -> dict[str, str]:
    """What was found at a level, by topic."""
    return {each.topic: each.text for each in findings if each.level == level}


@pytest.fixture
async def store(tmp_path: Path) -> str:
    """The URL of a store with a key that manages."""
    url = f"sqlite:///{tmp_path}/keys.db"
    async with APIKeys(url, pepper=PEPPER) as keys:
        await keys.issue(owner="admin", scopes={"apikeys:*"})
    return url


@pytest.mark.anyio
async def test_a_good_set_up_has_nothing_to_complain_of(store: str) -> None:
    """The store with its schema and its keys, the bus, who manages; nothing at a level above ok."""
    findings = await diagnosed(configured(URL=store), limit=1024 * MIB)

    assert {each.level for each in findings} == {Level.OK}
    assert exit_code_of(findings) == 0
    found = texts(findings, Level.OK)
    assert "schema " in found["store"]
    assert ", 1 keys" in found["store"]
    assert found["managers"] == "1 keys may manage others"
    assert found["digests"] == "made as hmac-sha256"


@pytest.mark.anyio
async def test_nothing_is_changed(store: str, tmp_path: Path) -> None:
    """A store that is not there is not made either."""
    await diagnosed(configured(URL=f"sqlite:///{tmp_path}/none.db"), limit=None)

    assert not (tmp_path / "none.db").exists()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given", "level", "topic", "text"),
    [
        ({"PEPPER": ""}, Level.ERROR, "configuration", "asgi-apikey pepper"),
        ({"PEPPER": "none"}, Level.WARNING, "pepper", "whoever can write to the store can make keys"),
        ({"PEPPER": "short"}, Level.ERROR, "configuration", "at least 32"),
        ({"AUDIT_KEY": ""}, Level.WARNING, "audit", "rewrite its audit"),
        ({"AUDIT_KEY": PEPPER}, Level.ERROR, "configuration", "must not be a pepper"),
        ({"URL": "memory:"}, Level.WARNING, "store", "gone when the service ends"),
        ({"URL": "sqlite:////nonexistent/keys.db"}, Level.UNAVAILABLE, "store", "no key store"),
        ({"URL": "mysql://x"}, Level.ERROR, "configuration", "must start with"),
        ({"REDIS": "redis://127.0.0.1:1/0"}, Level.ERROR, "configuration", "CACHE_SECRET"),
        ({"HOST": "0.0.0.0"}, Level.WARNING, "network", "list it in ASGI_APIKEY_TRUSTED_PROXIES"),
        ({"HOST": "0.0.0.0", "METRICS": "1"}, Level.WARNING, "metrics", "read by everybody"),
        ({"LOG_LEVEL": "debug"}, Level.WARNING, "logs", "debug"),
        ({"WORKERS": "64"}, Level.WARNING, "memory", "lower ASGI_APIKEY_CACHE_SIZE"),
        ({"JWT_SECRET": "password" * 5, **TOKENS}, Level.ERROR, "tokens", "pattern"),
        ({"JWT_SECRET": "my-secret-is-the-best-of-all-1234567890", **TOKENS}, Level.ERROR, "tokens", "example"),
        ({"JWT_SECRET": SECRET[:31], **TOKENS}, Level.ERROR, "tokens", "32 bytes"),
        ({"JWKS_URL": "http://login.example/k", **TOKENS}, Level.ERROR, "tokens", "https"),
        ({"JWKS_URL": "http://127.0.0.1:1/k", **TOKENS}, Level.UNAVAILABLE, "tokens", "cannot be read"),
        ({"LOGIN_URL": "http://localhost:8001"}, Level.WARNING, "tokens", "no effect"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_found(
    store: str, given: Mapping[str, str], level: Level, topic: str, text: str
) -> None:
    """At its level, with what to do; no secret in any text."""
    findings = await diagnosed(configured(**{"URL": store, **given}), limit=512 * MIB)

    assert text in texts(findings, level)[topic]
    assert exit_code_of(findings) == {Level.ERROR: 4, Level.UNAVAILABLE: 3, Level.WARNING: 0}[level]
    assert not any(secret in str(findings) for secret in (PEPPER, SECRET))


@pytest.mark.anyio
async def test_a_store_without_a_manager_says_how_to_make_one(tmp_path: Path) -> None:
    """The first key comes from the command line; a wildcard for data manages nothing."""
    url = f"sqlite:///{tmp_path}/keys.db"
    async with APIKeys(url, pepper=PEPPER) as keys:
        await keys.issue(owner="acme", scopes={"*"})

    findings = await diagnosed(configured(URL=url), limit=None)

    assert "asgi-apikey issue" in texts(findings, Level.WARNING)["managers"]


@pytest.mark.anyio
@pytest.mark.parametrize(("pepper", "refused"), [(SECRET + "x", True), (f"{PEPPER} {SECRET}x", False)])
async def test_keys_from_under_a_lost_pepper_are_found(store: str, pepper: str, refused: bool) -> None:
    """All else is well then, and every key is refused, as if it were a wrong one."""
    findings = await diagnosed(configured(URL=store, PEPPER=pepper), limit=None)

    warned = texts(findings, Level.WARNING).get("digests", "")
    assert ("1 of the 1 newest keys are refused" in warned) is refused
    assert ("in front of" in warned) is refused


@pytest.mark.anyio
async def test_a_file_that_others_can_open_is_found(store: str, tmp_path: Path) -> None:
    """With the command that mends it."""
    (tmp_path / "keys.db").chmod(0o644)

    findings = await diagnosed(configured(URL=store), limit=None)

    assert "chmod 600" in texts(findings, Level.WARNING)["store"]


@pytest.mark.anyio
async def test_what_the_parts_warn_of_is_told() -> None:
    """Whatever the package would have logged while it was wired and opened, once."""
    url = f"postgresql://app@127.0.0.1:{free_port()}/keys?statement_cache_size=0"

    findings = await diagnosed(configured(URL=url), limit=None)

    [told] = [each.text for each in findings if each.topic == "log"]
    assert "behind a pooler" in told


@pytest.mark.anyio
async def test_servers_are_asked(postgres: PostgresServer, redis: RedisServer) -> None:
    """PostgreSQL and Redis, as a worker would; passwords stay out of what is shown."""
    url = postgres.url_of(postgres.new_database(), password="canary-word")
    async with APIKeys(url, pepper=PEPPER) as keys:
        await keys.issue(owner="admin", scopes={"apikeys:*"})
    given = configured(URL=url, REDIS=redis.url, CACHE_SECRET=SECRET + "x", POOL_SIZE="5")

    findings = await diagnosed(given, limit=None)

    found = texts(findings, Level.OK)
    assert "reachable" in found["store"]
    assert "reachable" in found["redis"]
    assert exit_code_of(findings) == 0
    assert "canary-word" not in json.dumps(shown(given)) + str(findings)


@pytest.mark.anyio
async def test_a_redis_that_is_away_is_found(store: str) -> None:
    """The service would work without it, and slower."""
    given = configured(URL=store, REDIS=f"redis://127.0.0.1:{free_port()}/0", CACHE_SECRET=SECRET + "x")

    findings = await diagnosed(given, limit=None)

    assert "does not answer" in texts(findings, Level.UNAVAILABLE)["redis"]
    assert exit_code_of(findings) == 3


def test_secrets_are_shown_by_an_id_that_is_the_same_everywhere() -> None:
    """Of a pepper it is the one that its digests carry."""
    told = shown(configured(PEPPER=f"{PEPPER} {SECRET}x", JWT_SECRET=SECRET, **TOKENS))
    digest = APIKeys("memory:", pepper=PEPPER).hasher.decoy

    assert told["pepper"] == f"present, id {secret_id(PEPPER)}, {secret_id(SECRET + 'x')}"
    assert secret_id(PEPPER) == digest.split("$")[1]
    assert told["jwt_secret"] == f"present, id {secret_id(SECRET)}"
    assert told["cache_secret"] == "absent"
    assert shown(configured(PEPPER="none"))["pepper"] == "none, on purpose"
    assert not any(secret in json.dumps(told) for secret in (PEPPER, SECRET))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://app:canary@db:5432/keys?password=canary&sslmode=require", "postgresql://db:5432/keys"),
        ("redis://:canary@cache/0", "redis://cache/0"),
        ("sqlite:///keys.db", "sqlite:///keys.db"),
        ("sqlite:////data/keys.db", "sqlite:////data/keys.db"),
        ("memory:", "memory:"),
        ("postgresql://[canary", "present, and cannot be read"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, told: str) -> None:
    """User, password, options."""
    assert without_password(url) == told


def test_the_memory_of_this_machine_is_known() -> None:
    """Or of the container."""
    limit = memory_limit()

    assert limit is not None
    assert limit > 64 * MIB
