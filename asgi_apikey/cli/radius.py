"""How much a destructive command would end, told before it is asked for."""

from __future__ import annotations

from typing import Final

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.desk import Verbs
from asgi_apikey.cli.output import described
from asgi_apikey.models import Criteria, Instant, KeyRecord

_PAGES: Final = 20
_PAGE: Final = 100


def counted(number: int, what: str) -> str:
    """Return `1 key`, `1,204 keys`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


async def ended_by(keys: Verbs, criteria: Criteria) -> str:
    """Return how many keys, of how many owners, revoking those that match would end.

    The keys are counted; of more than 2,000, owners are those of the first 2,000.
    """
    number = (await keys.revoke_where(**criteria, dry_run=True)).matched
    records = await _some(keys, {**criteria, "revoked": False})
    owners = {(record.tenant, record.owner) for record in records}
    more = "at least " if len(records) < number else ""
    return f"{counted(number, 'key')} of {more}{counted(len(owners), 'owner')}"


async def ended_with(keys: Verbs, record: KeyRecord) -> str:
    """Return a key, and how many others of its lineage revoking it would end."""
    alive = await keys.count(lineage=record.lineage, revoked=False)
    others = alive - (record.revoked_at is None)
    return f"{described(record)}" + (f" and {counted(others, 'other key')} of its lineage" if others > 0 else "")


async def pruned_by(keys: APIKeys, dead_since: Instant) -> str:
    """Return how many records pruning would delete; revoked ones are looked at one by one, 2,000 of them at most."""
    # One millisecond, in which instants are kept, makes "before" an "at least so long ago".
    number = await keys.count(revoked=False, expires_before=dead_since + 0.001)
    records = await _some(keys, {"revoked": True, "ascending": True})
    for record in records:
        number += min(at for at in (record.revoked_at, record.expires_at) if at is not None) <= dead_since
    more = "at least " if len(records) == _PAGES * _PAGE else ""
    return f"{more}{counted(number, 'key')}"


async def _some(keys: Verbs, criteria: Criteria) -> list[KeyRecord]:
    """Return the first records that match, of some pages at most."""
    records: list[KeyRecord] = []
    cursor = None
    for _ in range(_PAGES):
        page = await keys.find(**criteria, limit=_PAGE, cursor=cursor)
        records += page.records
        cursor = page.next_cursor
        if cursor is None:
            break
    return records
