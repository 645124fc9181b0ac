"""What a request leaves of its limits: taken before it gets in, told in `RateLimit-Policy` and `RateLimit`.

Source: draft-ietf-httpapi-ratelimit-headers-10, "RateLimit header fields for HTTP", work in progress. Both fields are
lists of strings with parameters (RFC 9651), one for each limit: `"100/minute";q=100;w=60` and `"100/minute";r=99;t=1`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from asgi_apikey.asgi.restrict import method_of, plain_path
from asgi_apikey.asgi.types import Headers, Message, RequestLimiter, Scope, Send
from asgi_apikey.measures import LimitRule, Period, Quota, Rate, Reading
from asgi_apikey.models import Principal

_STARTS = ("http.response.start", "websocket.http.response.start")
# Of a month, the shortest there is: whoever spreads his requests over it never runs out.
_WINDOWS = {Period.HOUR: 3_600, Period.DAY: 86_400, Period.MONTH: 28 * 86_400}


async def taken_for(limiter: RequestLimiter, principal: Principal, scope: Scope) -> Sequence[Reading]:
    """Take what a request costs and return what is left.

    Raises:
        LimitExceeded: There was not enough, and nothing was taken.
        Undecidable: It could not be told.
    """
    return await limiter.take(principal, method=method_of(scope), path=plain_path(scope))


def telling(send: Send, readings: Sequence[Reading]) -> Send:
    """Return a `send` that adds to the answer what is left; the same one where nothing is limited."""
    if not readings:
        return send
    more = fields_of(readings)

    async def told(message: Message) -> None:
        if message["type"] in _STARTS:
            message = {**message, "headers": [*(message.get("headers") or ()), *more]}
        await send(message)

    return told


def fields_of(readings: Sequence[Reading]) -> Headers:
    """Return the two fields; in a fixed order, which meters do not keep."""
    ordered = sorted(readings, key=lambda each: each.meter.label)
    policies, states = ", ".join(map(_policy, ordered)), ", ".join(map(_state, ordered))
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


def _policy(reading: Reading) -> str:
    rule = reading.meter.rule
    unit = ';qu="credits"' if isinstance(rule, Quota) and rule.credits else ""
    return f'"{reading.meter.label}";q={rule.amount}{unit}{_window(rule)}'


def _window(rule: LimitRule) -> str:
    if isinstance(rule, Rate):
        return f";w={rule.per}"
    return "" if rule.period is None else f";w={_WINDOWS[rule.period]}"


def _state(reading: Reading) -> str:
    again = "" if reading.resets_in is None else f";t={math.ceil(reading.resets_in)}"
    return f'"{reading.meter.label}";r={reading.remaining}{again}'
