"""Settings, from an environment and as a value."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, InvalidRequest, KeyLimitReached
from asgi_apikey.models import UNSET
from asgi_apikey.settings import Settings

PEPPER = "canary-pepper-0123456789abcdef0123456789"


def test_an_empty_environment_gives_the_defaults() -> None:
    """What is not set is as the constructor has it; no pepper is "not said", which is not "none on purpose"."""
    settings = Settings.from_env({})

    assert settings == Settings()
    assert settings.pepper is UNSET


def test_every_variable_is_read() -> None:
    """Each under its own name; rings are separated by spaces, newest last."""
    settings = Settings.from_env(
        {
            "ASGI_APIKEY_URL": "sqlite:////data/keys.db",
            "ASGI_APIKEY_PEPPER": f"old{PEPPER}  {PEPPER}",
            "ASGI_APIKEY_PREFIX": "acme",
            "ASGI_APIKEY_ENVIRONMENT": "test",
            "ASGI_APIKEY_CHECKSUM_KEY": "first second",
            "ASGI_APIKEY_CACHE_TTL": "2.5",
            "ASGI_APIKEY_SINGLE_PROCESS": "1",
        }
    )

    assert settings == Settings(
        url="sqlite:////data/keys.db",
        pepper=(f"old{PEPPER}", PEPPER),
        prefix="acme",
        environment="test",
        checksum_keys=("first", "second"),
        cache_ttl=2.5,
        single_process=True,
    )


def test_variables_of_others_are_left_alone() -> None:
    """Only names that start with ours are looked at."""
    assert Settings.from_env({"PATH": "/bin", "APIKEY_URL": "x", "asgi_apikey_url": "y"}) == Settings()


@pytest.mark.parametrize("word", ["none", "None", " NONE "])
def test_no_pepper_on_purpose_has_a_word(word: str) -> None:
    """It must be written out."""
    assert Settings.from_env({"ASGI_APIKEY_PEPPER": word}).pepper is None


def test_an_empty_variable_counts_as_absent() -> None:
    """As shells and container files make them."""
    names = ("URL", "PREFIX", "ENVIRONMENT", "CACHE_TTL", "SINGLE_PROCESS", "CONSISTENCY", "REDIS")

    assert Settings.from_env({f"ASGI_APIKEY_{name}": "" for name in names}) == Settings()


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize("name", ["PEPPER", "CHECKSUM_KEY", "AUDIT_KEY", "CACHE_SECRET"])
def test_an_empty_secret_is_an_error(name: str, value: str) -> None:
    """A secret that was not delivered must not turn into doing without one."""
    with pytest.raises(ConfigurationError, match=f"ASGI_APIKEY_{name} is there and empty"):
        Settings.from_env({f"ASGI_APIKEY_{name}": value})


@pytest.mark.parametrize("name", ["ASGI_APIKEY_PEPER", "ASGI_APIKEY_", "ASGI_APIKEY_PEPPER_FILE"])
def test_a_misspelt_variable_is_an_error(name: str) -> None:
    """It names the variable and those there are, and never the value, which may be a secret."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({name: PEPPER})

    assert f"{name};" in str(caught.value)
    assert "ASGI_APIKEY_PEPPER," in str(caught.value)
    assert PEPPER not in str(caught.value)


@pytest.mark.parametrize("value", ["soon", "1s", "nan", "inf", "-inf", "0", "-1", "1e-400"])
def test_a_cache_ttl_is_a_positive_finite_number(value: str) -> None:
    """Compared with NaN or infinity, no verdict would ever be too old."""
    with pytest.raises(ConfigurationError, match="ASGI_APIKEY_CACHE_TTL must be a positive number of seconds"):
        Settings.from_env({"ASGI_APIKEY_CACHE_TTL": value})


@pytest.mark.parametrize("value", ["true", "yes", "2", " 1", "on"])
def test_a_switch_is_1_or_0(value: str) -> None:
    """Nothing is guessed: a store taken for one process's own would confirm what it cannot."""
    with pytest.raises(ConfigurationError, match="ASGI_APIKEY_SINGLE_PROCESS must be 1 or 0"):
        Settings.from_env({"ASGI_APIKEY_SINGLE_PROCESS": value})


def test_a_switch_can_be_off() -> None:
    """`0` is the default, spelt out."""
    assert Settings.from_env({"ASGI_APIKEY_SINGLE_PROCESS": "0"}).single_process is False


def test_reading_leaves_the_environment_alone() -> None:
    """It is a pure function of the mapping it is given."""
    environ = {"ASGI_APIKEY_URL": "memory:", "ASGI_APIKEY_PREFIX": ""}

    Settings.from_env(environ)

    assert environ == {"ASGI_APIKEY_URL": "memory:", "ASGI_APIKEY_PREFIX": ""}


def test_no_secret_stands_in_the_repr() -> None:
    """Peppers, checksum keys and the URL, which may hold a password, are left out."""
    settings = Settings(
        url=f"postgresql://app:{PEPPER}@db/keys", pepper=(PEPPER,), checksum_keys=(PEPPER,), prefix="acme"
    )

    assert PEPPER not in repr(settings)
    assert "acme" in repr(settings)


def test_settings_are_frozen() -> None:
    """What was wired is what stays."""
    with pytest.raises(FrozenInstanceError):
        Settings().prefix = "x"  # type: ignore[misc]


@pytest.mark.anyio
async def test_lifetimes_and_numbers_of_keys_are_bounded() -> None:
    """Where a service is all there is, nobody writes Python to say so."""
    variables = {"LIFETIME": "60", "MAX_LIFETIME": "120", "MAX_KEYS_PER_OWNER": "1", "URL": "memory:", "PEPPER": "none"}
    keys = APIKeys.from_settings(Settings.from_env({f"ASGI_APIKEY_{name}": text for name, text in variables.items()}))
    record = (await keys.issue(owner="acme")).record

    assert record.expires_at == pytest.approx(record.created_at + 60, abs=0.01)
    with pytest.raises(InvalidRequest):
        await keys.issue(owner="else", expires_in=121)
    with pytest.raises(KeyLimitReached):
        await keys.issue(owner="acme")
