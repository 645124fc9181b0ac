"""What the application knows about a key's owner: asked for once in a while, remembered, and put on the principal."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import anyio
from cachetools import LRUCache

from asgi_apikey import lifecycle
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Account, Metadata, Seconds
from asgi_apikey.protocols import Clock
from asgi_apikey.singleflight import SingleFlight

ResolveOwner: TypeAlias = Callable[[str, str], Awaitable[Metadata | None]]
"""From an owner and a tenant to a JSON object about them, such as a user and a plan, of at most 8 KiB; None: nothing
is known."""

_Owner: TypeAlias = tuple[str, str]
_log = logging.getLogger("asgi_apikey")
_TRIES = 4


class Accounts:
    """Asks the application about owners, one question at a time for each.

    A question that fails is an answer that we do not have: the request is undecided (503), never rejected. Failures
    are shared by those who wait, and not remembered.

    Args:
        resolve: The application's own function.
        clock: Tells how old an answer is.
        ttl: Seconds for which an answer is used, counted from before the question.
        patience: Seconds that an answer may take.
        size: Most owners remembered.

    Raises:
        ConfigurationError: Not a function, or a duration that is not positive and finite.
    """

    def __init__(
        self, resolve: ResolveOwner, clock: Clock, *, ttl: Seconds, patience: Seconds = 2.0, size: int = 100_000
    ) -> None:
        if not callable(resolve):
            raise ConfigurationError("resolve_owner must be an async function of an owner and a tenant")
        if not (0 < ttl < math.inf and 0 < patience < math.inf) or size < 1:
            raise ConfigurationError("owner_ttl must be positive, finite seconds, such as owner_ttl=60")
        self._resolve = resolve
        self._clock = clock
        self._ttl = ttl
        self._patience = patience
        self._held: LRUCache[_Owner, Account] = LRUCache(size)
        self._flights: SingleFlight[_Owner, Account | StoreUnavailable] = SingleFlight()
        self._asked: set[_Owner] = set()
        self._outdated: set[_Owner] = set()

    async def of(self, owner: str, tenant: str) -> Account:
        """Return what is known about an owner. Nothing has been forgotten about it when this returns.

        Raises:
            StoreUnavailable: The application failed to say, or took too long.
        """
        key = (owner, tenant)
        for _ in range(_TRIES):
            held = self._held.get(key)
            if held is not None and self._clock.monotonic() < held.deadline:
                return held
            answer = await self._flights.run(key, partial(self._ask, key))
            if isinstance(answer, StoreUnavailable):
                raise StoreUnavailable(str(answer)) from answer.__cause__
        raise StoreUnavailable("the account of the key's owner keeps changing")

    def forget(self, owner: str, tenant: str | None = None) -> None:
        """Drop what is remembered of an owner, in all tenants or in one; an answer on its way is dropped too."""
        self._outdated |= {key for key in self._asked if _is(key, owner, tenant)}
        for key in [key for key in self._held if _is(key, owner, tenant)]:
            del self._held[key]

    async def _ask(self, key: _Owner) -> Account | StoreUnavailable:
        """Ask, and remember the answer; a failure is returned, for the others who wait."""
        began = self._clock.monotonic()
        self._asked.add(key)
        try:
            with anyio.fail_after(self._patience):
                said = await self._resolve(*key)
            # Held and shared like the key's own metadata, so it must be what that may be.
            account = Account(None if said is None else lifecycle.metadata(said), began + self._ttl)
            if key not in self._outdated:
                self._held[key] = account
            return account
        except Exception as error:
            # Denies the request: whatever is wrong with the application's function, we do not know its answer.
            _log.error("resolve_owner failed: %s", type(error).__qualname__, extra={"event": "resolve_owner_failed"})
            failure = StoreUnavailable("the account of the key's owner cannot be told")
            failure.__cause__ = error
            return failure
        finally:
            self._asked.discard(key)
            self._outdated.discard(key)


def _is(key: _Owner, owner: str, tenant: str | None) -> bool:
    return key[0] == owner and tenant in (None, key[1])
