"""Roles, verbs, own and foreign keys, fields: all of it tried, and just as the documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgi_apikey.management.callers import Action
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.management.schemas import KeyPatch, NewKey
from tests.management.cast import Cast, new_cast
from tests.management.matrix import (
    BEYOND,
    COLUMNS,
    SAME,
    UNKNOWN,
    WITHIN,
    field_outcome,
    request_of,
    restricted,
    tables,
    tried,
)

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parents[2] / "docs/howto/management-access.md"

each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


@pytest.fixture
def cast() -> Cast:
    """A world of its own."""
    return new_cast()


async def test_the_documentation_has_these_very_tables() -> None:
    """Every cell is an answer of the real API; `python -m tests.management.matrix` prints them anew."""
    written = DOCS.read_text(encoding="utf-8").splitlines()

    assert [line for line in await tables() if line not in written] == []


@each_operation
async def test_it_does_not_matter_what_one_has_come_with(cast: Cast, operation: Operation) -> None:
    """A token that says the same as a key is as good, to own and to foreign keys."""
    people = await cast.everybody()

    for token, key in SAME.items():
        for _, _, whose in COLUMNS:
            by_token = await tried(cast, operation, people[token], whose)
            assert by_token == await tried(cast, operation, people[key], whose), (token, whose)


@each_operation
async def test_a_verb_is_open_to_those_with_its_scope_alone(cast: Cast, operation: Operation) -> None:
    """One scope at a time, on an own key; the verbs without one are open to whoever manages anything."""
    allowed = set()
    for action in Action:
        person = await cast.with_key(action, {action.scope, "orders:*"}, owner="acme", tenant="eu")
        if await tried(cast, operation, person, ("acme", "eu")) not in {"401", "403"}:
            allowed.add(action)

    # The change feed is for who sees everything: an owner's scope is not enough.
    expected = set() if operation.name == "changes" else set(Action) if operation.action is None else {operation.action}
    assert allowed == expected


@each_operation
async def test_a_foreign_key_is_as_one_that_is_absent(cast: Cast, operation: Operation) -> None:
    """Byte by byte, headers and all, so nobody learns that it exists."""
    people = await cast.everybody()
    foreign = await cast.target("bolt", "eu")
    made = request_of(operation, foreign)
    async with cast.client(people["owner"]) as client:
        told = await client.request(**made)
        await cast.keys.delete(foreign.record.key_id)
        absent = await client.request(**made)

    assert (told.status_code, told.content, told.headers) == (absent.status_code, absent.content, absent.headers)


@pytest.mark.parametrize("name", ["other owner", "owner", "tenant's operator"])
async def test_what_is_refused_changes_nothing(cast: Cast, name: str) -> None:
    """After every verb that somebody may not do, the foreign record is the same."""
    people = await cast.everybody()
    foreign = await cast.target("carol", "us")
    async with cast.client(people[name]) as client:
        for operation in OPERATIONS:
            await client.request(**request_of(operation, foreign))

    assert await cast.keys.get(foreign.record.key_id) == foreign.record


def test_every_field_that_can_be_set_is_in_the_tables() -> None:
    """And every one that bears a right has a value that is beyond."""
    assert set(WITHIN) == set(NewKey.__struct_fields__)
    assert set(KeyPatch.__struct_fields__) <= set(WITHIN)
    assert {beyond for _, beyond in BEYOND.values()} == {
        "owners",
        "tenants",
        "environments",
        "scopes",
        "until",
        "networks",
        "routes",
        "limits",
        "origins",
    }


@pytest.mark.parametrize("amend", [False, True])
async def test_what_is_beyond_is_said_by_name_and_nothing_is_made(cast: Cast, amend: bool) -> None:
    """One respect at a time, and all at once."""
    caller = await restricted(cast)
    fields = {name: BEYOND[name] for name in BEYOND if not amend or name in KeyPatch.__struct_fields__}
    fields = {name: each for name, each in fields.items() if name not in {"expires_in", "expires_in_days"}}
    count = await cast.keys.count()

    for name, (value, respect) in fields.items():
        assert await field_outcome(cast, caller, {name: value}, amend=amend) == f"403 {respect}"
    everything = {name: value for name, (value, _) in fields.items()}
    told = await field_outcome(cast, caller, everything, amend=amend)

    assert set(told.split()) == {"403", *(respect for _, respect in fields.values())}
    made = 1 + len(fields) if amend else 0
    assert await cast.keys.count() == count + made


@pytest.mark.parametrize("amend", [False, True])
async def test_a_field_that_nobody_sets_is_refused(cast: Cast, amend: bool) -> None:
    """Also for the operator; and a key does not change hands."""
    operator = (await cast.everybody())["operator"]

    for name in (*UNKNOWN, *(("owner", "tenant", "environment") if amend else ()), "is_admin", "__proto__"):
        assert await field_outcome(cast, operator, {name: "x"}, amend=amend) == "422", name
