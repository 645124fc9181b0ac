"""Filters for any handler: the key id in every line, and no secret in any, however it got there."""

from __future__ import annotations

import base64
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_apikey import APIKeyMiddleware, APIKeys, get_api_key
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.background import Background
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.logs import JSONLines, PrincipalFilter, RedactingFilter, Redactor

FORMAT = KeyFormat()
FOREIGN = KeyFormat("acme", checksum_keys=["pZ8-rT3_mW5qX9vB"])
KEYS = (FORMAT.generate("live").key, FOREIGN.generate("test").key)
redact = Redactor(FORMAT)


def windows(key: str) -> set[str]:
    """Every piece of twelve characters of a key's secret part."""
    secret = key.rpartition("_")[2]
    return {secret[at : at + 12] for at in range(len(secret) - 11)}


def leaks(text: str, key: str) -> list[str]:
    """Pieces of the key that stand in the text, as it is, decoded, or decoded twice."""
    readings = [text, unquote(text), unquote(unquote(text)), unquote(unquote(unquote(text)))]
    return [piece for piece in windows(key) for reading in readings if piece in reading]


def record(message: object, *args: object, **extra: object) -> logging.LogRecord:
    """A log record."""
    made = logging.LogRecord("x", logging.INFO, "x.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


def shown(made: logging.LogRecord) -> str:
    """All that any formatter could show of a record after the filter."""
    assert RedactingFilter(redact).filter(made)
    return logging.Formatter().format(made) + JSONLines(str).format(made) + repr(vars(made))


@st.composite
def disguised(draw: st.DrawFn, key: str) -> str:
    """The key with any of its characters percent-encoded, up to three times over, in any case."""
    for _ in range(draw(st.integers(0, 3))):
        chosen = draw(st.sets(st.integers(0, len(key) - 1), max_size=40))
        lower = draw(st.booleans())
        escape = "%{:02x}" if lower else "%{:02X}"
        key = "".join(escape.format(ord(char)) if at in chosen else char for at, char in enumerate(key))
        key = key.replace("%%", "%25%")
    return key


@settings(max_examples=150, deadline=None)
@given(data=st.data(), key=st.sampled_from(KEYS), before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_disguise_hides_a_key(data: st.DataObject, key: str, before: str, after: str) -> None:
    """Percent-escapes of any part, in any depth up to three, between anything."""
    text = before + data.draw(disguised(key)) + after

    assert leaks(redact(text), key) == []


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from(KEYS), cut=st.integers(13, 60), before=st.sampled_from(["", "/", "%3D", "\n", "x_", "'"]))
def test_a_key_that_was_cut_off_is_still_one(key: str, cut: int, before: str) -> None:
    """As by who shortens long texts: of a secret, less than a dozen characters stay."""
    assert leaks(redact(before + key[:cut]), key) == []


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from(KEYS), user=st.text("abcXYZ019", max_size=9), safe=st.booleans(), escaped=st.booleans())
def test_base64_hides_no_key(key: str, user: str, safe: bool, escaped: bool) -> None:
    """As in Basic credentials, or in a WebSocket's subprotocol."""
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    text = encode(f"{user}:{key}".encode()).decode()

    told = redact(f"Basic {quote(text, safe='') if escaped else text} x")
    assert "[redacted]" in told
    assert text[-30:-4] not in unquote(told)


def test_what_is_encoded_without_a_secret_stays() -> None:
    """Paths, hashes, other people's base64."""
    for text in ("/a%20b?x=%C3%A9&y=%25", "a" * 64, "f" * 40 + "==", base64.b64encode(b"hello world, " * 9).decode()):
        assert redact(text) == text


def test_a_line_does_not_become_two() -> None:
    """What was escaped stays escaped, so a client cannot write a line of its own beside a key."""
    told = redact(f"GET /?k={KEYS[0].replace('_', '%5F')}&x=%0aINFO%20forged%1b[2J")

    assert len(told.splitlines()) == 1
    assert "\x1b" not in told
    assert leaks(told, KEYS[0]) == []


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    key=st.sampled_from(KEYS),
    where=st.sampled_from(
        ["msg", "arg", "split", "named", "repr", "extra", "nested", "error", "cause", "stack", "bytes"]
    ),
)
def test_no_part_of_a_record_keeps_a_key(data: st.DataObject, key: str, where: str) -> None:
    """Message, arguments, what only the two make together, traceback, causes, and what was added."""
    text = data.draw(disguised(key))
    half = len(text) // 2
    match where:
        case "msg":
            made = record(text.replace("%", "%%") + " %s", "x")
        case "arg":
            made = record("%s and %d", text, 7)
        case "split":
            made = record("GET %s%s", text[:half], text[half:])
        case "named":
            made = record("%(key)s", {"key": text})
        case "repr":
            made = record("%r", [{"x": (text,)}])
        case "bytes":
            made = record("%s", text.encode())
        case "extra":
            made = record("x", url=text)
        case "nested":
            made = record("x", request={"headers": [("x-api-key", text)]})
        case "stack":
            made = record("x")
            made.stack_info = f"Stack:\n  {text}"
        case _:
            made = failed(text, caused=where == "cause")

    assert leaks(shown(made), key) == []


def failed(text: str, *, caused: bool) -> logging.LogRecord:
    """A record with a traceback."""
    made = record("x")
    try:
        try:
            raise ValueError(text)
        except ValueError as error:
            raise (KeyError("y") if caused else KeyError(text)) from error
    except KeyError:
        made.exc_info = sys.exc_info()
    return made


def test_arguments_stay_in_their_places() -> None:
    """For formatters that unpack them, as that of uvicorn's access log does."""
    made = record('%s - "%s %s HTTP/%s" %d', "192.0.2.7:1", "GET", f"/x?api_key={KEYS[0]}", "1.1", 200)
    RedactingFilter(redact).filter(made)

    assert isinstance(made.args, tuple)
    assert made.args[:2] == ("192.0.2.7:1", "GET")
    assert made.args[4] == 200
    assert leaks(str(made.args[2]), KEYS[0]) == []


def test_a_record_without_secrets_is_left_alone() -> None:
    """The same objects: an error stays an error, for those who collect them."""
    made, subject = record("%s of %d%%", "half", 50, extra={"a": [1]}), object()
    made.__dict__["subject"] = subject
    try:
        raise ValueError("x")
    except ValueError:
        made.exc_info = sys.exc_info()
    before = dict(vars(made))
    RedactingFilter().filter(made)

    assert vars(made) == before


class Unspeakable:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError(KEYS[0])


def test_what_cannot_be_looked_into_is_not_written() -> None:
    """And whoever logs it goes on."""
    told = shown(record("%s", Unspeakable()))

    assert "could not be looked into: RuntimeError" in told
    assert leaks(told, KEYS[0]) == []


def test_a_filter_without_a_format_knows_keys_by_their_shape() -> None:
    """Of any prefix."""
    for key in KEYS:
        made = record("%s", key)
        RedactingFilter().filter(made)
        assert leaks(made.getMessage(), key) == []


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What an application's own logger writes, with the key id in front."""
    stream, logger = io.StringIO(), logging.getLogger("shop")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(api_key_id)s|%(owner)s|%(message)s"))
    handler.addFilter(PrincipalFilter(get_api_key))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    """Logs, here and in the background."""
    logging.getLogger("shop").info("sold")
    done = anyio.Event()

    async def restock() -> None:
        logging.getLogger("shop").info("restocked")
        done.set()

    Background().spawn(restock)
    await done.wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def called(app: APIKeyMiddleware, headers: Mapping[str, str]) -> None:
    """Send one request."""
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": lines, "query_string": b""}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(message: object) -> None:
        return None

    await app(scope, receive, send)


@pytest.mark.anyio
async def test_every_line_of_a_request_names_its_key(lines: io.StringIO) -> None:
    """Of the application too; not what the request has started in the background, which may serve others."""
    async with APIKeys("memory:", pepper=None) as keys:
        issued = await keys.issue(owner="acme")
        await called(APIKeyMiddleware(shop, keys=keys), {"x-api-key": issued.key})
        await called(APIKeyMiddleware(shop, keys=keys, required=False), {})

    key_id = issued.record.key_id
    assert lines.getvalue().splitlines() == [f"{key_id}|acme|sold", "||restocked", "||sold", "||restocked"]
