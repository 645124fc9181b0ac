"""The management API described for programs: OpenAPI 3.1, made from the table of operations and nothing else.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

import msgspec

from asgi_apikey.asgi.problems import TABLE, Problem
from asgi_apikey.management.callers import Action
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.management.schemes import SCHEMES
from asgi_apikey.models import JSONValue, Metadata

_DESCRIPTION: Final = """\
Makes, finds, changes and ends API keys.

Every body is JSON, and closed: a field that is not described is refused. Instants are RFC 3339 with an offset, \
durations are seconds. Whoever sees only an owner's keys is told of all others that there are none. Nobody hands on \
more than he has himself: not more scopes, addresses, routes, environments, nor a later end.

What goes wrong is told as a problem (RFC 9457), whose `code` is stable. Answers are never to be stored."""

_REFERENCE: Final = "#/components/schemas/"
_ATTRIBUTE: Final = re.compile(r"    (\w+): (.*(?:\n {8}.*)*)")

_STRING: Final[Metadata] = {"type": "string"}

_PROBLEM: Final[Metadata] = {
    "title": "Problem",
    "description": "Why a request was refused or cannot be met (RFC 9457).",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "Names the kind of problem, for ever."},
        "title": {"type": "string", "description": "The same for each problem of a kind."},
        "status": {"type": "integer", "description": "The HTTP status again."},
        "detail": {"type": "string", "description": "What to do about it."},
        "code": {"type": "string", "description": "The end of `type`, for programs."},
        "errors": {
            "type": "array",
            "description": "Which values cannot be, where single ones are to blame.",
            "items": {"type": "object", "properties": {"path": _STRING, "detail": _STRING}, "required": ["detail"]},
        },
        "exceeds": {
            "type": "array",
            "description": "In which respects more would be handed on than may be.",
            "items": _STRING,
        },
        "most": {"type": "integer", "description": "How many there may be."},
        "outcome_unknown": {
            "type": "boolean",
            "description": "The change may have been made; look first.",
        },
    },
    "required": ["type", "title", "status", "detail", "code"],
}

_NOT_JSON: Final = Problem(415, "unsupported_media_type", "The body is not said to be JSON", "")

_KEY_ID: Final[Metadata] = {
    "name": "key_id",
    "in": "path",
    "required": True,
    "description": "The key's public id.",
    "schema": {"type": "string", "minLength": 1, "examples": ["9fK2mQ7xT4Lc"]},
}
_IF_MATCH: Final[Metadata] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the version that was read: at another one, nothing is changed (412).",
    "schema": {"type": "string", "examples": ['"3"']},
}
_IDEMPOTENCY_KEY: Final[Metadata] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Made up for this request. Repeated with the same body, it makes no second key; the secret is not "
    "shown again.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "examples": ["make-the-key-for-ci-17"],
    },
}

_HEADERS: Final[Mapping[str, Metadata]] = {
    "ETag": {"description": "The version of the record, for `If-Match`.", "schema": _STRING},
    "Location": {"description": "Where the new key's record is.", "schema": _STRING},
    "Retry-After": {"description": "Seconds after which trying again makes sense.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to present a credential.", "schema": _STRING},
}
_HEADERS_OF: Final[Mapping[int, Sequence[str]]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
_MEANS: Final[Mapping[int, str]] = {
    200: "Done.",
    201: "Made.",
    202: "Committed; it spreads in the background.",
}


def openapi_document(
    operations: Iterable[Operation] = OPERATIONS, *, schemes: Metadata = SCHEMES, server: str = "/"
) -> dict[str, JSONValue]:
    """Return the description as a JSON object.

    Args:
        operations: What there is to describe.
        schemes: How callers present themselves: Security Scheme Objects by name. None of them: nothing is said.
        server: Where the API is mounted: a path or a URL, with or without a slash at its end.
    """
    operations = tuple(operations)
    schemas = _schemas(operations)
    paths: dict[str, dict[str, JSONValue]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas, schemes)
    queries = {each.query.__name__ for each in operations} - {each.body.__name__ for each in operations if each.body}
    return {
        "openapi": "3.1.1",
        "info": {"title": "API keys", "version": version("asgi-apikey"), "description": _DESCRIPTION},
        "servers": [{"url": server.rstrip("/") or "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: schemas[name] for name in sorted(schemas) if name not in queries},
            "securitySchemes": dict(schemes),
        },
    }


# ---- operations ----


def _operation(operation: Operation, schemas: Mapping[str, Metadata], schemes: Metadata) -> dict[str, JSONValue]:
    described: dict[str, JSONValue] = {"operationId": operation.name, "summary": operation.summary}
    if operation.action is not None:
        described["description"] = f"Needs `{operation.action.scope}`."
    if operation.public or schemes:
        described["security"] = [] if operation.public else _security(operation.action, schemes)
    described["parameters"] = [*_parameters(operation, schemas)]
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": _reference(operation.body)}},
        }
    described["responses"] = {
        str(status): response for status, response in sorted((_successes(operation) | _failures(operation)).items())
    }
    return described


def _security(action: Action | None, schemes: Metadata) -> list[JSONValue]:
    """Any one of the schemes, each with the scope that is needed: OpenAPI 3.1 allows role names for all of them."""
    return [{name: [] if action is None else [action.scope]} for name in schemes]


def _parameters(operation: Operation, schemas: Mapping[str, Metadata]) -> Iterable[Metadata]:
    if "{key_id}" in operation.path:
        yield _KEY_ID
    yield from _query_parameters(schemas[operation.query.__name__], schemas)
    if operation.matches and operation.method != "GET":
        yield _IF_MATCH
    if operation.repeats:
        yield _IDEMPOTENCY_KEY


def _query_parameters(schema: Metadata, schemas: Mapping[str, Metadata]) -> Iterable[Metadata]:
    """Return a parameter for each field; those of a struct within stand beside the others."""
    for name, field in _members(schema.get("properties")).items():
        inner = schemas.get(str(_members(field).get("$ref", "")).removeprefix(_REFERENCE), {})
        if "properties" in inner:
            yield from _query_parameters(inner, schemas)
            continue
        plain = _without_null(_members(field))
        described: dict[str, JSONValue] = {"name": name, "in": "query", "required": False}
        if "description" in plain:
            described["description"] = plain["description"]
        yield described | {"schema": {key: value for key, value in plain.items() if key != "description"}}


def _without_null(field: Metadata) -> Metadata:
    """What is not asked about is left out of a query string; it has no `null`."""
    kept = {key: value for key, value in field.items() if not (key == "default" and value is None)}
    choices = [each for each in _list(kept.pop("anyOf", ())) if _members(each).get("type") != "null"]
    if len(choices) == 1:
        return {**kept, **_members(choices[0])}
    return {**kept, "anyOf": choices} if choices else kept


def _successes(operation: Operation) -> dict[int, JSONValue]:
    return {
        status: {
            "description": "A repetition: the record, without the secret."
            if operation.repeats and status == HTTPStatus.OK
            else _MEANS[status],
            "headers": {name: _HEADERS[name] for name in _headers(operation, status)},
            "content": {"application/json": {"schema": _reference(answer)}},
        }
        for status, answer in operation.answers.items()
    }


def _headers(operation: Operation, status: int) -> Iterable[str]:
    if operation.repeats:
        yield from ("ETag", "Location")
    elif operation.matches:
        yield "ETag"


def _failures(operation: Operation) -> dict[int, JSONValue]:
    problems: dict[int, list[Problem]] = {}
    if operation.method != "GET":
        # The only problem of theirs that is none of an error's: it is about HTTP alone.
        problems[HTTPStatus.UNSUPPORTED_MEDIA_TYPE] = [_NOT_JSON]
    for error in operation.errors:
        problem = TABLE[error]
        if problem not in problems.setdefault(problem.status, []):
            problems[problem.status].append(problem)
    return {
        status: {
            "description": "; ".join(f"{each.title} (`{each.code}`)" for each in alike) + ".",
            "headers": {name: _HEADERS[name] for name in _HEADERS_OF.get(status, ())},
            "content": {"application/problem+json": {"schema": {"$ref": f"{_REFERENCE}Problem"}}},
        }
        for status, alike in problems.items()
    }


# ---- schemas ----


def _schemas(operations: Sequence[Operation]) -> dict[str, Metadata]:
    types = [each.query for each in operations] + [each.body for each in operations if each.body is not None]
    types += [answer for each in operations for answer in each.answers.values()]
    _, components = msgspec.json.schema_components(dict.fromkeys(types), ref_template=_REFERENCE + "{name}")
    return {name: _described(schema) for name, schema in components.items()} | {"Problem": _PROBLEM}


def _described(schema: Metadata) -> Metadata:
    """Spread a docstring, which msgspec takes as it is, over the schema and its fields."""
    text, _, attributes = inspect.cleandoc(str(schema.get("description", ""))).partition("\n\nAttributes:\n")
    about = {name: " ".join(lines.split()) for name, lines in _ATTRIBUTE.findall(attributes)}
    properties = {
        name: _plain_default(_members(field)) | ({"description": about[name]} if name in about else {})
        for name, field in _members(schema.get("properties")).items()
    }
    return {**schema, **({"description": text} if text else {}), **({"properties": properties} if properties else {})}


def _plain_default(field: Metadata) -> dict[str, JSONValue]:
    """A struct's default is that struct with its own defaults, written out; that says nothing and is long."""
    return {
        key: value for key, value in field.items() if not (key == "default" and isinstance(value, Mapping) and value)
    }


def _list(value: JSONValue) -> Sequence[JSONValue]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _members(value: JSONValue) -> Metadata:
    return value if isinstance(value, Mapping) else {}


def _reference(kind: type[msgspec.Struct]) -> Metadata:
    return {"$ref": _REFERENCE + kind.__name__}
