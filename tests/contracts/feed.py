"""The contract of every change feed and register of workers.

The test class provides the fixture `store`: a new, empty repository with its feed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from asgi_apikey.models import Change, RecordPatch, Worker
from asgi_apikey.protocols import ChangeFeed, KeyRepository
from tests.contracts.repository import a_record
from tests.fakes import together


@dataclass(frozen=True, slots=True)
class FedStore:
    """A repository and the feed of the same store."""

    repository: KeyRepository
    feed: ChangeFeed


@pytest.mark.anyio
class FeedContract:
    """What every `ChangeFeed` does."""

    async def test_an_empty_feed_is_at_zero(self, store: FedStore) -> None:
        """Nothing has ever changed."""
        assert await store.feed.position() == 0
        assert list(await store.feed.changes(0, limit=10)) == []

    async def test_changes_come_in_the_order_of_their_commits(self, store: FedStore) -> None:
        """Each with its key and the version that it has since."""
        added = await store.repository.add(a_record("k1"))
        changed = await store.repository.update("k1", RecordPatch(name="x"), version=1)
        gone = await store.repository.delete("k1", version=2)
        expected = [*added.changes, *changed.changes, *gone.changes]

        assert list(await store.feed.changes(0, limit=10)) == expected
        assert [(each.key_id, each.version) for each in expected] == [("k1", 1), ("k1", 2), ("k1", 3)]
        assert await store.feed.position() == expected[-1].seq

    async def test_the_row_at_the_position_is_read_again(self, store: FedStore) -> None:
        """So that a reader sees whether it is still the one that he knows."""
        changes = [(await store.repository.add(a_record(f"k{number}"))).changes[0] for number in range(4)]

        assert list(await store.feed.changes(changes[1].seq, limit=2)) == changes[1:3]
        assert list(await store.feed.changes(changes[3].seq, limit=2)) == changes[3:]
        assert list(await store.feed.changes(changes[3].seq + 1, limit=2)) == []

    async def test_the_feed_has_no_gaps_that_fill_up_later(self, store: FedStore) -> None:
        """Whoever has read up to a position has read all that was committed before it."""
        await together(*(partial(store.repository.add, a_record(f"k{number}")) for number in range(20)))
        rows = await store.feed.changes(0, limit=100)

        assert [row.seq for row in rows] == sorted(row.seq for row in rows)
        assert len({row.seq for row in rows}) == 20

    async def test_whoever_joins_is_listed(self, store: FedStore) -> None:
        """With the bus and the lease that he has named."""
        await store.feed.join("a" * 32, "host:x", lease=0.1)
        await store.feed.join("b" * 32, "", lease=2.0)

        assert sorted(await store.feed.workers(), key=lambda each: each.worker_id) == [
            Worker("a" * 32, "host:x", 0, 0.1),
            Worker("b" * 32, "", 0, 2.0),
        ]

    async def test_a_lease_is_never_stored_shorter_than_it_is(self, store: FedStore) -> None:
        """Others wait for what is stored."""
        await store.feed.join("a" * 32, "", lease=1 / 3)
        [worker] = await store.feed.workers()

        assert 1 / 3 <= worker.lease < 1 / 3 + 1e-5

    async def test_a_beat_is_seen_by_others(self, store: FedStore) -> None:
        """It counts up by one."""
        await store.feed.join("a" * 32, "", lease=2.0)

        assert await store.feed.beat("a" * 32)
        assert await store.feed.beat("a" * 32)
        assert [worker.beat for worker in await store.feed.workers()] == [2]

    async def test_a_beat_of_nobody_says_so(self, store: FedStore) -> None:
        """Whoever was dismissed learns of it."""
        assert not await store.feed.beat("a" * 32)

    async def test_whoever_leaves_is_not_listed(self, store: FedStore) -> None:
        """Twice does no harm, nor does it touch the others."""
        for worker_id in ("a" * 32, "b" * 32):
            await store.feed.join(worker_id, "", lease=2.0)
        await store.feed.leave("a" * 32)
        await store.feed.leave("a" * 32)

        assert [each.worker_id for each in await store.feed.workers()] == ["b" * 32]

    async def test_nobody_is_dismissed_who_has_beaten_since(self, store: FedStore) -> None:
        """He lives."""
        await store.feed.join("a" * 32, "", lease=2.0)
        [as_it_was] = await store.feed.workers()
        await store.feed.beat("a" * 32)
        await store.feed.dismiss(as_it_was)
        [as_it_is] = await store.feed.workers()

        assert as_it_is.beat == 1
        await store.feed.dismiss(as_it_is)
        assert list(await store.feed.workers()) == []

    async def test_the_register_is_no_part_of_the_feed(self, store: FedStore) -> None:
        """Coming and going changes no key, so nobody forgets one for it."""
        await store.feed.join("a" * 32, "", lease=2.0)
        await store.feed.beat("a" * 32)
        await store.feed.leave("a" * 32)

        assert await store.feed.position() == 0

    async def test_workers_come_and_go_while_keys_change(self, store: FedStore) -> None:
        """At the same time; nothing is lost."""
        ids = [f"{number:032x}" for number in range(8)]
        await together(
            *(partial(store.feed.join, each, "", lease=2.0) for each in ids),
            *(partial(store.repository.add, a_record(each[-12:])) for each in ids),
        )

        assert sorted(each.worker_id for each in await store.feed.workers()) == ids
        assert {each.key_id for each in await store.feed.changes(0, limit=100)} == {each[-12:] for each in ids}
        assert isinstance((await store.feed.changes(0, limit=1))[0], Change)
