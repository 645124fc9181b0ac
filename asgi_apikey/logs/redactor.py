"""Cutting secrets out of any text: the last thing that happens to what is written for others to read."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from asgi_apikey.keyformat import KEY_ID_LENGTH, KeyFormat

Redact: TypeAlias = Callable[[str], str]

REDACTED: Final = "[redacted]"

# What betrays a key of any prefix: its id, and behind it a dozen characters of its secret, if the rest was cut off.
_BETRAYED: Final = re.compile(rf"(_[0-9A-Za-z]{{{KEY_ID_LENGTH}}}_)[12][0-9A-Za-z]{{11,}}")
# RFC 7519: a header that begins with `{"` in base64url, a payload, a signature.
_TOKEN: Final = re.compile(r"eyJ[\w-]{8,}\.[\w-]*\.?[\w-]*")
_PASSWORD: Final = re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+(?=@)")
# As long as a key's id and the dozen characters are in base64, at least.
_BASE64: Final = re.compile(r"[0-9A-Za-z+/_-]{40,}={0,2}")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_LAYERS: Final = 8
"""How often something may be percent-encoded over and over; once is what browsers do, twice is a proxy's mistake."""


class Redactor:
    """Cuts secrets out of any text.

    Also where a client has written them with percent-escapes, several times over, or in base64. What is left of a key
    is its public id, and of a whole one its last four characters.

    Args:
        keys: Knows the keys that are issued here; None: keys of any prefix are told by their shape.
        secrets: The server's own, which are cut out wherever they stand.
    """

    def __init__(self, keys: KeyFormat | None = None, secrets: Collection[str] = ()) -> None:
        self._keys = keys
        # The longest first: a secret may be the beginning of another.
        own = sorted({each for each in secrets if each}, key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, own))) if own else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        text = self._without_own(text)
        if "%" in text:
            # First: of a key with an escape in its middle, only the part before would be recognised as it is.
            text = "".join(map(self._behind_escapes, text.splitlines(keepends=True)))
        return _BASE64.sub(self._behind_base64, self._plain(text))

    def _plain(self, text: str) -> str:
        """Return the text without what is recognised by its shape, as it stands there."""
        if self._keys is not None:
            text = self._keys.mask(text)
        text = _BETRAYED.sub(rf"\1{REDACTED}", text)
        return _PASSWORD.sub(rf"\1{REDACTED}", _TOKEN.sub(REDACTED, text))

    def _without_own(self, text: str) -> str:
        return text if self._own is None else self._own.sub(REDACTED, text)

    def _behind_escapes(self, line: str) -> str:
        """Return the line decoded, if a secret comes to light by that; else as it is."""
        text = line.rstrip("\r\n")
        end, betrayed = line[len(text) :], False
        for _ in range(_LAYERS):
            decoded = unquote(text)
            if decoded == text:
                break
            text = self._without_own(decoded)
            betrayed = betrayed or text != decoded
        else:
            # Nobody writes so who has nothing to hide.
            return REDACTED + end
        shown = self._plain(text)
        if shown == text and not betrayed:
            return line
        # What was escaped for good reason stays so: a line must not become two by being redacted.
        return "".join(each if each.isprintable() else quote(each, errors="replace") for each in shown) + end

    def _behind_base64(self, match: re.Match[str]) -> str:
        """Return what is encoded as it is, unless a secret is in it, wherever the encoding begins."""
        run = match[0].rstrip("=").translate(_URL_SAFE)
        return REDACTED if any(self._betrays(run[start:]) for start in range(4)) else match[0]

    def _betrays(self, run: str) -> bool:
        try:
            decoded = base64.b64decode(run + "=" * (-len(run) % 4)).decode("latin-1")
        except binascii.Error:
            # One character too many, as at the end of a word; the rest says enough.
            decoded = base64.b64decode(run[:-1]).decode("latin-1")
        return bool(_BETRAYED.search(decoded) or (self._own is not None and self._own.search(decoded)))
