"""Systems are configured in words, and every configuration that could not work is refused at once."""

from __future__ import annotations

import re

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.adopted.catalogue import FACTORIES, TABLES, systems_of, table_of
from asgi_apikey.adopted.columns import sha256_columns
from asgi_apikey.adopted.keyshield import keyshield
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.settings import Settings
from tests.adoption.golden import GOLDEN
from tests.adoption.worlds import PEPPER


def test_every_system_with_a_table_has_golden_keys() -> None:
    """And each can be configured in words, but for a table of one's own, which only code can describe."""
    names = {each.system for each in TABLES}

    assert names == {each.system for each in GOLDEN}
    assert names - FACTORIES.keys() == {"sha256"}


def test_all_of_them_at_once_can_be_told_apart() -> None:
    """With prefixes of their own where there are any."""
    words = [name for name in FACTORIES if name not in {"unkey", "better-auth"}]
    environ = {
        "ASGI_APIKEY_URL": "memory:",
        "ASGI_APIKEY_PEPPER": PEPPER,
        "ASGI_APIKEY_ADOPTED": " ".join([*words, "unkey:prefix=acme", "better-auth:prefix=umbrella_"]),
        "ASGI_APIKEY_ADOPTED_SECRET": "their-pepper",
    }
    keys = APIKeys.from_settings(Settings.from_env(environ))

    assert keys.hasher.accepts(f"litellm+sha256${'A' * 43}")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nobody"], "there is no system 'nobody'"),
        (["unkey:suffix=x"], "unkey has no option 'suffix'"),
        (["sanctum:prefix=x"], "sanctum has no option 'prefix'; it has none"),
        (["keyshield"], "give the pepper that the keys were hashed with"),
        (["suna"], "give its API_KEY_SECRET"),
        (["better-auth:length=eight"], "length is a number of letters"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], complaint: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        systems_of(words)


def test_two_systems_with_keys_of_one_shape_are_refused() -> None:
    """One of the two would be taken for the other, and its keys refused."""
    anything = sha256_columns(pattern="[!-~]{40,200}", specimen="0" * 40)
    with pytest.raises(ConfigurationError, match="cannot be told apart"):
        APIKeys("memory:", pepper=PEPPER, adopted=[keyshield(pepper="x"), anything])
    with pytest.raises(ConfigurationError, match="is there already"):
        APIKeys("memory:", pepper=PEPPER, adopted=[anything, anything])


@pytest.mark.parametrize(("pattern", "specimen"), [("acme_[0-9a-f]{64}", "acme_0"), ("(", "(")])
def test_a_shape_must_be_one(pattern: str, specimen: str) -> None:
    """The specimen shows that it was meant so."""
    with pytest.raises(ConfigurationError):
        sha256_columns(pattern=pattern, specimen=specimen)


def test_a_separator_that_could_be_in_an_id_is_refused() -> None:
    """Where the id ends could not be told."""
    for separator in ("_", "a", "--", ""):
        with pytest.raises(ConfigurationError):
            keyshield(pepper="x", separator=separator)


def test_an_unknown_system_has_no_table() -> None:
    """The message names those that have one."""
    with pytest.raises(InvalidRequest, match="known are keyshield"):
        table_of("nobody")
