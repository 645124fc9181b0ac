"""Plain spellings of paths, and what a pattern covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.paths import is_pattern, is_plain, is_plainly_escaped, matches, whole_path
from tests.asgi.corpus.paths import PLAIN, decoded


@pytest.mark.parametrize("sent", PLAIN)
def test_a_plain_path_is_plain_decoded_and_as_sent(sent: str) -> None:
    """The corpus of the exempt paths."""
    path, raw_path = decoded(sent)

    assert is_plain(path)
    assert is_plainly_escaped(raw_path)


@pytest.mark.parametrize(
    "path", ["", "x", "//", "/a//b", "/./a", "/a/..", "/a;b", "/a\\b", "/a%41", "/a?b", "/\ufffd", "/\n"]
)
def test_an_odd_path_is_not(path: str) -> None:
    """Servers, proxies and routers read it differently."""
    assert not is_plain(path)


@pytest.mark.parametrize("raw_path", ["/a", b"", b"a", b"//a", b"/%", b"/%4", b"/%41", b"/%2f", b"/%zz", 7])
def test_an_odd_escape_is_not(raw_path: object) -> None:
    """Only what must be escaped is; a server that does not tell is believed."""
    assert not is_plainly_escaped(raw_path)
    assert is_plainly_escaped(None)


@pytest.mark.parametrize(
    ("pattern", "good"), [("/", True), ("/*", True), ("/a/*", True), ("/a*", False), ("/*/a", False), ("/a/**", False)]
)
def test_a_star_stands_for_whole_segments_at_the_end(pattern: str, good: bool) -> None:
    """Nowhere else."""
    assert is_pattern(pattern) is good


@given(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=4), st.integers(0, 4))
def test_a_subtree_covers_what_lies_below(segments: list[str], depth: int) -> None:
    """By whole segments: `/a/*` covers `/a/` and `/a/b`, neither `/a` nor `/ab`."""
    path = "/" + "/".join(segments)
    stem = "/" + "".join(f"{segment}/" for segment in segments[:depth])

    assert matches(f"{stem}*", path) == path.startswith(stem)
    assert matches(path, path)
    assert not matches(f"{path}/*", path)


@pytest.mark.parametrize(
    ("path", "raw_path", "root_path", "whole"),
    [
        ("/a", b"/a", "", "/a"),
        ("/a b/\u00e9", b"/a%20b/%C3%A9?x=%2f", "", "/a b/\u00e9"),
        ("/m/a", b"/m/a", "/m", "/m/a"),
        ("/a", b"/m/a", "/m", "/m/a"),
        ("/a", b"/m/a", "", None),
        ("/a", b"/m/a", "/n", None),
        ("/a", None, "/m", "/a"),
        ("/a", "/a", "", "/a"),
    ],
)
def test_the_whole_path_is_what_was_asked_for(path: str, raw_path: object, root_path: str, whole: str | None) -> None:
    """With what a router has taken off; None if it says nowhere what that was."""
    assert whole_path(path, raw_path, root_path) == whole
