"""The audit as `APIKeys` wires it: who did what, sealed under the audit key, through every verb."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.models import Actor
from asgi_apikey.repositories.migrations import migrations
from tests.wiring import LATER_PEPPER, PEPPER

ADA = Actor("ada", "request 7")


@pytest.mark.anyio
async def test_every_verb_is_told_with_its_actor() -> None:
    """By name, occasion and reason; the chain is sealed under the key."""
    keys = APIKeys("memory:", pepper=PEPPER, audit_key=LATER_PEPPER)
    key_id = (await keys.issue(owner="acme", actor=ADA)).record.key_id
    await keys.amend(key_id, name="x", actor=ADA)
    await keys.disable(key_id, actor=ADA)
    await keys.enable(key_id, actor=ADA)
    rotated = (await keys.rotate(key_id, actor=ADA)).record.key_id
    await keys.revoke(rotated, reason="lost", only=True, actor=ADA)
    await keys.delete(rotated, actor=ADA)
    entries = await keys.audit.tail()
    report = await keys.audit.verify()

    assert [each.action for each in entries] == [
        *("issue", "amend", "disable", "enable", "rotate", "rotate", "revoke", "delete")
    ]
    assert {(each.actor, each.correlation_id) for each in entries} == {("ada", "request 7")}
    assert [each.reason for each in entries if each.reason] == ["lost"]
    assert all(each.mac.startswith("hmac-sha256$") for each in entries)
    assert (report.sound, report.keyed) == (True, True)


@pytest.mark.anyio
async def test_without_an_actor_the_record_says_who() -> None:
    """`created_by` and `by` are names too."""
    keys = APIKeys("memory:", pepper=PEPPER)
    key_id = (await keys.issue(owner="acme", created_by="ada")).record.key_id
    await keys.revoke(key_id, by="bob")

    assert [each.actor for each in await keys.audit.tail()] == ["ada", "bob"]


@pytest.mark.anyio
@pytest.mark.parametrize("actor", [Actor("a\nb"), Actor("x" * 256), Actor("", "\x1b[2J"), Actor("\ud800")])
async def test_an_actor_that_cannot_be_kept_stops_the_change(actor: Actor) -> None:
    """A line of a log must not be able to look like two."""
    keys = APIKeys("memory:", pepper=PEPPER)
    with pytest.raises(InvalidRequest):
        await keys.issue(owner="acme", actor=actor)

    assert (await keys.find()).records == ()


@pytest.mark.parametrize("audit_key", ["short", PEPPER, [LATER_PEPPER, PEPPER], [], [LATER_PEPPER, LATER_PEPPER]])
def test_an_unsafe_audit_key_is_refused(audit_key: str | list[str]) -> None:
    """Short, the pepper, none at all, or twice; it is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        APIKeys("memory:", pepper=PEPPER, audit_key=audit_key)
    assert not any(each in str(caught.value) for each in ("short", PEPPER, LATER_PEPPER))


@pytest.mark.anyio
async def test_an_upgraded_store_begins_its_audit_where_it_stands(tmp_path: Path) -> None:
    """What was changed before has no entry, and is not missed."""
    path = tmp_path / "keys.db"
    with sqlite3.connect(path) as connection:
        for step in migrations("sqlite")[:2]:
            for statement in step.statements:
                connection.execute(statement)
        connection.execute("UPDATE api_key_meta SET value = '2' WHERE name = 'schema_version'")
        connection.execute("INSERT INTO api_key_changes (key_id, version) VALUES ('old', 1), ('old', 2)")
    connection.close()
    keys = APIKeys(f"sqlite:///{path}", pepper=PEPPER)
    await keys.repository.open(create=True)
    await keys.issue(owner="acme")
    anchor, report = await keys.audit.anchor(), await keys.audit.verify()
    await keys.close()

    assert (anchor.after, anchor.entries, anchor.position) == (2, 1, 3)
    assert report.findings == ()
