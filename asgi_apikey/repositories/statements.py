"""Every statement that `SQLRepository` sends, in the dialect that `driver` describes."""

# ruff: noqa: S608 - what is put into the texts below are the names of our own columns; every value is a parameter.

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from asgi_apikey.models import KeyQuery, Status
from asgi_apikey.repositories.paging import Position
from asgi_apikey.repositories.records import COLUMNS, Value

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

# The order of `verification.status_of`; each `?` is now. A key ends at `expires_at` and starts at `not_before`.
_NOT_EXPIRED: Final = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
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


def find(query: KeyQuery, *, start: Position | None, now: int, limit: int) -> tuple[str, tuple[Value, ...]]:
    """Return the statement of one page and its parameters.

    Only the conditions that are asked for are in it: "? IS NULL OR owner = ?" would be shorter, but hides the
    index from the planner, and PostgreSQL cannot tell the type of its first parameter.

    Args:
        query: The filters.
        start: The position after which the page starts.
        now: Microseconds.
        limit: The most rows to return.
    """
    conditions: list[str] = []
    args: list[Value] = []
    for column, wanted in (("owner", query.owner), ("tenant", query.tenant), ("environment", query.environment)):
        if wanted is not None:
            conditions.append(f"{column} = ?")
            args.append(wanted)
    if query.status is not None:
        condition = _STATUS[query.status]
        conditions.append(condition)
        args.extend([now] * condition.count("?"))
    if start is not None:
        # The first half bounds the index scan, the second decides among those of the same instant.
        conditions.append("created_at <= ? AND (created_at < ? OR key_id > ?)")
        args.extend((start.created_at, start.created_at, start.key_id))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"SELECT {_COLUMNS} FROM api_keys {where} ORDER BY created_at DESC, key_id LIMIT ?"
    return statement, (*args, limit)
