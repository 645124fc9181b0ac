"""The short half of authentication: a presented key in, a principal out, from memory alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2s
from typing import TypeAlias

from asgi_apikey.keyformat import MAX_LENGTH
from asgi_apikey.models import Principal, Seconds, Tally
from asgi_apikey.protocols import Clock, Invalidation, VerdictCache

Fingerprint: TypeAlias = Callable[[bytes], bytes]
Recall: TypeAlias = Callable[[bytes], Principal | None]
Count: TypeAlias = Callable[[Tally, Seconds], None]


def recalling(
    cache: VerdictCache, invalidation: Invalidation, *, count: Count, clock: Clock
) -> tuple[Recall, Fingerprint]:
    """Return two functions: one that recalls whom a presented key speaks for, and one that names it to the cache.

    Functions over their own variables, not methods: that takes a fiftieth off every request. Names are BLAKE2s
    (RFC 7693, 32 bytes) under a key that is made here and kept nowhere else: they mean nothing in another process.

    Args:
        cache: Holds the verdicts.
        invalidation: Tells whether they may be trusted.
        count: Told of the first use of a verdict in a while; the others it finds in the tally.
        clock: Wall and monotonic time.
    """
    fresh = blake2s(digest_size=32, key=secrets.token_bytes(32)).copy
    recall, touch = cache.recall, cache.touch
    monotonic, wall = clock.monotonic, clock.wall

    def fingerprint(presented: bytes) -> bytes:
        keyed = fresh()
        keyed.update(presented)
        return keyed.digest()

    def authenticate_nowait(presented: bytes) -> Principal | None:
        """Return the principal if it can be told from memory, else None: ask `authenticate`.

        Acceptance is the instant of the last comparison below; nothing may be awaited after it.
        """
        if len(presented) > MAX_LENGTH:
            return None
        # `fingerprint`, written out: the call would cost a tenth of this function.
        keyed = fresh()
        keyed.update(presented)
        try:
            verdict = recall(keyed.digest())
        except KeyError:
            return None
        now = monotonic()
        if now >= invalidation.refresh_at:
            # One comparison covers both: a lease is refreshed before it ends.
            if now >= invalidation.fresh_until:
                return None
            invalidation.refresh()
        if (
            now >= verdict.deadline
            or invalidation.counter[0] != invalidation.seen
            or (verdict.ends_at is not None and wall() >= verdict.ends_at)
        ):
            return None
        tally = verdict.tally
        if now > tally.open_until:
            count(tally, now)
            touch(tally.key_id)
        else:
            # What `count` would do: the call would cost a tenth of this function, too.
            tally.uses += 1.0
            tally.last = now
        return verdict.principal

    return authenticate_nowait, fingerprint
