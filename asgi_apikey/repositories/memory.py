"""The reference repository: a dict in this process, gone with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asgi_apikey.errors import KeyExists, KeyNotFound, StaleRecord
from asgi_apikey.models import Change, Committed, Instant, KeyPage, KeyQuery, KeyRecord, RecordPatch, Usage
from asgi_apikey.repositories.paging import limit_of, page_of, position_of, start_of
from asgi_apikey.repositories.records import COLUMNS, Value, from_row, patch_values, rounded, stored, to_row
from asgi_apikey.verification import status_of


class MemoryRepository:
    """Keeps records in a dict: for tests, for demonstrations, and as the plainest statement of the contract.

    Nothing in it awaits, so every method is atomic on asyncio and on trio alike. It serves one event loop at a
    time. Closing it forgets nothing: there is nowhere else to read the records from.
    """

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}
        # The change feed and, folded out of it, the highest version each id has ever had, deleted ones too:
        # a key that is added again must not look older than its own tombstone.
        self._feed: list[Change] = []
        self._highest: dict[str, int] = {}

    async def open(self, *, create: bool) -> None:
        """Do nothing: the store exists as long as this object."""

    async def close(self) -> None:
        """Do nothing: the records stay."""

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the record, or None when there is none."""
        return self._records.get(key_id)

    async def add(self, record: KeyRecord) -> Committed:
        """Insert a new record, at a version above every earlier one of the same id.

        Raises:
            KeyExists: The id is taken.
            InvalidRequest: A value cannot be stored.
        """
        added = self._addable(from_row(to_row(record)))
        return Committed(added, (self._put(added),))

    async def update(self, key_id: str, patch: RecordPatch, *, version: int) -> Committed:
        """Set the patch's columns and raise the version by one.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
            InvalidRequest: A value cannot be stored.
        """
        changed = self._changed(key_id, patch_values(patch), version)
        return Committed(changed, (self._put(changed),))

    async def replace(self, key_id: str, patch: RecordPatch, successor: KeyRecord, *, version: int) -> Committed:
        """Update the record and add its successor, both or neither.

        Raises:
            KeyNotFound: No record `key_id`.
            StaleRecord: It is at another version.
            KeyExists: The successor's id is taken.
            InvalidRequest: A value cannot be stored.
        """
        values, complete = patch_values(patch), from_row(to_row(successor))
        changed, added = self._changed(key_id, values, version), self._addable(complete)
        return Committed(added, (self._put(changed), self._put(added)))

    async def delete(self, key_id: str, *, version: int) -> Committed:
        """Remove the record; its tombstone carries the next version.

        Raises:
            KeyNotFound: No such record.
            StaleRecord: It is at another version.
        """
        gone = self._at_version(key_id, version)
        gone = replace(gone, version=gone.version + 1)
        del self._records[key_id]
        return Committed(gone, (self._announced(gone),))

    async def replace_digest(self, key_id: str, *, old: str, new: str) -> bool:
        """Swap the digest if it is still `old` and the key is not revoked.

        Raises:
            InvalidRequest: The new digest cannot be stored.
        """
        stored("digest", new)
        record = self._records.get(key_id)
        if record is None or record.digest != old or record.revoked_at is not None:
            return False
        self._records[key_id] = replace(record, digest=new)
        return True

    async def record_usage(self, batch: Sequence[Usage]) -> None:
        """Add `uses` and raise `last_used_at` of each named key; unknown ids are skipped.

        Raises:
            InvalidRequest: An instant cannot be stored; nothing of the batch was counted.
        """
        counted = [(usage.key_id, usage.uses, rounded(usage.last_used_at)) for usage in batch]
        for key_id, uses, at in counted:
            record = self._records.get(key_id)
            if record is not None:
                last = at if record.last_used_at is None else max(record.last_used_at, at)
                self._records[key_id] = replace(record, uses=record.uses + uses, last_used_at=last)

    async def find(self, query: KeyQuery, *, now: Instant) -> KeyPage:
        """Return one page, newest first, ties by key id.

        Raises:
            InvalidRequest: The cursor or the limit is not one of ours.
        """
        limit, start, now = limit_of(query), start_of(query), rounded(now)
        found = [record for record in self._records.values() if _matches(record, query, now)]
        found.sort(key=lambda record: position_of(record).rank)
        if start is not None:
            found = [record for record in found if position_of(record).rank > start.rank]
        return page_of(found[: limit + 1], limit)

    def _at_version(self, key_id: str, version: int) -> KeyRecord:
        record = self._records.get(key_id)
        if record is None:
            raise KeyNotFound(key_id)
        if record.version != version:
            raise StaleRecord(key_id, version)
        return record

    def _changed(self, key_id: str, values: dict[str, Value], version: int) -> KeyRecord:
        record = self._at_version(key_id, version)
        columns = dict(zip(COLUMNS, to_row(record), strict=True)) | values | {"version": version + 1}
        return from_row(tuple(columns.values()))

    def _addable(self, record: KeyRecord) -> KeyRecord:
        if record.key_id in self._records:
            raise KeyExists(record.key_id)
        return replace(record, version=max(record.version, self._highest.get(record.key_id, 0) + 1))

    def _put(self, record: KeyRecord) -> Change:
        self._records[record.key_id] = record
        return self._announced(record)

    def _announced(self, record: KeyRecord) -> Change:
        change = Change(len(self._feed) + 1, record.key_id, record.version)
        self._feed.append(change)
        self._highest[record.key_id] = record.version
        return change


def _matches(record: KeyRecord, query: KeyQuery, now: Instant) -> bool:
    return (
        (query.owner is None or record.owner == query.owner)
        and (query.tenant is None or record.tenant == query.tenant)
        and (query.environment is None or record.environment == query.environment)
        and (query.status is None or status_of(record, now) is query.status)
    )
