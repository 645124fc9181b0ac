"""How a process is doing: counters since its start and its present state, as metrics and health checks want them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asgi_apikey.models import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What one process says about itself at one instant. No key, no owner and no secret is in it.

    Attributes:
        hits: Requests accepted from memory.
        reads: Records asked of the repository.
        accepted: Keys verified against their record.
        refusals: Requests refused, by reason or code; names of ours only.
        remembered: Keys held in memory now.
        shared_hits: What other processes had found out, and was used; None where nothing is shared.
        shared_misses: Looks into the shared cache that found nothing to use.
        shared_unsealed: Entries of the shared cache that nobody with our secret has written.
        usage_dropped: Requests whose use was not counted, or may not have been.
        lease: Seconds for which the change feed's last answer may be trusted yet; 0: it is not trusted now, as in a
            process without requests; None: there is no feed.
        position: Of the change feed, up to which everything is applied here; None: unknown now.
        feed_age: Seconds since the change feed was last asked and answered; None: there is no feed, or it never was.
        feed_failures: Attempts to read the change feed that failed.
        confirmed: Changes of this process that were known everywhere when their verb returned.
        unconfirmed: Those of which that was not known.
        would_refuse: Requests that a restriction on trial would have refused, by the code of the answer.
        limited: Requests with limits by what became of them; empty where nobody has asked.
        events_told: Events that a hook has taken.
        events_dropped: Events for which a hook was too slow.
        events_failed: Events over which a hook has failed.
        messages: Messages to webhooks by what became of them; empty without webhooks.
    """

    hits: int
    reads: int
    accepted: int
    refusals: Mapping[str, int] = field(default_factory=dict)
    remembered: int = 0
    shared_hits: int | None = None
    shared_misses: int = 0
    shared_unsealed: int = 0
    usage_dropped: int = 0
    lease: Seconds | None = None
    position: int | None = None
    feed_age: Seconds | None = None
    feed_failures: int = 0
    confirmed: int = 0
    unconfirmed: int = 0
    would_refuse: Mapping[str, int] = field(default_factory=dict)
    limited: Mapping[str, int] = field(default_factory=dict)
    events_told: int = 0
    events_dropped: int = 0
    events_failed: int = 0
    messages: Mapping[str, int] = field(default_factory=dict)
