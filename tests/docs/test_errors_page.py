"""The page of errors has a section for every code, with the status that is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeVar

import pytest

from asgi_apikey.asgi.problems import TYPE_BASE, problem_of
from asgi_apikey.errors import APIKeyError, ConfigurationError, InvalidKey
from tests.docs.pages import DOCS, anchors, code_words, headings, prose, rows, section

E = TypeVar("E", bound=APIKeyError)

PAGE: Final = DOCS / "howto" / "errors.md"


def family(root: type[E]) -> Iterator[type[E]]:
    """A class and all below it, ours only."""
    if root.__module__ == APIKeyError.__module__:
        yield root
        for each in root.__subclasses__():
            yield from family(each)


# Of several classes with one code the first is the one that the code is about.
CODES: Final = {each.code: each for each in reversed(list(family(APIKeyError)))}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_an_anchor(code: str) -> None:
    """The end of a problem's `type` is the anchor of its section."""
    assert code in anchors(PAGE)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_section_says_class_and_status(code: str) -> None:
    """First of all; what is never sent has no status."""
    kind = CODES[code]
    below = section(PAGE, code)

    status = re.match(r"\s*\*\*(\d{3})\*\* · ", below)

    assert kind.__name__ in code_words(below.strip().splitlines()[0])
    if issubclass(kind, ConfigurationError):
        assert status is None
    else:
        assert status
        assert int(status[1]) == problem_of(kind.__new__(kind)).status


def test_no_section_is_about_a_code_that_does_not_exist() -> None:
    """Headings in snake case are codes."""
    named = {heading for heading in headings(PAGE) if re.fullmatch(r"[a-z]+(_[a-z]+)+", heading)}

    assert named - set(CODES) == set()


def test_every_reason_of_a_rejected_key_has_a_row() -> None:
    """With its class, its cause and what to do about it."""
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(section(PAGE, "invalid_key"))}

    assert told == {each.reason: each.__name__ for each in family(InvalidKey) if each is not InvalidKey}


def test_the_type_of_a_problem_is_told() -> None:
    """As it is sent."""
    assert f"`{TYPE_BASE}`" in prose(PAGE)
