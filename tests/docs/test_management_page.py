"""The reference of the management API says what its table says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from asgi_apikey.asgi.problems import TABLE
from asgi_apikey.management import Management, schemas
from asgi_apikey.management.operations import OPERATIONS, Operation
from tests.docs.pages import DOCS, code_words, rows, section
from tests.docs.test_reference import defaults, is_told, table

PAGE: Final = DOCS / "reference" / "management.md"


def answers_of(operation: Operation) -> str:
    """Its good answers, as the page writes them."""
    [schema] = set(operation.answers.values())
    return f"{' and '.join(map(str, operation.answers))} `{schema.__name__}`"


def own_errors(operation: Operation) -> set[type]:
    """What this operation refuses beside what authorising does."""
    shared = {error for each in OPERATIONS if each.name == "me" for error in each.errors}
    return set(operation.errors) - shared


def test_every_operation_has_its_row() -> None:
    """In the order of the table, with what it needs, takes, answers and refuses."""
    told = [[cell.strip() for cell in row] for row in rows(section(PAGE, "Operations"))]

    wanted = []
    for each in OPERATIONS:
        given = each.body or (None if each.query in (schemas.Nothing, schemas.Waiting) else each.query)
        takes = "" if given is None else f"{'' if each.body else 'query '}`{given.__name__}`"
        if_match = ["`If-Match`"] if each.matches and each.method != "GET" else []
        headers = if_match + (["`Idempotency-Key`"] if each.repeats else [])
        needs = "nobody" if each.public else f"`{each.action.scope}`" if each.action else ""
        refusals = {TABLE[error].status for error in own_errors(each)} - {422} if not each.public else set()
        refusals |= {503} if each.path == "/ready" else set()
        wanted.append(
            [f"`{each.method} {each.path}`", needs, takes, answers_of(each), ", ".join(headers),
             ", ".join(map(str, sorted(refusals)))]
        )  # fmt: skip
    assert told == wanted


def structs() -> Iterator[type[msgspec.Struct]]:
    """All schemas that go over the wire, but for the two that say nothing."""
    for value in vars(schemas).values():
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not msgspec.Struct:
            yield value


def test_every_field_of_every_schema_is_named() -> None:
    """In its order, and what has to be there is marked."""
    told = {}
    for heading in ("What is asked for", "What is answered"):
        for row in rows(section(PAGE, heading)):
            fields = row[1].rpartition(": ")[2].partition(";")[0]
            told[row[0].strip("` ")] = (code_words(row[1].partition(";")[0]), set(re.findall(r"`(\w+)`\\\*", fields)))

    for each in structs():
        if each in (schemas.Nothing, schemas.Waiting):
            continue
        named, required = told.pop(each.__name__)
        assert set(each.__struct_fields__) == set(named) - {"where"} | ({"where"} & set(each.__struct_fields__))
        if each.__struct_config__.forbid_unknown_fields:
            assert required == {field.name for field in msgspec.structs.fields(each) if field.required}
    assert told == {}


def test_every_option_has_a_row_with_its_default() -> None:
    """And no row is about an option that does not exist."""
    told, given = table(PAGE, "Constructor"), defaults(Management.__init__)

    assert list(told) == list(given)
    assert [name for name, default in given.items() if not is_told(told[name][0], default)] == []


@pytest.mark.parametrize("path", ["/health", "/ready", "/test-auth", "/me"])
def test_the_probes_are_explained(path: str) -> None:
    """Where people look for them."""
    told = section(DOCS / "howto" / "management.md", "Know how it is")

    assert path in code_words(told)
