"""Replaces outdated digests by current ones, one key at a time, after the request that proved the key."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Awaitable, Callable
from functools import partial

from anyio.lowlevel import current_token

from asgi_apikey.background import Background
from asgi_apikey.errors import Undecidable
from asgi_apikey.models import KeyRecord, Lane
from asgi_apikey.protocols import Hasher, KeyRepository
from asgi_apikey.tracebacks import described

_log = logging.getLogger("asgi_apikey")

_Work = Callable[[], Awaitable[None]]

MAX_WAITING = 64
"""Keys that wait for their turn; each is held whole in memory until then."""


class Rehasher:
    """Called with a record and the presented key that has just matched it; never suspends, never raises.

    One key at a time in an event loop, and in the strangers' threads: nobody waits for it, so it must not take from
    those who issue or present keys. What finds no room, here or in the hasher, is dropped.

    The write is guarded by the old digest and touches nothing else: if it fails, or another process was quicker, the
    key works as before and is tried again after the next read of its record. So is one that was dropped.
    """

    def __init__(self, repository: KeyRepository, hasher: Hasher, *, background: Background) -> None:
        self._repository = repository
        self._hasher = hasher
        self._background = background
        # By key id, in order; the one at work is the first.
        self._waiting: dict[str, tuple[KeyRecord, bytes]] = {}
        # Its event loop, and its work; weak, for a task that is cancelled before its first step runs no `finally`.
        # Nothing must wait for ever for a worker whose loop ended, or was left, at the wrong moment.
        self._worker: tuple[object, weakref.ref[_Work]] | None = None
        self._in_trouble = False

    def __call__(self, record: KeyRecord, presented: bytes) -> None:
        """Have the record's digest replaced."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.setdefault(record.key_id, (record, presented))
        loop = current_token()
        if self._worker is None or self._worker[0] != loop or self._worker[1]() is None:
            work: _Work = partial(self._replace_all, loop)
            self._worker = (loop, weakref.ref(work))
            self._background.spawn(work)

    async def _replace_all(self, loop: object) -> None:
        try:
            while self._waiting:
                key_id = next(iter(self._waiting))
                try:
                    await self._replace(*self._waiting[key_id])
                finally:
                    self._waiting.pop(key_id, None)
        finally:
            if self._worker is not None and self._worker[0] == loop:
                self._worker = None

    async def _replace(self, record: KeyRecord, presented: bytes) -> None:
        try:
            new = await self._hasher.hash(presented, lane=Lane.STRANGER)
            await self._repository.replace_digest(record.key_id, old=record.digest, new=new)
        except Undecidable as error:
            if not self._in_trouble:
                _log.warning("digests could not be replaced yet: %s", error, extra={"event": "rehash_delayed"})
            self._in_trouble = True
        except Exception as error:
            # Owns the loop: others wait behind this key. The error's own text may quote it.
            _log.error("a digest could not be replaced: %s", described(error), extra={"event": "rehash_failed"})
        else:
            self._in_trouble = False
