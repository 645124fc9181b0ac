"""The variables of earlier systems."""

from __future__ import annotations

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.service.wiring import keys_of
from asgi_apikey.settings import Configuration, ServiceSettings, Settings, configuration
from asgi_apikey.settings.aliases import ALIASES, EVERY_ALIAS, WITHOUT_EFFECT
from asgi_apikey.settings.given import from_environ

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
SECRET = "Zp7-uY2_sW9kN4rT6bV1xC8mJ3hL5dQa"


def read(**environ: str) -> Configuration:
    """The configuration that an environment makes."""
    return configuration(from_environ(environ))


@pytest.mark.parametrize(
    ("environ", "field", "value"),
    [
        ({"DATABASE_URL": "sqlite+aiosqlite:///./apikey.db"}, "url", "sqlite+aiosqlite:///./apikey.db"),
        ({"DB_POOL_SIZE": "7", "DB_MAX_OVERFLOW": "3"}, "pool_size", 10),
        ({"DB_POOL_SIZE": "7"}, "pool_size", 17),
        ({"DB_MAX_OVERFLOW": "3"}, "pool_size", 8),
        ({"REDIS_URL": "redis://cache/0"}, "redis", "redis://cache/0"),
        ({"REDIS_URL": "redis://cache/0", "APIKEY_CACHE_BACKEND": "Redis "}, "redis", "redis://cache/0"),
        ({"REDIS_URL": "redis://cache/0", "APIKEY_CACHE_BACKEND": "memory"}, "redis", ""),
        ({"API_KEY_HEADER_CACHE_TTL_SECONDS": "5"}, "cache_ttl", 5.0),
        ({"API_KEY_HEADER_CACHE_TTL_SECONDS": "0"}, "consistency", "strict"),
        ({"API_KEY_LAST_USED_THROTTLE_SECONDS": "900"}, "last_used_resolution", 900.0),
        ({"API_KEY_SECRET": PEPPER}, "pepper", (PEPPER,)),
        ({"API_KEY_PEPPER": PEPPER}, "pepper", (PEPPER,)),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_an_alias_of_the_keys_is_read(environ: dict[str, str], field: str, value: object) -> None:
    """As the setting that it stands for."""
    assert getattr(read(**environ).keys, field) == value


def test_the_aliases_of_tokens_are_read() -> None:
    """The algorithm and the login service alone are settings without effect, as in the earlier system."""
    service = read(JWT_ALGORITHM="HS256", LOGIN_URL="http://localhost:8001").service

    assert (service.algorithm, service.login_url) == ("HS256", "http://localhost:8001")
    assert not service.accepts_tokens


def test_the_secret_of_tokens_is_read() -> None:
    """With what the earlier system did not ask for: issuer and audience."""
    service = read(
        JWT_SECRET=SECRET,
        JWT_ALGORITHM="HS256",
        ASGI_APIKEY_JWT_ISSUER="login",
        ASGI_APIKEY_JWT_AUDIENCE="fastapi-users:auth",
    ).service

    assert (service.jwt_secret, service.algorithm, service.accepts_tokens) == (SECRET, "HS256", True)


def test_the_login_service_is_the_default_source_of_public_keys() -> None:
    """Where the algorithm has public keys, and no other source is named."""
    common = {
        "JWT_ALGORITHM": "RS256",
        "LOGIN_URL": "https://login.example/",
        "ASGI_APIKEY_JWT_ISSUER": "https://login.example",
        "ASGI_APIKEY_JWT_AUDIENCE": "api",
    }

    assert read(**common).service.jwks == "https://login.example/.well-known/jwks.json"
    assert read(**common, ASGI_APIKEY_JWKS_URL="https://x.example/k").service.jwks == "https://x.example/k"


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_has_no_effect_is_accepted_and_said(name: str) -> None:
    """An environment need not be changed, and nobody is left to believe in it."""
    found = read(**{name: "30"})

    assert (found.keys, found.service) == (Settings(), ServiceSettings())
    assert any(note.startswith(f"{name} has no effect: ") for note in found.notes)


def test_redis_without_its_url_is_memory_with_a_word() -> None:
    """As the earlier system did it."""
    found = read(APIKEY_CACHE_BACKEND="redis")

    assert found.keys.redis == ""
    assert any("no REDIS_URL" in note for note in found.notes)


SAME: dict[str, tuple[str, str, str]] = {
    "DATABASE_URL": ("URL", "sqlite:///a.db", "sqlite:///b.db"),
    "REDIS_URL": ("REDIS", "redis://a", "redis://b"),
    "API_KEY_PEPPER": ("PEPPER", PEPPER, SECRET),
    "API_KEY_SECRET": ("PEPPER", PEPPER, SECRET),
    "API_KEY_HEADER_CACHE_TTL_SECONDS": ("CACHE_TTL", "5.0", "6"),
    "API_KEY_LAST_USED_THROTTLE_SECONDS": ("LAST_USED_RESOLUTION", "900", "60"),
    "JWT_SECRET": ("JWT_SECRET", PEPPER, SECRET),
    "JWT_ALGORITHM": ("JWT_ALGORITHM", "HS256", "HS512"),
    "LOGIN_URL": ("LOGIN_URL", "https://a.example", "https://b.example"),
}


def test_every_alias_for_one_setting_is_tried_below() -> None:
    """A new one needs its line."""
    assert set(SAME) == set(ALIASES)
    assert {"DB_POOL_SIZE", "DB_MAX_OVERFLOW", "APIKEY_CACHE_BACKEND", *WITHOUT_EFFECT, *SAME} == EVERY_ALIAS


@pytest.mark.parametrize("alias", SAME)
def test_an_own_name_goes_before_an_alias(alias: str) -> None:
    """Which may be there for another program; of two that differ both are named, and neither value."""
    name, value, other = SAME[alias]
    tokens = {"ASGI_APIKEY_JWT_ISSUER": "i", "ASGI_APIKEY_JWT_AUDIENCE": "a"} if alias == "JWT_SECRET" else {}
    ours = {f"ASGI_APIKEY_{name}": other, **tokens}
    alone, agreeing, differing = read(**ours), read(**ours, **{alias: other}), read(**ours, **{alias: value})

    assert (differing.keys, differing.service) == (alone.keys, alone.service)
    assert differing.notes == (f"{alias} has no effect: ASGI_APIKEY_{name} goes before it",)
    assert agreeing.notes == ()


def test_numbers_agree_by_what_they_are() -> None:
    """However they are written."""
    found = read(API_KEY_LAST_USED_THROTTLE_SECONDS="900", ASGI_APIKEY_LAST_USED_RESOLUTION="9e2")

    assert found.keys.last_used_resolution == 900.0


def test_two_aliases_must_agree_too() -> None:
    """Nobody could tell which pepper the digests were made under."""
    with pytest.raises(ConfigurationError, match=r"API_KEY_\w+ and API_KEY_\w+ are the same"):
        read(API_KEY_SECRET=PEPPER, API_KEY_PEPPER=SECRET)


def test_an_own_redis_goes_before_a_cache_in_memory() -> None:
    """Both are named."""
    found = read(ASGI_APIKEY_REDIS="redis://cache", APIKEY_CACHE_BACKEND="memory")

    assert found.keys.redis == "redis://cache"
    assert found.notes == ("APIKEY_CACHE_BACKEND has no effect: ASGI_APIKEY_REDIS goes before it",)


@pytest.mark.parametrize(
    "environ",
    [
        {"APIKEY_CACHE_BACKEND": "memcached"},
        {"DB_POOL_SIZE": "many"},
        {"DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0"},
        {"API_KEY_PEPPER": "none"},
        {"API_KEY_PEPPER": f"{PEPPER} {SECRET}"},
        {"API_KEY_HEADER_CACHE_TTL_SECONDS": "soon"},
        {"API_KEY_HEADER_CACHE_TTL_SECONDS": "nan"},
        {"JWT_ALGORITHM": "none"},
        {"JWT_SECRET": SECRET},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(environ: dict[str, str]) -> None:
    """By the name that was written, not by the one that it stands for."""
    with pytest.raises(ConfigurationError) as caught:
        read(**environ)

    assert any(name in str(caught.value) for name in environ)


@pytest.mark.parametrize(
    "value", ["super-secret-" + "pepper", "default-secret-key-change-in-production-please", "changeme"]
)
@pytest.mark.parametrize("name", ["API_KEY_PEPPER", "API_KEY_SECRET"])
def test_the_default_secrets_of_earlier_systems_are_refused(name: str, value: str) -> None:
    """They are published, short, or both."""
    with pytest.raises(ConfigurationError, match="asgi-apikey pepper"):
        keys_of(read(**{name: value}).keys)


def test_aliases_are_read_by_the_service_only() -> None:
    """An application that is configured by its own `DATABASE_URL` is not turned into a key store's."""
    assert Settings.from_env({"DATABASE_URL": "sqlite:///app.db"}) == Settings()
    assert configuration(from_environ({"DATABASE_URL": "sqlite:///app.db"}), aliases=False) == Configuration()


def test_an_empty_alias_counts_as_absent() -> None:
    """As shells and container files make them."""
    found = read(**dict.fromkeys(EVERY_ALIAS, ""))

    assert (found.keys, found.service, found.notes) == (Settings(), ServiceSettings(), ())


def test_the_pool_reaches_the_driver() -> None:
    """As an option of the URL; other stores have no pool."""
    url = "postgresql://app:x@db/keys"

    assert Settings(url=url, pool_size=15).store == f"{url}?pool_size=15"
    assert Settings(url=f"{url}?sslmode=require", pool_size=15).store == f"{url}?sslmode=require&pool_size=15"
    assert Settings(url="sqlite:///keys.db", pool_size=15).store == "sqlite:///keys.db"
    APIKeys.from_settings(Settings(url=url, pool_size=15, pepper=(PEPPER,)))
