"""Outdated digests are replaced after the request that proved the key, narrowly and one key at a time."""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest

from asgi_apikey.background import Background
from asgi_apikey.errors import Overloaded, StoreUnavailable
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.models import Lane, RecordPatch
from asgi_apikey.rehashing import MAX_WAITING, Rehasher
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import Watched, WatchedHasher
from tests.records import a_record

pytestmark = pytest.mark.anyio
PRESENTED = b"ak_live_canary"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    backend: str = request.param
    return backend


class Kit:
    """A rehasher over a real hasher and a real repository, both watched."""

    def __init__(self) -> None:
        self.hasher = WatchedHasher(HMACSHA256Hasher("Ov7RkQ2mTzX9bLw4YcH8sNf1JpUe6GdA3iKtMqVr"))
        self.memory = MemoryRepository()
        self.repository = Watched(self.memory)
        self.background = Background()
        self.rehash = Rehasher(self.repository, self.hasher, background=self.background)

    async def settle(self) -> None:
        """Wait for what was started."""
        assert await self.background.drain(10)


async def test_the_digest_is_replaced_and_nothing_else() -> None:
    """The new one verifies; version, usage and every other column stay as they are."""
    kit = Kit()
    record = (await kit.memory.add(a_record(name="ci", uses=5))).record
    kit.rehash(record, PRESENTED)
    await kit.settle()
    after = await kit.memory.get("k1")

    assert after is not None
    assert await kit.hasher.verify(PRESENTED, after.digest, lane=Lane.STRANGER)
    assert {name for name in record.__slots__ if getattr(record, name) != getattr(after, name)} == {"digest"}


async def test_nothing_happens_before_the_request_is_answered() -> None:
    """Calling it only starts the work."""
    kit = Kit()
    kit.rehash(a_record(), PRESENTED)

    assert (kit.hasher.hashed, kit.repository.calls["replace_digest"]) == ([], 0)
    await kit.settle()


async def test_keys_are_rehashed_one_at_a_time() -> None:
    """A hundred requests with one outdated key cost one hash, and another key waits for it, in order."""
    kit = Kit()
    kit.hasher.before_hash.shut()
    for key_id in ["k1"] * 100 + ["k2"]:
        kit.rehash(a_record(key_id), PRESENTED)
    await anyio.wait_all_tasks_blocked()
    at_work = kit.hasher.before_hash.waiting
    kit.hasher.before_hash.open()
    await kit.settle()

    assert at_work == 1
    assert len(kit.hasher.hashed) == 2
    assert kit.repository.calls["replace_digest"] == 2


async def test_rehashing_leaves_the_reserved_threads_to_those_who_issue() -> None:
    """It can wait, and issuing cannot: it works where strangers are verified."""
    kit = Kit()
    kit.rehash(a_record(), PRESENTED)
    await kit.settle()

    assert kit.hasher.hashed == [Lane.STRANGER]


async def test_who_finds_no_room_is_tried_again_later() -> None:
    """However many outdated keys come at once, few of them are held in memory."""
    kit = Kit()
    kit.hasher.before_hash.shut()
    for number in range(3 * MAX_WAITING):
        kit.rehash(a_record(f"k{number}"), PRESENTED)
    kit.hasher.before_hash.open()
    await kit.settle()
    kit.rehash(a_record(f"k{3 * MAX_WAITING - 1}"), PRESENTED)
    await kit.settle()

    assert len(kit.hasher.hashed) == MAX_WAITING + 1


async def test_a_streak_of_failures_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A busy hasher drops key after key without a word more; when it works again, the next streak is told again."""
    kit = Kit()
    for failure in (Overloaded(), StoreUnavailable(), None, Overloaded()):
        kit.repository.failures = {} if failure is None else {"replace_digest": failure}
        for number in range(3):
            kit.rehash(a_record(f"k{number}"), PRESENTED)
        await kit.settle()

    assert [each.message for each in caplog.records] == ["digests could not be replaced yet: cannot decide now"] * 2


async def test_a_record_that_has_changed_meanwhile_is_left_alone() -> None:
    """The write is guarded by the old digest, and a revoked key stays as it was revoked."""
    kit = Kit()
    read = (await kit.memory.add(a_record())).record
    await kit.memory.replace_digest("k1", old=read.digest, new="another process was quicker")
    kit.rehash(read, PRESENTED)
    await kit.settle()
    quicker = await kit.memory.get("k1")
    revoked = (await kit.memory.add(a_record("k2"))).record
    await kit.memory.update("k2", RecordPatch(revoked_at=1.0), version=1)
    kit.rehash(revoked, PRESENTED)
    await kit.settle()
    kept = await kit.memory.get("k2")

    assert quicker is not None
    assert quicker.digest == "another process was quicker"
    assert kept is not None
    assert (kept.digest, kept.revoked_at) == (revoked.digest, 1.0)


async def test_a_deleted_record_stays_deleted() -> None:
    """Nothing is written back."""
    kit = Kit()
    read = (await kit.memory.add(a_record())).record
    await kit.memory.delete("k1", version=1)
    kit.rehash(read, PRESENTED)
    await kit.settle()

    assert await kit.memory.get("k1") is None


@pytest.mark.parametrize(
    "failure", [StoreUnavailable("canary store"), Overloaded(), RuntimeError("a bug in a driver")], ids=repr
)
async def test_what_fails_is_logged_and_tried_again_later(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The key works as before; the log holds neither the key nor a digest."""
    caplog.set_level(logging.DEBUG)
    kit = Kit()
    read = (await kit.memory.add(a_record())).record
    kit.repository.failures["replace_digest"] = failure
    kit.rehash(read, PRESENTED)
    await kit.settle()
    unchanged = await kit.memory.get("k1")
    kit.repository.failures.clear()
    kit.rehash(read, PRESENTED)
    await kit.settle()
    changed = await kit.memory.get("k1")

    assert unchanged == read
    assert changed is not None
    assert changed.digest != read.digest
    assert len([each for each in caplog.records if each.name == "asgi_apikey"]) == 1
    assert PRESENTED.decode() not in caplog.text
    assert read.digest not in caplog.text
    assert changed.digest not in caplog.text


async def test_a_part_that_quotes_the_key_does_not_get_it_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does its failure keep the keys that wait behind it from their turn."""
    caplog.set_level(logging.DEBUG)
    kit = Kit()
    behind = (await kit.memory.add(a_record("k2"))).record
    kit.repository.failures["replace_digest"] = RuntimeError(f"cannot take {PRESENTED.decode()}")
    kit.rehash((await kit.memory.add(a_record())).record, PRESENTED)
    kit.rehash(behind, PRESENTED)
    await kit.settle()

    assert "RuntimeError" in caplog.text
    assert PRESENTED.decode() not in caplog.text
    assert len(kit.hasher.hashed) == 2


async def test_a_stopped_rehash_can_be_started_again() -> None:
    """A task that never took its first step does not leave its key behind as busy for ever."""
    kit = Kit()
    started: list[object] = []
    rehash = Rehasher(kit.repository, kit.hasher, background=_Dropping(started))  # type: ignore[arg-type]
    rehash(a_record(), PRESENTED)
    started.clear()
    rehash(a_record(), PRESENTED)

    assert len(started) == 1


def test_a_rehash_left_behind_in_another_loop_stops_nobody() -> None:
    """A loop that was closed with a hash under way, as some test clients do, does not keep the others from theirs."""
    kit = Kit()

    async def start(key_id: str) -> None:
        kit.rehash(a_record(key_id), PRESENTED)
        await asyncio.sleep(0)

    kit.hasher.before_hash.shut()
    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(start("k1"))
    kit.hasher.before_hash.open()
    asyncio.run(start("k2"))
    hashed = len(kit.hasher.hashed)
    for task in asyncio.all_tasks(abandoned):
        task.cancel()
    abandoned.run_until_complete(asyncio.sleep(0.01))
    abandoned.close()

    assert hashed == 3


class _Dropping:
    """A background whose event loop ends before anything has begun."""

    def __init__(self, started: list[object]) -> None:
        self._started = started

    def spawn(self, work: object) -> None:
        """Keep the work, until the loop is gone."""
        self._started.append(work)
