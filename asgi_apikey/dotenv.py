"""Lines of a `.env` file: `NAME=value` or `export NAME=value`, the value bare or within one pair of quotes.

`#` starts a comment at the beginning of a line and after a blank. Nothing in a value is expanded, and nothing is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from asgi_apikey.errors import ConfigurationError

_ASSIGNMENT: Final = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One line.

    Attributes:
        where: The file and the line, for messages.
        name: The variable.
        value: Without quotes; it may be a secret, so it is not in the repr.
    """

    where: str
    name: str
    value: str = field(repr=False)


def assignments(text: str, *, source: str = ".env") -> Iterator[Assignment]:
    """Yield the assignments of a file, top to bottom; empty lines and comments are passed over.

    Raises:
        ConfigurationError: A line that is none of these. It is not repeated: it may hold a secret.
    """
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        stripped, where = line.strip(), f"{source}, line {number}"
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            raise ConfigurationError(f"{where}: write NAME=value")
        yield Assignment(where, match[1], _unquoted(match[2], where))


def _unquoted(value: str, where: str) -> str:
    if value[:1] in {"'", '"'}:
        inner, quote, after = value[1:].partition(value[0])
        if not quote or (after.strip() and not re.match(r"\s+#", after)):
            raise ConfigurationError(f"{where}: the quotes do not close")
        return inner
    return re.split(r"\s+#", value, maxsplit=1)[0].strip()
