"""An event as a message: JSON in ASCII."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from asgi_apikey.events import Event
from asgi_apikey.models import Instant, JSONValue

TYPE: Final = "api_key."
"""What the type of each message begins with; after it comes the event's name."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def message_of(event: Event) -> str:
    """Return the body, as Standard Webhooks (section "Payload structure") lays it out. Instants are RFC 3339."""
    facts: dict[str, JSONValue] = {
        "key_id": event.key_id,
        "owner": event.owner,
        "tenant": event.tenant,
        "environment": event.environment,
        "actor": event.actor,
        "reason": event.reason,
        **event.details,
    }
    ends_at = facts.get("expires_at")
    if isinstance(ends_at, int | float):
        facts["expires_at"] = rfc3339(ends_at)
    told = {"type": TYPE + event.name, "timestamp": rfc3339(event.at), "data": facts}
    return json.dumps(told, separators=(",", ":"), default=dict)


def rfc3339(at: Instant) -> str:
    """Return an instant in UTC, to the millisecond."""
    exact = _EPOCH + timedelta(milliseconds=round(at * 1000))
    return exact.isoformat(timespec="milliseconds").replace("+00:00", "Z")
