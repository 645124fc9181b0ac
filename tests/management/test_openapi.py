"""The description for programs: valid, complete, and true to the table it is made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from asgi_apikey.asgi.problems import TABLE
from asgi_apikey.management.decoding import parameters_of
from asgi_apikey.management.openapi import openapi_document
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.management.schemes import SCHEMES, key_schemes, schemes_of, session_schemes

DOCUMENT: dict[str, Any] = openapi_document()

each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


def described(operation: Operation) -> dict[str, Any]:
    """What the document says about an operation."""
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


def parameters(operation: Operation, place: str) -> dict[str, Any]:
    """Its parameters in one place."""
    return {each["name"]: each["schema"] for each in described(operation)["parameters"] if each["in"] == place}


def everything(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document."""
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from everything(each)


def test_the_document_is_valid() -> None:
    """OpenAPI 3.1, by somebody else's validator; and it survives JSON."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_the_document_describes_every_operation_and_no_other() -> None:
    """Each under its own id."""
    found = {
        (method.upper(), path, operation["operationId"])
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }

    assert found == {(each.method, each.path, each.name) for each in OPERATIONS}
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)


@each_operation
def test_a_description_is_that_of_its_row(operation: Operation) -> None:
    """Parameters, body, statuses and headers."""
    told = described(operation)
    statuses = {*operation.answers, *(TABLE[error].status for error in operation.errors)}
    statuses |= set() if operation.method == "GET" else {415}

    assert {int(status) for status in told["responses"]} == statuses
    assert set(parameters(operation, "query")) == set(parameters_of(operation.query))
    assert ("key_id" in parameters(operation, "path")) is ("{key_id}" in operation.path)
    assert ("If-Match" in parameters(operation, "header")) is (operation.matches and operation.method != "GET")
    assert ("Idempotency-Key" in parameters(operation, "header")) is operation.repeats
    assert ("requestBody" in told) is (operation.body is not None)
    if operation.body is not None:
        assert told["requestBody"]["required"] is operation.body_required


@each_operation
def test_every_answer_says_what_it_means_and_what_is_in_it(operation: Operation) -> None:
    """Problems are problems, and carry the headers that their status demands."""
    for status, response in described(operation)["responses"].items():
        kind = "application/json" if int(status) < 400 else "application/problem+json"
        assert response["description"]
        assert list(response["content"]) == [kind]
        assert ("WWW-Authenticate" in response["headers"]) is (status == "401")
        assert ("Retry-After" in response["headers"]) is (status in {"429", "503"})


@each_operation
def test_a_credential_is_needed_unless_nobody_is_asked(operation: Operation) -> None:
    """Any one of the schemes, with the action's scope."""
    needed = [] if operation.action is None else [operation.action.scope]

    security = described(operation)["security"]

    assert security == ([] if operation.public else [{name: needed} for name in SCHEMES])


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    """Nothing is left over from what is only a query string."""
    used = {each["$ref"].rpartition("/")[2] for each in everything(DOCUMENT) if "$ref" in each}

    assert used == set(DOCUMENT["components"]["schemas"])


def test_the_schemas_of_requests_are_closed() -> None:
    """As the decoder is."""
    for operation in OPERATIONS:
        if operation.body is not None:
            assert DOCUMENT["components"]["schemas"][operation.body.__name__]["additionalProperties"] is False


def test_docstrings_are_spread_over_the_fields() -> None:
    """None of their own headings is left in a description."""
    texts = [each["description"] for each in everything(DOCUMENT) if isinstance(each.get("description"), str)]

    assert not [text for text in texts if "Attributes:" in text or "\n    " in text]
    assert DOCUMENT["components"]["schemas"]["Issued"]["properties"]["key"]["description"].startswith("The whole key")


def test_a_query_string_has_no_null() -> None:
    """What is not asked about is left out."""
    assert not [
        schema
        for operation in OPERATIONS
        for schema in parameters(operation, "query").values()
        if "null" in json.dumps(schema)
    ]


def test_no_example_looks_like_a_key() -> None:
    """Scanners would report it for ever."""
    assert "ak_live_" not in json.dumps(DOCUMENT)


@pytest.mark.parametrize(
    ("server", "url"),
    [("/", "/"), ("", "/"), ("/api-keys", "/api-keys"), ("https://x.example/v1/", "https://x.example/v1")],
)
def test_the_server_is_where_the_api_is_mounted(server: str, url: str) -> None:
    """Without a slash at its end: the paths begin with one."""
    assert openapi_document(server=server)["servers"] == [{"url": url}]


def test_schemes_are_those_of_the_authoriser() -> None:
    """And where it says nothing, nothing is said, but for what is public."""
    headers_only = openapi_document(schemes=key_schemes("X-Key", bearer=False))
    silent = openapi_document(schemes=schemes_of(object()))

    assert headers_only["components"]["securitySchemes"]["ApiKey"]["name"] == "X-Key"  # type: ignore[index, call-overload]
    assert {json.dumps(each["security"]) for each in everything(silent) if "security" in each} == {"[]"}
    assert list(OpenAPIV31SpecValidator(silent).iter_errors()) == []  # type: ignore[arg-type]
    assert session_schemes(None) == {}
