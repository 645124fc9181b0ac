"""Tests of `asgi_apikey.arguments`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from asgi_apikey.arguments import (
    check_counts,
    check_flags,
    check_lists,
    check_numbers,
    check_parts,
    check_positive,
    check_secrets,
    check_texts,
    check_values,
    present,
)
from asgi_apikey.errors import ConfigurationError


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (check_flags, [True, False], ["false", 0, 1, None]),
        (check_positive, [1, 0.5], [0, -1, math.inf, math.nan, "5", None]),
        (check_texts, ["", "ak"], [5, b"ak", ["ak"], None]),
        (check_numbers, [0, 1.5, -1, math.inf], ["5", True, [5], None]),
        (check_counts, [0, 100], ["5", True, 1.5, None]),
        (check_secrets, ["s", b"s", ["s", b"t"], ()], [5, None, [5], {"s": 1}.values()]),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(
    check: Callable[..., None], good: list[object], bad: list[object]
) -> None:
    """And nothing else is."""
    for value in good:
        check(given=value)
    for value in bad:
        with pytest.raises(ConfigurationError, match="given"):
            check(given=value)


def test_a_part_must_have_what_is_called_on_it() -> None:
    """None is no part."""
    check_parts(clock=(None, "monotonic"), hasher=("text", "encode"))

    with pytest.raises(ConfigurationError, match="hasher is a str, which has no method 'verify'"):
        check_parts(hasher=("argon2", "verify"))


def test_a_value_must_be_of_its_class() -> None:
    """The message names it."""
    check_values(limits=(None, dict), expiry=({}, dict))

    with pytest.raises(ConfigurationError, match=r"limits is a int; write limits=dict\(…\)"):
        check_values(limits=(5, dict))


@pytest.mark.parametrize("values", ["text", 5, ["text", 5], None])
def test_a_list_holds_one_kind_of_value(values: object) -> None:
    """A text is no list of texts, though Python would go through its letters."""
    check_lists(names=(["a", "b"], str), more=((), str))

    with pytest.raises(ConfigurationError, match="names must be a list of str"):
        check_lists(names=(values, str))


@pytest.mark.parametrize("secret", [5, ["hunter2", 5]])
def test_no_message_shows_a_secret(secret: Any) -> None:
    """Nor what stood in its place."""
    with pytest.raises(ConfigurationError) as caught:
        check_secrets(pepper=secret)

    assert "hunter2" not in str(caught.value)
    assert "5" not in str(caught.value)


def test_what_may_be_none_is_left_out() -> None:
    """So that only values are looked at."""
    assert present(cache_ttl=None, prefix="") == {"prefix": ""}
