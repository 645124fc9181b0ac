"""What an OpenAPI document says about the keys: schemes, what needs them, and the answers to who has none.

For applications that the middleware alone guards: their framework knows nothing of it, and neither does the document
that the framework writes. Nothing here needs a framework; a document is JSON, as a dictionary.

Source: OpenAPI 3.0.4 and 3.1.1, sections "Security Scheme Object" and "Security Requirement Object".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Final, TypeAlias

from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.exempt import ExemptPaths
from asgi_apikey.asgi.extract import Extractor
from asgi_apikey.asgi.options import MiddlewareOptions
from asgi_apikey.asgi.problems import TABLE, Problem
from asgi_apikey.errors import InvalidKey, MissingScope, RateLimited, StoreUnavailable
from asgi_apikey.models import JSONValue
from asgi_apikey.paths import matches

Requirement: TypeAlias = dict[str, list[str]]
"""A Security Requirement Object: schemes that are needed together, each with the scopes it must have."""

Document: TypeAlias = dict[str, JSONValue]
"""An OpenAPI document, or an object in one."""

HEADER: Final = "APIKey"
QUERY: Final = "APIKeyQuery"
COOKIE: Final = "APIKeyCookie"
BEARER: Final = "APIKeyBearer"

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")

_PROBLEM: Final[Mapping[str, JSONValue]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}
"""RFC 9457 section 3.1, with the member `code`."""


def security_schemes(
    *,
    header: str | None = "X-API-Key",
    query_param: str | None = None,
    bearer: bool = False,
    cookie: str | None = None,
) -> dict[str, dict[str, str]]:
    """Return the security schemes of a middleware with these places, by the names that all bridges use.

    Args:
        header: As given to the middleware, like the others.
        query_param: The query parameter.
        bearer: Whether `Authorization: Bearer` is read.
        cookie: The cookie.

    Raises:
        ConfigurationError: A middleware would refuse them.
    """
    Extractor(header=header, query_param=query_param, bearer=bearer, cookie=cookie)
    named = ((HEADER, "header", header), (QUERY, "query", query_param), (COOKIE, "cookie", cookie))
    schemes = {name: {"type": "apiKey", "in": place, "name": field} for name, place, field in named if field}
    return schemes | ({BEARER: {"type": "http", "scheme": "bearer"}} if bearer else {})


def refusal_responses() -> dict[str, Document]:
    """Return the responses that any guarded operation may give, by status, for its `responses`."""
    kinds: tuple[type, ...] = (InvalidKey, MissingScope, RateLimited, StoreUnavailable)
    return {str(TABLE[kind].status): _response(TABLE[kind]) for kind in kinds}


def joined(theirs: Sequence[Requirement], ours: Sequence[Requirement]) -> list[Requirement]:
    """Return what is needed where both are: each alternative of theirs with each of ours.

    One of theirs that names a scheme of ours knows better and stays as it is.
    """
    named = frozenset().union(*ours)
    alternatives: list[Requirement] = []
    for each in theirs or ({},):
        alternatives += [{**each, **own} for own in ours] if named.isdisjoint(each) else [each]
    return alternatives


def documented(
    document: Mapping[str, JSONValue],
    *,
    header: str | None = "X-API-Key",
    query_param: str | None = None,
    bearer: bool = False,
    cookie: str | None = None,
    exempt: Collection[str] = (),
    required: bool = True,
    scopes: Collection[str] = (),
) -> Document:
    """Return an OpenAPI document that tells of the middleware around the application.

    The Authorize button of documentation pages comes from it. What an operation says of its own security stays and is
    joined by ours; what it says of ours stays as it is.

    Args:
        document: As the framework writes it; it is not changed.
        header: As given to the middleware, like all the others.
        query_param: The query parameter.
        bearer: Whether `Authorization: Bearer` is read.
        cookie: The cookie.
        exempt: Paths that need no key. A path with parameters is exempt only if everything it can match is.
        required: Whether a request must carry a key.
        scopes: What a key must be granted; told from OpenAPI 3.1 on, which allows it for all kinds of schemes.

    Raises:
        ConfigurationError: A middleware would refuse these arguments.
    """
    ExemptPaths(exempt)
    schemes = security_schemes(header=header, query_param=query_param, bearer=bearer, cookie=cookie)
    told = sorted(required_scopes(scopes)) if not str(document.get("openapi", "")).startswith("3.0") else []
    ours: list[Requirement] = [{name: told} for name in schemes]
    if not required:
        ours.append({})
    written = deepcopy(dict(document))
    components = _object(written, "components")
    _object(components, "securitySchemes").update(schemes)
    answers = {status: (f"APIKey{status}", response) for status, response in refusal_responses().items()}
    _object(components, "responses").update(answers.values())
    general = written.get("security")
    for path, operation in _operations(written):
        if any(matches(pattern, path) for pattern in exempt):
            operation["security"] = []
            continue
        operation["security"] = list(joined(_requirements(operation.get("security", general)), ours))
        responses = _object(operation, "responses")
        for status, (name, _) in answers.items():
            responses.setdefault(status, {"$ref": f"#/components/responses/{name}"})
    return written


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, item in _object(document, "paths").items():
        if isinstance(item, dict):
            yield from ((path, item[method]) for method in _METHODS if isinstance(item.get(method), dict))


def _requirements(told: JSONValue) -> list[Requirement]:
    return [dict(each) for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []


def _object(parent: Document, name: str) -> Document:
    found = parent.setdefault(name, {})
    if not isinstance(found, dict):
        raise TypeError(f"this is no OpenAPI document: {name!r} is no object in it")
    return found


def _response(problem: Problem) -> Document:
    content: Document = {"application/problem+json": {"schema": dict(_PROBLEM)}}
    return {"description": problem.title, "content": content}


def schemes_of(options: MiddlewareOptions) -> dict[str, dict[str, str]]:
    """Return the security schemes of a middleware with these options.

    Raises:
        ConfigurationError: A middleware would refuse its places.
    """
    return security_schemes(
        header=options.get("header", "X-API-Key"),
        query_param=options.get("query_param"),
        bearer=options.get("bearer", False),
        cookie=options.get("cookie"),
    )
