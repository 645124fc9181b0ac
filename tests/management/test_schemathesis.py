"""Requests made up from the served description, by everybody: nothing breaks, and every answer is as described.

Bodies, parameters and headers are generated both as the schemas allow and as they do not. What a schema cannot say
(`lifecycle` does) may be refused, so that what it allows is accepted is not among the checks.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import Watched
from tests.management.cast import Cast, Person, new_cast

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
RESERVED = {each.path.split("/")[1] for each in OPERATIONS} | {"docs", "openapi.json"}
CREDENTIALS = {"authorization", "x-api-key", "cookie"}
TARGETS = [("acme", "eu"), ("bolt", "eu"), ("acme", "us")]

GENERATED = [
    pytest.param(operation, mode, id=f"{operation.name}-{mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    # What takes nothing from nobody cannot be given anything wrong.
    if mode is GenerationMode.POSITIVE or not operation.public
]


class Stage:
    """The API as a server would have it, with everybody who calls it."""

    def __init__(self) -> None:
        self.store = Watched(MemoryRepository())
        self.cast: Cast = new_cast(repository=self.store)
        people = asyncio.run(self.cast.everybody())
        # What comes first is tried most, and what others see is not very varied.
        self.people = [*reversed(people.values()), people["owner"], people["operator"]]
        schema = schemathesis.openapi.from_asgi("/openapi.json", self.cast.app)
        self.operations = {each.ok().definition.raw["operationId"]: each.ok() for each in schema.get_all_operations()}

    def target(self, whose: tuple[str, str]) -> str:
        """The id of a new key."""
        return asyncio.run(self.cast.target(*whose)).record.key_id


@cache
def stage() -> Stage:
    """Set up once: what one request leaves behind, another one may find."""
    return Stage()


def send(case: schemathesis.Case, person: Person, *, key_id: str | None, down: bool) -> None:
    """Send a generated request as somebody, to a key that is there or not; check the answer."""
    # The generated credentials would make nobody of everybody.
    kept = {name: value for name, value in (case.headers or {}).items() if name.lower() not in CREDENTIALS}
    case.headers = {**kept, **person.headers}  # type: ignore[assignment]
    case.cookies = {}
    if "key_id" in case.path_parameters:
        generated = unquote(case.path_parameters["key_id"])
        # A name of another path, or an escaped slash, would be another operation.
        other = generated in RESERVED or "/" in generated
        case.path_parameters["key_id"] = key_id or ("nobody" if other else case.path_parameters["key_id"])
    repository = stage().store
    repository.failures = dict.fromkeys(METHODS, StoreUnavailable()) if down else {}
    try:
        response = case.call()
    finally:
        repository.failures = {}
    # Without the store there is one more answer to what can never be.
    case.validate_response(response, checks=CHECKS[1:-1] if down else CHECKS)
    assert response.headers["cache-control"] == ["no-store"]
    assert response.status_code != 500


METHODS = ["get", "find", "count", "add", "update", "replace", "delete", "revoke_all"]


@pytest.mark.fuzz
@pytest.mark.parametrize(("operation", "mode"), GENERATED)
def test_every_answer_is_as_described(operation: Operation, mode: GenerationMode, fuzz_rounds: int) -> None:
    """Whoever asks for whatever, also while the store is away: 0 times 500."""
    described: Any = stage().operations[operation.name]

    @settings(
        max_examples=max(5, fuzz_rounds // 2_500), deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(
        case=described.as_strategy(generation_mode=mode),
        person=st.sampled_from(stage().people),
        whose=st.sampled_from([None, *TARGETS]),
        down=st.sampled_from([False] * 7 + [True]),
    )
    def run(case: schemathesis.Case, person: Person, whose: tuple[str, str] | None, down: bool) -> None:
        send(case, person, key_id=None if whose is None else stage().target(whose), down=down)

    run()
