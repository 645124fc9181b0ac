"""The reference of authorisers says what the code says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from asgi_apikey.management import Action, AnyOf, Caller, JWTAuthoriser, KeyAuthoriser, SessionAuthoriser
from asgi_apikey.management.faces import OPERATOR, TENANTS
from tests.docs.pages import DOCS, code_words, rows, section
from tests.docs.test_reference import defaults, is_told, table

REFERENCE = DOCS / "reference" / "management.md"
ACCESS = DOCS / "howto" / "management-access.md"


@pytest.mark.parametrize(
    "kind", [KeyAuthoriser, JWTAuthoriser, SessionAuthoriser, AnyOf], ids=lambda kind: kind.__name__
)
def test_every_option_has_a_row_with_its_default(kind: type) -> None:
    """And no row is about an option that does not exist."""
    construct: Callable[..., object] = kind.__init__  # type: ignore[misc]
    told, given = table(REFERENCE, kind.__name__), defaults(construct)

    assert list(told) == list(given)
    assert [name for name, default in given.items() if not is_told(told[name][0], default)] == []


def test_every_field_of_a_caller_is_explained() -> None:
    """Each in its table, and none that is not there."""
    assert list(table(REFERENCE, "Caller")) == [each.name for each in dataclasses.fields(Caller)]


def test_every_scope_that_manages_is_explained() -> None:
    """Those of the actions, the two that say whose keys, and the wildcard."""
    told = {name for row in rows(section(ACCESS, "Two faces")) for name in code_words(row[0])}

    assert told == {each.scope for each in Action} | {OPERATOR, TENANTS, "apikeys:*"}
