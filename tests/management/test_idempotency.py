"""Knowing a repetition of a request that makes a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_apikey import APIKeys
from tests.management.desk import Desk, by_header, client_of, memory_keys, problem
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

BODY = {"name": "ci", "owner": "alice", "scopes": ["a", "b"], "metadata": {"x": 1, "y": 2}, "expires_in": 60}


def under(key: str) -> dict[str, dict[str, str]]:
    """The header that names a request."""
    return {"headers": {"idempotency-key": key}}


async def count(desk: Desk) -> int:
    """How many keys there are."""
    counted: int = (await desk.ask("POST", "/count", {})).json()["count"]
    return counted


async def test_a_repetition_makes_nothing_and_shows_no_secret(desk: Desk) -> None:
    """The same record comes back, and says that its secret was shown; even if it has changed since."""
    first = await desk.ask("POST", "/", BODY, **under("k1"))
    second = await desk.ask("POST", "/", BODY, **under("k1"))
    await desk.ask("PATCH", f"/{first.json()['record']['key_id']}", {"name": "other", "scopes": None})
    third = await desk.ask("POST", "/", BODY, **under("k1"))

    assert (first.status_code, second.status_code, third.status_code) == (201, 200, 200)
    assert second.json() == first.json() | {"key": None, "shown_before": True}
    assert first.json()["key"] not in second.text + third.text
    assert third.json()["record"]["name"] == "other"
    assert await count(desk) == 1


async def test_the_order_of_what_has_none_does_not_matter(desk: Desk) -> None:
    """Objects say the same in any order; lists are taken as they stand."""
    await desk.ask("POST", "/", BODY, **under("k1"))

    again = await desk.ask("POST", "/", dict(reversed(BODY.items())) | {"metadata": {"y": 2, "x": 1}}, **under("k1"))

    assert again.status_code == 200


@pytest.mark.parametrize(
    "other", [{"name": "cd"}, {"scopes": ["a"]}, {"expires_in": 61}, {"owner": "bob"}, {"tags": ["x"]}]
)
async def test_another_request_under_the_same_key_is_a_conflict(desk: Desk, other: dict[str, Any]) -> None:
    """It makes nothing, also when the first key was amended into what it asks for."""
    first = await desk.ask("POST", "/", BODY, **under("k1"))
    await desk.ask("PATCH", f"/{first.json()['record']['key_id']}", {"name": "cd"})

    answer = await desk.ask("POST", "/", BODY | other, **under("k1"))

    assert problem(answer) == (409, "idempotency_conflict")
    assert await count(desk) == 1


async def test_other_keys_other_callers_and_no_key_are_other_requests(desk: Desk) -> None:
    """Nobody meets anybody else's."""
    for who in ("root", "other-root", "alice"):
        for options in (under("k1"), under("k2"), {}, {}):
            answer = await desk.of(who).ask("POST", "/", BODY, **options)
            assert answer.status_code == 201

    assert await count(desk) == 12


async def test_a_rotation_is_known_too(desk: Desk) -> None:
    """So a lost answer does not give up the successor; another grace is another request."""
    made = await desk.made()

    first = await desk.ask("POST", f"/{made}/rotate", {"grace": 5}, **under("k1"))
    second = await desk.ask("POST", f"/{made}/rotate", {"grace": 5}, **under("k1"))
    other = await desk.ask("POST", f"/{made}/rotate", {"grace": 0}, **under("k1"))
    unnamed = await desk.ask("POST", f"/{made}/rotate", {"grace": 5})

    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["record"]["key_id"] == first.json()["record"]["key_id"]
    assert second.json()["key"] is None
    assert problem(other) == (409, "idempotency_conflict")
    assert unnamed.status_code == 201


async def test_the_same_name_for_different_verbs_and_keys_is_not_the_same(desk: Desk) -> None:
    """What is named is the whole request."""
    first, second = await desk.made(), await desk.made()

    answers = [await desk.ask("POST", f"/{key_id}/rotate", **under("k1")) for key_id in (first, second)]
    answers.append(await desk.ask("POST", "/", BODY, **under("k1")))

    assert [answer.status_code for answer in answers] == [201, 201, 201]


@pytest.mark.parametrize("name", ["", " ", "a b", "é".encode("latin-1"), "x" * 256])
async def test_what_is_no_idempotency_key_is_refused(quick: Desk, name: str | bytes) -> None:
    """Rather than ignored: then a repetition would make a second key."""
    answer = await quick.ask("POST", "/", BODY, headers={"idempotency-key": name})

    assert problem(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["path"] == "Idempotency-Key"


async def test_two_of_them_are_refused(quick: Desk) -> None:
    """Which one is meant cannot be told."""
    answer = await quick.http.post(
        "/", json=BODY, headers=[("x-caller", "root"), ("idempotency-key", "a"), ("idempotency-key", "b")]
    )

    assert problem(answer) == (422, "invalid_request")


@pytest.fixture
async def two(tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two services over one file, as two processes are."""
    url = f"sqlite:///{tmp_path}/keys.db"
    async with APIKeys(url, pepper=PEPPER) as one, APIKeys(url, pepper=PEPPER) as other:
        await one.repository.open(create=True)
        async with client_of(one.management(by_header)) as first, client_of(other.management(by_header)) as second:
            yield Desk(one, first), Desk(other, second)


async def test_a_repetition_is_known_in_another_process(two: tuple[Desk, Desk]) -> None:
    """Nothing about it is remembered in the first."""
    first = await two[0].ask("POST", "/", BODY, **under("k1"))
    second = await two[1].ask("POST", "/", BODY, **under("k1"))
    other = await two[1].ask("POST", "/", BODY | {"name": "x"}, **under("k1"))

    assert second.json() == first.json() | {"key": None, "shown_before": True}
    assert problem(other) == (409, "idempotency_conflict")


async def test_of_many_at_the_same_time_one_makes_the_key(two: tuple[Desk, Desk]) -> None:
    """Whatever process they reach: the store has one key of an id."""
    answers: list[Any] = []

    async def ask(desk: Desk) -> None:
        answers.append(await desk.ask("POST", "/", BODY, **under("k1")))

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(ask, two[number % 2])

    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.json()["record"]["key_id"] for answer in answers}) == 1
    assert sum(answer.json()["key"] is not None for answer in answers) == 1
    assert await count(two[0]) == 1


async def test_the_same_request_makes_another_key_in_another_store(anyio_backend: str) -> None:
    """So that keys made by the same script can be moved into one store."""
    made = []
    for _ in range(2):
        keys = memory_keys()
        async with client_of(keys.management(by_header)) as client:
            answer = await Desk(keys, client).ask("POST", "/", BODY, **under("k1"))
            made.append(answer.json()["record"]["key_id"])

    assert len(set(made)) == 2
