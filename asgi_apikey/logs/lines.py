"""Log lines: one JSON object each, or text, and where they are written to."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Literal, TextIO, TypeAlias

from asgi_apikey.logs.filters import EVENT, KEY_ID, OWNER
from asgi_apikey.logs.redactor import Redact

LogFields: TypeAlias = Mapping[str, str | int | float | None]

REQUEST_ID: ContextVar[str] = ContextVar("asgi_apikey.request_id", default="")
"""The id of the request that the running code serves; empty outside of one."""

FIELDS: Final = "fields"
"""The attribute of a log record that holds more fields, a `LogFields`: `extra={FIELDS: {...}}`."""

_OURS: Final = ("asgi_apikey", "uvicorn")


class JSONLines(logging.Formatter):
    """Writes a log record as one JSON object on one line.

    `time` (RFC 3339, UTC), `level`, `logger` and `message` are always there; `event` in lines of ours; `request_id`
    inside of a request; `error` with a traceback; and the record's own fields.

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
        if error := _error(record):
            entry["error"] = self._redact(error)
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
        error = _error(record)
        return f"{line}\n{self._redact(error).rstrip()}" if error else line


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
    """Return the name of the event and whose key it is about, where they are known, and the record's own fields."""
    known = {name: getattr(record, name, "") for name in (EVENT, KEY_ID, OWNER)}
    fields = getattr(record, FIELDS, {})
    told = {name: str(value) for name, value in known.items() if value}
    return told | dict(fields) if isinstance(fields, Mapping) else told


def _error(record: logging.LogRecord) -> str:
    """Return the traceback, empty if there is none; a filter may have left the text of it only."""
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info))
    return record.exc_text or ""


def _on_one_line(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
