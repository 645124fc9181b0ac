"""A row of somebody else's table, read with care: what is not as it should be is told by column, never repeated."""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from asgi_apikey import lifecycle
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import Instant, KeyRecord, KeyRequest, Metadata, frozen_metadata

_TRUE: Final = frozenset({"1", "t", "true", "yes"})
_FALSE: Final = frozenset({"", "0", "f", "false", "no"})
_HEX: Final = re.compile("[0-9a-fA-F]{64}")
_BASE64: Final = re.compile("[0-9A-Za-z+/_-]{43}=?")
_URL_SAFE: Final = str.maketrans("+/", "-_")
_MILLISECONDS: Final = 1e11
"""Numbers from here on are milliseconds: as seconds they would lie in the year 5138."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row; columns that are not there are as good as empty.

    Attributes:
        columns: What stands in it; digests inside, so not in the repr.
    """

    columns: Mapping[str, object] = field(repr=False)

    def text(self, *names: str) -> str:
        """Return the first of these columns that is not empty, as text; else empty text."""
        for name in names:
            value = self.columns.get(name)
            if isinstance(value, bytes):
                value = value.decode(errors="replace")
            if value is not None and str(value) != "":
                return str(value)
        return ""

    def needed(self, *names: str) -> str:
        """Return the first of these columns that is not empty.

        Raises:
            InvalidRequest: All are.
        """
        found = self.text(*names)
        if not found:
            raise InvalidRequest(f"no {names[0]}")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a yes or no, as databases and exports write it.

        Raises:
            InvalidRequest: It is neither.
        """
        if self.columns.get(name) is None:
            return default
        value = self.text(name).lower()
        if value not in _TRUE | _FALSE:
            raise InvalidRequest(f"{name} is neither true nor false")
        return value in _TRUE

    def instant(self, *names: str) -> Instant | None:
        """Return the first of these columns that is not empty, as Unix seconds; None if all are.

        A time without an offset is UTC, as all these systems mean it.

        Raises:
            InvalidRequest: It is not a time.
        """
        name = next((each for each in names if self.columns.get(each) not in (None, "")), None)
        if name is None:
            return None
        value = self.columns[name]
        try:
            return lifecycle.instant(_seconds(value))
        except (ValueError, OverflowError, InvalidRequest) as error:
            raise InvalidRequest(f"{name} is not a time") from error

    def json(self, name: str) -> object:
        """Return what a column with JSON holds; None if it is empty.

        Raises:
            InvalidRequest: It is not JSON.
        """
        value = self.columns.get(name)
        if not isinstance(value, str | bytes):
            return value
        try:
            return json.loads(value) if value else None
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{name} is not JSON") from error

    def names(self, name: str) -> frozenset[str]:
        """Return a list of names, written as JSON or as an array of the database.

        Raises:
            InvalidRequest: It is not a list of texts.
        """
        value = self.json(name)
        if value is None:
            return frozenset()
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise InvalidRequest(f"{name} is not a list of names")
        return frozenset(value)

    def sha256(self, *names: str) -> bytes:
        """Return 32 bytes, written in hexadecimal digits or in base64 of either alphabet.

        Raises:
            InvalidRequest: They are not there, or not written so.
        """
        text = self.needed(*names).strip()
        if _HEX.fullmatch(text):
            return bytes.fromhex(text)
        if not _BASE64.fullmatch(text):
            raise InvalidRequest(f"{names[0]} is not a SHA-256")
        return urlsafe_b64decode(text[:43].translate(_URL_SAFE) + "=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What has become of a key there.

    Attributes:
        created_at: When it was made; None where that is not known.
        not_before: From when on it works.
        expires_at: When it ends, or has ended.
        last_used_at: When it was used last.
        disabled: Whether it is switched off.
        revoked: Whether it is ended for good.
    """

    created_at: Instant | None = None
    not_before: Instant | None = None
    expires_at: Instant | None = None
    last_used_at: Instant | None = None
    disabled: bool = False
    revoked: bool = False


def record_of(
    request: KeyRequest, *, key_id: str, digest: str, hint: str, standing: Standing, system: str, now: Instant
) -> KeyRecord:
    """Return the record of a key of another system.

    Args:
        request: Whose it is and what it may do; without its times.
        key_id: Here.
        digest: As it is compared here.
        hint: Its last characters, if they are known.
        standing: What has become of it.
        system: Where it comes from.
        now: When it is taken over.

    Raises:
        InvalidRequest: A value that a key cannot have.
    """
    record = lifecycle.record_of(
        replace(request, created_by=adopter_of(system)),
        key_id=key_id,
        digest=digest,
        hint=hint[-4:] if hint.isascii() and hint.isprintable() else "",
        environment=lifecycle.environment(request.environment),
        now=now,
    )
    created_at = now if standing.created_at is None else min(standing.created_at, now)
    end, start = standing.expires_at, standing.not_before
    if start is not None and end is not None and start >= end:
        raise InvalidRequest("it begins after its end")
    return replace(
        record,
        created_at=created_at,
        not_before=start,
        expires_at=end,
        last_used_at=None if standing.last_used_at is None else min(standing.last_used_at, now),
        disabled_at=now if standing.disabled else None,
        revoked_at=now if standing.revoked else None,
        revoked_by=adopter_of(system) if standing.revoked else "",
        revoke_reason="it was revoked there" if standing.revoked else "",
    )


def adopter_of(system: str) -> str:
    """Return what `created_by` of all keys of a system says, by which they are known."""
    return f"adopt:{system}"


def noted(**facts: str) -> Metadata:
    """Return metadata of what there is no column for here; empty facts are left out."""
    return frozen_metadata({name: value for name, value in facts.items() if value})


def _seconds(value: object) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool):
        raise ValueError("a truth value")
    if isinstance(value, int | float):
        return float(value) / 1000 if abs(value) >= _MILLISECONDS else float(value)
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError("not finite")
    return _seconds(number)
