"""Paths that need no key: exact ones and whole subtrees, in one plain spelling each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.exempt import ExemptPaths
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.errors import ConfigurationError
from tests.asgi.corpus.paths import EXEMPT, NEVER, PLAIN, ROOTS, decoded
from tests.asgi.driver import FakeKeys, Inner, http, step_through

LISTED = ExemptPaths(EXEMPT)


def layouts(sent: str, root: str) -> list[dict[str, object]]:
    """How servers tell of one target behind a root path: prefixed (uvicorn) or as it is, with its raw form or not."""
    path, raw = decoded(sent)
    both = [(root + path, root.encode() + raw), (path, raw)]
    return [
        {"path": path, "raw_path": raw, "root_path": root} for path, raw in [*both, *((path, None) for path, _ in both)]
    ]


def test_the_corpus_is_large_enough() -> None:
    """It only shrinks on purpose."""
    assert len(set(NEVER)) >= 200
    assert len(ROOTS) >= 4


@pytest.mark.parametrize("root", ROOTS)
def test_plain_spellings_of_listed_paths_are_exempt(root) -> None:
    """Behind every root path, whether the server puts it in front or not."""
    refused = [
        parts
        for sent in PLAIN
        for parts in layouts(sent, root)
        if root != "/static" and not LISTED.matches(http(**parts))
    ]

    assert refused == []


@pytest.mark.parametrize("root", ROOTS)
def test_no_other_spelling_is_exempt(root) -> None:
    """Not one of the corpus, and the middleware refuses each."""
    inner = Inner()
    app = APIKeyMiddleware(inner, keys=FakeKeys(), exempt=EXEMPT)
    reached = []
    for sent in NEVER:
        path, raw = decoded(sent)
        # Behind "/static", what is sent as "/x" is "/static/x" to some servers' routers: prefixed it is "/x" again.
        forms = (
            [(root + path, root.encode() + raw)]
            if root == "/static"
            else [(root + path, root.encode() + raw), (path, raw)]
        )
        for form_path, form_raw in forms:
            reply = step_through(app, http(path=form_path, raw_path=form_raw, root_path=root))
            if reply.status != 401:
                reached.append((sent, form_path))

    assert reached == []
    assert inner.calls == 0


@pytest.mark.parametrize(
    ("path", "root", "exempt"),
    [
        ("/api/health", "/api", True),
        ("/api/health", "", False),
        ("/apihealth", "/api", False),
        ("/api/api/health", "/api", False),
        ("/api", "/api", False),
        ("/health", "/health", True),
        ("/api/health", "/api/", False),
        ("/API/health", "/api", False),
        ("/api//health", "/api", False),
        ("/a/../health", "/a/..", False),
    ],
)
def test_the_root_path_ends_at_a_segment_and_is_plain_too(path, root, exempt) -> None:
    """The same rule as Starlette's router has."""
    assert LISTED.matches({"path": path, "root_path": root}) is exempt


@pytest.mark.parametrize("root", [None, ""])
def test_a_root_path_may_be_missing(root) -> None:
    """Or None."""
    assert LISTED.matches({"path": "/health", "root_path": root})
    assert LISTED.matches({"path": "/health"})


@pytest.mark.parametrize("raw", ["/health", 5, b"", b"*", b"http://h/health"])
def test_a_raw_path_of_another_shape_is_not_plain(raw) -> None:
    """What cannot be read is not exempt."""
    assert not LISTED.matches({"path": "/health", "raw_path": raw})


def test_a_query_in_the_raw_path_does_not_matter() -> None:
    """Some in-process clients leave it there."""
    assert LISTED.matches({"path": "/health", "raw_path": b"/health?a=%2f//"})


@given(st.text(alphabet="/.;%\\hstaic2e#? \x00\ufffdAZ", max_size=14))
def test_only_listed_paths_are_exempt(path) -> None:
    """Whatever the path is."""
    exempt = LISTED.matches({"path": path})

    assert not exempt or path == "/health" or path.startswith("/static/")
    assert not exempt or not set(path) & set("\\;%#?\x00\ufffd")
    assert not exempt or not {"..", "."} & set(path.split("/"))


@pytest.mark.parametrize(
    "path",
    ["", "health", "*", "/*", "/a*", "/*/a", "/a/*/b", "/a/**", "/a//b", "/a/../b", "/./a", "/a%2fb", "/a?b", "/a#b",
     "/a;b", "/a\\b", "//*", "http://h/a", "/a\n", 5, None, b"/health"],
)  # fmt: skip
def test_patterns_that_cannot_work_are_refused(path) -> None:
    """While wiring, with what to write instead."""
    with pytest.raises(ConfigurationError, match=r"write|list"):
        ExemptPaths([path])


def test_the_root_and_trailing_slashes_can_be_listed() -> None:
    """They are paths of their own."""
    listed = ExemptPaths(["/", "/docs/"])

    assert [listed.matches({"path": path}) for path in ("/", "/docs/", "/docs", "/x", "//")] == [True, True] + [
        False
    ] * 3


def test_a_path_that_a_router_has_cut_is_not_exempt() -> None:
    """Unless `root_path` says what was cut: `/mounted/health` is another path than `/health`."""
    cut = {"path": "/health", "raw_path": b"/mounted/health"}

    assert not LISTED.matches(cut)
    assert LISTED.matches({**cut, "root_path": "/mounted"})
