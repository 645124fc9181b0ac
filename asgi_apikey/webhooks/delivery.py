"""Messages on their way: attempts, growing waits between them, and dead letters for what nobody takes.

A message is sent at once, and again after growing waits until the endpoint says 2xx. What it never takes, and what
still waits when the process ends, becomes a dead letter, which `asgi-apikey webhooks redeliver` sends again under the
same id. So a receiver may get a message twice, and messages overtake each other.
"""

from __future__ import annotations

import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import anyio
from anyio.lowlevel import current_token

from asgi_apikey.errors import Undecidable
from asgi_apikey.events import Event, Spawn
from asgi_apikey.models import DeadLetter, Seconds
from asgi_apikey.protocols import Clock, DeadLetters
from asgi_apikey.tracebacks import described
from asgi_apikey.webhooks.endpoints import Answer, Sender, Unsent, Webhook
from asgi_apikey.webhooks.messages import message_of
from asgi_apikey.webhooks.signing import signed_headers

_log = logging.getLogger("asgi_apikey")

WAITS: Final[tuple[Seconds, ...]] = (5.0, 30.0, 120.0, 600.0, 1800.0)
"""Between the attempts: five after the first one, over 43 minutes at most."""

MOST_WAITING: Final = 1_000
"""Messages that wait for one endpoint; more become dead letters at once."""

_LAST_CALL: Final[Seconds] = 5.0
"""For what was never sent when the process ends."""

_GONE: Final = 410
_PAGE: Final = 100

Jitter: TypeAlias = Callable[[], float]
"""Returns a number from 0 to 1."""


@dataclass(slots=True)
class DeliveryStats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        delivered: Messages that were taken.
        failed: Attempts that failed.
        dead: Messages that became dead letters.
        lost: Messages that could not even become those.
    """

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, order=True)
class _Message:
    """One message to one endpoint; ordered by when it is due, then by when it came."""

    due: Seconds
    number: int
    message_id: str = field(compare=False)
    event: str = field(compare=False)
    body: str = field(compare=False, repr=False)
    attempts: int = field(default=0, compare=False)
    reason: str = field(default="not sent yet", compare=False)


class Webhooks:
    """Sends events to endpoints, one message at a time to each.

    Args:
        endpoints: Where to.
        sender: Sends.
        letters: Keeps what nobody takes.
        clock: Wall and monotonic time.
        spawn: Starts background work, which must not run in the context of a request.
        waits: Seconds between the attempts.
        jitter: Spreads them, so that an endpoint that comes back is not met by everybody at once.

    Attributes:
        stats: See `DeliveryStats`.
    """

    def __init__(
        self,
        endpoints: Sequence[Webhook],
        *,
        sender: Sender,
        letters: DeadLetters,
        clock: Clock,
        spawn: Spawn,
        waits: Sequence[Seconds] = WAITS,
        jitter: Jitter = random.random,
    ) -> None:
        self.stats = DeliveryStats()
        self._letters = letters
        desk = _Desk(sender, letters, clock, self.stats, tuple(waits), jitter)
        self._lines = {each.endpoint_id: _Line(each, desk, spawn) for each in endpoints}

    async def take(self, event: Event) -> None:
        """Send an event to every endpoint that wants it: a hook, which returns before anything is sent."""
        wanting = [line for line in self._lines.values() if event.name in line.endpoint.events]
        if wanting:
            body = message_of(event)
            for line in wanting:
                await line.add(f"{event.event_id}-{line.endpoint.endpoint_id}", str(event.name), body)

    async def redeliver(self, letter_ids: Sequence[str] | None = None) -> tuple[int, int]:
        """Send dead letters again, once each; those that are taken are removed.

        Args:
            letter_ids: Which; None: all.

        Returns:
            How many were taken, and how many were not, because they failed or their endpoint is not known here.

        Raises:
            StoreUnavailable: The store did not answer.
        """
        taken = failed = 0
        after = ""
        while page := await self._letters.page(after, limit=_PAGE):
            for letter in page:
                if letter_ids is None or letter.letter_id in letter_ids:
                    line = self._lines.get(letter.endpoint)
                    done = line is not None and await line.redeliver(letter)
                    taken, failed = taken + done, failed + (not done)
            after = page[-1].letter_id
        return taken, failed

    async def close(self, settle: Callable[[], Awaitable[object]]) -> None:
        """Send what was never sent, without waiting for anything; the rest becomes dead letters.

        Args:
            settle: Waits for background work that is under way.
        """
        for line in self._lines.values():
            line.hurry()
        try:
            await settle()
        finally:
            for line in self._lines.values():
                await line.give_up()


@dataclass(frozen=True, slots=True)
class _Desk:
    """What all lines share."""

    sender: Sender
    letters: DeadLetters
    clock: Clock
    stats: DeliveryStats
    waits: tuple[Seconds, ...]
    jitter: Jitter

    async def bury(self, endpoint: Webhook, messages: Sequence[_Message]) -> None:
        """Make dead letters of messages."""
        if not messages:
            return
        try:
            await self.letters.put([_letter(endpoint, each, self.clock.wall()) for each in messages])
        except Undecidable as error:
            self.stats.lost += len(messages)
            _log.error(
                "%d messages for the webhook at %s are lost, as the store cannot keep them: %s",
                *(len(messages), endpoint.host, error),
                extra={"event": "webhooks_lost"},
            )
            return
        self.stats.dead += len(messages)
        _log.warning(
            "%d messages for the webhook at %s are dead letters now: %s",
            *(len(messages), endpoint.host, messages[-1].reason),
            extra={"event": "webhooks_dead"},
        )

    async def posted(self, endpoint: Webhook, message_id: str, body: str) -> tuple[str, Answer]:
        """Send once; return why it was not taken, empty if it was, and the answer."""
        sent, timestamp = body.encode(), int(self.clock.wall())
        headers = {"content-type": "application/json", "user-agent": "asgi-apikey"}
        headers |= signed_headers(endpoint.keys, message_id, timestamp, sent)
        try:
            answer = await self.sender.post(endpoint, headers, sent)
        except Unsent as error:
            return error.why, Answer(0)
        except Exception as error:
            # Owns the background loop: whatever a sender of the user's raises, the next message must be sent.
            _log.error("a webhook's sender has failed: %s", described(error), extra={"event": "webhook_sender_failed"})
            return "the sender has failed", Answer(0)
        if 200 <= answer.status < 300:
            self.stats.delivered += 1
            return "", answer
        return f"status {answer.status}", answer

    def wait(self, attempts: int, answer: Answer) -> Seconds | None:
        """Return how long to wait after so many attempts; None: no longer."""
        if attempts > len(self.waits) or answer.status == _GONE:
            return None
        # Half of it at least: the endpoint is to be left alone for a while.
        wait = self.waits[attempts - 1] * (0.5 + 0.5 * self.jitter())
        return max(wait, answer.retry_after or 0.0)


class _Line:
    """The messages for one endpoint, and the one task that sends them."""

    def __init__(self, endpoint: Webhook, desk: _Desk, spawn: Spawn) -> None:
        self.endpoint = endpoint
        self._desk = desk
        self._spawn = spawn
        self._waiting: list[_Message] = []
        self._sending: _Message | None = None
        self._number = 0
        self._changed = anyio.Event()
        self._until: Seconds | None = None
        # The event loop whose task is at work; see `events`.
        self._at_work: object = None

    async def add(self, message_id: str, event: str, body: str) -> None:
        """Have a message sent."""
        self._number += 1
        message = _Message(self._desk.clock.monotonic(), self._number, message_id, event, body)
        if len(self._waiting) >= MOST_WAITING:
            await self._desk.bury(self.endpoint, [replace(message, reason="too many messages wait")])
            return
        self._queue(message)

    async def redeliver(self, letter: DeadLetter) -> bool:
        """Send a dead letter once; whether it was taken."""
        why, _ = await self._desk.posted(self.endpoint, letter.letter_id, letter.body)
        if not why:
            await self._desk.letters.remove([letter.letter_id])
            return True
        again = replace(letter, attempts=letter.attempts + 1, reason=why, at=self._desk.clock.wall())
        await self._desk.letters.put([again])
        return False

    def hurry(self) -> None:
        """Wait for nothing any more."""
        self._until = self._desk.clock.monotonic() + _LAST_CALL
        self._changed.set()

    async def give_up(self) -> None:
        """Make dead letters of all that is left, also of what is being sent: it may never arrive."""
        left = [*([self._sending] if self._sending is not None else []), *sorted(self._waiting)]
        self._waiting, self._sending, self._until = [], None, None
        await self._desk.bury(self.endpoint, left)

    def _queue(self, message: _Message) -> None:
        heapq.heappush(self._waiting, message)
        self._changed.set()
        with suppress(RuntimeError):
            here = current_token()
            if self._at_work != here:
                self._at_work = here
                self._spawn(self._run)

    async def _run(self) -> None:
        here = current_token()
        try:
            while self._waiting and self._at_work == here:
                if not await self._is_due(self._waiting[0]):
                    continue
                await self._send(heapq.heappop(self._waiting))
        finally:
            if self._at_work == here:
                self._at_work = None

    async def _is_due(self, message: _Message) -> bool:
        """Whether it is time to send it; if not, wait until it may be, or something has changed."""
        now = self._desk.clock.monotonic()
        if message.due <= now or self._until is not None:
            return True
        self._changed = changed = anyio.Event()
        with anyio.move_on_after(message.due - now):
            await changed.wait()
        return False

    async def _send(self, message: _Message) -> None:
        """Send it, and see to it that it is sent again, or becomes a dead letter."""
        if self._until is not None and (message.attempts or self._desk.clock.monotonic() >= self._until):
            await self._desk.bury(self.endpoint, [message])
            return
        self._sending = message
        why, answer = await self._desk.posted(self.endpoint, message.message_id, message.body)
        # Given up meanwhile: it is a dead letter, and under its id the receiver knows it.
        if self._sending is not message:
            return
        self._sending = None
        if why:
            self._desk.stats.failed += 1
            tried = replace(message, attempts=message.attempts + 1, reason=why)
            wait = None if self._until is not None else self._desk.wait(tried.attempts, answer)
            if wait is None:
                await self._desk.bury(self.endpoint, [tried])
            else:
                self._queue(replace(tried, due=self._desk.clock.monotonic() + wait))


def _letter(endpoint: Webhook, message: _Message, at: float) -> DeadLetter:
    return DeadLetter(
        letter_id=message.message_id,
        endpoint=endpoint.endpoint_id,
        event=message.event,
        body=message.body,
        at=at,
        attempts=message.attempts,
        reason=message.reason,
    )
