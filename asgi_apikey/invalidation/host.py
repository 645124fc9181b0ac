"""The bus of one host without any server: eight bytes in a file that all its processes have mapped.

Every request compares them with the value it has seen, and reads the change feed when they differ. Whoever makes a
change writes a new random value after its commit; from that store on, no process that maps the file answers from its
memory before it has read the feed. So there is nobody to wait for, and a writer needs no lock: a random value that
overwrites another one is different from both that anybody may have seen (but for one chance in 2**64).
"""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from asgi_apikey.models import Seconds
from asgi_apikey.protocols import CatchUp

_log = logging.getLogger("asgi_apikey")

_SIZE = 8
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class HostBus:
    """A bus through a shared file beside a database file.

    Its name says which file it is, on which boot of which kernel: two workers whose names are equal have mapped the
    same page of memory. Whoever cannot map it (another mount, somebody else's file, a read-only folder) has no name, is
    not woken by us and wakes nobody: then the leases decide.

    The file must not be shortened while it is mapped: the operating system ends a process that reads beyond its end.

    Args:
        database: Path of the database file; ours is beside it, named `<database>-signal`, mode 0600. As long as
            there is no database, no file is made.
    """

    def __init__(self, database: str | os.PathLike[str]) -> None:
        self._database = Path(database).absolute()
        self._path = Path(f"{self._database}-signal")
        self._warned = False
        self._forget()

    @property
    def name(self) -> str:
        """See `Bus.name`."""
        return self._name

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`; there is nobody to call us, so `catch_up` is not used."""
        if self._name and self._still_there():
            return
        self._forget()
        try:
            if self._database.exists():
                self._map()
        except (OSError, ValueError) as error:
            self._warn(str(error))

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`. They have not applied it, but will before they next answer from memory, which is as good."""
        if not self._name:
            return ()
        self._cell[0] = secrets.randbits(64)
        return workers

    async def close(self) -> None:
        """See `Bus.close`. The file stays, for others have it mapped."""
        self._forget()

    def _forget(self) -> None:
        # The mapping itself is freed with its last reader; `mmap.close` would fail while one is left.
        self._name = ""
        self._cell = memoryview(bytearray(_SIZE)).cast("Q")
        self.counter: Sequence[int] = self._cell

    def _map(self) -> None:
        if not _BOOT_ID.exists():
            raise OSError("this system does not tell one boot from another")
        boot = _BOOT_ID.read_text().strip()
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            found = os.fstat(fd)
            _refuse_foreign(found)
            if found.st_size == 0:
                os.ftruncate(fd, _SIZE)
            mapped = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self._cell = memoryview(mapped).cast("Q")
        self.counter = self._cell
        self._identity = (found.st_dev, found.st_ino)
        self._name = f"host:{boot}:{found.st_dev}:{found.st_ino}"
        self._warned = False

    def _still_there(self) -> bool:
        """Whether the path still names the file we have mapped: whoever starts now would map the one it names."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def _warn(self, reason: str) -> None:
        if not self._warned:
            _log.warning(
                "%s is not used, so changes spread with the leases only: %s",
                self._path,
                reason,
                extra={"event": "host_bus_unused"},
            )
        self._warned = True


def _refuse_foreign(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_size not in (0, _SIZE):
        raise ValueError("it is not one of our files")
    if found.st_uid != os.geteuid():
        raise ValueError("it belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ValueError("others than its owner may use it; its mode must be 0600")
