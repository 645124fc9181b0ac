"""Usage in a repository: two columns of the record, and a row for each key, hour and outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Final, cast

from asgi_apikey.models import HOUR, HourlyUsage, Instant, Seconds, Usage
from asgi_apikey.repositories.driver import BULK, Driver, Transaction
from asgi_apikey.repositories.records import MICROSECONDS, storable, to_micros
from asgi_apikey.repositories.statements import RECORD_USAGE

ACCEPTED: Final = "accepted"
"""The outcome of requests that were let in; the others are named by the `reason` of their `InvalidKey`."""

_HOUR: Final = int(HOUR)
_CHUNK: Final = 250
"""Ids in one statement: far below every limit on parameters, and always the same number, so it is prepared once."""

_IDS: Final = ", ".join("?" * _CHUNK)
PRESENT: Final = f"SELECT key_id FROM api_keys WHERE key_id IN ({_IDS}) ORDER BY key_id"  # noqa: S608

ROLL_UP: Final = """
    INSERT INTO api_key_usage (key_id, hour, outcome, requests) VALUES (?, ?, ?, ?)
    ON CONFLICT (key_id, hour, outcome) DO UPDATE SET requests = api_key_usage.requests + excluded.requests
"""
HOURS: Final = """
    SELECT hour, outcome, requests FROM api_key_usage
    WHERE key_id = ? AND hour >= ? AND hour < ?
    ORDER BY hour, outcome
"""
FORGET: Final = "DELETE FROM api_key_usage WHERE key_id = ?"
OLDEST: Final = "SELECT min(hour) FROM api_key_usage WHERE hour < ?"
PRUNE: Final = "DELETE FROM api_key_usage WHERE hour = ?"


def hour_of(instant: Instant) -> int:
    """Return the Unix seconds at which the instant's hour began."""
    return to_micros(instant) // (_HOUR * MICROSECONDS) * _HOUR


def outcomes_of(usage: Usage) -> Iterable[tuple[str, int]]:
    """Yield what is counted for a key, by outcome."""
    if usage.uses:
        yield ACCEPTED, usage.uses
    yield from usage.refusals


def hourly(rows: Iterable[tuple[int, str, int]]) -> tuple[HourlyUsage, ...]:
    """Return hours from rows of hour, outcome and number, sorted by hour."""
    result = []
    for hour, group in groupby(rows, key=lambda row: row[0]):
        requests = {outcome: number for _, outcome, number in group}
        result.append(HourlyUsage(float(hour), requests.pop(ACCEPTED, 0), requests))
    return tuple(result)


async def record(
    transaction: Transaction, batch: Sequence[Usage], *, resolution: Seconds, skip_locked: str
) -> frozenset[str]:
    """Write a batch; return the ids of keys whose rows somebody else holds, of which nothing was written.

    Args:
        transaction: Without the change lock.
        batch: Of ids that can be stored.
        resolution: Seconds that `last_used_at` may lag behind.
        skip_locked: See `Driver.skip_locked`.
    """
    ids = sorted({usage.key_id for usage in batch})
    # First of all: whoever has a key's row also has its rows of usage to himself, so nobody ever waits for anybody.
    ours = await _present(transaction, ids, skip_locked)
    missing = [key_id for key_id in ids if key_id not in ours] if skip_locked else []
    held = await _present(transaction, missing, "")
    counted = sorted((usage for usage in batch if usage.key_id in ours), key=lambda usage: usage.key_id)
    await transaction.run_many(RECORD_USAGE, [_record_row(usage, resolution) for usage in counted if usage.uses])
    await transaction.run_many(
        ROLL_UP,
        [
            (usage.key_id, hour_of(usage.last_used_at), outcome, number)
            for usage in counted
            for outcome, number in outcomes_of(usage)
        ],
    )
    return frozenset(held)


def checked(batch: Sequence[Usage]) -> list[Usage]:
    """Return what of a batch can be about a stored key.

    Raises:
        InvalidRequest: An instant cannot be stored.
    """
    for usage in batch:
        to_micros(usage.last_used_at)
    return [usage for usage in batch if storable(usage.key_id)]


class SQLUsageHistory:
    """A `UsageHistory` over the driver of an `SQLRepository`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def hours(self, key_id: str, *, since: Instant, until: Instant) -> Sequence[HourlyUsage]:
        """See `UsageHistory.hours`."""
        if not storable(key_id):
            return ()
        rows = await self._driver.fetch(HOURS, (key_id, hour_of(since), _ceiling(until)))
        return hourly(cast("tuple[int, str, int]", tuple(row)) for row in rows)

    async def prune(self, before: Instant) -> None:
        """See `UsageHistory.prune`."""
        end = hour_of(before)
        # An hour at a time: each transaction is short, however long nobody has pruned.
        while (oldest := cast("int | None", (await self._driver.fetch(OLDEST, (end,)))[0][0])) is not None:
            await self._driver.write(partial(_prune, hour=oldest), deadline=BULK)


async def _prune(transaction: Transaction, *, hour: int) -> None:
    await transaction.fetch(PRUNE, (hour,))


async def _present(transaction: Transaction, ids: Sequence[str], lock: str) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        chunk = list(ids[start : start + _CHUNK])
        rows = await transaction.fetch(f"{PRESENT}{lock}", chunk + chunk[-1:] * (_CHUNK - len(chunk)))
        found.update(str(key_id) for [key_id] in rows)
    return found


def _record_row(usage: Usage, resolution: Seconds) -> tuple[int, int, int, str]:
    at = to_micros(usage.last_used_at)
    return (usage.uses, at - round(resolution * MICROSECONDS), at, usage.key_id)


def _ceiling(instant: Instant) -> int:
    """Return the end of the last hour that begins before the instant."""
    hour = hour_of(instant)
    return hour if to_micros(instant) == hour * MICROSECONDS else hour + _HOUR
