"""The bus of one host: eight bytes that all processes have mapped."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import anyio
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import RevokedKey
from asgi_apikey.invalidation.host import HostBus
from asgi_apikey.models import Acknowledgement, RecordPatch
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.invalidation.test_leases import in_child

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file where a database would be."""
    path = tmp_path / "keys.db"
    path.touch(mode=0o600)
    return path


def signal_file(database: Path) -> Path:
    """The file beside it."""
    return database.with_name(f"{database.name}-signal")


async def no_catch_up(_: int) -> Acknowledgement:
    """Nobody calls this."""
    raise AssertionError("the bus of one host calls nobody")


async def opened(database: Path) -> HostBus:
    """A bus that has tried to map its file."""
    bus = HostBus(database)
    await bus.open(no_catch_up)
    return bus


async def wake(bus: HostBus, *workers: str) -> list[str]:
    """Wake these workers; return those that have heard it."""
    return list(await bus.wake(1, workers, patience=0.0))


async def test_both_ends_see_the_same_number(database: Path) -> None:
    """Whoever wakes changes it for all; no two wake-ups leave the same."""
    one, other = await opened(database), await opened(database)
    seen = {one.counter[0]}
    for _ in range(3):
        assert await wake(one, "w1", "w2") == ["w1", "w2"]
        assert one.counter[0] == other.counter[0]
        seen.add(other.counter[0])

    assert one.name == other.name != ""
    assert len(seen) == 4


async def test_the_file_is_its_owners_alone(database: Path) -> None:
    """Eight bytes, mode 0600."""
    await opened(database)
    found = signal_file(database).stat()

    assert (found.st_size, found.st_mode & 0o777) == (8, 0o600)


async def test_without_a_database_no_file_is_made(tmp_path: Path) -> None:
    """Asking about a store leaves nothing behind; when the store is there, so is the bus."""
    database = tmp_path / "keys.db"
    bus = await opened(database)
    assert bus.name == ""
    assert os.listdir(tmp_path) == []
    database.touch()
    await bus.open(no_catch_up)

    assert bus.name != ""


async def test_opening_again_keeps_the_mapping(database: Path) -> None:
    """Those who compare with it hold on to it."""
    bus = await opened(database)
    counter = bus.counter
    await bus.open(no_catch_up)

    assert bus.counter is counter


async def test_a_child_sees_what_its_parent_writes(database: Path) -> None:
    """The mapping is shared; so is the name."""
    bus = await opened(database)

    assert in_child(lambda: f"{bus.name} {asyncio.new_event_loop().run_until_complete(wake(bus, 'w1'))}") == (
        f"{bus.name} ['w1']"
    )
    assert bus.counter[0] != 0


async def test_closed_it_wakes_nobody(database: Path) -> None:
    """The file stays; whoever still compares with the old number sees no change."""
    bus = await opened(database)
    counter = bus.counter
    await wake(bus, "w1")
    number = counter[0]
    await bus.close()

    assert bus.name == ""
    assert await wake(bus, "w1") == []
    assert counter[0] == number
    assert signal_file(database).exists()


def short(path: Path) -> None:
    """Not one of ours."""
    path.write_bytes(b"abc")


def foreign(path: Path) -> None:
    """Somebody's text."""
    path.write_bytes(b"something else entirely")


def readable(path: Path) -> None:
    """Others may read it, and write it."""
    path.write_bytes(bytes(8))
    path.chmod(0o666)


def folder(path: Path) -> None:
    """A folder of that name."""
    path.mkdir()


def link(path: Path) -> None:
    """A link to another file of the right size."""
    victim = path.with_name("victim")
    victim.write_bytes(bytes(8))
    victim.chmod(0o600)
    path.symlink_to(victim)


def pipe(path: Path) -> None:
    """A named pipe."""
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("spoil", [short, foreign, readable, folder, link, pipe])
async def test_a_file_that_is_not_ours_is_not_used(
    database: Path, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, nothing is written to it, nobody counts on it, and when it is gone a good one is made."""
    path = signal_file(database)
    assert callable(spoil)
    spoil(path)
    bus = await opened(database)
    await bus.open(no_catch_up)

    assert bus.name == ""
    assert await wake(bus, "w1") == []
    assert len(caplog.messages) == 1
    assert "changes spread with the leases only" in caplog.messages[0]
    path.rmdir() if path.is_dir() else path.unlink()
    await bus.open(no_catch_up)
    assert bus.name != ""


async def test_a_file_of_another_user_is_not_used(
    database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """He could move the number, or shorten the file under us."""
    signal_file(database).write_bytes(bytes(8))
    signal_file(database).chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    bus = await opened(database)

    assert bus.name == ""
    assert "another user" in caplog.text


async def test_a_folder_that_cannot_be_written_is_lived_with(
    database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the operating system says."""

    def refuse(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    bus = await opened(database)

    assert bus.name == ""
    assert "Permission denied" in caplog.text


async def test_a_system_that_does_not_tell_its_boots_apart_is_lived_with(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines could give the same name to different pages."""
    monkeypatch.setattr("asgi_apikey.invalidation.host._BOOT_ID", Path("/nowhere"))

    assert (await opened(database)).name == ""


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_lost_its_name_is_given_up(database: Path, replaced: bool) -> None:
    """Whoever starts now maps another one, so the two have different names."""
    bus = await opened(database)
    name, counter = bus.name, bus.counter
    path = signal_file(database)
    if replaced:
        # The old one is still mapped, so its number cannot be given to the new one.
        path.rename(path.with_name("aside"))
    else:
        path.unlink()
    newcomer = await opened(database)
    await bus.open(no_catch_up)

    assert bus.name == newcomer.name != name
    assert bus.counter is not counter


# ---- two processes over one file -----------------------------------------------------------------------------------


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[APIKeys]:
    """One process's keys."""
    async with APIKeys(url, pepper=None) as keys:
        yield keys


async def serve(url: str, line: Connection) -> None:
    """Answer, key by key, whether it is accepted, until there is nothing more on the line."""
    async with serving(url) as keys:
        while key := await anyio.to_thread.run_sync(line.recv):
            try:
                await keys.authenticate(key.encode())
                line.send("accepted")
            except RevokedKey:
                line.send("revoked")


def run_server(url: str, line: Connection) -> None:
    """The other process."""
    anyio.run(serve, url, line)


def run_killed(url: str, key_id: str) -> None:
    """A process that revokes and is killed between the commit and the number."""

    async def revoke() -> None:
        repository = SQLRepository(SQLiteDriver(url.partition("///")[2]))
        await repository.update(key_id, RecordPatch(revoked_at=1.0), version=1)
        os.kill(os.getpid(), signal.SIGKILL)

    anyio.run(revoke)


class Other:
    """A server in another process."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=run_server, args=(url, theirs), daemon=True)
        self.process.start()

    async def presented(self, key: str) -> str:
        """Whether it accepts the key."""
        self.line.send(key)
        return str(await anyio.to_thread.run_sync(self.line.recv))

    async def end(self) -> None:
        """Have it close."""
        self.line.send("")
        await anyio.to_thread.run_sync(self.process.join)


async def test_a_key_revoked_here_is_refused_by_the_next_request_there(tmp_path: Path) -> None:
    """Confirmed without waiting for the leases, forty times."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    async with serving(url) as keys:
        first = await keys.issue(owner="acme")
        other = Other(url)
        assert await other.presented(first.key) == "accepted"
        late, waited = [], 0.0
        for _ in range(40):
            issued = await keys.issue(owner="acme")
            assert await other.presented(issued.key) == "accepted"
            assert await other.presented(issued.key) == "accepted"
            receipt = await keys.revoke(issued.record.key_id)
            late.append(await other.presented(issued.key))
            waited = max(waited, receipt.elapsed)
            assert (receipt.confirmed, receipt.workers, receipt.acknowledged) == (True, 2, 2)
        await other.end()

    assert set(late) == {"revoked"}
    # Leases last two seconds; a receipt that waited for one says so.
    assert waited < 2.0


async def test_a_writer_killed_before_it_moved_the_number_is_covered_by_the_lease(tmp_path: Path) -> None:
    """Nobody was told, so the key ends with the leases; and at once when it is revoked again."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    async with serving(url) as keys:
        issued = await keys.issue(owner="acme")
        other = Other(url)
        assert await other.presented(issued.key) == "accepted"
        killed = multiprocessing.get_context("spawn").Process(target=run_killed, args=(url, issued.record.key_id))
        killed.start()
        await anyio.to_thread.run_sync(killed.join)
        assert killed.exitcode == -signal.SIGKILL
        receipt = await keys.revoke(issued.record.key_id)

        assert receipt.confirmed
        assert await other.presented(issued.key) == "revoked"
        await other.end()
