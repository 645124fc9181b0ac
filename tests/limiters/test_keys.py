"""Limits in a key's life: made, amended, handed on to successors, moved, and forgotten with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, GrantExceeded, InvalidRequest, RateExceeded, StoreUnavailable
from asgi_apikey.grants import EVERYTHING, Grant, grant_of
from asgi_apikey.limits import LimitPolicy
from asgi_apikey.measures import Charge
from asgi_apikey.models import DAY, UNSET, IssuedKey, KeyRecord
from asgi_apikey.repositories import MemoryRepository
from asgi_apikey.repositories.meters import SQLMeters
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.meters import NOON, charges
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio

NOWHERE_ELSE = "redis://:hunter2@localhost:what"


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[APIKeys]:
    """Keys in a file."""
    async with APIKeys(f"sqlite:///{tmp_path / 'keys.db'}", pepper=None, clock=FakeClock()) as keys:
        yield keys


async def spend(keys: APIKeys, issued: IssuedKey, times: int = 1) -> None:
    """Send requests with a key."""
    for _ in range(times):
        principal = await keys.authenticate(issued.key.encode())
        await keys.limiter.take(principal, method="GET", path="/")


async def left(keys: APIKeys, record: KeyRecord) -> dict[str, int]:
    """What is left, by limit."""
    return {each.meter.label: each.remaining for each in await keys.remaining(record.key_id)}


async def test_a_key_is_made_with_limits_in_their_one_spelling(keys: APIKeys) -> None:
    """However they were written."""
    issued = await keys.issue(owner="acme", limits=["100/60 seconds", "quota 007/day"])

    assert issued.record.limits == {"100/minute", "quota 7/day"}
    assert (await keys.get(issued.record.key_id)).limits == issued.record.limits


@pytest.mark.parametrize("limits", ["100/minute", ["100"], ["1/day", "2/day"], [5], None])
async def test_what_is_no_limit_is_refused(keys: APIKeys, limits: list[str]) -> None:
    """When it is made, and when it is amended."""
    issued = await keys.issue(owner="acme")

    with pytest.raises(InvalidRequest):
        await keys.issue(owner="acme", limits=limits)
    with pytest.raises(InvalidRequest):
        await keys.amend(issued.record.key_id, limits=limits)


async def test_an_amended_limit_counts_at_once_and_keeps_what_was_counted(keys: APIKeys) -> None:
    """Up, down, and gone."""
    issued = await keys.issue(owner="acme", limits=["quota 3/day"])
    await spend(keys, issued, 2)
    await keys.amend(issued.record.key_id, limits=["quota 10/day"])
    raised = await left(keys, issued.record)
    await keys.amend(issued.record.key_id, limits=["quota 2/day", "5/minute"])
    lowered = await left(keys, issued.record)
    await keys.amend(issued.record.key_id, name="x", limits=UNSET)
    kept = await left(keys, issued.record)
    await keys.amend(issued.record.key_id, limits=())
    await spend(keys, issued, 20)

    assert raised == {"quota 10/day": 8}
    assert lowered == kept == {"quota 2/day": 0, "5/minute": 5}


async def test_a_successor_has_the_same_limits_and_what_is_left_of_them(keys: APIKeys) -> None:
    """Rotating a key is no way to more, and both may be used meanwhile."""
    issued = await keys.issue(owner="acme", limits=["quota 5/day"])
    await spend(keys, issued, 2)
    successor = await keys.rotate(issued.record.key_id)
    await spend(keys, successor)
    await spend(keys, issued)

    assert successor.record.limits == {"quota 5/day"}
    assert await left(keys, successor.record) == await left(keys, issued.record) == {"quota 5/day": 1}


async def test_a_key_in_the_chain_of_delegation_never_has_more_than_its_maker(keys: APIKeys) -> None:
    """On issue, amend, enable and rotate alike."""
    maker = (await keys.issue(owner="acme", scopes=["*"], limits=["100/minute"])).record
    granter = grant_of(maker)
    child = await keys.issue(owner="acme", limits=["50/minute"], granter=granter)
    loose = await keys.issue(owner="acme")
    await keys.disable(loose.record.key_id)

    for limits in ((), ("101/minute",), ("100/second",)):
        with pytest.raises(GrantExceeded) as caught:
            await keys.issue(owner="acme", limits=limits, granter=granter)
        assert caught.value.exceeds == ("limits",)
        with pytest.raises(GrantExceeded):
            await keys.amend(child.record.key_id, limits=limits, granter=granter)
    with pytest.raises(GrantExceeded):
        await keys.enable(loose.record.key_id, granter=granter)
    assert (await keys.rotate(child.record.key_id, granter=granter)).record.limits == {"50/minute"}


async def test_a_grant_that_says_nothing_of_limits_hands_on_none() -> None:
    """Absent means none, never all."""
    keys = APIKeys("memory:", pepper=None)
    free = Grant(tenants=EVERYTHING, owners=EVERYTHING, environments=EVERYTHING)

    with pytest.raises(GrantExceeded) as caught:
        await keys.issue(owner="acme", limits=["1/day"], granter=free)
    assert "limits" in caught.value.exceeds


async def test_limits_move_with_their_keys_and_counts_do_not(keys: APIKeys) -> None:
    """In an export, line by line."""
    issued = await keys.issue(owner="acme", limits=["quota 5/day", "100/15 minutes"])
    await spend(keys, issued)
    lines = [line async for line in keys.export_lines()]
    other = APIKeys("memory:", pepper=None, clock=FakeClock())
    async for _ in other.import_lines(lines):
        pass

    assert await left(other, issued.record) == {"quota 5/day": 5, "100/15 minutes": 100}


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """The counts are where the keys are."""
    url, clock = f"sqlite:///{tmp_path / 'keys.db'}", FakeClock()
    async with APIKeys(url, pepper=None, clock=clock) as keys:
        issued = await keys.issue(owner="acme", limits=["quota 5/day"])
        await spend(keys, issued, 3)
    async with APIKeys(url, pepper=None, clock=clock) as keys:
        assert await left(keys, issued.record) == {"quota 5/day": 2}


async def test_a_limit_that_cannot_be_read_lets_nobody_in() -> None:
    """It was stored by other means; without it, the key could do more than it must."""
    repository = MemoryRepository()
    keys = APIKeys(repository=repository, pepper=None)
    issued = await keys.issue(owner="acme", limits=["1/day"])
    record = repository._records[issued.record.key_id]
    object.__setattr__(record, "limits", frozenset({"1/fortnight"}))

    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await keys.authenticate(issued.key.encode())


async def test_credits_of_deleted_keys_are_forgotten_in_time(tmp_path: Path) -> None:
    """What never comes back by itself would stay for ever; of keys that are there, it does."""
    driver = SQLiteDriver(tmp_path / "keys.db")
    keys = APIKeys(repository=SQLRepository(driver), pepper=None, clock=FakeClock())
    kept, gone = [await keys.issue(owner="acme", limits=["credits 5", "3/minute"]) for _ in range(2)]
    for issued in (kept, gone):
        await spend(keys, issued)
    successor = await keys.rotate(kept.record.key_id)
    for issued in (kept, gone):
        await keys.delete(issued.record.key_id)
    await SQLMeters(driver).prune(NOON + DAY)
    rows = await driver.fetch("SELECT subject, name FROM api_key_meters")
    await keys.close()

    assert [tuple(row) for row in rows] == [(f"key {successor.record.lineage}", "credits ever")]


async def test_what_lies_idle_is_tidied_up_by_a_process_that_serves(tmp_path: Path) -> None:
    """About once an hour, with the counts of usage, also where those are kept for ever."""
    clock, driver = FakeClock(), SQLiteDriver(tmp_path / "keys.db")
    keys = APIKeys(repository=SQLRepository(driver), pepper=None, clock=clock, usage_retention=None)
    issued = await keys.issue(owner="acme", limits=["3/minute"])
    await spend(keys, issued)
    clock.advance(DAY)
    await keys._prune(None)
    rows = await driver.fetch("SELECT subject FROM api_key_meters")
    await keys.close()

    assert rows == []


async def test_a_database_holds_one_row_for_each_count(keys: APIKeys) -> None:
    """However often it is counted."""
    issued = await keys.issue(owner="acme", limits=["100/minute", "quota 500/day"])
    await spend(keys, issued, 30)
    repository = keys.repository
    assert isinstance(repository, SQLRepository)
    rows = await repository._driver.fetch("SELECT name, value FROM api_key_meters ORDER BY name")

    assert [tuple(row) for row in rows] == [("quota day", 30), ("rate 60", 30 * 60_000)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limiting": {"per_key": ["1/day"]}}, "limiting"),
        ({"meters": "postgresql://:hunter2@x"}, "must start with one of"),
        ({"meters": NOWHERE_ELSE}, "the URL of Redis cannot be read"),
        ({"meters": object()}, "meters"),
    ],
)
def test_what_cannot_count_is_refused_at_the_start(arguments: dict[str, object], message: str) -> None:
    """And what was given is not repeated."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        APIKeys("memory:", pepper=None, **arguments)  # type: ignore[arg-type] # that is the point

    assert "hunter2" not in str(caught.value)


async def test_counting_elsewhere_leaves_the_store_alone(tmp_path: Path) -> None:
    """With `meters=`, the file is not written to by requests."""
    policy = LimitPolicy(per_key=["2/minute"])
    async with APIKeys(f"sqlite:///{tmp_path / 'keys.db'}", pepper=None, meters="memory:", limiting=policy) as keys:
        issued = await keys.issue(owner="acme")
        await spend(keys, issued, 2)
        with pytest.raises(RateExceeded):
            await spend(keys, issued)
        stored = await keys.repository.meters.take(
            [Charge(each.meter, 0) for each in charges("2/minute", subject=f"key {issued.record.lineage}")], NOON
        )

    assert stored[0].remaining == 2
