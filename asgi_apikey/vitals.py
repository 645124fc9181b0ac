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
