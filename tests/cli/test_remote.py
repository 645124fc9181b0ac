"""Through a server: which one, as whom, and what it does not do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from asgi_apikey.cli.application import application
from asgi_apikey.cli.desk import ACTIONS
from asgi_apikey.cli.wire import Address, Answer, Headers
from asgi_apikey.management import EVERY_ACTION
from asgi_apikey.management.operations import OPERATIONS
from tests.cli.conftest import SERVER, TOKEN, Console, Served
from tests.docs.pages import DOCS, rows, section

STORE_ONLY = {
    *("init", "migrate", "apply", "export", "adopt", "rehash", "import", "prune", "prune-usage"),
    *("audit", "pepper", "check-format", "openapi", "serve", "doctor", "completion", "webhooks"),
}

COMMANDS = {
    "issue_key": "issue",
    "list_keys": "list",
    "search_keys": "list",
    "count_keys": "list --count",
    "revoke_keys": "revoke-where",
    "verify_key": "verify",
    "me": "me",
    "test_auth": "me",
    "audit": "audit tail",
    "changes": "changes",
    "health": "ready",
    "ready": "ready",
    "get_key": "show",
    "amend_key": "amend",
    "delete_key": "delete",
    "rotate_key": "rotate",
    "revoke_key": "revoke",
    "disable_key": "disable",
    "enable_key": "enable",
    "key_usage": "usage",
}


@dataclass(slots=True)
class Scripted:
    """Answers as it is told, and remembers what was sent."""

    answer: Answer
    sent: list[tuple[str, str, Headers, bytes | None]] = field(default_factory=list)

    async def send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        """Remember and answer."""
        self.sent.append((method, path, headers, body))
        return self.answer


@pytest.fixture
def remote() -> Console:
    """A console that works through a server."""
    return Console(through_server=True)


def test_every_operation_has_its_command() -> None:
    """And each of those takes `--server`."""
    assert set(COMMANDS) == {each.name for each in OPERATIONS}
    for command in COMMANDS.values():
        found: object = application
        for word in command.split()[: 2 if command.startswith("audit") else 1]:
            found = found.commands[word]  # type: ignore[attr-defined]
        assert "server" in {each.name for each in found.params}, command  # type: ignore[attr-defined]


def test_commands_are_for_both_or_for_the_store(console: Console) -> None:
    """There is no third kind."""
    # What `expiring` asks a server is what `list` does.
    both = {each.split()[0] for each in COMMANDS.values()} - {"audit"} | {"expiring"}

    assert both | STORE_ONLY == set(application.commands)
    assert both & STORE_ONLY == set()


@pytest.mark.parametrize(
    "command", ["init", "migrate", "export", "prune --yes", "prune-usage", "audit verify", "audit export"]
)
def test_what_is_for_the_store_says_so(remote: Console, command: str) -> None:
    """A usage error, and nothing is sent."""
    refused = remote(*command.split())

    assert refused.exit_code == 2
    assert "on the store itself" in refused.stderr


def test_a_server_and_a_store_are_not_named_together(console: Console) -> None:
    """As options, a usage error; in the environment, one of configuration, unless an option says which."""
    options = console("--server", SERVER, "--url", "sqlite:///x.db", "list")
    environment = {"ASGI_APIKEY_SERVER": SERVER, "ASGI_APIKEY_TOKEN": TOKEN}
    both = replace(console, environ=console.environ | environment)

    assert options.exit_code == 2
    assert both("list").exit_code == 4
    assert "name two places" in both("list").stderr
    assert both("--server", SERVER, "list").exit_code == 0
    assert both("--url", "sqlite:///x.db", "list").exit_code == 0


def test_the_token_comes_from_the_environment_or_the_terminal(remote: Console) -> None:
    """Never from the arguments; asked for without being shown."""
    environ = {"ASGI_APIKEY_SERVER": SERVER}
    environ["ASGI_APIKEY_PEPPER"] = remote.environ["ASGI_APIKEY_PEPPER"]  # for the server, in this process
    unknown = replace(remote, through_server=False, environ=environ)
    asked = replace(unknown, at_a_terminal=True)
    listed = asked("list", stdin=f"{TOKEN}\n")

    assert unknown("list").exit_code == 4
    assert "ASGI_APIKEY_TOKEN" in unknown("list").stderr
    assert (listed.exit_code, listed.stderr) == (0, "Token: \nno such keys\n")
    assert TOKEN not in listed.output


@pytest.mark.parametrize("token", ["wrong", "two words", "line\nend", "\N{SNOWMAN}"])
def test_a_token_that_is_not_one_is_not_repeated(console: Console, token: str) -> None:
    """Exit 4, and where it comes from."""
    console.environ |= {"ASGI_APIKEY_TOKEN": token}
    refused = console("--server", SERVER, "list")

    assert refused.exit_code == 4
    assert "ASGI_APIKEY_TOKEN" in refused.stderr
    assert token not in refused.stderr.replace("is it the right one", "")


def scripted(console: Console, answer: Answer) -> tuple[Scripted, Callable[..., object]]:
    """A console whose server answers always the same."""
    server = Scripted(answer)
    told = replace(console, through_server=True)
    told.transport = server
    return server, told


def test_readiness_is_asked_without_a_token(console: Console) -> None:
    """Everybody may know."""
    server, told = scripted(console, Answer(200, b'{"status":"ready"}'))
    outcome = told("ready")

    assert outcome.stdout == "ready\n"  # type: ignore[attr-defined]
    assert "Authorization" not in server.sent[0][2]


@pytest.mark.parametrize(
    "document",
    [
        "{}",
        '{"keys": 7}',
        '{"keys": [{}], "next_cursor": null}',
        '{"keys": [7], "next_cursor": null}',
        '{"keys": [{"key_id": "x", "owner": "y", "created_at": 7}], "next_cursor": null}',
    ],
)
def test_a_stranger_is_not_believed(console: Console, document: str) -> None:
    """What is not an answer of the management API is an error of one line, never a traceback."""
    _, told = scripted(console, Answer(200, document.encode()))
    outcome = told("list")

    assert outcome.exit_code == 4  # type: ignore[attr-defined]
    assert "not the management API" in outcome.stderr  # type: ignore[attr-defined]


def test_what_a_server_cannot_tell_may_have_been_done(console: Console) -> None:
    """Of changes alone."""
    server, told = scripted(console, Answer(503, b"{}"))
    changed, listed = told("disable", "EKjzlXrUIG06"), told("list")
    unavailable = json.loads(told("--json", "issue", "--owner", "a").stderr)  # type: ignore[attr-defined]

    assert changed.exit_code == listed.exit_code == 3  # type: ignore[attr-defined]
    assert unavailable["error"]["outcome_unknown"] is True
    assert "may have been made" not in listed.stderr  # type: ignore[attr-defined]
    assert len(server.sent) == 3


def test_me_tells_whom_the_server_sees(console: Console, remote: Console) -> None:
    """On the store itself, whoever has it may do everything."""
    seen, own = remote.json("me"), console.json("me")

    assert set(seen) == set(own)
    assert (seen["actor"], own["actor"]) == ("root", "")
    assert seen["actions"] == own["actions"] == list(ACTIONS) == sorted(EVERY_ACTION)
    assert "actor    root\n" in remote("me").stdout


def test_me_shows_the_key_that_one_came_with(remote: Console) -> None:
    """Its id, and in JSON all that is known of it."""
    _, key_id = remote.issue()
    record = json.loads(remote("--json", "show", key_id).stdout)["record"]
    times = {name: value for name, value in record.items() if name.endswith("_at") or name == "not_before"}
    document = {"actor": f"key:{key_id}", "owner": "acme", "tenant": "", "actions": [], "scopes": [], "until": None}
    answer = json.dumps(document | {"key": record | times}).encode()
    _, told = scripted(remote, Answer(200, answer))

    assert json.loads(told("--json", "me").stdout)["key"] == record  # type: ignore[attr-defined]
    assert f"key      {key_id}\n" in told("me").stdout  # type: ignore[attr-defined]


@pytest.mark.parametrize("through_server", [False, True], ids=["store", "server"])
def test_the_change_feed_can_be_followed(console: Console) -> None:
    """Each page says where the next one begins."""
    ids = [console.issue()[1] for _ in range(3)]
    console("disable", ids[0], "--json")
    first = console.json("changes", "--limit", "2")
    rest = console.json("changes", "--since", str(first["next_since"]))
    shown = console("changes", "--limit", "1")

    assert [each["key_id"] for each in first["changes"] + rest["changes"]] == [*ids, ids[0]]
    assert rest["changes"][-1]["version"] == 2
    assert shown.stdout.splitlines()[0].split() == ["SEQ", "KEY", "ID", "VERSION"]
    assert "there may be more: --since" in shown.stderr
    assert console("changes", "--since", "999").stderr == "no such changes\n"


@pytest.mark.parametrize("through_server", [False, True], ids=["store", "server"])
def test_the_audit_has_a_tail(console: Console) -> None:
    """The newest last, as many as asked for."""
    ids = [console.issue()[1] for _ in range(3)]
    entries = console.json("audit", "tail", "-n", "2")["entries"]
    of_one = console.json("audit", "tail", "--key-id", ids[0])["entries"]

    assert [(each["key_id"], each["action"]) for each in entries] == [(ids[1], "issue"), (ids[2], "issue")]
    assert [each["number"] for each in of_one] == [1]
    assert entries[0]["at"] == "2027-01-15T08:00:00.000Z"


def test_a_long_tail_comes_in_pages(remote: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many requests as it takes."""
    monkeypatch.setattr("asgi_apikey.cli.desk._PAGE", 2)
    for _ in range(5):
        remote.issue()

    assert [each["number"] for each in remote.json("audit", "tail", "-n", "4")["entries"]] == [2, 3, 4, 5]
    assert len(remote.json("audit", "tail", "-n", "40")["entries"]) == 5


def test_the_documents_are_the_same_through_a_server(console: Console) -> None:
    """All that can be shown, field by field."""
    _, key_id = console.issue(
        *("--name", "ci", "--scope", "a", "--tag", "t", "--network", "10.0.0.0/8", "--route", "GET /x"),
        *("--metadata", '{"a": {"b": [1, null]}}', "--expires-in", "90d", "--not-before", "2027-01-15T07:00:00Z"),
    )
    remote = replace(console, through_server=True)
    for command in (["show", key_id], ["list"], ["list", "--count"], ["usage", key_id], ["changes"], ["audit", "tail"]):
        assert remote.json(*command) == console.json(*command), command
        assert remote(*command).output == console(*command).output, command


def test_a_token_is_in_no_repr(console: Console) -> None:
    """Of a session, whose settings it is among; nor of what is served here."""
    assert TOKEN not in repr(Served(console.open.__self__, Address("h", 1, "", True)))  # type: ignore[attr-defined]
    assert "CANARY" not in repr(Answer(200, b"CANARY"))


def test_the_page_names_the_command_of_each_operation() -> None:
    """In its table, in pairs."""
    told: dict[str, str] = {}
    for row in rows(section(DOCS / "howto" / "command-line.md", "Through a server")):
        operations, commands = code_list(row[0]), code_list(row[1])
        told |= dict(zip(operations, commands if len(commands) > 1 else commands * len(operations), strict=True))

    assert told == COMMANDS


def code_list(cell: str) -> list[str]:
    """What stands in backticks, in order."""
    return re.findall(r"`([^`]+)`", cell)
