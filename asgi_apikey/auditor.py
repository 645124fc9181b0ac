"""Reading the audit: verify it against the change feed and an exported head, show its end, export it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from asgi_apikey.audit import AuditChain, AuditHead, AuditInspection, AuditReport
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import AuditAnchor, AuditEntry, Change
from asgi_apikey.protocols import AuditLog

_PAGE = 1_000


class Auditor:
    """Reads an audit, whatever its length, a page at a time.

    Every method raises StoreUnavailable when the store does not answer in time.

    Args:
        log: The audit of a repository.
        chain: Knows the audit keys.
    """

    def __init__(self, log: AuditLog, chain: AuditChain) -> None:
        self._log = log
        self._chain = chain

    async def verify(self, *heads: AuditHead) -> AuditReport:
        """Look for entries that were changed, removed, moved or made up, and for changes without an entry.

        What is changed while this runs is left for the next time.

        Args:
            heads: Exported earlier; what they vouch for must still be there. Without an audit key, only these show
                that the whole audit was written anew.
        """
        anchor = await self._log.anchor()
        inspection = AuditInspection(self._chain, anchor, heads)
        changes = _Changes(self._log, anchor)
        told: list[AuditEntry] = []
        async for entry in self._entries(0, anchor.entries):
            inspection.see(entry)
            if told and entry.seq != told[0].seq:
                await self._compare(inspection, changes, told)
                told = []
            told.append(entry)
        await self._compare(inspection, changes, told)
        async for change in changes.until(anchor.position):
            inspection.compare(change, ())
        for key_id in await self._log.unannounced(limit=_PAGE):
            inspection.find(None, f"key {key_id} is at a version that no change has led to")
        return inspection.report()

    async def tail(self, count: int = 20, *, key_id: str | None = None) -> Sequence[AuditEntry]:
        """Return the newest entries, oldest of them first.

        Args:
            count: At most so many, 1 to 10,000.
            key_id: Only entries about this key; all of the audit is looked through for them.

        Raises:
            InvalidRequest: The count is out of range.
        """
        if not 1 <= count <= 10_000:
            raise InvalidRequest("count must be from 1 to 10,000")
        anchor = await self._log.anchor()
        if key_id is None:
            return [entry async for entry in self._entries(max(0, anchor.entries - count), anchor.entries)]
        about = [entry async for entry in self._entries(0, anchor.entries) if entry.key_id == key_id]
        return about[-count:]

    async def entries(self, anchor: AuditAnchor, *, after: int = 0) -> AsyncIterator[AuditEntry]:
        """Yield the entries up to the anchor, oldest first.

        Args:
            anchor: See `anchor`.
            after: Only those with a higher number.
        """
        async for entry in self._entries(after, anchor.entries):
            yield entry

    async def head(self) -> AuditHead:
        """Return the newest entry's seal, signed: to be kept where nobody who can write to the store can write.

        An audit without entries has a head too; it vouches for nothing but the store's id.
        """
        anchor = await self._log.anchor()
        newest = [entry async for entry in self._entries(max(0, anchor.entries - 1), anchor.entries)]
        return self.head_at(anchor, newest[-1] if newest else None)

    def head_at(self, anchor: AuditAnchor, entry: AuditEntry | None) -> AuditHead:
        """Return the signed head that ends with this entry."""
        number, seq, mac = (0, anchor.after, "") if entry is None else (entry.number, entry.seq, entry.mac)
        return self._chain.signed(AuditHead(anchor.database_id, number, seq, mac))

    async def anchor(self) -> AuditAnchor:
        """Return where the audit begins and how far it goes now."""
        return await self._log.anchor()

    async def _entries(self, after: int, last: int) -> AsyncIterator[AuditEntry]:
        while page := await self._log.entries(after, limit=_PAGE):
            for entry in page:
                if entry.number > last:
                    return
                yield entry
            after = page[-1].number

    async def _compare(self, inspection: AuditInspection, changes: _Changes, told: Sequence[AuditEntry]) -> None:
        """Look at all entries of one feed position beside the feed up to that position."""
        if not told:
            return
        seq, matched = told[0].seq, False
        async for change in changes.until(seq):
            matched = matched or change.seq == seq
            inspection.compare(change, told if change.seq == seq else ())
        if not matched:
            inspection.find(told[0].number, f"the change feed has no change {seq}")


class _Changes:
    """The rows of the feed after the beginning of the audit, each handed out once."""

    def __init__(self, log: AuditLog, anchor: AuditAnchor) -> None:
        self._log = log
        self._next = anchor.after + 1
        self._page: list[Change] = []

    async def until(self, seq: int) -> AsyncIterator[Change]:
        """Yield the rows up to this position, that one included."""
        while True:
            if not self._page:
                self._page = [*await self._log.changes(self._next, limit=_PAGE)][::-1]
            if not self._page or self._page[-1].seq > seq:
                return
            change = self._page.pop()
            self._next = change.seq + 1
            yield change
