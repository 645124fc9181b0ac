"""The one table of what the API can do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asgi_apikey.asgi.problems import TABLE
from asgi_apikey.management.operations import OPERATIONS, Operation
from tests.management.desk import Desk

pytestmark = pytest.mark.anyio

# Method, path and action of every verb: what is not in here is not there.
WANTED = {
    "POST /": "write",
    "GET /": "read",
    "POST /search": "read",
    "POST /count": "read",
    "POST /revoke": "revoke",
    "POST /verify": "verify",
    "GET /me": None,
    "GET /test-auth": None,
    "GET /audit": "audit",
    "GET /changes": "audit",
    "GET /health": None,
    "GET /ready": None,
    "GET /{key_id}": "read",
    "PATCH /{key_id}": "write",
    "DELETE /{key_id}": "revoke",
    "POST /{key_id}/rotate": "write",
    "POST /{key_id}/revoke": "revoke",
    "POST /{key_id}/disable": "write",
    "POST /{key_id}/enable": "write",
    "GET /{key_id}/usage": "read",
}
BODIES: dict[str, Any] = {
    "issue_key": {"name": "a", "owner": "o"},
    "revoke_keys": {"where": {"owner": "nobody"}},
    "verify_key": {"key": "x"},
    "amend_key": {"name": "b"},
}


def test_every_verb_is_there_and_needs_what_it_should() -> None:
    """Written out: a new one has to be added here too."""
    assert {f"{each.method} {each.path}": each.action for each in OPERATIONS} == WANTED


def test_names_are_unique() -> None:
    """Generated clients make functions of them."""
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)


def test_only_the_service_itself_is_public() -> None:
    """Nobody reads or changes a key without being asked who he is."""
    assert {each.path for each in OPERATIONS if each.public} == {"/health", "/ready"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_error_has_a_status_of_its_own(operation: Operation) -> None:
    """So that the description can tell it; and what takes input can refuse it."""
    assert all(error in TABLE for error in operation.errors)
    assert 422 in {TABLE[error].status for error in operation.errors}
    assert len(set(operation.errors)) == len(operation.errors)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_every_answer_is_of_its_schema(quick: Desk, operation: Operation) -> None:
    """Field by field, with nothing beside it."""
    key_id = await quick.made(metadata={"a": [None]}, expires_in=60)

    answer = await quick.ask(
        operation.method,
        operation.path.replace("{key_id}", key_id),
        BODIES.get(operation.name) if operation.body else None,
    )

    schema = operation.answers[answer.status_code]
    told = msgspec.json.decode(answer.content, type=schema)
    assert msgspec.json.decode(msgspec.json.encode(told)) == answer.json()
