"""Filters for any handler: who a line is about, and no secret in it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Final, Protocol

from asgi_apikey.logs.redactor import Redact, Redactor

EVENT: Final = "event"
"""The attribute of a log record with the name that its line has for programs: `extra={EVENT: "store_lost"}`."""

KEY_ID: Final = "api_key_id"
OWNER: Final = "owner"

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_DEEPEST: Final = 4


class WhoseKey(Protocol):
    """A principal."""

    @property
    def key_id(self) -> str:
        """The public id of its key."""
        ...

    @property
    def owner(self) -> str:
        """The account that the key belongs to."""
        ...


class PrincipalFilter(logging.Filter):
    """Lets every record pass, with the attributes `api_key_id` and `owner` of the request that is being served.

    Both are empty outside of a request, and in one that is anonymous, so a format may always name them.

    Args:
        current: Returns whose request it is: `get_api_key`.
    """

    def __init__(self, current: Callable[[], WhoseKey | None]) -> None:
        super().__init__()
        self._current = current

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the key."""
        principal = self._current()
        record.__dict__[KEY_ID] = "" if principal is None else principal.key_id
        record.__dict__[OWNER] = "" if principal is None else principal.owner
        return True


class RedactingFilter(logging.Filter):
    """Lets every record pass, without secrets: in its message and arguments, its traceback, and whatever was added.

    On a handler, not on a logger: those pass on records of the loggers below without asking their filters. Arguments
    stay in their places, so formatters that look at them, as that of uvicorn's access log does, go on working.

    Args:
        redact: Cuts them out; None: keys of any prefix, tokens and passwords in URLs.
    """

    def __init__(self, redact: Redact | None = None) -> None:
        super().__init__()
        self._redact: Redact = Redactor() if redact is None else redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut secrets out."""
        try:
            self._clean(record)
        except Exception as error:
            # Denies the line: an object that cannot be looked into may hold anything. To raise would break who logs.
            record.msg, record.args = "[a line that could not be looked into: %s]", (type(error).__qualname__,)
            record.exc_info = record.exc_text = record.stack_info = None
        return True

    def _clean(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        # The message first: a text from outside may be the format itself.
        message, args = self._redact(str(record.msg)), self._within(record.args)
        if message != str(record.msg) or args != record.args or self._redact(text) != text:
            record.msg, record.args = self._agreed(record.msg, args, text)
        self._clean_error(record)
        for name, value in list(vars(record).items()):
            if name not in _STANDARD:
                record.__dict__[name] = self._within(value)

    def _agreed(self, message: object, args: object, text: str) -> tuple[object, Any]:
        """Return a message and arguments without secrets: the arguments in their places, if that is enough."""
        if self._redact(str(message)) == str(message):
            rendered = str(message) % args if args else str(message)
            if self._redact(rendered) == rendered:
                return message, args
        # A secret that only comes into being by putting the two together.
        return self._redact(text), ()

    def _clean_error(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            shown = self._redact(text)
            if shown != text:
                # The text instead of the error: whoever formats the error itself would show it all.
                record.exc_text, record.exc_info = shown, None
        if record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)

    def _within(self, value: Any, depth: int = 0) -> Any:
        """Return a value without secrets; the same one where there are none."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._redact(value)
        if depth < _DEEPEST and type(value) is dict:
            return {self._within(name, depth + 1): self._within(each, depth + 1) for name, each in value.items()}
        if depth < _DEEPEST and type(value) in (list, tuple):
            return type(value)(self._within(each, depth + 1) for each in value)
        # Anything else is known by what it looks like.
        for text in (str(value), repr(value)):
            if self._redact(text) != text:
                return self._redact(text)
        return value
