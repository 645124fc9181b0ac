"""How the principal is read back; the state rule itself is tested through the middleware."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace

import pytest

from asgi_apikey.asgi.admission import CURRENT, claimed_state, get_api_key
from tests.asgi.driver import ALICE

SCOPE = {"type": "http", "state": {"api_key": ALICE}}


class MappingRequest(dict[str, object]):
    """Like Starlette's requests: a mapping that also shows its scope."""

    scope = SCOPE


@pytest.mark.parametrize(
    "source",
    [SCOPE, MappingProxyType(SCOPE), SimpleNamespace(scope=SCOPE), MappingRequest()],
    ids=["scope", "read-only scope", "request", "request that is a mapping"],
)
def test_it_reads_any_request(source) -> None:
    """The same line for every framework."""
    assert get_api_key(source) is ALICE


@pytest.mark.parametrize(
    "state", [None, {}, {"api_key": None}, {"api_key": "alice"}, {"api_key": {"owner": "alice"}}, {"other": ALICE}, 7]
)
def test_nothing_else_is_taken_for_a_principal(state) -> None:
    """Anonymous, or not ours."""
    assert get_api_key({"state": state}) is None
    assert get_api_key({}) is None


@pytest.mark.parametrize(
    "source", [7, "scope", object(), SimpleNamespace(scope=None)], ids=lambda each: type(each).__name__
)
def test_what_is_no_request_is_a_mistake(source) -> None:
    """Not an anonymous request."""
    with pytest.raises(TypeError, match="get_api_key takes"):
        get_api_key(source)


def test_without_a_source_it_reads_the_context() -> None:
    """The only way behind a WSGI bridge."""
    token = CURRENT.set(ALICE)
    seen = get_api_key()
    CURRENT.reset(token)

    assert seen is ALICE
    assert get_api_key() is None


def test_a_read_only_state_is_copied() -> None:
    """Its entries stay readable."""
    scope = {"state": MappingProxyType({"pool": 1})}

    assert claimed_state(scope, "api_key", {}) == {"pool": 1, "api_key": None}
