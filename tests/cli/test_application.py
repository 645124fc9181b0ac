"""The entrance and the exits: keys among the arguments, options, errors, exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version

import click
import pytest

from asgi_apikey.cli.application import application, exit_code_of
from asgi_apikey.errors import (
    APIKeyError,
    ConfigurationError,
    InvalidRequest,
    KeyNotFound,
    MissingExtra,
    Overloaded,
    RevokedKey,
    StaleRecord,
    StoreUnavailable,
)
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories import MemoryRepository
from tests.cli.conftest import Console

VERBS = {
    "apply",
    "export",
    "import",
    "audit",
    "prune-usage",
    "usage",
    *("init", "issue", "list", "show", "verify", "amend", "rotate"),
    *("disable", "enable", "revoke", "delete", "pepper", "check-format"),
    *("expiring", "webhooks"),
    *("revoke-where", "prune", "migrate", "serve", "doctor", "openapi"),
    *("adopt", "rehash"),
    *("me", "ready", "changes", "completion"),
}
ALL_ERRORS = [
    (RevokedKey("id"), 1),
    (KeyNotFound("id"), 1),
    (InvalidRequest("no"), 1),
    (StaleRecord("id", 1), 1),
    (StoreUnavailable(), 3),
    (Overloaded("busy"), 3),
    (ConfigurationError("fix"), 4),
    (MissingExtra("sqlite", "this"), 4),
]


@dataclass(slots=True)
class Failing:
    """Answers every look-up with an error."""

    error: Exception

    async def get(self, key_id: str) -> KeyRecord | None:
        """Fail."""
        raise self.error


def failing(error: APIKeyError) -> MemoryRepository:
    """A repository that opens and then fails."""
    repository = MemoryRepository()
    repository.get = Failing(error).get  # type: ignore[method-assign]
    return repository


def test_every_verb_is_there_and_has_help(console: Console) -> None:
    """`--help` explains each, with its two shared options."""
    assert set(application.commands) == VERBS
    for verb in VERBS:
        helped = console(verb, "--help")
        assert helped.exit_code == 0
        assert {"--url", "--json"} <= set(helped.stdout.split())


def test_the_version_is_the_packages(console: Console) -> None:
    """As installed."""
    assert console("--version").stdout.split()[-1] == version("asgi-apikey")


@pytest.mark.parametrize("error", [each for each, _ in ALL_ERRORS], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_an_error_is_one_line_and_an_exit_code(console: Console, error: APIKeyError, as_json: list[str]) -> None:
    """No traceback, nothing on standard output; with `--json` the stable code."""
    console.repository = failing(error)
    outcome = console(*as_json, "show", "EKjzlXrUIG06")

    assert (outcome.exit_code, outcome.stdout) == (dict(ALL_ERRORS)[error], "")
    assert outcome.stderr.count("\n") == 1
    if as_json:
        assert json.loads(outcome.stderr) == {
            "error": {"code": error.code, "message": str(error), "outcome_unknown": False}
        }
    else:
        assert outcome.stderr == f"Error: {error}\n"


def test_every_error_of_the_package_has_an_exit_code() -> None:
    """The families decide, so a new error needs no new line here."""
    assert [exit_code_of(error) for error, _ in ALL_ERRORS] == [code for _, code in ALL_ERRORS]


def test_an_unknown_outcome_is_told(console: Console) -> None:
    """Whoever revokes a key must learn that the answer got lost, not the change."""
    console.repository = failing(StoreUnavailable(outcome_unknown=True))
    plain = console("revoke", "EKjzlXrUIG06", "--yes")
    document = console("--json", "revoke", "EKjzlXrUIG06", "--yes")

    assert plain.exit_code == 3
    assert "may have been made all the same" in plain.stderr
    assert json.loads(document.stderr)["error"]["outcome_unknown"] is True


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize(
    "form",
    ["{}", "--name={}", "--unknown={}", "key={}", "x{}", "{}x"],
    ids=["bare", "value", "unknown", "entry", "after", "before"],
)
def test_a_whole_key_among_the_arguments_is_refused_and_not_repeated(console: Console, verb: str, form: str) -> None:
    """In any place and of any prefix; click itself would echo it as an unexpected argument."""
    key = KeyFormat("acme").generate("live").key
    console.opened_with = None
    refused = console(verb, form.format(key))

    assert refused.exit_code == 2
    assert "take it for leaked" in refused.stderr
    assert key[-39:] not in refused.output
    assert console.opened_with is None


def test_a_key_in_place_of_a_command_is_refused(console: Console) -> None:
    """`asgi-apikey ak_live_…` does not answer "no such command ak_live_…"."""
    key = KeyFormat().generate("live").key
    refused = console(key)

    assert refused.exit_code == 2
    assert key not in refused.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["issue"],
        ["list", "--limit", "0"],
        ["list", "--status", "gone"],
        ["show", "short"],
        ["show", "--nope"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_exit_with_2(console: Console, arguments: list[str]) -> None:
    """Before anything is opened."""
    assert console(*arguments).exit_code == 2
    assert console.opened_with is None


@pytest.mark.parametrize("place", ["before", "after"])
def test_shared_options_stand_before_or_after_the_command(console: Console, place: str) -> None:
    """Nobody has to remember which."""
    shared = ["--json", "--url", "sqlite:///other.db"]
    outcome = console(*shared, "list") if place == "before" else console("list", *shared)

    assert json.loads(outcome.stdout) == {"keys": [], "next_cursor": None}
    assert console.opened_with is not None
    assert console.opened_with.url == "sqlite:///other.db"


def test_a_key_does_not_break_completion(console: Console) -> None:
    """While a shell completes a line, nothing is refused: the answer would go to nobody."""
    key = KeyFormat().generate("live").key

    context = application.make_context("asgi-apikey", ["show", key], resilient_parsing=True, obj=None)

    assert isinstance(context, click.Context)


def every_verb(key: str, key_id: str) -> list[tuple[list[str], str]]:
    """Each verb that takes a key, with what it reads."""
    return [
        (["show", "--key"], key),
        (["verify"], key),
        (["check-format"], key),
        (["amend", "--key", "--name", "x"], key),
        (["disable", "--key"], key),
        (["enable", "--key"], key),
        (["list"], ""),
        (["revoke", "--key", "--yes"], key),
        (["verify"], key),
        (["rotate", "--key"], key),
        (["show", key_id], ""),
        (["delete", "--key", "--yes"], key),
        (["verify"], key),
    ]


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_no_output_holds_a_secret_or_a_digest(console: Console, as_json: list[str]) -> None:
    """Neither the key nor its secret part nor what is stored of it, whatever is done with it."""
    key, key_id = console.issue()
    digest = console.repository._records[key_id].digest
    shown = [console(*as_json, *verb, stdin=stdin).output for verb, stdin in every_verb(key, key_id)]

    secret = key[-39:]
    assert not [output for output in shown if secret in output or secret[1:33] in output]
    assert not [output for output in shown if digest in output or digest.rpartition("$")[2] in output]
