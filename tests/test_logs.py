"""Logs: one line for each record, and no secret in any."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.logs import FIELDS, REQUEST_ID, JSONLines, Redactor, TextLines, configure, rfc3339

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"
FORMAT = KeyFormat()
KEY = FORMAT.generate("live").key
FOREIGN = KeyFormat("acme").generate("test").key
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.dBjftJeZ4CVPmB92K27uhbUJU1p1r"
redact = Redactor(FORMAT, [PEPPER])


def windows(secret: str) -> set[str]:
    """Every piece of twelve characters."""
    return {secret[at : at + 12] for at in range(len(secret) - 11)}


@pytest.fixture
def restored() -> Iterator[None]:
    """The loggers as they were, afterwards."""
    names = ("", "asgi_apikey", "uvicorn")
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in names}
    yield
    for name, (level, handlers) in before.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers[:] = handlers
    logging.captureWarnings(False)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    """A log record."""
    made = logging.LogRecord("asgi_apikey.x", logging.WARNING, "x.py", 1, message, args, None)
    made.created = 1_800_000_000.25
    made.__dict__.update(extra)
    return made


def test_a_line_in_json_has_what_programs_look_for() -> None:
    """The instant in UTC, the level, the logger, the message, and the record's own fields."""
    line = JSONLines(redact).format(record("hello %s", "you", **{FIELDS: {"status": 200, "path": "/x"}}))

    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "asgi_apikey.x",
        "message": "hello you",
        "status": 200,
        "path": "/x",
    }


def test_a_line_for_people_says_the_same() -> None:
    """On one line."""
    line = TextLines(redact).format(record("hello", **{FIELDS: {"status": 200}}))

    assert line == "2027-01-15T08:00:00.250Z WARNING asgi_apikey.x: hello status=200"


@pytest.mark.parametrize("layout", [JSONLines, TextLines])
@pytest.mark.parametrize("message", ["a\nb", "a\r\nlevel=error b", "a\x1b[2Jb", "a\u2028b", "a\x85b"])
def test_a_message_stays_on_its_line(layout: type[JSONLines | TextLines], message: str) -> None:
    """Nobody can write a line that seems to be ours."""
    line = layout(redact).format(record("%s", message, **{FIELDS: {"path": message}}))

    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


@pytest.mark.parametrize("layout", [JSONLines, TextLines])
def test_the_request_id_is_told(layout: type[JSONLines | TextLines]) -> None:
    """Inside of a request."""
    token = REQUEST_ID.set("abcdef12")
    try:
        assert "abcdef12" in layout(redact).format(record("x"))
    finally:
        REQUEST_ID.reset(token)


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"GET /?api_key={KEY} HTTP/1.1",
        f"'{KEY}'",
        f"X{KEY}",
        KEY[:-3],
        FOREIGN,
        f"Bearer {FOREIGN},",
        PEPPER,
        f"pepper={PEPPER!r}",
        TOKEN,
        f"Authorization: Bearer {TOKEN}",
        f"postgresql://app:{PEPPER}x@db/keys",
        f"redis://:{KEY[-20:]}@cache",
    ],
    ids=[f"line {number}" for number in range(1, 14)],
)
@pytest.mark.parametrize("layout", [JSONLines, TextLines])
def test_no_secret_gets_through(layout: type[JSONLines | TextLines], text: str) -> None:
    """In the message, in an argument, in a field, in an exception, in what caused it."""
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(text) from error
    except ValueError:
        failure = sys.exc_info()
    made = record("x %s " + text.replace("%", "%%"), text, **{FIELDS: {"path": text}})
    made.exc_info = failure
    line = layout(redact).format(made)

    secrets = windows(KEY[-39:]) | windows(FOREIGN[-39:]) | windows(PEPPER) | windows(TOKEN)
    assert [each for each in secrets if each in line] == []


def test_the_public_parts_of_a_key_stay() -> None:
    """They are what a log is searched for."""
    key_id = KEY.split("_")[2]

    assert redact(f"x {KEY} y") == f"x ak_live_{key_id}_…{KEY[-4:]} y"
    assert redact(FOREIGN).startswith("acme_test_")


@given(st.text())
def test_other_text_stays_as_it_is(text: str) -> None:
    """Redacting is not rewriting; what looks like no secret is left alone."""
    if not any(sign in text for sign in ("eyJ", "://", "_", PEPPER)):
        assert redact(text) == text


@given(st.text(), st.text())
def test_a_key_in_any_surroundings_is_found(before: str, after: str) -> None:
    """Unless a letter or digit makes another word of its end, and even then no secret stays."""
    shown = redact(f"{before}{KEY}{after}")

    assert KEY[-38:-6] not in shown


def test_without_secrets_of_its_own_nothing_is_cut_at_random() -> None:
    """An empty secret would match everywhere."""
    assert Redactor(FORMAT, ["", ""])("hello") == "hello"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_our_loggers_have_the_level_and_libraries_speak_of_warnings(restored: None, level: str) -> None:
    """What a driver says while debugging has values of statements in it."""
    configure(level=level, layout="json", redact=redact, stream=io.StringIO())  # type: ignore[arg-type]

    assert logging.getLogger("asgi_apikey.access").getEffectiveLevel() == getattr(logging, level.upper())
    assert logging.getLogger("uvicorn.error").getEffectiveLevel() == getattr(logging, level.upper())
    assert logging.getLogger("aiosqlite").getEffectiveLevel() >= logging.WARNING


def test_everything_goes_to_one_stream(restored: None) -> None:
    """Warnings of Python, too."""
    stream = io.StringIO()
    configure(level="info", layout="json", redact=redact, stream=stream)
    logging.getLogger("asgi_apikey").info("one")
    logging.getLogger("somebody").warning("two %s", KEY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("three", stacklevel=1)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "warning"]
    assert KEY not in stream.getvalue()


def test_instants_are_rounded_once() -> None:
    """The second that a millisecond rounds up to."""
    assert rfc3339(0.9996) == "1970-01-01T00:00:01.000Z"
