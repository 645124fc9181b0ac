"""Environment, `.env` files and TOML together."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings import Given, Sources, read_configuration, read_settings

CANARY = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Writes a file and returns its path."""

    def written(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def test_the_first_source_wins(write) -> None:  # type: ignore[no-untyped-def]
    """Options over the environment, over `.env` files in their order, over TOML; an empty variable is none."""
    first = write("a.env", "ASGI_APIKEY_PORT=2\nASGI_APIKEY_HOST=first\n")
    second = write("b.env", "ASGI_APIKEY_HOST=second\nASGI_APIKEY_PREFIX=second\n")
    config = write("c.toml", "port = 3\nhost = 'toml'\nprefix = 'toml'\nworkers = 3\nenvironment = 'test'\n")

    found = read_configuration(
        {"ASGI_APIKEY_PORT": "1", "ASGI_APIKEY_ENVIRONMENT": ""},
        Sources(
            env_files=(first, second),
            config=config,
            overrides={"ASGI_APIKEY_WORKERS": Given("9", "--workers")},
        ),
    )

    assert (found.service.port, found.service.host, found.service.workers) == (1, "first", 9)
    assert (found.keys.prefix, found.keys.environment) == ("second", "test")
    assert found.places == {
        "PORT": "ASGI_APIKEY_PORT",
        "HOST": "ASGI_APIKEY_HOST in a.env",
        "PREFIX": "ASGI_APIKEY_PREFIX in b.env",
        "ENVIRONMENT": "environment in c.toml",
        "WORKERS": "--workers",
    }


def test_toml_has_lists_and_truth_values(write) -> None:  # type: ignore[no-untyped-def]
    """For what a variable separates by blanks, and for 1 and 0."""
    config = write(
        "c.toml",
        f"pepper = ['{CANARY}', '{CANARY}2']\nmetrics = true\nsingle_process = false\ncache_ttl = 2.5\n"
        "cors_origins = ['https://a.example', 'https://b.example']\n",
    )

    found = read_configuration({}, Sources(config=config))

    assert found.keys.pepper == (CANARY, CANARY + "2")
    assert (found.service.metrics, found.keys.single_process, found.keys.cache_ttl) == (True, False, 2.5)
    assert found.service.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"pepper = '{CANARY}", "is not TOML"),
        (f"[keys]\npepper = '{CANARY}'", "keys in c.toml must be text"),
        (f"peper = '{CANARY}'", "unknown variable peper in c.toml"),
        (f"pepper = ['{CANARY} x']", "pepper in c.toml must be text"),
        ("port = 1979-05-27", "port in c.toml must be text"),
        ("port = 'x'", "port in c.toml must be a whole number"),
        ("pepper = ''", "pepper in c.toml is there and empty"),
        (b"\xff", "c.toml cannot be read: not UTF-8"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_and_not_repeated(write, text: str | bytes, complaint: str) -> None:  # type: ignore[no-untyped-def]
    """By the name that was written."""
    with pytest.raises(ConfigurationError) as caught:
        read_configuration({}, Sources(config=write("c.toml", text)))

    assert complaint in str(caught.value)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_variable_twice_in_one_file_is_an_error(write) -> None:  # type: ignore[no-untyped-def]
    """Which one was meant cannot be told."""
    with pytest.raises(ConfigurationError, match=r"a.env, line 2: ASGI_APIKEY_PORT stands in it twice"):
        read_configuration({}, Sources(env_files=(write("a.env", "ASGI_APIKEY_PORT=1\nASGI_APIKEY_PORT=1\n"),)))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Its settings would be missed in silence."""
    with pytest.raises(ConfigurationError, match=r"a.env cannot be read"):
        read_configuration({}, Sources(env_files=(tmp_path / "a.env",)))


def test_the_environment_may_name_the_files(write) -> None:  # type: ignore[no-untyped-def]
    """As a container does."""
    environ = {
        "ASGI_APIKEY_ENV_FILE": str(write("a.env", "ASGI_APIKEY_PORT=81\n")),
        "ASGI_APIKEY_CONFIG": str(write("c.toml", "host = 'localhost'\n")),
    }

    found = read_configuration(environ)

    assert (found.service.host, found.service.port) == ("localhost", 81)


def test_aliases_are_read_in_files_and_overruled_by_options(write) -> None:  # type: ignore[no-untyped-def]
    """An option is meant as it stands; other names of the same setting would contradict each other."""
    env_file = write("a.env", "DATABASE_URL=sqlite:///theirs.db\n")

    overrides = {"ASGI_APIKEY_URL": Given("sqlite:///ours.db", "--url")}

    assert read_configuration({}, Sources(env_files=(env_file,))).keys.url == "sqlite:///theirs.db"
    assert read_settings({}, Sources(env_files=(env_file,), overrides=overrides)).url == "sqlite:///ours.db"


def test_who_starts_no_service_is_not_stopped_by_its_settings() -> None:
    """`JWT_SECRET` may be another application's; but a misspelt variable of ours is an error for everybody."""
    environ = {"JWT_SECRET": "changeme", "DATABASE_URL": "sqlite:///a.db", "ASGI_APIKEY_PORT": "many"}

    assert read_settings(environ).url == "sqlite:///a.db"
    with pytest.raises(ConfigurationError, match="unknown variable ASGI_APIKEY_PROT"):
        read_settings({"ASGI_APIKEY_PROT": "1"})


def test_no_secret_stands_in_a_repr(write) -> None:  # type: ignore[no-untyped-def]
    """Of the whole, and of a single text."""
    found = read_configuration({"ASGI_APIKEY_PEPPER": CANARY, "REDIS_URL": f"redis://:{CANARY}@c"})

    assert CANARY not in repr(found) + repr(Given(CANARY, "x"))
