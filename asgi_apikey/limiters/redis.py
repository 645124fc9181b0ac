"""Meters in Redis: shared by all processes, and faster than a database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2s
from typing import Final, cast

from redis.asyncio import Redis, RedisCluster

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.measures import Charge, Rate, Reading
from asgi_apikey.metering import FRESH, State, began, capacity, ends, milliseconds, present, readings, unit
from asgi_apikey.models import Instant, Seconds
from asgi_apikey.perloop import PerLoop
from asgi_apikey.redisaddress import NewClient, new_client
from asgi_apikey.redisclient import OwnedClient, RedisFailed

_TIMEOUT: Final[Seconds] = 0.25
_LEARN_WITHIN: Final[Seconds] = 5.0
_MARGIN: Final = 3_600_000
"""Milliseconds that a count is kept longer than it means anything, for clocks that disagree."""

# `metering.all_taken`, where the counts are: Redis runs a script to its end before anything else. Lua's numbers are
# doubles; nothing here exceeds 2**53. A mark of a rate is the present, and of a quota when its period began.
_TAKE: Final = """
local now = tonumber(ARGV[1])
local states, refused = {}, 0
for i, key in ipairs(KEYS) do
    local at = 1 + (i - 1) * 5
    local leak, start = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local cost, most = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    local held = redis.call('HMGET', key, 'mark', 'value')
    local mark, value = tonumber(held[1] or 0), tonumber(held[2] or 0)
    if leak > 0 then
        if now > mark then
            value, mark = math.max(0, value - (now - mark) * leak), now
        end
    elseif start > mark then
        value, mark = math.min(value, 0), start
    end
    local after = value + cost
    if cost > 0 and after > most then
        refused = 1
    end
    if leak > 0 then
        after = math.max(0, after)
    end
    states[i] = {mark, value, after}
end
local shown = {refused}
for i, key in ipairs(KEYS) do
    local state, keep = states[i], tonumber(ARGV[1 + i * 5])
    local value = refused == 1 and state[2] or state[3]
    if refused == 0 and tonumber(ARGV[1 + (i - 1) * 5 + 3]) ~= 0 then
        redis.call('HSET', key, 'mark', string.format('%.0f', state[1]), 'value', string.format('%.0f', value))
        if keep > 0 and value >= 0 then
            redis.call('PEXPIRE', key, keep)
        else
            redis.call('PERSIST', key)
        end
    end
    shown[#shown + 1] = string.format('%.0f', state[1])
    shown[#shown + 1] = string.format('%.0f', value)
end
return shown
"""


class RedisMeters:
    """`Meters` in a Redis server, 5 or newer, a cluster of them, or what speaks their protocol.

    A charge is one script, run by `EVALSHA` on the keys of one hash slot: it needs `EVALSHA`, `EVAL`, `SCRIPT LOAD`,
    `HMGET`, `HSET`, `PEXPIRE` and `PERSIST` on `{namespace}:*`. Use a Redis that evicts nothing (`noeviction`): what is
    evicted, or lost in a restart without persistence, counts as not used. Credits that were paid for belong in the
    store, which is the default.

    Each event loop has a client of its own, opened on first use, remade after a fork. asyncio only.

    Args:
        address: URL of Redis, see `redisaddress`; or a function that returns a new client.
        namespace: What all names start with.
        timeout: Seconds that Redis has for a charge. It is not tried again: it may have been taken.

    Raises:
        ConfigurationError: An address that cannot be used, or no namespace.
    """

    def __init__(
        self, address: str | NewClient, *, namespace: str = "asgi-apikey:limits", timeout: Seconds = _TIMEOUT
    ) -> None:
        if not namespace:
            raise ConfigurationError("meters in Redis need a namespace, such as 'asgi-apikey:limits'")
        new = new_client(address, timeout)
        self._namespace = namespace
        self._timeout = timeout
        self._places = PerLoop(lambda: _Place(new), _discard)

    def __repr__(self) -> str:
        return f"RedisMeters(shared, namespace={self._namespace!r})"

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """See `Meters.take`."""
        at = milliseconds(now)
        keys = [self._key(each) for each in charges]
        args = [at, *(number for each in charges for number in _arguments(each, at))]
        place = self._places.here()
        try:
            async with place.client.within(self._timeout) as client:
                script = client.register_script(_TAKE)
                refused, states = _read(await script(keys=keys, args=args, client=client), len(charges))
        except RedisFailed as error:
            place.in_doubt.set()
            raise StoreUnavailable(f"what is left of a limit cannot be told: {error}", outcome_unknown=True) from error
        return readings(charges, states, at, refused=refused)

    async def prune(self, now: Instant) -> None:
        """Do nothing: Redis drops what has expired."""

    async def close(self) -> None:
        """See `Meters.close`."""
        here = asyncio.get_running_loop()
        for loop, place in self._places.take_all().items():
            if loop is here:
                await place.close()
            else:
                _discard(loop, place)

    def _key(self, charge: Charge) -> str:
        # In braces what decides the hash slot: one script may only touch the keys of one (Redis Cluster specification).
        meter = charge.meter
        return f"{self._namespace}:{{{_digest(meter.group)}}}:{_digest(meter.subject)}:{meter.name.replace(' ', '-')}"


class _Place:
    """What one event loop has."""

    def __init__(self, new: NewClient) -> None:
        self.client: OwnedClient[Redis | RedisCluster] = OwnedClient(new)
        self.in_doubt = asyncio.Event()
        # When the loop ends without `close`, it cancels its tasks: this one then closes the connections in time.
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        self._keeper.cancel()
        await asyncio.wait({self._keeper})

    def cancel(self) -> None:
        self._keeper.cancel()

    async def _keep(self) -> None:
        try:
            while True:
                # A cluster's client finds out which node holds what: that takes longer than a charge may.
                with suppress(RedisFailed):
                    async with self.client.within(_LEARN_WITHIN) as client:
                        if isinstance(client, RedisCluster):
                            await client.initialize()
                self.in_doubt.clear()
                await self.in_doubt.wait()
        finally:
            await self.client.close()


def _arguments(charge: Charge, now: int) -> tuple[int, int, int, int, int]:
    """Return how fast the value leaks, when the period began, what is added, the most, and how long it is kept."""
    rule = charge.meter.rule
    if isinstance(rule, Rate):
        return rule.amount, 0, charge.cost * unit(rule), capacity(rule), unit(rule) + _MARGIN
    start, _ = present(rule, FRESH, now)
    keep = 0 if rule.period is None else ends(rule.period, began(rule.period, now)) - now + _MARGIN
    return 0, start, charge.cost, capacity(rule), keep


def _read(answer: object, charges: int) -> tuple[bool, list[State]]:
    """Return whether it was refused, and the states.

    Raises:
        ValueError: It is not what the script returns.
    """
    refused, *numbers = map(int, cast("list[int | bytes]", answer))
    if refused not in (0, 1) or len(numbers) != 2 * charges:
        raise ValueError("not the answer of the script")
    return bool(refused), list(zip(numbers[::2], numbers[1::2], strict=True))


def _digest(text: str) -> str:
    return blake2s(text.encode(), digest_size=12).hexdigest()


def _discard(loop: asyncio.AbstractEventLoop, place: _Place) -> None:
    """Let go of a loop's client, from any thread. A closed loop has cancelled its tasks, and with them the client."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(place.cancel)
