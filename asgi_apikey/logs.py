"""Logs of a service: one JSON object per line, or text, with request and key ids and without secrets.

The last thing that happens to a line is that whatever looks like a secret is cut out of it: whole keys of any prefix,
tokens, passwords in URLs, and the server's own secrets. It is a net below code that logs no secrets in the first place.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Final, Literal, TextIO, TypeAlias

from asgi_apikey.keyformat import WHOLE_KEY, KeyFormat

Redact: TypeAlias = Callable[[str], str]
LogFields: TypeAlias = Mapping[str, str | int | float | None]

REQUEST_ID: ContextVar[str] = ContextVar("asgi_apikey.request_id", default="")
"""The id of the request that the running code serves; empty outside of one."""

FIELDS: Final = "fields"
"""The attribute of a log record that holds more fields, a `LogFields`: `extra={FIELDS: {...}}`."""

REDACTED: Final = "[redacted]"

_OURS: Final = ("asgi_apikey", "uvicorn")
# RFC 7519: a header that begins with `{"` in base64url, a payload, a signature.
_TOKEN: Final = re.compile(r"eyJ[\w-]{8,}\.[\w-]*\.?[\w-]*")
_PASSWORD: Final = re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+(?=@)")


class Redactor:
    """Cuts secrets out of any text.

    Args:
        keys: Knows the keys that are issued here; those are cut down to their public ids.
        secrets: The server's own, which are cut out wherever they stand.
    """

    def __init__(self, keys: KeyFormat, secrets: Collection[str] = ()) -> None:
        self._keys = keys
        # The longest first: a secret may be the beginning of another.
        own = sorted({each for each in secrets if each}, key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, own))) if own else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        if self._own is not None:
            text = self._own.sub(REDACTED, text)
        text = WHOLE_KEY.sub(rf"\1{REDACTED}", self._keys.mask(text))
        return _PASSWORD.sub(rf"\1{REDACTED}", _TOKEN.sub(REDACTED, text))


class JSONLines(logging.Formatter):
    """Writes a log record as one JSON object on one line.

    `time` (RFC 3339, UTC), `level`, `logger` and `message` are always there; `request_id` inside of a request; `error`
    with a traceback; and the record's own fields.

    Args:
        redact: Is the last to see each text.
    """

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if request_id := REQUEST_ID.get():
            entry["request_id"] = request_id
        for name, value in _fields(record).items():
            entry[name] = self._redact(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = self._redact("".join(traceback.format_exception(*record.exc_info)))
        # ASCII: whatever the terminal or the collector takes for an encoding, a line stays a line.
        return json.dumps(entry)


class TextLines(logging.Formatter):
    """Writes a log record as a line for people: the time, the level, the message, the fields.

    Line ends and controls are written escaped, so that a message cannot look like two.

    Args:
        redact: Is the last to see the line.
    """

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        request_id = {"request_id": REQUEST_ID.get()} if REQUEST_ID.get() else {}
        fields = request_id | dict(_fields(record))
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        head = f"{rfc3339(record.created)} {record.levelname:7} {record.name}: {record.getMessage()}"
        line = _on_one_line(self._redact(f"{head} {told}".rstrip()))
        if record.exc_info and record.exc_info[0] is not None:
            return line + "\n" + self._redact("".join(traceback.format_exception(*record.exc_info))).rstrip()
        return line


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    layout: Literal["json", "text"],
    redact: Redact,
    stream: TextIO | None = None,
) -> None:
    """Have everything that this process logs written to one stream.

    Our own loggers and the server's have the level; those of libraries speak from warnings on, as what they say while
    debugging (statements with their values, say) is not for a log that others read.

    Args:
        level: What is written at least.
        layout: One JSON object per line, or text.
        redact: Is the last to see each line.
        stream: Where to; None: standard error.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JSONLines(redact) if layout == "json" else TextLines(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if level != "error" else logging.ERROR)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


def rfc3339(at: float) -> str:
    """Return the instant in UTC, to the millisecond."""
    seconds, millis = divmod(round(at * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{millis:03d}Z"


def _fields(record: logging.LogRecord) -> LogFields:
    fields = getattr(record, FIELDS, {})
    return fields if isinstance(fields, Mapping) else {}


def _on_one_line(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
