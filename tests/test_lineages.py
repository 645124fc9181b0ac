"""Keys that live for years: rotation again and again, many keys at once, tenants, limits, pruning, owners."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import (
    ConfigurationError,
    InvalidRequest,
    KeyLimitReached,
    KeyNotFound,
    RevokedKey,
    StaleRecord,
    StoreUnavailable,
)
from asgi_apikey.expiry import ExpiryPolicy
from asgi_apikey.models import DAY, IssuedKey, Principal, Status
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import NOON, FakeClock, Watched, until
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    """Stands still at noon."""
    return FakeClock()


@pytest.fixture
def store() -> Watched:
    """A store in memory whose calls can be stopped and made to fail."""
    return Watched(MemoryRepository())


Process = Callable[..., APIKeys]


@pytest.fixture
def process(clock: FakeClock, store: Watched) -> Process:
    """Makes a process over the store."""

    def make(**options: Any) -> APIKeys:
        return APIKeys(repository=store, pepper=PEPPER, clock=clock, single_process=True, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def keys(process: Process) -> APIKeys:
    """A process without any policy."""
    return process()


async def lets_in(keys: APIKeys, issued: IssuedKey) -> bool:
    """Whether the key is accepted; rejected means revoked here."""
    try:
        await keys.authenticate(issued.key.encode())
    except RevokedKey:
        return False
    return True


# ---- rotating again --------------------------------------------------------------------------------------------------


async def test_rotating_again_replaces_the_successor_that_nobody_has_used(keys: APIKeys, clock: FakeClock) -> None:
    """The lost answer's key dies, the old key keeps its grace, and the lineage has two live keys."""
    first = await keys.issue(owner="acme")
    lost = await keys.rotate(first.record.key_id, grace=100.0)
    clock.advance(60.0)

    again = await keys.rotate(first.record.key_id)

    assert not await lets_in(keys, lost)
    assert await lets_in(keys, again)
    assert (await keys.get(first.record.key_id)).expires_at == NOON + 100.0
    assert again.record.lineage == lost.record.lineage == first.record.key_id
    assert again.record.replaces == first.record.key_id
    assert (await keys.get(lost.record.key_id)).revoke_reason == "replaced before it was used"
    assert again.receipt is not None
    assert again.receipt.confirmed


async def test_rotating_again_gives_the_whole_lifetime_again(keys: APIKeys, clock: FakeClock) -> None:
    """The grace of the first time has shortened the old key; its successors live as long as it was meant to."""
    first = await keys.issue(owner="acme", expires_in=90 * DAY)
    await keys.rotate(first.record.key_id, grace=100.0)
    clock.advance(60.0)

    again = await keys.rotate(first.record.key_id)

    assert again.record.expires_at == NOON + 60.0 + 90 * DAY


async def test_a_successor_used_a_moment_ago_is_not_given_up(keys: APIKeys) -> None:
    """Its use is only counted in memory yet: that is written first."""
    first = await keys.issue(owner="acme")
    second = await keys.rotate(first.record.key_id)
    assert await lets_in(keys, second)

    with pytest.raises(InvalidRequest, match="in use"):
        await keys.rotate(first.record.key_id)
    assert await lets_in(keys, second)


async def test_a_successor_used_while_it_is_replaced_is_kept(keys: APIKeys, store: Watched) -> None:
    """Usage that is written between the look and the change stops the change."""
    first = await keys.issue(owner="acme")
    second = await keys.rotate(first.record.key_id)
    hold = store.before["replace"]
    hold.shut()
    outcome: list[Exception] = []

    async def rotate() -> None:
        try:
            await keys.rotate(first.record.key_id)
        except InvalidRequest as error:
            outcome.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(rotate)
        await until(lambda: hold.waiting)
        assert await lets_in(keys, second)
        await keys.flush()
        hold.open()

    assert len(outcome) == 1
    assert await lets_in(keys, second)


async def test_a_chain_of_rotations_never_has_three_live_keys(keys: APIKeys, clock: FakeClock) -> None:
    """The next rotation waits for the grace of the one before, or ends the key at once."""
    first = await keys.issue(owner="acme")
    second = await keys.rotate(first.record.key_id, grace=100.0)
    assert await lets_in(keys, second)

    with pytest.raises(InvalidRequest, match="same lineage"):
        await keys.rotate(second.record.key_id)
    clock.advance(100.0)
    third = await keys.rotate(second.record.key_id)

    assert third.record.lineage == first.record.key_id
    assert await keys.count(lineage=first.record.key_id, status=Status.ACTIVE) == 2


async def test_an_expired_key_is_not_amended_into_a_third_live_one(keys: APIKeys, clock: FakeClock) -> None:
    """A new end makes it live again, and is counted."""
    first = await keys.issue(owner="acme")
    second = await keys.rotate(first.record.key_id, grace=0.0)
    await keys.authenticate(second.key.encode())
    await keys.rotate(second.record.key_id, grace=100.0)

    with pytest.raises(KeyLimitReached, match="lineage"):
        await keys.amend(first.record.key_id, expires_at=None)
    await keys.amend(second.record.key_id, expires_at=NOON + 50.0)
    clock.advance(50.0)
    await keys.amend(first.record.key_id, expires_at=None)


async def test_the_rights_go_with_the_rotation(keys: APIKeys) -> None:
    """Tags, and networks, routes and origins, which are where it may be used, too."""
    rights = {"tags": {"ci"}, "networks": {"10.0.0.0/8"}, "routes": {"GET /x"}, "origins": {"https://a.example"}}
    first = await keys.issue(owner="acme", **rights)  # type: ignore[arg-type]

    second = await keys.rotate(first.record.key_id)

    assert {name: getattr(second.record, name) for name in rights} == rights
    principal = await keys.authenticate(second.key.encode())
    assert principal.restrictions is not None


# ---- revoking a lineage, and many ------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
async def test_revoking_a_key_revokes_its_lineage(keys: APIKeys, which: int) -> None:
    """Whichever of its keys is named; in one change, with the named record in the receipt."""
    first = await keys.issue(owner="acme")
    pair = [first, await keys.rotate(first.record.key_id)]
    for each in pair:
        assert await lets_in(keys, each)

    receipt = await keys.revoke(pair[which].record.key_id, by="ada", reason="leak")

    assert receipt.record == await keys.get(pair[which].record.key_id)
    assert [await lets_in(keys, each) for each in pair] == [False, False]
    assert {(await keys.get(each.record.key_id)).revoke_reason for each in pair} == {"leak"}


async def test_only_one_key_can_be_meant(keys: APIKeys) -> None:
    """`only=True` leaves its lineage alone; revoking the lineage later still finds the rest."""
    first = await keys.issue(owner="acme")
    second = await keys.rotate(first.record.key_id)
    await keys.revoke(first.record.key_id, only=True, reason="one")
    assert await lets_in(keys, second)

    await keys.revoke(first.record.key_id, reason="all")

    assert not await lets_in(keys, second)
    assert (await keys.get(first.record.key_id)).revoke_reason == "one"


async def test_a_rotation_that_comes_first_is_revoked_too(keys: APIKeys, store: Watched) -> None:
    """A successor made while the revocation was being decided does not escape it."""
    first = await keys.issue(owner="acme")
    hold = store.before["revoke_all"]
    hold.shut()
    async with anyio.create_task_group() as group:
        group.start_soon(keys.revoke, first.record.key_id)
        await until(lambda: hold.waiting)
        second = await keys.rotate(first.record.key_id)
        hold.open()

    assert not await lets_in(keys, second)
    assert store.calls["revoke_all"] == 2


async def test_a_version_guards_the_lineage(keys: APIKeys) -> None:
    """Named, it must be the record's; then nothing is revoked."""
    first = await keys.issue(owner="acme")

    with pytest.raises(StaleRecord):
        await keys.revoke(first.record.key_id, version=2)
    assert await lets_in(keys, first)


async def test_many_keys_are_revoked_at_once(keys: APIKeys) -> None:
    """By tag, owner, tenant, creator; a dry run counts and changes nothing; again, it finds none and announces."""
    hit = [await keys.issue(owner="acme", tenant="eu", tags={"leak"}, created_by="ada") for _ in range(3)]
    missed = await keys.issue(owner="acme", tenant="us", tags={"leak"})
    for each in (*hit, missed):
        assert await lets_in(keys, each)

    dry = await keys.revoke_where(tags={"leak"}, tenant="eu", dry_run=True)
    done = await keys.revoke_where(tags={"leak"}, tenant="eu", by="bob", reason="leak")
    again = await keys.revoke_where(tags={"leak"}, tenant="eu")
    nobody = await keys.revoke_where(owner="nobody")

    assert (dry.matched, dry.dry_run, dry.key_ids) == (3, True, ())
    assert sorted(done.key_ids) == sorted(each.record.key_id for each in hit)
    assert (done.matched, done.confirmed, again.matched, again.confirmed, nobody.matched) == (3, True, 0, True, 0)
    assert [await lets_in(keys, each) for each in hit] == [False] * 3
    assert await lets_in(keys, missed)


@pytest.mark.parametrize(
    "criteria", [{}, {"sort": "name"}, {"revoked": True, "ascending": True}, {"name_contains": ""}]
)
async def test_all_keys_are_never_revoked_by_leaving_something_out(keys: APIKeys, criteria: dict[str, Any]) -> None:
    """At least one filter must be there."""
    with pytest.raises(InvalidRequest, match="filter"):
        await keys.revoke_where(**criteria)
    with pytest.raises(InvalidRequest, match="tags"):
        await keys.revoke_where(tags="leak")


async def test_a_change_of_many_that_may_have_been_made_is_announced(keys: APIKeys, store: Watched) -> None:
    """No process goes on with what it remembers; the same for a lineage."""
    first = await keys.issue(owner="acme")
    for verb in (lambda: keys.revoke_where(owner="acme"), lambda: keys.revoke(first.record.key_id)):
        assert await lets_in(keys, first)
        store.failures["revoke_all"] = StoreUnavailable(outcome_unknown=True)
        with pytest.raises(StoreUnavailable):
            await verb()  # type: ignore[no-untyped-call]
        assert keys.authenticate_nowait(first.key.encode()) is None
        del store.failures["revoke_all"]


async def test_more_than_a_thousand_keys_are_one_change(keys: APIKeys, store: Watched) -> None:
    """Every process drops all that it remembers, which is less work than a thousand and one look-ups."""
    issued = [await keys.issue(owner="acme") for _ in range(1_001)]
    other = await keys.issue(owner="other")
    for each in (issued[0], other):
        assert await lets_in(keys, each)

    receipt = await keys.revoke_where(owner="acme")

    assert receipt.matched == 1_001
    assert keys.authenticate_nowait(other.key.encode()) is None
    assert not await lets_in(keys, issued[1_000])
    assert await lets_in(keys, other)


# ---- tenants ---------------------------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[APIKeys, str], Awaitable[object]]] = {
    "get": lambda keys, key_id: keys.get(key_id, tenant="us"),
    "rotate": lambda keys, key_id: keys.rotate(key_id, tenant="us"),
    "amend": lambda keys, key_id: keys.amend(key_id, name="x", tenant="us"),
    "disable": lambda keys, key_id: keys.disable(key_id, tenant="us"),
    "enable": lambda keys, key_id: keys.enable(key_id, tenant="us"),
    "revoke": lambda keys, key_id: keys.revoke(key_id, tenant="us"),
    "revoke only": lambda keys, key_id: keys.revoke(key_id, tenant="us", only=True),
    "delete": lambda keys, key_id: keys.delete(key_id, tenant="us"),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_key_of_another_tenant_does_not_exist(keys: APIKeys, verb: str) -> None:
    """The same error, to the letter, as for a key that nobody has; and nothing is changed."""
    issued = await keys.issue(owner="acme", tenant="eu")
    with pytest.raises(KeyNotFound) as foreign:
        await VERBS[verb](keys, issued.record.key_id)
    assert await keys.get(issued.record.key_id, tenant="eu") == issued.record
    await keys.delete(issued.record.key_id)
    with pytest.raises(KeyNotFound) as absent:
        await VERBS[verb](keys, issued.record.key_id)

    assert str(foreign.value) == str(absent.value)
    assert vars(foreign.value) == vars(absent.value)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_key_of_the_tenant_is_found(keys: APIKeys, verb: str) -> None:
    """The empty name is a tenant like any other, and not "any"."""
    issued = await keys.issue(owner="acme", tenant="us")

    await VERBS[verb](keys, issued.record.key_id)
    default = await keys.issue(owner="acme")
    with pytest.raises(KeyNotFound):
        await VERBS[verb](keys, default.record.key_id)
    assert await keys.get(default.record.key_id, tenant="") == default.record


# ---- limits ----------------------------------------------------------------------------------------------------------


async def test_an_owner_has_so_many_keys(process: Process, clock: FakeClock) -> None:
    """Live ones, per tenant, a rotated key counted once; a revoked one makes room."""
    keys = process(max_keys_per_owner=2)
    first = await keys.issue(owner="acme")
    await keys.rotate(first.record.key_id)
    second = await keys.issue(owner="acme", expires_in=60.0)

    with pytest.raises(KeyLimitReached, match="at most 2"):
        await keys.issue(owner="acme")
    await keys.issue(owner="acme", tenant="eu")
    await keys.issue(owner="other")
    await keys.revoke(first.record.key_id)
    third = await keys.issue(owner="acme")
    clock.advance(60.0)
    await keys.issue(owner="acme")
    with pytest.raises(KeyLimitReached):
        await keys.amend(second.record.key_id, expires_at=None)
    await keys.amend(third.record.key_id, expires_at=NOON + 2 * DAY)


@pytest.mark.parametrize("most", [0, -1, True])
def test_a_limit_below_one_is_refused(process: Process, most: int) -> None:
    """When it is wired."""
    with pytest.raises(ConfigurationError, match="max_keys_per_owner"):
        process(max_keys_per_owner=most)


async def test_the_expiry_policy_holds_for_every_verb(process: Process, clock: FakeClock) -> None:
    """Issue, amend and rotate; a successor gets what keys get today."""
    endless = await process().issue(owner="acme")
    keys = process(expiry=ExpiryPolicy(default=30 * DAY, least=DAY, most=60 * DAY))
    issued = await keys.issue(owner="acme")

    assert issued.record.expires_at == NOON + 30 * DAY
    for end in (None, NOON + 61 * DAY, NOON + 10.0):
        with pytest.raises(InvalidRequest):
            await keys.amend(issued.record.key_id, expires_at=end)
    with pytest.raises(InvalidRequest):
        await keys.issue(owner="acme", expires_in=61 * DAY)
    await keys.amend(endless.record.key_id, name="other things may be amended")
    assert (await keys.rotate(endless.record.key_id)).record.expires_at == NOON + 60 * DAY


# ---- pruning ---------------------------------------------------------------------------------------------------------


async def test_long_dead_keys_are_pruned(keys: APIKeys, clock: FakeClock) -> None:
    """All of them, in bounded steps; the living and the lately dead stay."""
    for _ in range(3):
        await keys.issue(owner="dead", expires_in=10.0)
    dead = await keys.issue(owner="dead")
    await keys.revoke(dead.record.key_id)
    alive = await keys.issue(owner="alive")
    clock.advance(90 * DAY)
    late = await keys.issue(owner="late", expires_in=1.0)
    clock.advance(10.0)

    assert await keys.prune() == 4
    assert await keys.prune() == 0
    assert await keys.count(owner="dead") == 0
    assert [record.key_id for record in (await keys.find()).records] == [late.record.key_id, alive.record.key_id]


@pytest.mark.parametrize("dead_for", [-1.0, math.nan, math.inf, 1e12])
async def test_a_span_of_the_past_is_checked(keys: APIKeys, dead_for: float) -> None:
    """A negative one would delete keys that work."""
    with pytest.raises(InvalidRequest, match="past"):
        await keys.prune(dead_for=dead_for)


# ---- owners ----------------------------------------------------------------------------------------------------------


class Plans:
    """What the application knows."""

    def __init__(self) -> None:
        self.plan = "free"
        self.asked = 0
        self.failing = False

    async def __call__(self, owner: str, tenant: str) -> dict[str, Any]:
        """Say it."""
        self.asked += 1
        if self.failing:
            raise RuntimeError
        return {"plan": self.plan}


async def test_the_account_is_on_the_principal(process: Process, clock: FakeClock) -> None:
    """Asked when the key is read, not on every request; old or forgotten, it is asked for again."""
    plans = Plans()
    keys = process(resolve_owner=plans, owner_ttl=30.0)
    issued, sibling = await keys.issue(owner="acme"), await keys.issue(owner="acme")

    async def account(each: IssuedKey = issued) -> object:
        principal: Principal = await keys.authenticate(each.key.encode())
        return principal.account

    assert await account() == await account() == await account(sibling) == {"plan": "free"}
    assert plans.asked == 1
    plans.plan = "pro"
    keys.forget_owner("acme")
    assert await account() == await account(sibling) == {"plan": "pro"}
    plans.plan = "max"
    clock.advance(30.0)
    assert keys.authenticate_nowait(issued.key.encode()) is None
    assert await account() == {"plan": "max"}
    assert plans.asked == 3


async def test_an_owner_who_cannot_be_told_is_undecided(process: Process) -> None:
    """503 for an accepted key; a rejected one is rejected without asking."""
    plans = Plans()
    keys = process(resolve_owner=plans)
    issued, revoked = await keys.issue(owner="acme"), await keys.issue(owner="acme")
    await keys.revoke(revoked.record.key_id)
    plans.failing = True

    with pytest.raises(StoreUnavailable):
        await keys.authenticate(issued.key.encode())
    assert not await lets_in(keys, revoked)
    plans.failing = False
    assert await lets_in(keys, issued)


async def test_a_restriction_that_cannot_be_read_lets_nobody_in(keys: APIKeys, store: Watched) -> None:
    """Changed by other means, it is undecided: without it the key could be used where it must not be."""
    issued = await keys.issue(owner="acme", networks={"10.0.0.0/8"})
    inner: Any = store._inner
    inner._records[issued.record.key_id] = replace(issued.record, networks=frozenset({"not a network"}))

    with pytest.raises(StoreUnavailable, match="restrictions"):
        await keys.authenticate(issued.key.encode())


async def test_searches_take_any_collection_and_names_of_orders(keys: APIKeys) -> None:
    """And refuse one string in place of names."""
    issued = await keys.issue(owner="acme", tags=["a", "b"], scopes=["x:*"])

    page = await keys.find(tags=["a"], scopes=("x:y",), sort="name", status="active")

    assert page.records == (issued.record,)
    for criteria in ({"tags": "a"}, {"sort": "digest"}, {"status": "gone"}):
        with pytest.raises(InvalidRequest):
            await keys.find(**criteria)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await keys.find(colour="red")  # type: ignore[call-arg]
