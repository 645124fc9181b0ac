"""Who is told what happens to keys: hooks, and endpoints elsewhere. Wired here, as `fleet` wires what is shared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.events import Events, EventStats, Spawn
from asgi_apikey.expiring import ExpiryWatch
from asgi_apikey.logs import Redact
from asgi_apikey.protocols import Clock, DeadLetters, KeyRepository, Notices
from asgi_apikey.reporter import Reporter
from asgi_apikey.repositories.deadletters import MemoryDeadLetters
from asgi_apikey.repositories.notices import MemoryNotices
from asgi_apikey.webhooks import Sender, Webhook, Webhooks
from asgi_apikey.webhooks.delivery import DeliveryStats


@runtime_checkable
class _KeepsLetters(Protocol):
    """A repository with room for what belongs to events. Others need not have it."""

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def notices(self) -> Notices: ...


class News:
    """The parts that tell events.

    Args:
        repository: Keeps dead letters and notices, if it can; else this process does.
        clock: Wall and monotonic time.
        spawn: Starts background work.
        redact: Cuts keys out of what people have written.
        webhooks: Endpoints.
        sender: Sends to them; None: over the network.

    Attributes:
        reporter: Makes the events.
        on: Has a hook called; see `Events.on`.
        notice_expiring: Tells of keys that end soon; see `ExpiryWatch.tell`.
        letters: The dead letters.

    Raises:
        ConfigurationError: Two endpoints with one URL.
        MissingExtra: There are endpoints, and the library that sends is not installed.
    """

    def __init__(
        self,
        repository: KeyRepository,
        clock: Clock,
        *,
        spawn: Spawn,
        redact: Redact,
        webhooks: Sequence[Webhook] = (),
        sender: Sender | None = None,
    ) -> None:
        self._events = Events(spawn)
        self.reporter = Reporter(self._events, clock, redact=redact)
        self.on = self._events.on
        self.letters, notices = _kept_by(repository)
        self.notice_expiring = ExpiryWatch(repository, notices, tell=self.reporter.expiring, clock=clock).tell
        self._webhooks: Webhooks | None = None
        if webhooks:
            _check(webhooks)
            sender = _sender() if sender is None else sender
            self._webhooks = Webhooks(webhooks, sender=sender, letters=self.letters, clock=clock, spawn=spawn)
            for name in sorted({str(each) for webhook in webhooks for each in webhook.events}):
                self._events.on(name, self._webhooks.take)

    @property
    def events(self) -> EventStats:
        """What became of events."""
        return self._events.stats

    @property
    def deliveries(self) -> DeliveryStats | None:
        """What became of messages; None without endpoints."""
        return None if self._webhooks is None else self._webhooks.stats

    async def redeliver(self, letter_ids: Sequence[str] | None = None) -> tuple[int, int]:
        """Send dead letters again; see `Webhooks.redeliver`.

        Raises:
            ConfigurationError: There are no endpoints here.
        """
        if self._webhooks is None:
            raise ConfigurationError("there is no webhook to send to: give webhooks=[Webhook(url=…, secret=…)]")
        return await self._webhooks.redeliver(letter_ids)

    async def close(self, settle: Callable[[], Awaitable[object]]) -> None:
        """Tell what is left to tell, while `settle` waits for background work."""
        if self._webhooks is None:
            await settle()
        else:
            await self._webhooks.close(settle)


def _kept_by(repository: KeyRepository) -> tuple[DeadLetters, Notices]:
    if isinstance(repository, _KeepsLetters):
        return repository.dead_letters, repository.notices
    return MemoryDeadLetters(), MemoryNotices()


def _check(webhooks: Sequence[Webhook]) -> None:
    if len({each.endpoint_id for each in webhooks}) < len(webhooks):
        raise ConfigurationError("two webhooks have the same URL: name all their events in one")


def _sender() -> Sender:
    try:
        from asgi_apikey.webhooks.httpx import HTTPXSender
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "httpx":
            raise
        raise MissingExtra("webhooks", "webhooks=") from error
    return HTTPXSender()
