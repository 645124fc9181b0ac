"""What a verb is given beside its input, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from asgi_apikey.management.callers import Caller
from asgi_apikey.models import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, whose caller may do what the verb needs.

    Attributes:
        caller: Who.
        now: When, for telling how keys stand.
        key_id: From the path; empty where there is none.
        version: The key must still be at it (`If-Match`); None: at any. 0, at which no key ever is: the client named
            something that is not a version.
        idempotency_key: Names this request, so that a repetition is known as one; None: it is not to be known.
        wait: Whether to answer when a change is confirmed, not when it is committed.
        root: The path below which the API is mounted.
    """

    caller: Caller
    now: Instant
    key_id: str = ""
    version: int | None = None
    idempotency_key: str | None = None
    wait: bool = True
    root: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, not yet written.

    Attributes:
        content: The body.
        status: HTTP status.
        headers: Beside those that every answer has.
    """

    content: Struct
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
