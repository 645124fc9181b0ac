"""What has been used of limits, kept in the store: shared by all processes, and as durable as the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.measures import Charge, Reading
from asgi_apikey.metering import NEVER, State, all_taken, expiry, milliseconds, readings
from asgi_apikey.models import Instant
from asgi_apikey.repositories.driver import BULK, Driver, Transaction
from asgi_apikey.repositories.records import Value

# Writes nothing new, but takes the row, and makes it if it is not there: whoever comes next waits for our commit.
HOLD: Final = """
    INSERT INTO api_key_meters (subject, name, mark, value, until) VALUES (?, ?, 0, 0, 0)
    ON CONFLICT (subject, name) DO UPDATE SET until = api_key_meters.until
    RETURNING mark, value
"""

# Guarded by what was read, which nobody else can have changed: a store that breaks this promise sells nothing twice.
SET: Final = """
    UPDATE api_key_meters SET mark = ?, value = ?, until = ?
    WHERE subject = ? AND name = ? AND mark = ? AND value = ?
    RETURNING name
"""

PRUNE: Final = "DELETE FROM api_key_meters WHERE until <= ?"

# What never comes back would stay for ever, also when the last key of the lineage has been deleted.
PRUNE_ORPHANS: Final = """
    DELETE FROM api_key_meters
    WHERE until = ? AND substr(subject, 1, 4) = 'key '
        AND NOT EXISTS (SELECT 1 FROM api_keys WHERE lineage = substr(api_key_meters.subject, 5))
"""


class SQLMeters:
    """`Meters` over the driver of an `SQLRepository`.

    A charge is one transaction: it holds the rows of its meters, in the same order as everybody does, decides, and sets
    them; what is refused is rolled back. It does not take the change lock.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __repr__(self) -> str:
        return "SQLMeters(shared by all who use the store)"

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """See `Meters.take`."""
        ordered = sorted(charges, key=lambda each: (each.meter.subject, each.meter.name))
        at = milliseconds(now)

        async def work(transaction: Transaction) -> tuple[Reading, ...]:
            before = [await _held(transaction, each) for each in ordered]
            after = all_taken(ordered, before, at)
            if after is None:
                raise _Refused(readings(ordered, before, at, refused=True))
            for charge, old, new in zip(ordered, before, after, strict=True):
                if new != old and not await _set(transaction, charge, old, new):
                    raise StoreUnavailable("what is left of a limit was changed while it was held")
            return readings(ordered, after, at, refused=False)

        try:
            return await self._driver.write(work)
        except _Refused as refusal:
            return refusal.readings

    async def prune(self, now: Instant) -> None:
        """See `Meters.prune`."""
        at = milliseconds(now)

        async def work(transaction: Transaction) -> None:
            await transaction.fetch(PRUNE, (at,))
            await transaction.fetch(PRUNE_ORPHANS, (NEVER,))

        await self._driver.write(work, deadline=BULK)

    async def close(self) -> None:
        """Do nothing: the driver is the repository's."""


class _Refused(Exception):
    """Rolls the transaction back; nothing went wrong."""

    def __init__(self, shown: tuple[Reading, ...]) -> None:
        super().__init__()
        self.readings = shown


async def _held(transaction: Transaction, charge: Charge) -> State:
    [[mark, value]] = await transaction.fetch(HOLD, (charge.meter.subject, charge.meter.name))
    return cast(int, mark), cast(int, value)


async def _set(transaction: Transaction, charge: Charge, old: State, new: State) -> bool:
    args: tuple[Value, ...] = (*new, expiry(charge.meter.rule, new), charge.meter.subject, charge.meter.name, *old)
    return bool(await transaction.fetch(SET, args))
