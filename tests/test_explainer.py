"""Why a key is accepted or not, stage by stage."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import APIKeyError, InvalidRequest, StoreUnavailable
from asgi_apikey.explainer import STAGES, Decision, Explanation
from asgi_apikey.models import KeyRecord
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import NOON, FakeClock
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

BOUND = {"networks": {"10.0.0.0/8"}, "origins": {"https://a.example"}, "routes": {"GET /orders/*"}, "scopes": {"a"}}
ASKED: dict[str, Any] = {
    "address": "10.0.0.1",
    "origin": "https://a.example",
    "method": "GET",
    "path": "/orders/7",
    "scopes": {"a"},
}


def new_keys(**options: Any) -> APIKeys:
    """Keys in memory."""
    return APIKeys("memory:", pepper=PEPPER, clock=FakeClock(), **options)


def decided(explanation: Explanation) -> dict[str, str]:
    """What each stage has decided, but for those that note something."""
    return {each.name: str(each.decision) for each in explanation.stages if each.decision is not Decision.NOTED}


async def test_every_stage_of_a_good_key_passes() -> None:
    """In the order in which a request goes through them; a key as text or as bytes."""
    keys = new_keys()
    issued = await keys.issue(owner="acme", **BOUND)

    explanation = await keys.explain(issued.key, **ASKED)

    assert explanation == await keys.explain(issued.key.encode(), **ASKED)
    assert tuple(each.name for each in explanation.stages) == STAGES
    assert set(decided(explanation).values()) == {"passed"}
    assert (explanation.accepted, explanation.refused_by) == (True, None)
    assert explanation.key_id == issued.record.key_id


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ({"address": "11.0.0.1"}, "networks"),
        ({"address": None}, "networks"),
        ({"address": "rubbish"}, "networks"),
        ({"origin": "https://b.example"}, "origins"),
        ({"origin": None}, "origins"),
        ({"method": "POST"}, "routes"),
        ({"method": None}, "routes"),
        ({"path": "/orders/../bills"}, "routes"),
        ({"path": None}, "routes"),
        ({"scopes": {"a", "b"}}, "scopes"),
    ],
)
async def test_the_stage_that_refuses_is_named(change: dict[str, Any], stage: str) -> None:
    """And the others are told all the same."""
    keys = new_keys()
    issued = await keys.issue(owner="acme", **BOUND)

    explanation = await keys.explain(issued.key, **ASKED | change)

    assert [name for name, decision in decided(explanation).items() if decision != "passed"] == [stage]
    assert (explanation.accepted, explanation.refused_by) == (False, stage)


async def test_without_restrictions_nothing_is_asked_for() -> None:
    """A plain key passes with no request at all."""
    keys = new_keys()
    issued = await keys.issue(owner="acme")

    assert (await keys.explain(issued.key)).accepted


async def test_what_is_wrong_with_a_key_is_told() -> None:
    """Nothing of a record is told to whoever has another secret."""
    keys, elsewhere = new_keys(), new_keys(environment="test")
    issued = await keys.issue(owner="acme", **BOUND)
    other = await keys.issue(owner="acme")
    forged = keys.format.generate("live", key_id=issued.record.key_id).key
    unknown = keys.format.generate("live").key
    foreign = (await elsewhere.issue(owner="acme")).key
    await keys.revoke(other.record.key_id)

    told = {
        "rubbish": ("parsed", "parsed"),
        "ak_live_" + "x" * 10_000: ("parsed", "parsed"),
        "\ud800": ("parsed", "parsed"),
        foreign: ("environment", "remembered"),
        unknown: ("record", "record"),
        forged: ("digest", "digest"),
        other.key: ("standing", "scopes"),
    }
    for key, (refused_by, last) in told.items():
        explanation = await keys.explain(key)
        assert explanation.refused_by == refused_by
        reached = [each.name for each in explanation.stages if each.decision is not Decision.NOT_REACHED]
        assert reached == list(STAGES[: STAGES.index(last) + 1])
    assert "10.0.0.0/8" not in str(await keys.explain(forged))
    assert "acme" in str(await keys.explain(forged))


async def test_standing_is_told_by_its_name() -> None:
    """Disabled, expired, not yet valid, revoked."""
    clock = FakeClock()
    keys = APIKeys("memory:", pepper=PEPPER, clock=clock)
    disabled = await keys.issue(owner="acme")
    await keys.disable(disabled.record.key_id)
    early = await keys.issue(owner="acme", not_before=NOON + 60)
    brief = await keys.issue(owner="acme", expires_in=1)
    clock.advance(2)

    details = {}
    for name, issued in (("disabled", disabled), ("not_yet_valid", early), ("expired", brief)):
        stages = {each.name: each for each in (await keys.explain(issued.key)).stages}
        details[name] = stages["standing"].detail
    assert details == {name: name for name in details}


async def test_what_is_remembered_is_told_and_nothing_is_changed_by_it() -> None:
    """Neither counted nor remembered: two explanations are the same."""
    keys = new_keys()
    issued = await keys.issue(owner="acme")
    unknown = keys.format.generate("live").key

    async def remembered(key: str) -> str:
        return next(each.detail for each in (await keys.explain(key)).stages if each.name == "remembered")

    assert [await remembered(issued.key), await remembered(issued.key)] == ["nothing"] * 2
    assert (keys.stats.accepted, keys.stats.rejected, keys.stats.hits) == (0, 0, 0)
    await keys.authenticate(issued.key.encode())
    with pytest.raises(APIKeyError):
        await keys.authenticate(unknown.encode())
    assert await remembered(issued.key) == "accepted at version 1"
    assert await remembered(unknown) == "rejected lately, as unknown"
    assert (keys.stats.accepted, keys.stats.rejected, keys.stats.hits) == (1, 1, 0)


async def test_a_store_that_is_silent_leaves_it_undecided() -> None:
    """As a request would be answered 503."""

    class Silent(MemoryRepository):
        async def get(self, key_id: str) -> KeyRecord | None:
            raise StoreUnavailable

    keys = APIKeys(repository=Silent(), pepper=PEPPER, single_process=True)
    explanation = await keys.explain(keys.format.generate("live").key)

    assert explanation.refused_by == "record"
    assert decided(explanation)["record"] == "undecided"


async def test_a_restriction_that_cannot_be_read_leaves_it_undecided() -> None:
    """It was stored by other means; without it the key might do more than it must."""

    class Damaged(MemoryRepository):
        async def get(self, key_id: str) -> KeyRecord | None:
            record = await super().get(key_id)
            return None if record is None else replace(record, networks=frozenset({"nowhere"}))

    keys = APIKeys(repository=Damaged(), pepper=PEPPER, single_process=True)
    issued = await keys.issue(owner="acme")
    explanation = await keys.explain(issued.key)

    assert explanation.refused_by == "networks"
    assert decided(explanation)["routes"] == "undecided"


async def test_roles_are_told_as_what_they_stand_for() -> None:
    """What the key may do, not what it is called."""
    keys = new_keys(roles={"reader": {"orders:read"}})
    issued = await keys.issue(owner="acme", scopes={"role:reader"})

    explanation = await keys.explain(issued.key, scopes=["orders:read"])

    assert explanation.accepted
    assert explanation.stages[-1].detail == "granted: orders:read"


async def test_no_secret_and_no_digest_is_told() -> None:
    """Of any outcome; and what came from outside cannot write lines of its own."""
    keys = new_keys()
    issued = await keys.issue(owner="acme", **BOUND)
    forged = keys.format.generate("live", key_id=issued.record.key_id).key

    for key in (issued.key, forged, "rubbish-CANARY", issued.key + "x"):
        told = str(await keys.explain(key, **ASKED | {"path": "/a\nb", "origin": "\x1b[2J", "method": "G\nET"}))
        assert key[-12:] not in told
        assert "CANARY" not in told
        assert issued.record.digest not in told
        assert "\x1b" not in told
        assert len(told.splitlines()) == len(STAGES)


async def test_scopes_are_a_collection() -> None:
    """One string would be taken for its letters."""
    with pytest.raises(InvalidRequest):
        await new_keys().explain("x", scopes="a")


@pytest.mark.parametrize(("made_in", "served"), list(itertools.product(["live", "test", "staging"], repeat=2)))
async def test_a_key_works_in_its_own_environment_only(made_in: str, served: str) -> None:
    """Read from the store, from memory, verified for the management, and explained: the same everywhere."""
    repository = MemoryRepository()
    makers = APIKeys(repository=repository, pepper=PEPPER, environment=made_in, single_process=True)
    servers = APIKeys(repository=repository, pepper=PEPPER, environment=served, single_process=True)
    key = (await makers.issue(owner="acme")).key.encode()

    for verb in (servers.authenticate, servers.authenticate, servers.verify):
        if made_in == served:
            await verb(key)
        else:
            with pytest.raises(APIKeyError, match="wrong_environment"):
                await verb(key)
    assert (servers.authenticate_nowait(key) is not None) == (made_in == served)
    assert (await servers.explain(key)).accepted == (made_in == served)
