"""The reference says what the code says: every option, with its default, and nothing that is not there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import asgi_apikey
from asgi_apikey import APIKeyMiddleware, APIKeys, IssuedKey, KeyRecord, Principal, Receipt, get_api_key
from asgi_apikey.asgi.connections import Live
from asgi_apikey.asgi.websockets import WebSockets
from asgi_apikey.authenticator import Limits, Stats
from asgi_apikey.issuer import Issuer
from asgi_apikey.jwt import JWKS, Fault, JWTVerifier
from asgi_apikey.models import NO_METADATA, UNSET
from asgi_apikey.settings import PREFIX, ClientSettings, ServiceSettings, Settings
from asgi_apikey.settings.aliases import EVERY_ALIAS
from asgi_apikey.settings.names import CLIENT_VARIABLES, KEY_VARIABLES, SERVICE_VARIABLES
from tests.docs.pages import DOCS, code_words, prose, rows, section

APIKEYS: Final = DOCS / "reference" / "apikeys.md"
MIDDLEWARE: Final = DOCS / "reference" / "middleware.md"
TOKENS: Final = DOCS / "reference" / "jwt.md"
SETTINGS: Final = DOCS / "reference" / "settings.md"
CONFIGURATION: Final = DOCS / "howto" / "configuration.md"


def table(page: Path, heading: str) -> dict[str, list[str]]:
    """The rows below a heading by what stands in backticks in their first cell; deeper headings do not count."""
    text = section(page, heading).partition("\n### ")[0]
    return {name: row[1:] for row in rows(text) for name in code_words(row[0])}


def defaults(function: Callable[..., object]) -> dict[str, object]:
    """The parameters that callers can give, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.name != "self"}


def is_told(cell: str, default: object) -> bool:
    """Whether the second cell of a row says this default."""
    if default is inspect.Parameter.empty:
        return cell == "required"
    if default is UNSET:
        return cell == "not given"
    if default is NO_METADATA:
        return cell == "`{}`"
    told = cell.strip("`")
    try:
        return bool(ast.literal_eval(told) == default)
    except ValueError:
        return told == repr(default)


@pytest.mark.parametrize(
    ("page", "heading", "function"),
    [
        (APIKEYS, "Constructor", APIKeys.__init__),
        (APIKEYS, "Limits", Limits.__init__),
        (APIKEYS, "issue", APIKeys.issue),
        (MIDDLEWARE, "Constructor", APIKeyMiddleware.__init__),
        (MIDDLEWARE, "WebSockets", WebSockets.__init__),
        (MIDDLEWARE, "Live", Live.__init__),
        (MIDDLEWARE, "get_api_key", get_api_key),
        (TOKENS, "Constructor", JWTVerifier.__init__),
        (TOKENS, "JWKS", JWKS.__init__),
    ],
    ids=["APIKeys", "Limits", "issue", "APIKeyMiddleware", "WebSockets", "Live", "get_api_key", "JWTVerifier", "JWKS"],
)
def test_every_option_has_a_row_with_its_default(page: Path, heading: str, function: Callable[..., object]) -> None:
    """And no row is about an option that does not exist."""
    told, given = table(page, heading), defaults(function)

    assert list(told) == list(given)
    assert [name for name, default in given.items() if not is_told(told[name][0], default)] == []


@pytest.mark.parametrize("heading", ["Constructor", "Limits", "issue"])
def test_every_option_says_its_unit_and_its_consequence(heading: str) -> None:
    """No cell is empty; a dash says that there is no unit."""
    for name, cells in table(APIKEYS, heading).items():
        assert len(cells) == 3, name
        assert all(cells), name


def test_every_fault_of_a_token_is_explained() -> None:
    """With its cause."""
    assert list(table(TOKENS, "Faults")) == list(Fault)


def test_every_verb_has_a_row_with_its_arguments() -> None:
    """As the methods of an `APIKeys` take them."""
    keys = APIKeys("memory:", pepper=None)
    told = {name: code_words(cells[0]) for name, cells in table(APIKEYS, "Verbs").items()}

    verbs = {name: set(defaults(getattr(keys, name))) for name in told if name != "issue"}

    assert {name: words for name, words in told.items() if name != "issue"} == verbs
    issuers = {name for name, _ in inspect.getmembers(Issuer, inspect.isfunction) if not name.startswith("_")}
    assert set(told) == issuers | {"remaining", "top_up"}


@pytest.mark.parametrize("value", [Principal, IssuedKey, Receipt, KeyRecord, Stats], ids=lambda value: value.__name__)
def test_every_field_of_a_value_is_explained(value: type) -> None:
    """Each in its table, and none that is not there."""
    assert set(table(APIKEYS, value.__name__)) == {each.name for each in dataclasses.fields(value)}


def becomes(heading: str) -> dict[str, str]:
    """Of each variable below a heading, the field that it becomes."""
    told = table(SETTINGS, heading)
    return {name: code_words(re.split("[:,;]", cells[-1])[0]).pop() for name, cells in told.items() if PREFIX in name}


@pytest.mark.parametrize(
    ("heading", "settings", "variables"),
    [
        ("Keys", Settings, KEY_VARIABLES),
        ("Service", ServiceSettings, SERVICE_VARIABLES),
        ("Client", ClientSettings, CLIENT_VARIABLES),
    ],
)
def test_every_setting_has_its_variable(heading: str, settings: type, variables: frozenset[str]) -> None:
    """One each, named as it is read, and none that is not read."""
    told = becomes(heading)

    assert sorted(told.values()) == sorted(each.name for each in dataclasses.fields(settings))
    assert {name.removeprefix(PREFIX) for name in told} == variables


def test_every_variable_changes_what_it_becomes() -> None:
    """Of the keys; those of the service are tested where they are read."""
    switches = dict.fromkeys(("WEBHOOK_PRIVATE", "SINGLE_PROCESS"), "1")
    numbers = ("CACHE_TTL", "POOL_SIZE", "CACHE_SIZE", "LAST_USED_RESOLUTION", "LIFETIME", "MAX_LIFETIME")
    values = {"CONSISTENCY": "strict", "MAX_KEYS_PER_OWNER": "4", **switches, **dict.fromkeys(numbers, "4")}
    for name, field in becomes("Keys").items():
        value = values.get(name.removeprefix(PREFIX), "x")
        assert getattr(Settings.from_env({name: value}), field) != getattr(Settings(), field), name


def test_every_alias_has_a_row() -> None:
    """Also those without effect."""
    told = {word for row in rows(section(CONFIGURATION, "Names of earlier systems")) for word in code_words(row[0])}

    assert told == EVERY_ALIAS


def test_every_public_name_has_an_entry() -> None:
    """Whatever `from asgi_apikey import …` offers stands on a page of the reference."""
    words = {word for page in (APIKEYS, MIDDLEWARE) for word in code_words(page.read_text(encoding="utf-8"))}
    headings = {line.strip("# `") for page in (APIKEYS, MIDDLEWARE) for line in prose(page).splitlines()}

    assert set(asgi_apikey.__all__) - words - headings == set()
