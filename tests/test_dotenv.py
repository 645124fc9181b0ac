"""Lines of `.env` files."""

from __future__ import annotations

import pytest

from asgi_apikey.dotenv import assignments
from asgi_apikey.errors import ConfigurationError

CANARY = "c4n4ry-2mQ7xT0aB"


def read(text: str) -> dict[str, str]:
    """The names and values of a file."""
    return {each.name: each.value for each in assignments(text)}


def test_assignments_are_read_and_nothing_in_them_is_expanded() -> None:
    """Bare, quoted, exported, with comments, with a byte order mark."""
    text = "\ufeff# comment\n\nA=1\nexport B = two words # why\nC='$A # not one' # one\nD=\"x\"\nE=\nF=a#b\n"

    assert read(text) == {"A": "1", "B": "two words", "C": "$A # not one", "D": "x", "E": "", "F": "a#b"}


@pytest.mark.parametrize("line", [f"1A={CANARY}", CANARY, f"A-B={CANARY}", f"A='{CANARY}", f"A='{CANARY}'x"])
def test_another_line_is_named_and_not_repeated(line: str) -> None:
    """It may be a piece of a secret."""
    with pytest.raises(ConfigurationError) as caught:
        read(f"OK=1\n{line}\n")

    assert ".env, line 2" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_value_stands_in_no_repr() -> None:
    """It may be a secret."""
    [assignment] = assignments(f"A={CANARY}")

    assert CANARY not in repr(assignment)
