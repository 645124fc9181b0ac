"""`webhooks`: secrets, and messages that nobody has taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import anyio
import pytest

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings import Settings
from asgi_apikey.webhooks import Answer, Webhook
from asgi_apikey.webhooks.signing import secret_bytes
from tests.cli.conftest import Console
from tests.contracts.letters import a_letter
from tests.webhooks.test_signing import SECRET

URL = "https://hooks.example/T0ken"


@dataclass(slots=True)
class Post:
    """Takes what it is told to."""

    statuses: list[int] = field(default_factory=list)
    sent: list[dict[str, object]] = field(default_factory=list)

    async def post(self, endpoint: Webhook, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take it."""
        self.sent.append(json.loads(body))
        return Answer(self.statuses.pop(0) if self.statuses else 204)


@pytest.fixture
def post(console: Console, monkeypatch: pytest.MonkeyPatch) -> Post:
    """An endpoint of the console's configuration."""
    taker = Post()
    monkeypatch.setattr("asgi_apikey.webhooks.httpx.HTTPXSender", lambda: taker)
    opened = console.open

    def open_keys(settings: Settings) -> APIKeys:
        keys = opened(settings)
        return APIKeys(
            repository=keys.repository, pepper=settings.pepper, clock=console.clock, webhooks=_webhooks(settings)
        )

    monkeypatch.setattr(Console, "open", lambda self, settings: open_keys(settings))
    console.environ |= {"ASGI_APIKEY_WEBHOOK_URL": URL, "ASGI_APIKEY_WEBHOOK_SECRET": SECRET}
    return taker


def _webhooks(settings: Settings) -> list[Webhook]:
    assert settings.webhook_url == URL
    return [Webhook(url=settings.webhook_url, secret=settings.webhook_secret)]


def keep(console: Console, *letter_ids: str, endpoint: str) -> None:
    """Put letters into the store."""
    letters = [replace(a_letter(each), endpoint=endpoint) for each in letter_ids]
    anyio.run(console.repository.dead_letters.put, letters)


HERE = Webhook(url=URL, secret=SECRET).endpoint_id


def test_a_secret_is_printed(console: Console) -> None:
    """Good enough to be one."""
    assert secret_bytes(console("webhooks", "secret").stdout.strip())
    assert secret_bytes(console.json("webhooks", "secret")["secret"])


def test_changes_by_command_are_sent(console: Console, post: Post) -> None:
    """As those of a server are, before the command ends."""
    _, key_id = console.issue("--name", "ci")
    console("revoke", key_id, "--yes", "--reason", "leaked")
    console.issue("--expires-in", "2d")
    console("expiring", "--notify")
    console("expiring", "--notify")

    assert [each["type"] for each in post.sent] == [
        "api_key.issued",
        "api_key.revoked",
        "api_key.issued",
        "api_key.expiring",
    ]


def test_an_endpoint_that_is_down_loses_nothing(console: Console, post: Post) -> None:
    """One attempt, for nobody waits at a command line; then it is a dead letter."""
    post.statuses = [500]
    console.issue()
    [letter] = console.json("webhooks", "list")["messages"]

    assert (letter["event"], letter["reason"], letter["attempts"]) == ("issued", "status 500", 1)
    assert console("webhooks", "redeliver").stdout == "1 delivered, 0 failed\n"
    assert console.json("webhooks", "list") == {"messages": []}
    assert post.sent[0] == post.sent[1]


def test_letters_are_listed_sent_and_dropped(console: Console, post: Post) -> None:
    """By their ids."""
    keep(console, "e1", "e2", "e3", endpoint=HERE)
    table = console("webhooks", "list").stdout
    post.statuses = [204, 503]
    sent = console("--json", "webhooks", "redeliver", "e1", "e2")

    assert [line.split()[0] for line in table.splitlines()] == ["ID", "e1", "e2", "e3"]
    assert (sent.exit_code, json.loads(sent.stdout)) == (1, {"delivered": 1, "failed": 1})
    assert console("webhooks", "drop", "e2").exit_code == 2
    assert console.json("webhooks", "drop", "e2", "nobody", "--yes") == {"dropped": 1}
    console.at_a_terminal = True
    assert console("webhooks", "drop", "e3", stdin="n\n").exit_code == 1
    assert console("webhooks", "drop", "e3", stdin="y\n").stdout.endswith("1 dropped\n")
    assert console("webhooks", "list").stdout == ""


def test_a_letter_to_another_endpoint_stays(console: Console, post: Post) -> None:
    """It is for who has that configured."""
    keep(console, "e1", endpoint="0" * 16)

    assert console("webhooks", "redeliver").exit_code == 1
    assert post.sent == []


def test_without_an_endpoint_nothing_can_be_sent(console: Console) -> None:
    """And that is said."""
    outcome = console("webhooks", "redeliver")

    assert outcome.exit_code == 4
    assert "no webhook" in outcome.stderr


def test_settings_become_endpoints() -> None:
    """The URL needs a secret; what is not safe has to be asked for."""
    base = {"ASGI_APIKEY_URL": "sqlite:///keys.db", "ASGI_APIKEY_PEPPER": "none", "ASGI_APIKEY_WEBHOOK_URL": URL}
    secret = {"ASGI_APIKEY_WEBHOOK_SECRET": f"{SECRET} {SECRET}", "ASGI_APIKEY_WEBHOOK_EVENTS": "revoked expiring"}

    assert "T0ken" not in repr(Settings.from_env(base | secret))
    assert SECRET not in repr(Settings.from_env(base | secret))
    APIKeys.from_settings(Settings.from_env(base | secret))
    inside = {"ASGI_APIKEY_WEBHOOK_URL": "http://10.0.0.7/"}
    APIKeys.from_settings(Settings.from_env(base | secret | inside | {"ASGI_APIKEY_WEBHOOK_PRIVATE": "1"}))
    for wrong in ({}, secret | inside, secret | {"ASGI_APIKEY_WEBHOOK_EVENTS": "revoke"}):
        with pytest.raises(ConfigurationError):
            APIKeys.from_settings(Settings.from_env(base | wrong))


def test_two_endpoints_of_one_url_are_refused() -> None:
    """Their messages would have the same ids."""
    one = Webhook(url=URL, secret=SECRET, events={"revoked"})
    with pytest.raises(ConfigurationError, match="same URL"):
        APIKeys("memory:", pepper=None, webhooks=[one, replace_events(one)])


def replace_events(webhook: Webhook) -> Webhook:
    """The same with other events."""
    return Webhook(url=webhook.url, secret=webhook.secret, events={"issued"})
