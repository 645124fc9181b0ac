"""The keys that an issuer publishes at an address (a JWK set, RFC 7517), read now and then.

We do no HTTP: the application gives us a function that fetches. What is ours is when to call it:

    age of the set                  a token of a known key                    a token of an unknown key
    ------------------------------  ----------------------------------------  ---------------------------------
    below half of `ttl`             is judged                                 one attempt for all who wait
    up to `ttl`                     is judged; an attempt in the background   the same
    up to `ttl` + `outage_grace`    waits for one attempt, unless the last    the same
                                    one failed: then in the background
    older, or none at all           waits for one attempt                     the same

An attempt begins at most every `cooldown` seconds, whatever arrives: made-up names of keys are free, fetching is not.
If it fails, the last good set stays.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import anyio

from asgi_apikey.background import Background
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.jwt.compact import json_object
from asgi_apikey.jwt.keyring import NamedKeys
from asgi_apikey.jwt.keys import PUBLIC_ALGORITHMS, TrustedKey, published_key
from asgi_apikey.models import Seconds
from asgi_apikey.protocols import Clock

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""From an address to the body of its 200 answer; raises for everything else. Must not follow redirects."""

MAX_BYTES: Final = 262_144
"""Bytes of a set that are read; real ones have some 2 to 20 kB."""

MAX_KEYS: Final = 100
"""Keys of a set; real ones have 2 to 10."""

_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})
_log = logging.getLogger("asgi_apikey")


class _KeySet:
    """What one attempt has brought. `began` is when it did, on the monotonic clock: a set is as old as the question."""

    __slots__ = ("began", "keys")

    def __init__(self, keys: NamedKeys, began: Seconds) -> None:
        self.keys = keys
        self.began = began


class JWKS:
    """A `KeySource` of what an issuer publishes.

    Only public keys count, each with one algorithm: its `alg`, or the usual one of its kind. A key that disappears
    from the set ends its tokens, remembered ones too, with the next attempt.

    Args:
        url: `https:`, or `http:` on this machine: whoever can change the answer on its way can sign.
        fetch: The application's own HTTP client. Called with `url`; what it raises is an attempt that failed.
        ttl: Seconds for which a set is used without asking again.
        outage_grace: Seconds beyond `ttl` for which the last good set is used while attempts fail. After that,
            requests are undecided (503).
        cooldown: Least seconds between two attempts. A token of a key that was published meanwhile is rejected.
        patience: Seconds that an attempt may take.
        clock: Tells how old a set is; None: the machine's.

    Raises:
        ConfigurationError: Another address, something that cannot be called, or durations that make no sense.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        *,
        ttl: Seconds = 300.0,
        outage_grace: Seconds = 3_600.0,
        cooldown: Seconds = 10.0,
        patience: Seconds = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if not callable(fetch):
            raise ConfigurationError("fetch must be an async function from an address to the bytes of its answer")
        if not (0 < ttl < math.inf and 0 < cooldown < math.inf and 0 < patience < math.inf):
            raise ConfigurationError("ttl, cooldown and patience must be positive, finite seconds")
        if not 0 <= outage_grace < math.inf:
            raise ConfigurationError("outage_grace must be finite seconds; 0 for none")
        self._url = _checked(url)
        self._fetch = fetch
        self._ttl = ttl
        self._outage_grace = outage_grace
        self._cooldown = cooldown
        self._patience = patience
        self._monotonic = (clock or SystemClock()).monotonic
        self._background = Background()
        self._held: _KeySet | None = None
        self._attempt: anyio.Event | None = None
        self._tried_at: Seconds = -math.inf
        self._failing = False

    async def find(self, kid: str | None, algorithm: str) -> Sequence[TrustedKey]:
        """See `KeySource.find`."""
        if algorithm not in PUBLIC_ALGORITHMS:
            # No set can have a key for it, so there is nothing to ask.
            return ()
        held = await self._current()
        if kid is None or held.keys.knows(kid):
            return held.keys.meant(kid, algorithm)
        return (await self._newer_than(held)).keys.meant(kid, algorithm)

    async def _current(self) -> _KeySet:
        """Return a set that may be used, asking for a new one when it is time.

        Raises:
            StoreUnavailable: There is none.
        """
        held, age = self._held, self._age()
        if age >= self._ttl and not (self._failing and age < self._ttl + self._outage_grace):
            await self._attempted()
        elif age >= self._ttl / 2:
            self._start()
        held = self._held
        if held is None or self._age() >= self._ttl + self._outage_grace:
            raise self._unavailable()
        return held

    async def _newer_than(self, held: _KeySet) -> _KeySet:
        """Return the set in which an unknown name would be by now.

        Raises:
            StoreUnavailable: The last attempt has failed, so nobody knows.
        """
        await self._attempted()
        newest = self._held
        if newest is None or (newest is held and self._failing):
            raise self._unavailable()
        return newest

    def _age(self) -> Seconds:
        return math.inf if self._held is None else self._monotonic() - self._held.began

    def _unavailable(self) -> StoreUnavailable:
        left = self._tried_at + self._cooldown - self._monotonic()
        return StoreUnavailable("the issuer's keys cannot be read", retry_after=max(1.0, left))

    async def _attempted(self) -> None:
        """Wait for the attempt that is under way, or a new one; do nothing if it is too early for that."""
        attempt = self._start()
        if attempt is not None:
            # The attempt is bounded too. This is for one that died with its event loop.
            with anyio.move_on_after(self._patience):
                await attempt.wait()

    def _start(self) -> anyio.Event | None:
        """Return the attempt that is under way, or a new one; None if it is too early for that."""
        now = self._monotonic()
        if self._attempt is not None and now < self._tried_at + self._patience:
            return self._attempt
        if now < self._tried_at + self._cooldown:
            return None
        self._tried_at = now
        self._attempt = attempt = anyio.Event()
        # Of the process, not of the request: whoever started it may go away while others wait.
        self._background.spawn(partial(self._try, attempt, now))
        return attempt

    async def _try(self, attempt: anyio.Event, began: Seconds) -> None:
        ended = False
        try:
            with anyio.fail_after(self._patience):
                body = await self._fetch(self._url)
            keys = key_set(body)
            if self._held is None or began > self._held.began:
                self._held, self._failing = _KeySet(keys, began), False
            ended = True
        except Exception as error:
            # Denies, in the end: whatever is wrong with the application's function, we have learnt no key from it.
            # Its text may quote the answer, so the log gets its class alone.
            ended = True
            if self._tried_at == began:
                self._failing = True
            _log.warning(
                "the keys at %s could not be read: %s",
                self._url,
                type(error).__qualname__,
                extra={"event": "jwks_lost"},
            )
        finally:
            if self._attempt is attempt:
                self._attempt = None
                # One that ended with its event loop has asked nobody: the next loop need not wait.
                self._tried_at = began if ended else -math.inf
            attempt.set()


def key_set(body: object) -> NamedKeys:
    """Return the usable keys of a JWK set; entries of other kinds, and for other uses, are left out.

    Raises:
        ValueError: It is no JWK set, or a larger one than is read.
        InvalidToken: It is not JSON as we read it, see `json_object`.
    """
    if not isinstance(body, bytes) or len(body) > MAX_BYTES:
        raise ValueError("not the bytes of a JWK set, or too many")
    entries = json_object(body).get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS or not all(isinstance(each, dict) for each in entries):
        raise ValueError("no JWK set, or too many keys")
    found = [published_key(each) for each in entries]
    usable = [key for key in found if key is not None]
    if not usable:
        # Believed all the same: an issuer that withdraws its keys means it.
        _log.warning("a set of %d keys has none that verifies tokens", len(entries), extra={"event": "jwks_unusable"})
    return NamedKeys(usable)


def _checked(url: object) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or not parts.hostname:
        raise ConfigurationError("url is not an address; write https://issuer.example/.well-known/jwks.json")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise ConfigurationError("the address of keys must be https: whoever changes the answer on its way can sign")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(
            "the address of keys stands in logs: no password, no query; let fetch add what it needs"
        )
    return parts.geturl()
