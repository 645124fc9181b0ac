"""The API over PostgreSQL: what rests on the database is the same there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from asgi_apikey import APIKeys
from tests.management.desk import Desk, by_header, client_of, problem
from tests.servers import PostgresServer
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio


@pytest.fixture
async def two(postgres: PostgresServer, anyio_backend: str) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two services over one database."""
    url = postgres.url_of(postgres.new_database())
    async with APIKeys(url, pepper=PEPPER) as one, APIKeys(url, pepper=PEPPER) as other:
        await one.repository.open(create=True)
        async with client_of(one.management(by_header)) as first, client_of(other.management(by_header)) as second:
            yield Desk(one, first), Desk(other, second)


async def test_the_story_of_a_key(two: tuple[Desk, Desk]) -> None:
    """Made here, seen, changed and ended there; with a receipt that counts both."""
    here, there = two
    made = await here.make(scopes=["a"], metadata={"x": 1}, tags=["t"])
    key_id = made["record"]["key_id"]
    await here.keys.authenticate(made["key"].encode())

    patched = await there.ask("PATCH", f"/{key_id}", {"metadata": {"x": None, "y": 2}}, headers={"if-match": '"1"'})
    stale = await here.ask("PATCH", f"/{key_id}", {"name": "x"}, headers={"if-match": '"1"'})
    found = await there.ask("GET", "/?tags=t&scopes=a&sort=expires_at")
    revoked = await there.ask("POST", f"/{key_id}/revoke", {"reason": "done"})
    told = await here.ask("POST", "/verify", {"key": made["key"]})
    audit = await here.ask("GET", f"/audit?key_id={key_id}")

    assert patched.json()["record"]["metadata"] == {"y": 2}
    assert problem(stale) == (412, "stale_record")
    assert [key["key_id"] for key in found.json()["keys"]] == [key_id]
    assert revoked.json()["receipt"]["confirmed"] is True
    assert told.json() == {"active": False}
    assert [entry["action"] for entry in audit.json()["entries"]] == ["revoke", "amend", "issue"]


async def test_of_many_repetitions_at_the_same_time_one_makes_the_key(two: tuple[Desk, Desk]) -> None:
    """Whichever service they reach."""
    answers: list[Any] = []
    body = {"name": "ci", "owner": "alice"}

    async def ask(desk: Desk) -> None:
        answers.append(await desk.ask("POST", "/", body, headers={"idempotency-key": "k1"}))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, two[number % 2])
    other = await two[1].ask("POST", "/", body | {"name": "cd"}, headers={"idempotency-key": "k1"})

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["record"]["key_id"] for answer in answers}) == 1
    assert problem(other) == (409, "idempotency_conflict")


async def test_a_page_ends_where_the_next_begins(two: tuple[Desk, Desk]) -> None:
    """Also when another service gives it."""
    made = {await two[0].made(name=f"k{number}") for number in range(5)}

    first = (await two[0].ask("GET", "/?limit=3")).json()
    second = (await two[1].ask("GET", f"/?limit=3&cursor={first['next_cursor']}")).json()

    assert {key["key_id"] for key in first["keys"] + second["keys"]} == made
    assert second["next_cursor"] is None
