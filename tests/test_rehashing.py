"""Outdated digests are replaced after the request that proved the key, narrowly and one key at a time."""

from __future__ import annotations

import logging

import anyio
import pytest

from asgi_apikey.background import Background
from asgi_apikey.errors import Overloaded, StoreUnavailable
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.models import Lane, RecordPatch
from asgi_apikey.rehashing import Rehasher
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

    assert (kit.hasher.hashed, kit.repository.calls["replace_digest"]) == (0, 0)
    await kit.settle()


async def test_a_key_is_rehashed_once_at_a_time() -> None:
    """A hundred requests with one outdated key cost one hash; another key does not wait for it."""
    kit = Kit()
    kit.repository.before["replace_digest"].shut()
    for _ in range(100):
        kit.rehash(a_record("k1"), PRESENTED)
    kit.rehash(a_record("k2"), PRESENTED)
    await anyio.wait_all_tasks_blocked()
    waiting = kit.repository.before["replace_digest"].waiting
    kit.repository.before["replace_digest"].open()
    await kit.settle()

    assert waiting == 2
    assert kit.hasher.hashed == 2


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
    """The key works as before; the log names it, and holds neither the key nor a digest."""
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


async def test_a_stopped_rehash_can_be_started_again() -> None:
    """A task that never took its first step does not leave its key behind as busy for ever."""
    kit = Kit()
    started: list[object] = []
    rehash = Rehasher(kit.repository, kit.hasher, background=_Dropping(started))  # type: ignore[arg-type]
    rehash(a_record(), PRESENTED)
    started.clear()
    rehash(a_record(), PRESENTED)

    assert len(started) == 1


class _Dropping:
    """A background whose event loop ends before anything has begun."""

    def __init__(self, started: list[object]) -> None:
        self._started = started

    def spawn(self, work: object) -> None:
        """Keep the work, until the loop is gone."""
        self._started.append(work)
