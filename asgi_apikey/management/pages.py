"""Pages of the audit, newest first, at a bounded price each: the audit has no index of keys and tenants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asgi_apikey.management import schemas
from asgi_apikey.management.views import entry_of
from asgi_apikey.models import AuditEntry
from asgi_apikey.protocols import AuditLog

_READ_AT_ONCE: Final = 1_000
LOOKED_THROUGH: Final = 10_000
"""Entries that are read for one page at most; it then ends where they do, with as many as were found."""


async def audit_page(log: AuditLog, query: schemas.AuditQuery, admits: Callable[[AuditEntry], bool]) -> schemas.Audit:
    """Return the newest entries before `query.before` that are admitted."""
    end = (await log.anchor()).entries + 1
    before = end if query.before is None else min(end, query.before)
    lowest = max(query.after, before - 1 - LOOKED_THROUGH)
    found: list[AuditEntry] = []
    # Without filters the first read is enough.
    size = query.limit
    while len(found) < query.limit and before - 1 > lowest:
        after = max(lowest, before - 1 - size)
        entries = await log.entries(after, limit=before - 1 - after)
        found += [each for each in reversed(entries) if each.number < before and admits(each)]
        before, size = after + 1, _READ_AT_ONCE
    if len(found) > query.limit:
        found = found[: query.limit]
        before = found[-1].number
    return schemas.Audit(
        entries=[entry_of(each) for each in found], next_before=before if before - 1 > query.after else None
    )
