"""A canary key is driven through every verb and failure: nothing that leaves the process repeats any part of it."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import APIKeyError, StoreUnavailable
from asgi_apikey.events import Event, EventName
from asgi_apikey.limits import LimitPolicy
from asgi_apikey.logs import RedactingFilter
from asgi_apikey.metrics.prometheus import exposition
from asgi_apikey.models import DAY, Actor, KeyRecord, KeyRequest
from asgi_apikey.webhooks import Answer, Webhook
from tests.metrics.test_opentelemetry import collected
from tests.webhooks.test_signing import SECRET

pytestmark = pytest.mark.anyio

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
URL = "https://hooks.example/T0ken-of-the-receiver"


class Wire:
    """Takes every third message, and keeps them all."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def post(self, endpoint: Webhook, headers: Mapping[str, str], body: bytes) -> Answer:
        """Keep it."""
        self.sent.append(f"{dict(headers)} {body.decode()}")
        return Answer(204 if len(self.sent) % 3 == 0 else 410)


def pieces(secret: str) -> set[str]:
    """Every piece of twelve characters."""
    return {secret[at : at + 12] for at in range(len(secret) - 11)}


async def attempt(keys: APIKeys, presented: str) -> None:
    """Present it, and have it refused, or not."""
    with suppress(APIKeyError):
        principal = await keys.authenticate(presented.encode(), client="192.0.2.7")
        await keys.limiter.take(principal, method="GET", path="/")


async def live(keys: APIKeys, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Do everything that can be done with keys; return all secrets that there were."""
    issued = await keys.issue(owner="acme", name="canary", expires_in=DAY)
    key_id = issued.record.key_id
    adopted = keys.format.generate("live").key
    await keys.adopt(adopted, KeyRequest(owner="acme"))
    for _ in range(6):
        await attempt(keys, issued.key)
    for changed in (
        issued.key[:-1],
        issued.key + "x",
        issued.key[:-8] + "AAAAAAAA",
        issued.key.replace("live", "test"),
    ):
        await attempt(keys, changed)
    # What people paste where it does not belong.
    await keys.amend(key_id, name=f"was {issued.key}", actor=Actor(issued.key))
    await keys.notice_expiring(2 * DAY)
    second = await keys.rotate(key_id, created_by=adopted)
    third = await keys.rotate(key_id)
    await keys.disable(key_id)
    await attempt(keys, issued.key)
    await keys.enable(key_id)
    for verb in (keys.get, keys.revoke, keys.delete, keys.enable):
        with suppress(APIKeyError):
            await verb(issued.key)
    await keys.revoke(third.record.key_id, reason=f"leaked {issued.key} and {third.key}", by=second.key)
    for key in (issued.key, second.key, third.key):
        await attempt(keys, key)
    await broken(keys, adopted, monkeypatch)
    await keys.revoke_where(owner="acme", reason=adopted)
    await keys.delete(key_id, actor=Actor(issued.key))
    await attempt(keys, issued.key)
    return {issued.key, adopted, second.key, third.key}


async def broken(keys: APIKeys, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Present a key to a store that fails with it in its mouth."""

    async def silent(key_id: str) -> KeyRecord | None:
        raise StoreUnavailable("silent")

    async def raising(key_id: str) -> KeyRecord | None:
        raise ValueError(f"near {key}")

    for fault in (silent, raising):
        with monkeypatch.context() as patch:
            patch.setattr(keys.repository, "get", fault)
            await attempt(keys, key)


async def test_nothing_that_leaves_the_process_repeats_a_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs at DEBUG, metrics, events, messages to webhooks, dead letters; not a key, nor twelve characters of one.

    What drivers say at DEBUG has values of statements in it, such as a name into which somebody has pasted a key; the
    filter cuts that out.
    """
    wire, heard = Wire(), list[Event]()
    monkeypatch.setattr("asgi_apikey.webhooks.httpx.HTTPXSender", lambda: wire)

    async def hear(event: Event) -> None:
        heard.append(event)
        raise ValueError(repr(event))

    ours, filtered = io.StringIO(), io.StringIO()
    # As they are: the logger's own handlers come before those of the root.
    monkeypatch.setattr(logging.getLogger("asgi_apikey"), "handlers", [logging.StreamHandler(ours)])
    handler = logging.StreamHandler(filtered)
    handler.addFilter(RedactingFilter())
    monkeypatch.setattr(logging.getLogger(), "handlers", [*logging.getLogger().handlers, handler])
    with caplog.at_level(logging.DEBUG):
        async with APIKeys(
            f"sqlite:///{tmp_path / 'keys.db'}",
            pepper=PEPPER,
            limiting=LimitPolicy(per_key=("quota 5/day",)),
            webhooks=[Webhook(url=URL, secret=SECRET)],
        ) as keys:
            for name in EventName:
                keys.on(name, hear)
            secrets = await live(keys, monkeypatch)
            numbers = exposition(keys).decode() + repr(collected(keys))
        letters = await keys.dead_letters.page("", limit=1_000)
        await keys.repository.close()

    logs = ours.getvalue() + filtered.getvalue()
    messages = [*wire.sent, *(f"{each} {each.body}" for each in letters)]
    told = "\n".join([logs, numbers, repr(heard), *messages])
    assert "UPDATE api_keys" in filtered.getvalue()
    assert {str(each.name) for each in heard} == set(EventName)
    assert len(wire.sent) >= len(heard)
    assert letters
    assert "hook_failed" in {getattr(each, "event", "") for each in caplog.records}
    leaked = {piece for each in secrets for piece in pieces(each.rpartition("_")[2]) if piece in told}
    assert leaked == set()
    assert [each for each in (PEPPER, SECRET[6:], "T0ken") if each in told] == []
