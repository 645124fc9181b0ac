"""What a search asks for, checked and in stored form: the same for every repository."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import Instant, KeyQuery, KeyRecord, SortBy, Status
from asgi_apikey.policy import covering
from asgi_apikey.repositories.records import MICROSECONDS, Value, storable, stored, to_micros
from asgi_apikey.verification import status_of

MAX_NAMES: Final = 100
MAX_PART: Final = 255

LAST: Final = 2**63 - 1
"""Stands for "never" where it comes last."""
FIRST: Final = -LAST
"""Stands for "never" where it comes first. PostgreSQL cannot write the number below it as an integer."""

_EXACT: Final = ("owner", "tenant", "environment", "created_by", "lineage", "name")
_FOLD: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Labels:
    """One condition on a key's scopes or tags: it has at least one of these.

    Attributes:
        kind: `scope` or `tag`.
    """

    kind: str
    any_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A condition on an instant that is there: from `start` on, before `end`; None is open."""

    column: str
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A query as conditions, all of which must hold; instants in microseconds.

    Attributes:
        exact: Columns and their values.
        part: Of the name, in lower case.
        idle_since: Last used, or made, at this instant at the latest.
    """

    exact: tuple[tuple[str, str], ...]
    part: str | None
    labels: tuple[Labels, ...]
    ranges: tuple[Range, ...]
    status: Status | None
    revoked: bool | None
    endless: bool | None
    never_used: bool | None
    idle_since: int | None
    now: int

    def admits(self, record: KeyRecord) -> bool:
        """Whether a record is one of those that are looked for."""
        return (
            all(getattr(record, column) == value for column, value in self.exact)
            and (self.part is None or self.part in folded(record.name))
            and all(_labelled(record, each) for each in self.labels)
            and all(_inside(record, each) for each in self.ranges)
            and (self.status is None or status_of(record, self.now / MICROSECONDS) is self.status)
            and (self.revoked is None or (record.revoked_at is not None) is self.revoked)
            and (self.endless is None or (record.expires_at is None) is self.endless)
            and (self.never_used is None or (record.last_used_at is None) is self.never_used)
            and (self.idle_since is None or _idle_at(record) <= self.idle_since)
        )


def wanted_of(query: KeyQuery, now: Instant) -> Wanted | None:
    """Return the conditions of a query; None if no record that can be stored would meet them.

    Raises:
        InvalidRequest: A value is of another type than it must be, or there are too many.
    """
    exact = tuple((column, getattr(query, column)) for column in _EXACT if getattr(query, column) is not None)
    part = query.name_contains
    if part is not None and len(_text(part, "name_contains")) > MAX_PART:
        raise InvalidRequest(f"name_contains has at most {MAX_PART} characters")
    for flag in ("revoked", "endless", "never_used", "ascending"):
        if getattr(query, flag) not in (None, True, False):
            raise InvalidRequest(f"{flag} must be true or false")
    if query.status is not None and not isinstance(query.status, Status):
        raise InvalidRequest("status must be one of " + ", ".join(each.value for each in Status))
    if not isinstance(query.sort, SortBy):
        raise InvalidRequest("sort must be one of " + ", ".join(each.value for each in SortBy))
    labels = (
        *(Labels("tag", (tag,)) for tag in _names(query.tags, "tags")),
        *(Labels("scope", _covering([scope])) for scope in _names(query.scopes, "scopes")),
        *([Labels("scope", _covering(_names(query.any_scopes, "any_scopes")))] if query.any_scopes else []),
    )
    wanted = Wanted(
        exact=tuple((column, _text(value, column)) for column, value in exact),
        part=None if part is None else folded(part),
        labels=labels,
        ranges=tuple(
            Range(column, start, end)
            for column, start, end in (
                ("created_at", _instant(query.created_after), _instant(query.created_before)),
                ("expires_at", _instant(query.expires_after), _instant(query.expires_before)),
                ("last_used_at", _instant(query.last_used_after), _instant(query.last_used_before)),
            )
            if (start, end) != (None, None)
        ),
        status=query.status,
        revoked=query.revoked,
        endless=query.endless,
        never_used=query.never_used,
        idle_since=None if query.idle_for is None else _instant(now - _seconds(query.idle_for)),
        now=to_micros(now),
    )
    texts = [value for _, value in wanted.exact] + [label for each in labels for label in each.any_of]
    return wanted if all(storable(each) for each in (*texts, part or "")) else None


def sort_value(record: KeyRecord, sort: SortBy) -> int | str:
    """Return what a record is sorted by, as it is stored."""
    match sort:
        case SortBy.NAME:
            return record.name
        case SortBy.EXPIRES_AT:
            return LAST if record.expires_at is None else to_micros(record.expires_at)
        case SortBy.LAST_USED_AT:
            return FIRST if record.last_used_at is None else to_micros(record.last_used_at)
        case SortBy.CREATED_AT:
            return to_micros(record.created_at)


def folded(text: str) -> str:
    """Return `text` with ASCII letters in lower case: what `lower()` does in every database, however set up."""
    return text.translate(_FOLD)


def _labelled(record: KeyRecord, wanted: Labels) -> bool:
    return not (record.tags if wanted.kind == "tag" else record.scopes).isdisjoint(wanted.any_of)


def _inside(record: KeyRecord, wanted: Range) -> bool:
    at = getattr(record, wanted.column)
    if at is None:
        return False
    micros = to_micros(at)
    return (wanted.start is None or micros >= wanted.start) and (wanted.end is None or micros < wanted.end)


def _idle_at(record: KeyRecord) -> int:
    return to_micros(record.created_at if record.last_used_at is None else record.last_used_at)


def _covering(scopes: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(frozenset().union(*map(covering, scopes))))


def _names(values: object, what: str) -> list[str]:
    if not isinstance(values, frozenset | set) or not all(isinstance(each, str) for each in values):
        raise InvalidRequest(f"{what} must be a set of names")
    if len(values) > MAX_NAMES:
        raise InvalidRequest(f"{what} are at most {MAX_NAMES}")
    return sorted(values)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{what} must be text")
    return value


def _instant(value: Instant | None) -> int | None:
    micros: Value = None if value is None else stored("created_at", value)
    return micros if isinstance(micros, int) else None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise InvalidRequest("idle_for must be seconds, 0 or more")
    return value
