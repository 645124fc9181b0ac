"""What a middleware refuses to be built with."""

from __future__ import annotations

import pytest

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.require import require
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import FakeKeys, Inner


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"keys": "sqlite:///keys.db"}, "keys=APIKeys"),
        ({"keys": None}, "keys=APIKeys"),
        ({"keys": {}}, "keys=APIKeys"),
        ({"header": None}, "enable one"),
        ({"header": "Authorization", "bearer": True}, "header=None"),
        ({"header": "Cookie", "cookie": "k"}, "cookie="),
        ({"header": "X Key"}, "X-API-Key"),
        ({"exempt": "/health"}, "write exempt="),
        ({"exempt": 5}, "write exempt="),
        ({"exempt": iter(["/health"])}, "write exempt="),
        ({"exempt": ["health"]}, "'/health'"),
        ({"exempt": ["/*"]}, "required=False"),
        ({"scopes": "orders:read"}, "write scopes="),
        ({"scopes": 5}, "write scopes="),
        ({"scopes": ["a b"]}, "orders:read"),
        ({"scopes": ['a"']}, "orders:read"),
        ({"scopes": [""]}, "orders:read"),
        ({"scopes": [5]}, "orders:read"),
        ({"state_key": ""}, "'api_key'"),
        ({"state_key": "api key"}, "'api_key'"),
        ({"state_key": 5}, "'api_key'"),
        ({"required": "false"}, "neither True nor False"),
        ({"bearer": 1}, "neither True nor False"),
        ({"strip": None}, "neither True nor False"),
        ({"allow_preflight": "no"}, "neither True nor False"),
        ({"on_refusal": 5}, "function"),
        ({"realm": "a\r\nb"}, "printable"),
        ({"realm": "\u00e9"}, "printable"),
        ({"realm": 5}, "printable"),
    ],
    # Without addresses: what runs in several processes must be called the same in all.
    ids=lambda each: repr(each).partition(" at 0x")[0],
)
def test_unsafe_or_useless_wiring_is_refused(options, fix) -> None:
    """While it is wired, with what to write instead."""
    with pytest.raises(ConfigurationError, match=fix):
        APIKeyMiddleware(Inner(), **{"keys": FakeKeys(), **options})


def test_keys_without_their_dictionary_are_refused() -> None:
    """The state rule needs it."""
    keys = FakeKeys()
    del keys.lifespan_states
    with pytest.raises(ConfigurationError, match="lifespan_states"):
        APIKeyMiddleware(Inner(), keys=keys)


def test_an_application_is_something_to_call() -> None:
    """Forgetting it is noticed."""
    with pytest.raises(ConfigurationError, match="APIKeyMiddleware\\(app, keys=keys\\)"):
        APIKeyMiddleware(None, keys=FakeKeys())  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"headers": "X"}, {"exclude": ()}, {"header_name": "X"}], ids=repr)
def test_unknown_options_are_a_type_error(options) -> None:
    """A misspelt option is never ignored."""
    with pytest.raises(TypeError, match="unexpected keyword"):
        APIKeyMiddleware(Inner(), keys=FakeKeys(), **options)


def test_keys_must_be_named() -> None:
    """Only the application is positional, and no keys is no middleware."""
    with pytest.raises(TypeError):
        APIKeyMiddleware(Inner(), FakeKeys())  # type: ignore[misc]
    with pytest.raises(TypeError, match="keys"):
        APIKeyMiddleware(Inner())  # type: ignore[call-arg]


@pytest.mark.parametrize("scopes", [("a b",), ("",), (5,), (["a"],), ('a"',)], ids=repr)
def test_require_checks_its_scopes(scopes) -> None:
    """A list in place of names is noticed too."""
    with pytest.raises(ConfigurationError, match="orders:read"):
        require(Inner(), *scopes)
