"""Pages of the audit, at a bounded price."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.management import pages, schemas
from asgi_apikey.management.pages import LOOKED_THROUGH, audit_page
from asgi_apikey.models import AuditAnchor, AuditEntry, Change

pytestmark = pytest.mark.anyio


class LongAudit:
    """An audit of which only the length is real; counts what is read of it."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.read = 0

    async def anchor(self) -> AuditAnchor:
        """As long as was said."""
        return AuditAnchor(database_id="d", after=0, entries=self.length, position=self.length)

    async def entries(self, after: int, *, limit: int) -> Sequence[AuditEntry]:
        """Every thousandth entry is about `rare`, all others are about `usual`."""
        numbers = range(after + 1, min(self.length, after + limit) + 1)
        self.read += len(numbers)
        return [entry(number) for number in numbers]

    async def changes(self, since: int, *, limit: int) -> Sequence[Change]:
        """None."""
        return []

    async def unannounced(self, *, limit: int) -> Sequence[str]:
        """None."""
        return []


def entry(number: int) -> AuditEntry:
    """The entry of this number."""
    return AuditEntry(
        number=number, seq=number, at=0.0, actor="", action="issue", key_id="usual" if number % 1_000 else "rare",
        tenant="", version=1, fields=(), reason="", correlation_id="", mac="",
    )  # fmt: skip


async def walk(audit: LongAudit, key_id: str, *, limit: int, after: int = 0) -> list[list[int]]:
    """The numbers on all pages."""
    found: list[list[int]] = []
    before: int | None = None
    while True:
        query = schemas.AuditQuery(key_id=key_id, after=after, before=before, limit=limit)
        page = await audit_page(audit, query, lambda each: key_id in ("", each.key_id))
        found.append([each.number for each in page.entries])
        if page.next_before is None:
            return found
        before = page.next_before


async def test_a_page_never_reads_more_than_its_bound() -> None:
    """It ends there, short as it is, and says where the next one begins."""
    audit = LongAudit(1_000_000)

    page = await audit_page(audit, schemas.AuditQuery(key_id="none"), lambda _: False)

    assert audit.read <= LOOKED_THROUGH
    assert (page.entries, page.next_before) == ([], 1_000_001 - LOOKED_THROUGH)


async def test_what_is_rare_is_found_page_by_page() -> None:
    """All of it, and each once."""
    found = await walk(LongAudit(35_000), "rare", limit=4)

    assert [number for page in found for number in page] == list(range(35_000, 0, -1_000))


@given(
    st.integers(0, 120), st.integers(1, 30), st.integers(0, 130), st.sampled_from(["", "usual", "rare"]),
    st.integers(1, 40), st.integers(1, 25),
)  # fmt: skip
def test_all_pages_together_are_the_audit(
    length: int, limit: int, after: int, key_id: str, bound: int, at_once: int
) -> None:
    """Newest first, each entry once, none above a bound, whatever is read at once."""
    import anyio

    audit = LongAudit(length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "LOOKED_THROUGH", bound)
        patch.setattr(pages, "_READ_AT_ONCE", at_once)
        found = anyio.run(lambda: walk(audit, key_id, limit=limit, after=after))

    wanted = [n for n in range(length, after, -1) if key_id in ("", entry(n).key_id)]
    assert [number for page in found for number in page] == wanted
    assert all(len(page) <= limit for page in found)


async def test_a_page_before_the_end_of_time_begins_at_the_end() -> None:
    """Numbers that are not there yet do no harm."""
    page = await audit_page(LongAudit(5), schemas.AuditQuery(before=2**62, limit=2), lambda _: True)

    assert ([each.number for each in page.entries], page.next_before) == ([5, 4], 4)
