"""What the OpenAPI document says of the middleware."""

from __future__ import annotations

import copy
import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.exempt import ExemptPaths
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.contrib.openapi import documented, refusal_responses, schemes_of, security_schemes
from asgi_apikey.errors import ConfigurationError

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1"},
    "paths": {
        "/orders": {"get": {"responses": {"200": {"description": "OK"}}}, "parameters": []},
        "/health": {"get": {"responses": {"200": {"description": "OK"}}}},
        "/static/{file}": {"get": {"responses": {}}},
        "/{anything}": {"get": {"responses": {}}},
    },
}


def security(document, path: str = "/orders"):
    """What one operation says of its security."""
    return document["paths"][path]["get"]["security"]


def test_every_place_is_a_scheme() -> None:
    """As the OpenAPI specification names them."""
    assert security_schemes(header="X-Key", query_param="key", cookie="key", bearer=True) == {
        "APIKey": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "APIKeyQuery": {"type": "apiKey", "in": "query", "name": "key"},
        "APIKeyCookie": {"type": "apiKey", "in": "cookie", "name": "key"},
        "APIKeyBearer": {"type": "http", "scheme": "bearer"},
    }
    assert list(security_schemes(header=None, bearer=True)) == ["APIKeyBearer"]


@pytest.mark.parametrize("places", [{"header": None}, {"header": "X Key"}, {"cookie": ""}])
def test_places_that_a_middleware_refuses_are_refused(places: dict[str, str | None]) -> None:
    """A document must not promise what does not exist."""
    with pytest.raises(ConfigurationError):
        security_schemes(**places)


def test_each_place_is_an_alternative() -> None:
    """One of them is enough; all of them in one entry would be needed together."""
    told = documented(DOCUMENT, bearer=True, scopes=("orders:read",))

    assert security(told) == [{"APIKey": ["orders:read"]}, {"APIKeyBearer": ["orders:read"]}]
    assert set(told["components"]["securitySchemes"]) == {"APIKey", "APIKeyBearer"}


def test_the_document_that_is_given_stays() -> None:
    """Frameworks keep theirs and give it out again."""
    before = copy.deepcopy(DOCUMENT)

    documented(DOCUMENT)

    assert before == DOCUMENT


def test_exempt_paths_need_nothing() -> None:
    """Exact ones and subtrees; a parameter that could be anything does not make a path exempt."""
    told = documented(DOCUMENT, exempt=("/health", "/static/*"))

    assert security(told, "/health") == []
    assert security(told, "/static/{file}") == []
    assert security(told, "/{anything}") == [{"APIKey": []}]
    assert "401" not in told["paths"]["/health"]["get"]["responses"]


def test_a_key_that_is_not_required_is_an_alternative_to_none() -> None:
    """As the specification writes "optional": an empty requirement."""
    assert security(documented(DOCUMENT, required=False)) == [{"APIKey": []}, {}]


def test_version_3_0_knows_no_scopes_of_keys() -> None:
    """There the list must be empty for all kinds but OAuth."""
    assert security(documented({**DOCUMENT, "openapi": "3.0.3"}, scopes=("a",))) == [{"APIKey": []}]


def test_other_security_is_needed_too() -> None:
    """Each alternative of theirs together with each of ours, whether an operation or the whole document says it."""
    document = copy.deepcopy(DOCUMENT)
    document["security"] = [{"OAuth": ["read"]}]
    document["paths"]["/health"]["get"]["security"] = [{"Basic": []}, {}]

    told = documented(document, bearer=True)

    assert security(told) == [{"OAuth": ["read"], "APIKey": []}, {"OAuth": ["read"], "APIKeyBearer": []}]
    assert security(told, "/health") == [
        {"Basic": [], "APIKey": []},
        {"Basic": [], "APIKeyBearer": []},
        {"APIKey": []},
        {"APIKeyBearer": []},
    ]


def test_what_an_operation_says_of_ours_stays() -> None:
    """The dependency of a framework knows the scopes of its route."""
    document = copy.deepcopy(DOCUMENT)
    document["paths"]["/orders"]["get"]["security"] = [{"APIKey": ["orders:read"]}]

    assert security(documented(document)) == [{"APIKey": ["orders:read"]}]


def test_refusals_are_among_the_responses() -> None:
    """By reference, as problem documents; what an operation says of a status stays."""
    document = copy.deepcopy(DOCUMENT)
    document["paths"]["/orders"]["get"]["responses"]["403"] = {"description": "Mine"}

    told = documented(document)

    responses = told["paths"]["/orders"]["get"]["responses"]
    assert responses["401"] == {"$ref": "#/components/responses/APIKey401"}
    assert responses["403"] == {"description": "Mine"}
    assert set(refusal_responses()) == {"401", "403", "429", "503"}
    assert "application/problem+json" in told["components"]["responses"]["APIKey401"]["content"]


@pytest.mark.parametrize("wrong", [{"exempt": ("health",)}, {"exempt": ("/*",)}, {"scopes": ("a b",)}, {"scopes": "a"}])
def test_arguments_that_a_middleware_refuses_are_refused(wrong: dict[str, object]) -> None:
    """They are the middleware's, and mean the same."""
    with pytest.raises(ConfigurationError):
        documented(DOCUMENT, **wrong)


def test_something_else_is_no_document() -> None:
    """It is said, not repaired."""
    with pytest.raises(TypeError, match="no OpenAPI document"):
        documented({"paths": []})


PATHS = st.lists(st.sampled_from(["health", "static", "a", "b.css", "{id}"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(PATHS)
def test_a_path_without_parameters_is_exempt_just_as_the_middleware_has_it(path: str) -> None:
    """The document and the middleware never disagree; with parameters in it, exempt is only what always is."""
    exempt = ("/health", "/static/*", "/a/health")
    told = documented({"paths": {path: {"get": {}}}}, exempt=exempt)

    is_exempt = ExemptPaths(exempt).matches({"path": path.replace("{id}", "x"), "root_path": ""})
    assert (security(told, path) == []) == is_exempt


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["get", "security", "x"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["/a", "/health"]), JSON), JSON)
def test_any_document_that_is_accepted_can_be_written(paths, general) -> None:
    """No operation loses its guard, whatever stands in it."""
    document = {"paths": paths, "security": general}

    try:
        told = documented(document, exempt=("/health",))
    except TypeError:
        return

    json.dumps(told)
    for path, item in told["paths"].items():
        if isinstance(item, dict) and isinstance(item.get("get"), dict):
            assert bool(item["get"]["security"]) == (path != "/health")


def test_the_places_have_the_defaults_of_the_middleware() -> None:
    """One header."""
    defaults = {name: each.default for name, each in inspect.signature(APIKeyMiddleware).parameters.items()}

    assert schemes_of({}) == schemes_of(
        {name: defaults[name] for name in ("header", "query_param", "bearer", "cookie")}  # type: ignore[typeddict-item]
    )
