"""What each place lets in, against a second, slower reading of the same rules by other people's code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from posixpath import normpath
from urllib.parse import parse_qsl, unquote

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.world import Answer, Request, World

KEY = b"<key>"
"""Stands for the good key while input is generated, so that examples can be read and shrunk."""

BLANKS = b" \t"


def edited(*pieces: bytes, by: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """What is let in, given piece by piece, after at most three edits: pieces left out, repeated, or put between."""
    other = st.sampled_from((KEY, KEY[1:], *by)) | st.binary(min_size=1, max_size=1)
    edit = st.tuples(st.integers(0, len(pieces)), st.none() | other)
    return st.lists(edit, max_size=3).map(lambda edits: _edit(list(pieces), edits))


def _edit(pieces: list[bytes], edits: Sequence[tuple[int, bytes | None]]) -> bytes:
    for at, piece in edits:
        if piece is None:
            del pieces[at : at + 1]
        else:
            pieces.insert(at, piece)
    return b"".join(pieces)


HEADER_VALUES = edited(b" ", KEY, b"\t", by=[b" ", b"\t", b",", b"\xa0", b'"'])
BEARER_VALUES = edited(b" ", b"Bear", b"er", b" ", KEY, b"\t", by=[b"bEARER ", b"Bearer", b" ", b"\t", b",", b"Basic "])
COOKIE_LINES = edited(
    b"a=b", b"; ", b"api_key", b"=", KEY, b";", b"c=d", by=[b"api_key=", b"; ", b";", b'"', b" ", b","]
)
QUERIES = edited(
    *(b"a=1", b"&", b"api_", b"key", b"=", KEY, b"&", b"b=%20"),
    by=[b"api_key=", b"&", b"api%5Fkey=", b"%", b"%00", b"+", b"=", b"%41"],
)
LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([b"x-api-key", b"X-Api-Key", b"x_api_key"]), HEADER_VALUES),
        st.tuples(st.sampled_from([b"authorization", b"Authorization"]), BEARER_VALUES),
        st.tuples(st.sampled_from([b"cookie", b"Cookie"]), COOKIE_LINES),
        st.tuples(st.binary(max_size=12), HEADER_VALUES),
    ),
    max_size=2,
)
PATHS = st.one_of(
    edited(b"/", b"heal", b"th", by=[b"/"]),
    edited(
        *(b"/", b"static", b"/", b"a", b"/", b"b"),
        by=[
            b"/",
            b"..",
            b".",
            b"%2e",
            b"%2F",
            b"%5c",
            b"\\",
            b";",
            b"%00",
            b"%25",
            b"%61",
            b"admin",
            b"/../",
            b"\xc3\xa9",
        ],
    ),
)


@given(value=HEADER_VALUES)
def test_header(runner: asyncio.Runner, world: World, value: bytes) -> None:
    """The header lets in when its value is the key with blanks around it, and never otherwise."""
    good, value = with_key(world, value)

    answer = ask(runner, world, Request(what="header", guard="header", headers=((b"x-api-key", value),)))

    assert decided(answer) is (value.strip(BLANKS) == good)


@given(value=BEARER_VALUES)
def test_bearer(runner: asyncio.Runner, world: World, value: bytes) -> None:
    """A bearer value lets in when it is the scheme in any case, one space and the key, with blanks around it."""
    good, value = with_key(world, value)

    answer = ask(runner, world, Request(what="bearer", guard="bearer", headers=((b"authorization", value),)))

    assert decided(answer) is (re.fullmatch(rb"[ \t]*(?i:bearer) " + good + rb"[ \t]*", value) is not None)


@given(query=QUERIES)
def test_query(runner: asyncio.Runner, world: World, query: bytes) -> None:
    """A query string lets in when the standard library finds the parameter in it once, with the key as its value."""
    good, query = with_key(world, query)

    answer = ask(runner, world, Request(what="query", guard="query", query=query))

    fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    assert decided(answer) is ([value for name, value in fields if name == "api_key"] == [good.decode()])


@given(query=QUERIES)
def test_no_key_is_left_in_a_query(runner: asyncio.Runner, world: World, query: bytes) -> None:
    """Whatever the answer, no value of the parameter is left in the query string that the server writes down."""
    _, query = with_key(world, query)
    request = Request(what="query", guard="query", query=query)
    scope = request.scope()

    runner.run(world.ask_with(request, scope))

    left = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    assert {value for name, value in left if name == "api_key"} <= {"REDACTED"}


@given(line=COOKIE_LINES)
def test_cookie(runner: asyncio.Runner, world: World, line: bytes) -> None:
    """A cookie line lets in when exactly one of its pairs has the name, and the key as its value."""
    good, line = with_key(world, line)

    answer = ask(runner, world, Request(what="cookie", guard="cookie", headers=((b"cookie", line),)))

    pairs = [re.fullmatch(rb"(?s)[ \t]*([^=]*?)[ \t]*=[ \t]*(.*?)[ \t]*", pair) for pair in line.split(b";")]
    bare = [pair for pair in line.split(b";") if b"=" not in pair and pair.strip(BLANKS) == b"api_key"]
    values = [pair[2] for pair in pairs if pair is not None and pair[1] == b"api_key"]
    assert decided(answer) is (values == [good] and not bare)


@given(lines=LINES, query=st.just(b"") | QUERIES, kind=st.sampled_from(["http", "websocket"]))
def test_places_together(
    runner: asyncio.Runner, world: World, lines: Sequence[tuple[bytes, bytes]], query: bytes, kind: str
) -> None:
    """Whoever gets in has presented a good key, and with every place enabled no single place would have refused it."""
    good, query = with_key(world, query)
    headers = tuple((name, with_key(world, value)[1]) for name, value in lines)
    request = Request(what="together", guard="everywhere", headers=headers, query=query, kind=kind)

    answer = ask(runner, world, request)
    alone = [decided(ask(runner, world, replace(request, guard=guard))) for guard in ("bearer", "query", "cookie")]
    alone.append(decided(ask(runner, world, replace(request, guard="header"))))

    if decided(answer):
        assert good in b"".join((*(value for _, value in headers), unescaped(query)))
        assert sum(alone) == 1


@given(raw=PATHS, told=st.booleans())
def test_open_paths(runner: asyncio.Runner, world: World, raw: bytes, told: bool) -> None:
    """Without a key, only a path that everybody reads as an open one is let in, however it is spelled."""
    path = unquote(raw.decode("latin-1").replace(KEY.decode(), "x"), errors="replace")
    request = Request(what="path", guard="header", path=path, raw_path=raw if told else None)

    answer = ask(runner, world, request)

    assert answer.principal is None
    assert answer.called or answer.status == 401
    if answer.called:
        sent = raw.decode("latin-1") if told else path
        for reading in (path, unquote(path), unquote(sent), unquote(sent).replace("\\", "/"), path.partition(";")[0]):
            assert is_open(normpath(reading) + "/" * reading.endswith("/"))
        assert "//" not in path


def is_open(path: str) -> bool:
    """Whether this is one of the open paths."""
    return path == "/health" or path.startswith("/static/")


def with_key(world: World, text: bytes) -> tuple[bytes, bytes]:
    """Return a good key, and the text with the key where it belongs."""
    good = world.good[0].key.encode()
    return good, text.replace(KEY, good).replace(KEY[1:], good[1:])


def ask(runner: asyncio.Runner, world: World, request: Request) -> Answer:
    """Send the request and return what became of it."""
    return runner.run(world.ask(request))


def decided(answer: Answer) -> bool:
    """Whether the request was let in; if not, it has to be the client's fault."""
    assert answer.called or answer.refused, answer
    return answer.called


def unescaped(query: bytes) -> bytes:
    """Return the query string without escapes."""
    return unquote(query.decode("latin-1"), encoding="latin-1").encode("latin-1")
