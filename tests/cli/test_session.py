"""Settings and store of one run."""

from __future__ import annotations

import pytest

from asgi_apikey.cli.session import Session, beside_servers
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings import Settings
from tests.cli.conftest import PEPPER, Console, Shell


def test_url_goes_before_the_environment() -> None:
    """And the rest is the environment's."""
    session = Session({"ASGI_APIKEY_URL": "sqlite:///a.db", "ASGI_APIKEY_PREFIX": "acme"}, url="sqlite:///b.db")

    assert session.settings() == Settings(url="sqlite:///b.db", prefix="acme")


def test_a_session_does_not_show_its_secrets() -> None:
    """A repr of it may end in a log."""
    assert PEPPER not in repr(Session({"ASGI_APIKEY_PEPPER": PEPPER}))


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_a_store_that_ends_with_the_command_is_refused(console: Console, url: str) -> None:
    """A key issued into it would be gone before it is used."""
    refused = console("--url", url, "issue", "--owner", "acme")

    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "ASGI_APIKEY_URL" in refused.stderr


def test_a_server_alone_on_its_store_is_not_alone_beside_a_command() -> None:
    """Taken over, the server's promise would not be true of the command, which is another process."""
    assert not beside_servers(Settings(single_process=True)).single_process


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("ASGI_APIKEY_PEPER", "x", "unknown variable"),
        ("ASGI_APIKEY_PEPPER", "short", "asgi-apikey pepper"),
        ("ASGI_APIKEY_PREFIX", "Not A Prefix", "starting with a letter"),
        ("ASGI_APIKEY_CACHE_TTL", "soon", "number of seconds"),
        ("ASGI_APIKEY_URL", "mysql://user:CANARY@host", "must start with one of"),
    ],
)
def test_settings_that_cannot_be_used_exit_with_4(shell: Shell, name: str, value: str, fix: str) -> None:
    """With the fix in one line, and without repeating secrets."""
    shell.environ[name] = value
    refused = shell("list")

    assert (refused.returncode, refused.stdout) == (4, "")
    assert fix in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "CANARY" not in refused.stderr


def test_the_keys_are_closed_when_the_work_fails(console: Console) -> None:
    """A failing command leaves no connection behind."""
    closed = []
    close = console.repository.close

    async def noted() -> None:
        closed.append(True)
        await close()

    console.repository.close = noted  # type: ignore[method-assign]
    console("show", "EKjzlXrUIG06")

    assert closed == [True]


async def _never(keys: object) -> None:
    raise AssertionError("the store must not be opened")


def test_unusable_settings_raise_before_anything_is_opened() -> None:
    """The session itself tells, for whoever uses it without click."""
    session = Session({"ASGI_APIKEY_URL": "memory:"})

    with pytest.raises(ConfigurationError, match="gone when this command ends"):
        session.run(_never)
