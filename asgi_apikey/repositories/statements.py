"""Every statement that `SQLRepository` sends, in the dialect that `driver` describes."""

# ruff: noqa: S608 - what is put into the texts below are the names of our own columns; every value is a parameter.

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from asgi_apikey.models import KeyQuery, SortBy, Status
from asgi_apikey.repositories.paging import Position
from asgi_apikey.repositories.records import COLUMNS, Value
from asgi_apikey.repositories.search import FIRST, LAST, Labels, Wanted

_COLUMNS: Final = ", ".join(COLUMNS)

GET: Final = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = ?"

VERSION: Final = "SELECT version FROM api_keys WHERE key_id = ?"

HIGHEST_VERSION: Final = "SELECT max(version) FROM api_key_changes WHERE key_id = ?"

# No row comes back when the id is taken: portable, where every driver has its own IntegrityError.
INSERT: Final = f"""
    INSERT INTO api_keys ({_COLUMNS})
    VALUES ({", ".join("?" for _ in COLUMNS)})
    ON CONFLICT (key_id) DO NOTHING
    RETURNING key_id
"""

DELETE: Final = f"DELETE FROM api_keys WHERE key_id = ? AND version = ? RETURNING {_COLUMNS}"

APPEND_CHANGE: Final = "INSERT INTO api_key_changes (key_id, version) VALUES (?, ?) RETURNING seq"

# The two guards are the point: a re-hash that was decided on an old read must not touch what happened since.
REPLACE_DIGEST: Final = """
    UPDATE api_keys SET digest = ?
    WHERE key_id = ? AND digest = ? AND revoked_at IS NULL
    RETURNING key_id
"""

# Two columns, one direction. CASE, because the greater of two values is max() here and greatest() there.
RECORD_USAGE: Final = """
    UPDATE api_keys
    SET uses = uses + ?,
        last_used_at = CASE WHEN last_used_at IS NULL OR last_used_at < ? THEN ? ELSE last_used_at END
    WHERE key_id = ?
"""

# A successor is given up only if nobody has begun to use it.
RETIRE: Final = f"""
    UPDATE api_keys SET revoked_at = ?, revoked_by = ?, revoke_reason = ?, version = version + 1
    WHERE revoked_at IS NULL AND uses = 0 AND last_used_at IS NULL AND key_id = ? AND version = ?
    RETURNING {_COLUMNS}
"""

DEAD: Final = """
    SELECT key_id, version FROM api_keys WHERE revoked_at <= ? OR expires_at <= ? ORDER BY key_id LIMIT ?
"""

ADD_LABEL: Final = "INSERT INTO api_key_labels (kind, label, key_id) VALUES (?, ?, ?)"

DROP_LABELS: Final = "DELETE FROM api_key_labels WHERE key_id = ?"

META: Final = "SELECT value FROM api_key_meta WHERE name = ?"

FEW: Final = 500
"""Keys whose names have a part, below which they are looked up one by one."""

_HAS_PART: Final = "lower(name) LIKE ? ESCAPE '!'"

_ENDS: Final = f"coalesce(expires_at, {LAST})"
"""The expression of an index, to the letter."""

_ORDERS: Final = {
    SortBy.CREATED_AT: "created_at",
    SortBy.EXPIRES_AT: _ENDS,
    SortBy.LAST_USED_AT: f"coalesce(last_used_at, {FIRST})",
    SortBy.NAME: "name",
}

# The order of `verification.status_of`; each `?` is now. A key ends at `expires_at` and starts at `not_before`.
_NOT_EXPIRED: Final = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
_UNENDED: Final = (Status.ACTIVE, Status.DISABLED, Status.NOT_YET_VALID)
_STATUS: Final = {
    Status.REVOKED: "revoked_at IS NOT NULL",
    Status.EXPIRED: "revoked_at IS NULL AND expires_at <= ?",
    Status.DISABLED: f"{_NOT_EXPIRED} AND disabled_at IS NOT NULL",
    Status.NOT_YET_VALID: f"{_NOT_EXPIRED} AND disabled_at IS NULL AND not_before > ?",
    Status.ACTIVE: f"{_NOT_EXPIRED} AND disabled_at IS NULL AND (not_before IS NULL OR not_before <= ?)",
}


def update(columns: Collection[str]) -> str:
    """Return the guarded update of these columns; parameters: their values, the key id, the expected version."""
    assignments = "".join(f"{name} = ?, " for name in columns)
    return f"""
        UPDATE api_keys SET {assignments}version = version + 1
        WHERE key_id = ? AND version = ?
        RETURNING {_COLUMNS}
    """


def find(
    query: KeyQuery,
    wanted: Wanted,
    *,
    start: Position | None,
    limit: int,
    frequent: Collection[Labels] = (),
    among: Sequence[str] = (),
) -> tuple[str, tuple[Value, ...]]:
    """Return the statement of one page and its parameters.

    Args:
        query: The order.
        wanted: The filters.
        start: The position after which the page starts.
        limit: The most rows to return.
        frequent: See `where`.
        among: See `where`.
    """
    condition, args = where(wanted, frequent=frequent, among=among)
    order = _ORDERS[query.sort]
    if order == _ENDS and wanted.status in _UNENDED:
        # Said before, but not in the words of the index: without them, all that has ended is walked through first.
        condition, args = f"{condition} AND {_ENDS} > ?", (*args, wanted.now)
    ahead, direction = (">", "") if query.ascending else ("<", " DESC")
    if start is not None:
        # The first half bounds the index scan, the second decides among those of the same value.
        condition += f" AND {order} {ahead}= ? AND ({order} {ahead} ? OR key_id > ?)"
        args += (start.value, start.value, start.key_id)
    statement = f"SELECT {_COLUMNS} FROM api_keys WHERE {condition} ORDER BY {order}{direction}, key_id LIMIT ?"
    return statement, (*args, limit)


def count(wanted: Wanted, *, lineages: bool = False, live: bool = False) -> tuple[str, tuple[Value, ...]]:
    """Return the statement that counts records, or their lineages; with `live`, only those not dead at that time."""
    condition, args = where(wanted)
    if live:
        condition, args = f"{condition} AND {_NOT_EXPIRED}", (*args, wanted.now)
    return f"SELECT count({'DISTINCT lineage' if lineages else '*'}) FROM api_keys WHERE {condition}", args


def revoke_all(wanted: Wanted, revocation: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]]:
    """Return the statement that revokes records which are not revoked, and returns them."""
    condition, args = where(wanted)
    statement = f"""
        UPDATE api_keys SET revoked_at = ?, revoked_by = ?, revoke_reason = ?, version = version + 1
        WHERE {condition} AND revoked_at IS NULL
        RETURNING {_COLUMNS}
    """
    return statement, (*revocation, *args)


def some_labelled(wanted: Labels, limit: int) -> tuple[str, tuple[Value, ...]]:
    """Return the statement that counts a label's keys, up to a limit."""
    statement = f"""
        SELECT count(*) FROM (
            SELECT 1 FROM api_key_labels WHERE kind = ? AND label IN ({_marks(wanted.any_of)}) LIMIT ?
        ) AS few
    """
    return statement, (wanted.kind, *wanted.any_of, limit)


def named(part: str) -> tuple[str, tuple[Value, ...]]:
    """Return the statement that finds keys with a part in their names, at most `FEW`.

    The order is that of the index of names, which has all that is needed here and is a small part of the table.
    """
    statement = f"SELECT key_id FROM api_keys WHERE {_HAS_PART} ORDER BY name, key_id LIMIT {FEW}"
    return statement, (_pattern(part),)


def where(
    wanted: Wanted, *, frequent: Collection[Labels] = (), among: Sequence[str] = ()
) -> tuple[str, tuple[Value, ...]]:
    """Return the condition of a search and its parameters.

    Only what is asked for is in it: "? IS NULL OR owner = ?" would be shorter, but hides the index from the planner,
    and PostgreSQL cannot tell the type of its first parameter.

    Args:
        wanted: The filters.
        frequent: Scopes and tags that many keys have. Of the others, the few keys are looked up first; of these, the
            keys are looked at in order until the page is full. SQLite, which keeps no statistics by itself, would
            look up half a million keys to sort out fifty.
        among: The only keys that can be meant, at most `FEW`; empty where that is not known.
    """
    conditions = ["1 = 1"]
    args: list[Value] = []
    for column, value in wanted.exact:
        conditions.append(f"{column} = ?")
        args.append(value)
    if wanted.part is not None:
        conditions.append(_HAS_PART)
        args.append(_pattern(wanted.part))
    if among:
        # Always as many parameters, so the statement is prepared once.
        conditions.append(f"key_id IN ({_marks(range(FEW))})")
        args.extend((*among, *[among[-1]] * (FEW - len(among))))
    for labels in wanted.labels:
        held = f"SELECT key_id FROM api_key_labels WHERE kind = ? AND label IN ({_marks(labels.any_of)})"
        common = labels in frequent
        conditions.append(f"EXISTS ({held} AND key_id = api_keys.key_id)" if common else f"key_id IN ({held})")
        args.extend((labels.kind, *labels.any_of))
    for each in wanted.ranges:
        expression = _ENDS if each.column == "expires_at" else each.column
        conditions.append(f"{each.column} IS NOT NULL")
        for sign, bound in ((">=", each.start), ("<", each.end)):
            if bound is not None:
                conditions.append(f"{expression} {sign} ?")
                args.append(bound)
    if wanted.status is not None:
        condition = _STATUS[wanted.status]
        conditions.append(condition)
        args.extend([wanted.now] * condition.count("?"))
    for column, empty in (
        ("revoked_at", None if wanted.revoked is None else not wanted.revoked),
        ("expires_at", wanted.endless),
        ("last_used_at", wanted.never_used),
    ):
        if empty is not None:
            conditions.append(f"{column} IS {'' if empty else 'NOT '}NULL")
    if wanted.idle_since is not None:
        conditions.append("coalesce(last_used_at, created_at) <= ?")
        args.append(wanted.idle_since)
    return " AND ".join(conditions), tuple(args)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" for _ in values)


def _pattern(part: str) -> str:
    """Return what LIKE finds this part by, and nothing else."""
    escaped = "".join(f"!{char}" if char in "!%_" else char for char in part)
    return f"%{escaped}%"
