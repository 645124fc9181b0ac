"""Replaces outdated digests by current ones, one key at a time, after the request that proved the key."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from weakref import WeakValueDictionary

from asgi_apikey.background import Background
from asgi_apikey.errors import Undecidable
from asgi_apikey.models import KeyRecord
from asgi_apikey.protocols import Hasher, KeyRepository

_log = logging.getLogger("asgi_apikey")


class Rehasher:
    """Called with a record and the presented key that has just matched it; never suspends, never raises.

    The write is guarded by the old digest and touches nothing else: if it fails, or another process was
    quicker, the key works as before and is tried again after the next read of its record.
    """

    def __init__(self, repository: KeyRepository, hasher: Hasher, *, background: Background) -> None:
        self._repository = repository
        self._hasher = hasher
        self._background = background
        # The work under way by key id. Weak, for a task that is cancelled before its first step runs no `finally`:
        # a key must not count as busy for ever because an event loop ended at the wrong moment.
        self._busy: WeakValueDictionary[str, Callable[[], Awaitable[None]]] = WeakValueDictionary()

    def __call__(self, record: KeyRecord, presented: bytes) -> None:
        """Start replacing the record's digest."""
        if record.key_id not in self._busy:
            self._busy[record.key_id] = work = partial(self._replace, record, presented)
            self._background.spawn(work)

    async def _replace(self, record: KeyRecord, presented: bytes) -> None:
        try:
            new = await self._hasher.hash(presented)
            await self._repository.replace_digest(record.key_id, old=record.digest, new=new)
        except Undecidable as error:
            _log.warning("the digest of key %s could not be replaced yet: %s", record.key_id, error)
        finally:
            self._busy.pop(record.key_id, None)
