"""Messages that no endpoint has taken, in a table or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from asgi_apikey.models import DeadLetter
from asgi_apikey.repositories.driver import Driver, Transaction
from asgi_apikey.repositories.records import MICROSECONDS, Row, storable, to_micros

MOST: Final = 10_000
"""Kept; of more, the oldest are dropped: an endpoint that is gone must not fill the store."""

_COLUMNS: Final = "letter_id, endpoint, event, body, at, attempts, reason"

# ruff: noqa: S608 - what is put into the texts below are the names of our own columns; every value is a parameter.
PUT: Final = f"""
    INSERT INTO api_key_dead_letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (letter_id) DO UPDATE SET at = excluded.at, attempts = excluded.attempts, reason = excluded.reason
"""
DROP_OLDEST: Final = """
    DELETE FROM api_key_dead_letters WHERE number <= (SELECT max(number) FROM api_key_dead_letters) - ?
"""
PAGE: Final = f"SELECT {_COLUMNS} FROM api_key_dead_letters WHERE letter_id > ? ORDER BY letter_id LIMIT ?"
REMOVE: Final = "DELETE FROM api_key_dead_letters WHERE letter_id = ? RETURNING letter_id"


class SQLDeadLetters:
    """A `DeadLetters` over the driver of an `SQLRepository`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetters.put`."""
        rows = [_row(letter) for letter in letters]

        async def work(transaction: Transaction) -> None:
            await transaction.run_many(PUT, rows)
            await transaction.fetch(DROP_OLDEST, (MOST,))

        if rows:
            await self._driver.write(work)

    async def page(self, after: str, *, limit: int) -> Sequence[DeadLetter]:
        """See `DeadLetters.page`."""
        return [_letter(row) for row in await self._driver.fetch(PAGE, (after, limit))]

    async def remove(self, letter_ids: Sequence[str]) -> int:
        """See `DeadLetters.remove`."""

        async def work(transaction: Transaction) -> int:
            return sum([len(await transaction.fetch(REMOVE, (each,))) for each in letter_ids if storable(each)])

        return await self._driver.write(work) if letter_ids else 0


class MemoryDeadLetters:
    """A `DeadLetters` in this process."""

    def __init__(self) -> None:
        self._letters: dict[str, DeadLetter] = {}

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetters.put`."""
        self._letters.update((letter.letter_id, letter) for letter in letters)
        for letter_id in list(self._letters)[:-MOST]:
            del self._letters[letter_id]

    async def page(self, after: str, *, limit: int) -> Sequence[DeadLetter]:
        """See `DeadLetters.page`."""
        return [self._letters[each] for each in sorted(self._letters) if each > after][:limit]

    async def remove(self, letter_ids: Sequence[str]) -> int:
        """See `DeadLetters.remove`."""
        return sum(self._letters.pop(each, None) is not None for each in letter_ids)


def _row(letter: DeadLetter) -> Row:
    return (
        letter.letter_id,
        letter.endpoint,
        letter.event,
        letter.body,
        to_micros(letter.at),
        letter.attempts,
        letter.reason,
    )


def _letter(row: Row) -> DeadLetter:
    letter_id, endpoint, event, body, at, attempts, reason = row
    return DeadLetter(
        letter_id=str(letter_id),
        endpoint=str(endpoint),
        event=str(event),
        body=str(body),
        at=cast(int, at) / MICROSECONDS,
        attempts=cast(int, attempts),
        reason=str(reason),
    )
