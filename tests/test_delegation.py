"""Changing keys on somebody's behalf: whose they must be, what may be handed on, and not waiting for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from asgi_apikey.adoption import Adopter
from asgi_apikey.background import Background
from asgi_apikey.errors import GrantExceeded, InvalidRequest, KeyExists, KeyNotFound, StaleRecord
from asgi_apikey.grants import Grant, grant_of
from asgi_apikey.models import DAY, Committed, IssuedKey, KeyQuery, KeyRequest, Receipt
from asgi_apikey.policy import network_rules
from tests.fakes import NOON, FakeInvalidation
from tests.wiring import Wired

pytestmark = pytest.mark.anyio

Verb = Callable[..., Awaitable[object]]
VERBS: dict[str, Callable[[Wired], Verb]] = {
    "get": lambda wired: wired.issuer.get,
    "rotate": lambda wired: wired.issuer.rotate,
    "amend": lambda wired: wired.issuer.amend,
    "disable": lambda wired: wired.issuer.disable,
    "enable": lambda wired: wired.issuer.enable,
    "revoke": lambda wired: wired.issuer.revoke,
    "delete": lambda wired: wired.issuer.delete,
}
CHANGES = [name for name in VERBS if name != "get"]
GRANTING = ["rotate", "amend", "enable"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The services promise both event loops."""
    name: str = request.param
    return name


def told() -> tuple[Wired, FakeInvalidation]:
    """A process whose announcements can be read."""
    wired = Wired(lease=math.inf)
    assert isinstance(wired.invalidation, FakeInvalidation)
    return wired, wired.invalidation


def held_back(invalidation: FakeInvalidation) -> anyio.Event:
    """Let nobody acknowledge anything until the event is set."""
    answer, announce = anyio.Event(), invalidation.announce

    async def later(committed: Committed) -> Receipt:
        await answer.wait()
        return await announce(committed)

    invalidation.announced.clear()
    invalidation.announce = later  # type: ignore[method-assign] # a fake of a fake
    return answer


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "whose", [{"owner": "other"}, {"tenant": "eu"}, {"owner": "acme", "tenant": "eu"}, {"owner": "other", "tenant": ""}]
)
async def test_a_key_of_somebody_else_is_not_found(verb: str, whose: dict[str, str]) -> None:
    """Whatever version is named; and it stays as it is."""
    wired = Wired()
    issued = await wired.issue()

    for more in ({},) if verb == "get" else ({}, {"version": 1}, {"version": 2}):
        with pytest.raises(KeyNotFound):
            await VERBS[verb](wired)(issued.record.key_id, **whose, **more)
    assert await wired.issuer.get(issued.record.key_id) == issued.record


@pytest.mark.parametrize("verb", VERBS)
async def test_a_key_of_ones_own_is_found(verb: str) -> None:
    """By owner and tenant."""
    wired = Wired()
    issued = await wired.issue()

    assert await VERBS[verb](wired)(issued.record.key_id, owner="acme", tenant="")


@pytest.mark.parametrize("verb", CHANGES)
async def test_a_key_that_changes_hands_meanwhile_is_not_changed(verb: str) -> None:
    """Deleted by its owner and made anew by another under the same id, between our look and our change."""
    wired = Wired()
    issued = await wired.issue()
    key_id = issued.record.key_id
    method = {"rotate": "replace", "revoke": "revoke_all", "delete": "delete"}.get(verb, "update")
    if verb == "enable":
        await wired.issuer.disable(key_id)
    inner = getattr(wired.repository, method)
    mine = await wired.issuer.get(key_id)

    async def overtaken(*args: object, **kwargs: object) -> object:
        wired.repository._records[key_id] = replace(mine, owner="other", version=mine.version + 2)
        return await inner(*args, **kwargs)

    setattr(wired.repository, method, overtaken)
    with pytest.raises(KeyNotFound):
        await VERBS[verb](wired)(key_id, owner="acme")
    assert (await wired.issuer.get(key_id)).version == mine.version + 2


def less(issued: IssuedKey) -> dict[str, Grant]:
    """Grants that lack a little of what the key may do, by what they lack."""
    whole = grant_of(issued.record)
    return {
        "scopes": replace(whole, scopes=frozenset({"orders:read"})),
        "owners": replace(whole, owners=frozenset({"other"})),
        "tenants": replace(whole, tenants=frozenset()),
        "environments": replace(whole, environments=frozenset({"test"})),
        "networks": replace(whole, networks=network_rules(["10.0.0.0/8"])),
        "until": replace(whole, until=NOON + DAY - 1),
    }


@pytest.mark.parametrize("verb", [*GRANTING, "issue", "adopt"])
@pytest.mark.parametrize("lacking", ["scopes", "owners", "tenants", "environments", "networks", "until"])
async def test_nobody_makes_a_key_that_can_do_more_than_he(verb: str, lacking: str) -> None:
    """By any of the verbs that could, in any respect; nothing is written then."""
    wired = Wired()
    request = KeyRequest(owner="acme", scopes=frozenset({"orders:*"}), expires_in=DAY)
    issued = await wired.issuer.issue(request)
    granter = less(issued)[lacking]
    before = dict(wired.repository._records)
    adopter = Adopter(
        wired.repository,
        wired.hasher,
        invalidation=wired.invalidation,
        clock=wired.clock,
        environment="live",
        background=Background(),
    )

    with pytest.raises(GrantExceeded) as info:
        match verb:
            case "issue":
                await wired.issuer.issue(request, granter=granter)
            case "adopt":
                await adopter.adopt("BBBBBBBBBBBB", wired.unissued(), request, granter=granter)
            case _:
                await VERBS[verb](wired)(issued.record.key_id, granter=granter)

    assert info.value.exceeds == (lacking,)
    assert wired.repository._records == before


@pytest.mark.parametrize("verb", GRANTING)
async def test_whoever_can_do_as_much_may_hand_it_on(verb: str) -> None:
    """A key's own rights are enough, and no granter at all is nobody's business."""
    wired = Wired()
    issued = await wired.issue(scopes=frozenset({"orders:*"}))

    assert await VERBS[verb](wired)(issued.record.key_id, granter=grant_of(issued.record))


async def test_the_end_that_a_policy_gives_is_the_one_that_counts() -> None:
    """Whoever may hand on rights for a while may leave the end to the policy."""
    from asgi_apikey import APIKeys
    from asgi_apikey.expiry import ExpiryPolicy
    from tests.fakes import FakeClock
    from tests.wiring import PEPPER

    keys = APIKeys("memory:", pepper=PEPPER, expiry=ExpiryPolicy(default=DAY), clock=FakeClock())
    granter = replace(grant_of((await keys.issue(owner="acme")).record), until=NOON + DAY)

    issued = await keys.issue(owner="acme", granter=granter)
    with pytest.raises(GrantExceeded):
        await keys.issue(owner="acme", granter=replace(granter, until=NOON + DAY - 1))

    assert issued.record.expires_at == NOON + DAY


async def test_an_id_can_be_asked_for_once() -> None:
    """Taken, it is refused: another one was not what was asked for."""
    wired = Wired()
    request = KeyRequest(owner="acme")

    first = await wired.issuer.issue(request, key_id="0123456789ab")
    second = await wired.issuer.rotate("0123456789ab", successor_id="zzzzzzzzzzzz")

    assert (first.record.key_id, second.record.key_id) == ("0123456789ab", "zzzzzzzzzzzz")
    assert await wired.outcome(first.key) == "acme"
    with pytest.raises(KeyExists):
        await wired.issuer.issue(request, key_id="0123456789ab")
    other = await wired.issue()
    with pytest.raises(KeyExists):
        await wired.issuer.rotate(other.record.key_id, successor_id="0123456789ab")
    assert await wired.issuer.get(other.record.key_id) == other.record


@pytest.mark.parametrize("key_id", ["", "short", "0123456789abc", "0123456789a_", "0123456789a\n", "012345678\u0661ab"])
async def test_an_id_has_the_shape_of_one(key_id: str) -> None:
    """Or the key could not be read."""
    with pytest.raises(InvalidRequest):
        await Wired().issuer.issue(KeyRequest(owner="acme"), key_id=key_id)


@pytest.mark.parametrize("verb", CHANGES)
async def test_a_change_that_is_not_waited_for_is_committed_and_announced(verb: str) -> None:
    """What is not known yet is not promised."""
    wired, invalidation = told()
    issued = await wired.issue()
    answer = held_back(invalidation)

    done = await VERBS[verb](wired)(issued.record.key_id, wait=False)

    receipt = done.receipt if isinstance(done, IssuedKey) else done
    assert isinstance(receipt, Receipt)
    assert (receipt.confirmed, receipt.workers, receipt.max_staleness) == (False, 0, 2.0)
    assert invalidation.announced == []
    answer.set()
    assert await wired.background.drain(5.0)
    assert [each.record for each in invalidation.announced] == [receipt.record]


async def test_many_changes_need_not_be_waited_for_either() -> None:
    """All of them are announced at once."""
    wired, invalidation = told()
    issued = await wired.issue()
    answer = held_back(invalidation)

    receipt = await wired.issuer.revoke_where(KeyQuery(owner="acme"), wait=False)

    assert (receipt.matched, receipt.confirmed) == (1, False)
    answer.set()
    assert await wired.background.drain(5.0)
    assert [each.record.key_id for each in invalidation.announced] == [issued.record.key_id]


async def test_a_change_of_another_version_is_refused_whoever_waits() -> None:
    """Nothing is done in the background that would have been refused."""
    wired = Wired()
    issued = await wired.issue()

    with pytest.raises(StaleRecord):
        await wired.issuer.revoke(issued.record.key_id, version=2, wait=False)
