"""What happens to keys, told to whoever wants to know: in the background, bounded, and never in a request's way.

An event is told when its change is committed, in the process that made it, and as often as there are hooks. It is no
record of what was done: a process that is killed tells nobody what it had not told yet. The audit is that record.
"""

from __future__ import annotations

import enum
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import anyio
from anyio.lowlevel import current_token

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import NO_METADATA, Instant, JSONValue, Seconds
from asgi_apikey.tracebacks import described

_log = logging.getLogger("asgi_apikey")

CAPACITY: Final = 10_000
"""Events that wait for one hook; what comes on top is dropped, and counted."""

PATIENCE: Final[Seconds] = 30.0
"""How long a hook may take for one event."""


class EventName(enum.StrEnum):
    """What can happen. Names stay once released."""

    ISSUED = "issued"
    ADOPTED = "adopted"
    ROTATED = "rotated"
    AMENDED = "amended"
    DISABLED = "disabled"
    ENABLED = "enabled"
    REVOKED = "revoked"
    DELETED = "deleted"
    EXPIRING = "expiring"
    REFUSED = "refused"
    REVOKED_KEY_USED = "revoked_key_used"
    LIMIT_NEAR = "limit_near"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to one key. No secret is in it.

    Attributes:
        event_id: Random; who gets an event twice knows it by that.
        name: What happened.
        at: When.
        key_id: The key.
        owner: Whose it is; empty where only the id is known, as of a key that was refused.
        tenant: The same.
        environment: The same.
        actor: Who did it, where somebody is known.
        reason: Why, in the actor's words; of a refusal, its reason.
        details: What more there is to say; the page about events lists it by name.
    """

    name: EventName
    at: Instant
    key_id: str
    owner: str = ""
    tenant: str = ""
    environment: str = ""
    actor: str = ""
    reason: str = ""
    details: Mapping[str, JSONValue] = NO_METADATA
    event_id: str = field(default_factory=lambda: secrets.token_hex(16))


Hook: TypeAlias = Callable[[Event], Awaitable[object]]
"""Is called with each event, one after the other."""

Spawn: TypeAlias = Callable[[Callable[[], Awaitable[object]]], None]


@dataclass(slots=True)
class EventStats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        told: Events that a hook has taken.
        dropped: Events for which a hook's queue had no room.
        failed: Events over which a hook has raised, or taken too long.
    """

    told: int = 0
    dropped: int = 0
    failed: int = 0


class Events:
    """Passes events on to hooks.

    Every hook has a queue of its own, so a slow one delays and loses nothing of the others'. What a hook raises is
    logged, and it is called with the next event all the same.

    Args:
        spawn: Starts background work, which must not run in the context of a request.
        capacity: Events that wait for one hook.
        patience: Seconds that a hook may take for one event.

    Attributes:
        stats: See `EventStats`.
    """

    def __init__(self, spawn: Spawn, *, capacity: int = CAPACITY, patience: Seconds = PATIENCE) -> None:
        self.stats = EventStats()
        self._spawn = spawn
        self._capacity = capacity
        self._patience = patience
        self._queues: list[_Queue] = []
        self._wanted: dict[EventName, list[_Queue]] = {name: [] for name in EventName}

    def on(self, name: EventName | str, hook: Hook) -> None:
        """Have a hook called with every event of a name, from now on.

        Args:
            name: See `EventName`.
            hook: An async function of an `Event`. The same one may be given for several names: it is then called in
                the order in which things happened.

        Raises:
            ConfigurationError: There is no such event, or the hook cannot be called.
        """
        if name not in list(EventName):
            raise ConfigurationError(f"there is no event {name!r}; there are {', '.join(EventName)}")
        if not callable(hook):
            raise ConfigurationError("a hook is an async function of an event: async def tell(event): ...")
        queue = self._queue_of(hook)
        if queue not in self._wanted[EventName(name)]:
            self._wanted[EventName(name)].append(queue)

    def wants(self, name: EventName) -> bool:
        """Whether anybody wants to know: if not, no event needs to be made."""
        return bool(self._wanted[name])

    def emit(self, event: Event) -> None:
        """Tell an event; never suspends and never raises."""
        for queue in self._wanted[event.name]:
            queue.put(event)

    def pass_over(self, name: EventName, number: int) -> None:
        """Count so many events as dropped that nobody has even made."""
        for queue in self._wanted[name]:
            queue.drop(number)

    def _queue_of(self, hook: Hook) -> _Queue:
        # Compared, not looked up: a hook need not be hashable, and a bound method is a new object each time.
        for queue in self._queues:
            if queue.hook == hook:
                return queue
        self._queues.append(_Queue(hook, self._spawn, self._capacity, self._patience, self.stats))
        return self._queues[-1]


class _Queue:
    """The events that wait for one hook, and the one task that takes them to it."""

    def __init__(self, hook: Hook, spawn: Spawn, capacity: int, patience: Seconds, stats: EventStats) -> None:
        self.hook = hook
        self._spawn = spawn
        self._capacity = capacity
        self._patience = patience
        self._stats = stats
        self._waiting: deque[Event] = deque()
        self._overflowing = False
        # The event loop whose task is at work: one that died with its loop must not keep the next loop from starting.
        self._at_work: object = None

    def put(self, event: Event) -> None:
        if len(self._waiting) >= self._capacity:
            self.drop(1)
            return
        self._overflowing = False
        self._waiting.append(event)
        # Without an event loop, in plain code, nothing can be started: the next event in one takes it along.
        with suppress(RuntimeError):
            here = current_token()
            if self._at_work != here:
                self._at_work = here
                self._spawn(self._run)

    def drop(self, number: int) -> None:
        self._stats.dropped += number
        if not self._overflowing:
            _log.error(
                "a hook is too slow, events are dropped until it catches up; the audit has all changes",
                extra={"event": "hook_overflow"},
            )
        self._overflowing = True

    async def _run(self) -> None:
        here = current_token()
        try:
            while self._waiting and self._at_work == here:
                await self._tell(self._waiting.popleft())
        finally:
            if self._at_work == here:
                self._at_work = None

    async def _tell(self, event: Event) -> None:
        try:
            with anyio.fail_after(self._patience):
                await self.hook(event)
        except Exception as error:
            # Owns the background loop: the next event must be told, whatever a hook of the user's raises.
            self._stats.failed += 1
            _log.error(
                "a hook has failed over the event %r: %s",
                str(event.name),
                described(error),
                extra={"event": "hook_failed"},
            )
        else:
            self._stats.told += 1
