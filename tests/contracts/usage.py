"""The contract of usage: what was counted is found again by key, hour and outcome, and never twice."""

from __future__ import annotations

from functools import partial

import pytest

from asgi_apikey.models import HOUR, HourlyUsage, RecordPatch, Usage
from tests.contracts.audit import Vault
from tests.contracts.repository import a_record, together

NOON = 1_800_000_000.0
"""The beginning of an hour."""


class UsageContract:
    """What every repository does with usage."""

    pytestmark = pytest.mark.anyio

    async def hours(self, vault: Vault, key_id: str = "key1", **span: float) -> list[HourlyUsage]:
        """Read a day from noon."""
        return [*await vault.repository.history.hours(key_id, **({"since": NOON, "until": NOON + 24 * HOUR} | span))]

    async def test_outcomes_are_counted_by_the_hour(self, vault: Vault) -> None:
        """What belongs to one hour adds up, over many batches; refusals stand beside what was accepted."""
        await vault.repository.add(a_record())
        await vault.repository.record_usage([Usage("key1", 2, NOON), Usage("key1", 1, NOON + HOUR)])
        await vault.repository.record_usage([Usage("key1", 3, NOON + HOUR - 0.000001, (("disabled", 4),))])
        await vault.repository.record_usage([Usage("key1", 0, NOON + 2 * HOUR, (("revoked", 1), ("expired", 2)))])

        assert await self.hours(vault) == [
            HourlyUsage(NOON, 5, {"disabled": 4}),
            HourlyUsage(NOON + HOUR, 1, {}),
            HourlyUsage(NOON + 2 * HOUR, 0, {"expired": 2, "revoked": 1}),
        ]

    async def test_a_refusal_is_no_use(self, vault: Vault) -> None:
        """`uses` and `last_used_at` are about accepted requests alone."""
        await vault.repository.add(a_record())
        await vault.repository.record_usage([Usage("key1", 0, NOON, (("disabled", 4),))])

        assert await vault.repository.get("key1") == a_record()

    async def test_only_keys_that_exist_are_counted(self, vault: Vault) -> None:
        """What strangers name leaves no row; it is not held by anybody either."""
        held = await vault.repository.record_usage([Usage("nobody", 1, NOON), Usage("a\0b", 1, NOON)])

        assert not held
        assert await self.hours(vault, "nobody") == []
        assert await self.hours(vault, "a\0b") == []

    async def test_the_span_is_of_whole_hours(self, vault: Vault) -> None:
        """From the hour that `since` is in, to the last one that begins before `until`."""
        await vault.repository.add(a_record())
        for number in range(4):
            await vault.repository.record_usage([Usage("key1", 1, NOON + number * HOUR)])

        some = await self.hours(vault, since=NOON + 1.5 * HOUR, until=NOON + 3 * HOUR)
        more = await self.hours(vault, since=NOON + HOUR, until=NOON + 3 * HOUR + 0.000001)

        assert [each.hour for each in some] == [NOON + HOUR, NOON + 2 * HOUR]
        assert [each.hour for each in more] == [NOON + HOUR, NOON + 2 * HOUR, NOON + 3 * HOUR]

    async def test_the_last_use_lags_behind_by_less_than_the_resolution(self, vault: Vault) -> None:
        """The counters do not, and the instant is never lowered."""
        await vault.repository.add(a_record())
        seen = []
        for second in (0, 899, 900, 901, 100):
            await vault.repository.record_usage([Usage("key1", 1, NOON + second)], resolution=900.0)
            record = await vault.repository.get("key1")
            assert record is not None
            seen.append((record.uses, record.last_used_at))

        assert seen == [(1, NOON), (2, NOON), (3, NOON), (4, NOON + 901), (5, NOON + 901)]

    async def test_many_keys_at_once(self, vault: Vault) -> None:
        """A batch of more keys than one statement takes, with strangers in between."""
        for number in range(300):
            await vault.repository.add(a_record(f"key{number}"))
        batch = [Usage(f"{name}{number}", 1, NOON) for number in range(300) for name in ("key", "nobody")]
        held = await vault.repository.record_usage(batch)

        assert not held
        assert await self.hours(vault, "key0") == await self.hours(vault, "key299") == [HourlyUsage(NOON, 1, {})]

    async def test_racing_flushes_lose_nothing(self, vault: Vault) -> None:
        """Many processes at a time, in any order of keys, beside changes of the same keys: nobody waits for ever."""
        for number in range(5):
            await vault.repository.add(a_record(f"key{number}"))

        async def flush(shift: int) -> None:
            waiting = {f"key{(number + shift) % 5}" for number in range(5)}
            while waiting:
                waiting = {*await vault.repository.record_usage([Usage(key_id, 1, NOON) for key_id in waiting])}

        async def change() -> None:
            for version in range(1, 11):
                await vault.repository.update("key2", RecordPatch(name="x"), version=version)

        await together([change, *[partial(flush, shift) for shift in range(10)]])

        for number in range(5):
            assert await self.hours(vault, f"key{number}") == [HourlyUsage(NOON, 10, {})]
            record = await vault.repository.get(f"key{number}")
            assert record is not None
            assert record.uses == 10

    async def test_old_hours_can_be_removed(self, vault: Vault) -> None:
        """Of all keys; the hour that the instant is in stays."""
        for key_id in ("key1", "key2"):
            await vault.repository.add(a_record(key_id))
            await vault.repository.record_usage([Usage(key_id, 1, NOON + number * HOUR) for number in range(4)])
        await vault.repository.history.prune(NOON + 2.5 * HOUR)

        for key_id in ("key1", "key2"):
            assert [each.hour for each in await self.hours(vault, key_id)] == [NOON + 2 * HOUR, NOON + 3 * HOUR]
        record = await vault.repository.get("key1")
        assert record is not None
        assert record.uses == 4

    async def test_a_deleted_key_takes_its_hours_with_it(self, vault: Vault) -> None:
        """Another key that gets its id begins with none."""
        await vault.repository.add(a_record())
        await vault.repository.record_usage([Usage("key1", 1, NOON)])
        await vault.repository.delete("key1", version=1)
        await vault.repository.add(a_record())

        assert await self.hours(vault) == []
