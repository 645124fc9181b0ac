"""The verbs of a key's life: what each changes, what it refuses, and that every change is announced."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import anyio
import pytest

from asgi_apikey.errors import InvalidRequest, KeyExists, KeyNotFound, Overloaded, StaleRecord, StoreUnavailable
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.models import (
    DAY,
    NO_METADATA,
    UNSET,
    Committed,
    IssuedKey,
    KeyQuery,
    KeyRecord,
    KeyRequest,
    Lane,
    Receipt,
    RecordPatch,
    Status,
)
from tests.fakes import NOON, FakeClock, FakeInvalidation, until
from tests.wiring import Wired

pytestmark = pytest.mark.anyio

MISSING = "AAAAAAAAAAAA"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The services promise both event loops."""
    name: str = request.param
    return name


def scripted(*numbers: int) -> KeyFormat:
    """A key format whose random numbers are these: key id and secret by turns."""
    script = iter(numbers)
    return KeyFormat(randbelow=lambda _: next(script))


def watching() -> tuple[Wired, FakeInvalidation]:
    """A process whose announcements can be read."""
    wired = Wired(lease=math.inf)
    assert isinstance(wired.invalidation, FakeInvalidation)
    return wired, wired.invalidation


async def stored(wired: Wired, issued: IssuedKey) -> KeyRecord:
    """The record as it is now."""
    return await wired.issuer.get(issued.record.key_id)


# ---- issue -----------------------------------------------------------------------------------------------------------


async def test_a_new_key_is_stored_as_it_was_asked_for() -> None:
    """Every value of the request is on the record, which starts at version 1, now."""
    wired = Wired()

    issued = await wired.issuer.issue(
        KeyRequest(
            owner="acme",
            tenant="eu",
            environment="test",
            name="ci",
            description="of the build server",
            scopes=frozenset({"orders:read"}),
            not_before=NOON + 10.0,
            expires_in=90.0,
            created_by="ada",
            metadata={"plan": {"tier": 3}},
        )
    )

    assert issued.record == KeyRecord(
        key_id=issued.key.split("_")[2],
        digest=issued.record.digest,
        version=1,
        owner="acme",
        tenant="eu",
        environment="test",
        name="ci",
        description="of the build server",
        hint=issued.key[-4:],
        scopes=frozenset({"orders:read"}),
        created_at=NOON,
        created_by="ada",
        not_before=NOON + 10.0,
        expires_at=NOON + 90.0,
        metadata={"plan": {"tier": 3}},
    )
    assert issued.key.startswith("ak_test_")
    assert issued.receipt is None
    assert await stored(wired, issued) == issued.record


async def test_the_key_stands_nowhere_but_in_the_returned_value() -> None:
    """Not in its repr, and nothing that the repository keeps contains the secret."""
    wired = Wired()

    issued = await wired.issue()

    secret = issued.key.rpartition("_")[2]
    assert secret not in repr(issued) + str(issued) + repr(vars(wired.repository)) + issued.record.digest
    assert issued.record.digest not in repr(issued)


async def test_the_default_environment_is_the_issuers() -> None:
    """Where none is asked for, and where none but an empty one is."""
    wired = Wired(environment="test")

    for environment in (None, ""):
        assert (await wired.issue(environment=environment)).record.environment == "test"


async def test_metadata_cannot_be_changed_from_outside_afterwards() -> None:
    """The record keeps a read-only copy, all the way down: caches share it."""
    given = {"tags": ["a"], "limits": {"rps": 5}}
    issued = await Wired().issue(metadata=given)

    given["tags"].append("b")  # type: ignore[attr-defined]

    assert issued.record.metadata == {"tags": ("a",), "limits": {"rps": 5}}
    with pytest.raises(TypeError):
        issued.record.metadata["limits"]["rps"] = 6  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    "asked",
    [
        {"owner": ""},
        {"owner": "  "},
        {"owner": "a" * 256},
        {"owner": "a\0b"},
        {"owner": "\ud800"},
        {"environment": "Live"},
        {"environment": "li_ve"},
        {"environment": "a" * 17},
        {"scopes": frozenset({"two words"})},
        {"scopes": frozenset({""})},
        {"scopes": "read"},
        {"expires_in": 0.0},
        {"expires_in": -1.0},
        {"expires_in": math.nan},
        {"expires_in": math.inf},
        {"expires_at": NOON},
        {"expires_at": NOON + 1, "expires_in": 1.0},
        {"expires_at": 1e15},
        {"not_before": NOON + 1, "expires_in": 1.0},
        {"not_before": -1.0},
        {"metadata": {"nan": math.nan}},
        {"metadata": {"big": "x" * 8_192}},
        {"metadata": {"set": {1}}},
    ],
    ids=str,
)
async def test_a_value_that_a_key_cannot_have_is_refused(asked: dict[str, object]) -> None:
    """With InvalidRequest, nothing stored and nothing announced."""
    wired, invalidation = watching()

    with pytest.raises(InvalidRequest):
        await wired.issue(**{"owner": "acme"} | asked)  # type: ignore[arg-type]
    assert wired.store.calls["add"] == 0
    assert invalidation.announced == []


async def test_an_id_that_is_taken_is_made_up_anew() -> None:
    """A collision (one in 62**12) costs another attempt, never the other key."""
    wired = Wired(generator=scripted(7, 1, 7, 2, 7, 3, 8, 4))
    first = await wired.issue("first")

    second = await wired.issue("second")

    assert first.record.key_id != second.record.key_id
    assert wired.store.calls["add"] == 4
    assert await wired.outcome(first.key) == "first"
    assert await wired.outcome(second.key) == "second"


async def test_attempts_to_find_a_free_id_are_bounded() -> None:
    """A broken random source ends in an error, not in an endless loop, and overwrites nobody's key."""
    wired = Wired(generator=scripted(*[7] * 12))
    first = await wired.issue("first")

    with pytest.raises(StoreUnavailable, match="no free key id"):
        await wired.issue("second")
    assert wired.store.calls["add"] == 6
    assert await wired.outcome(first.key) == "first"


async def test_a_full_hashing_queue_is_told_to_whoever_issues() -> None:
    """Overloaded, with nothing stored."""

    class Full:
        decoy = HMACSHA256Hasher("J4p0r0Yk-Vq8mZs2Lw6Tn9Xc3Bd7Fh1Gt5").decoy

        async def hash(self, presented: bytes, *, lane: Lane) -> str:
            raise Overloaded(retry_after=2.0)

    wired = Wired(hasher=Full())  # type: ignore[arg-type]

    with pytest.raises(Overloaded) as info:
        await wired.issue()
    assert info.value.retry_after == 2.0
    assert wired.store.calls["add"] == 0


# ---- rotate ----------------------------------------------------------------------------------------------------------


async def test_a_successor_has_the_same_rights() -> None:
    """Owner, tenant, environment, name, description, scopes and metadata are carried; secret, id and actor are new."""
    wired = Wired()
    issued = await wired.issue(
        tenant="eu", name="ci", description="text", scopes=frozenset({"a", "b"}), metadata={"plan": "gold"}
    )
    wired.clock.advance(10.0)

    rotated = await wired.issuer.rotate(issued.record.key_id, created_by="ada")

    assert rotated.record == replace(
        issued.record,
        key_id=rotated.record.key_id,
        lineage=issued.record.key_id,
        digest=rotated.record.digest,
        hint=rotated.key[-4:],
        created_at=NOON + 10.0,
        created_by="ada",
        replaces=issued.record.key_id,
    )
    assert rotated.record.key_id != issued.record.key_id
    assert rotated.record.digest != issued.record.digest
    assert await stored(wired, rotated) == rotated.record


async def test_both_keys_work_during_the_grace_and_only_the_successor_afterwards() -> None:
    """A day by default, to the instant, also for a verdict that is remembered."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    rotated = await wired.issuer.rotate(issued.record.key_id)
    at_once = [await wired.outcome(issued.key), await wired.outcome(rotated.key)]
    wired.clock.advance(DAY - 0.001)
    at_last = [await wired.outcome(issued.key), await wired.outcome(rotated.key)]
    wired.clock.advance(0.001)

    assert at_once == at_last == ["acme", "acme"]
    assert wired.remembered(issued.key) is None
    assert [await wired.outcome(issued.key), await wired.outcome(rotated.key)] == ["ExpiredKey", "acme"]


@pytest.mark.parametrize("wall", [NOON, NOON + 0.0004, NOON + 0.0006, NOON + 0.9996, NOON + 0.123456789])
async def test_without_grace_the_replaced_key_ends_before_rotate_returns(wall: float) -> None:
    """Wherever between two milliseconds it is called: after a leak there is no half millisecond to give away."""
    wired = Wired(clock=FakeClock(wall=wall))
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    rotated = await wired.issuer.rotate(issued.record.key_id, grace=0)

    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "ExpiredKey"
    assert await wired.outcome(rotated.key) == "acme"


async def test_grace_never_prolongs_a_key() -> None:
    """The replaced key ends at the earlier of its own end and the end of the grace."""
    wired = Wired()
    issued = await wired.issue(expires_in=100.0)

    await wired.issuer.rotate(issued.record.key_id, grace=1_000.0)
    later = (await stored(wired, issued)).expires_at
    await wired.issuer.rotate(issued.record.key_id, grace=10.0)
    sooner = (await stored(wired, issued)).expires_at

    assert later == NOON + 100.0
    assert sooner == NOON + 10.0


async def test_a_successor_gets_the_lifetime_that_its_predecessor_was_given() -> None:
    """A 90-second key rotated after 60 seconds lives 90 more; one without end has none."""
    wired = Wired()
    short, endless = await wired.issue(expires_in=90.0), await wired.issue()
    wired.clock.advance(60.0)

    assert (await wired.issuer.rotate(short.record.key_id)).record.expires_at == NOON + 60.0 + 90.0
    assert (await wired.issuer.rotate(endless.record.key_id)).record.expires_at is None


@pytest.mark.parametrize("state", ["revoked", "expired", "disabled", "not yet valid"])
async def test_only_an_active_key_can_be_rotated(state: str) -> None:
    """Rotation would turn a key that does not work into one that does."""
    wired = Wired()
    issued = await wired.issue(expires_in=100.0)
    if state == "revoked":
        await wired.issuer.revoke(issued.record.key_id)
    elif state == "expired":
        wired.clock.advance(100.0)
    elif state == "disabled":
        await wired.issuer.disable(issued.record.key_id)
    else:
        await wired.issuer.amend(issued.record.key_id, not_before=NOON + 50.0)

    with pytest.raises(InvalidRequest, match=state):
        await wired.issuer.rotate(issued.record.key_id)
    assert wired.store.calls["replace"] == 0


@pytest.mark.parametrize("grace", [-0.001, -math.inf, math.nan, math.inf])
async def test_an_impossible_grace_is_refused(grace: float) -> None:
    """Negative, unending, or not a number."""
    wired = Wired()
    issued = await wired.issue()

    with pytest.raises(InvalidRequest):
        await wired.issuer.rotate(issued.record.key_id, grace=grace)
    assert await stored(wired, issued) == issued.record


async def test_a_rotation_that_collides_changes_nothing_until_it_succeeds() -> None:
    """The successor's id is made up anew; the replaced key is changed once, with it."""
    wired = Wired(generator=scripted(7, 1, 7, 2, 7, 3, 8, 4))
    issued = await wired.issue()

    rotated = await wired.issuer.rotate(issued.record.key_id)

    assert wired.store.calls["replace"] == 3
    assert (await stored(wired, issued)).version == 2
    assert await wired.outcome(rotated.key) == "acme"


async def test_a_rotation_comes_with_the_receipt_of_the_replaced_keys_end() -> None:
    """Whoever rotates after a leak learns whether everybody has heard of it."""
    wired = Wired()
    issued = await wired.issue()

    rotated = await wired.issuer.rotate(issued.record.key_id, grace=0)

    assert rotated.receipt is not None
    assert rotated.receipt.confirmed
    assert rotated.receipt.max_staleness == 0.0


# ---- amend -----------------------------------------------------------------------------------------------------------


async def test_amend_changes_what_is_given_and_leaves_the_rest() -> None:
    """One field at a time, each a version of its own."""
    wired = Wired()
    issued = await wired.issue(name="ci", scopes=frozenset({"a"}), expires_in=100.0)
    expected = issued.record
    for change in (
        {"name": "build"},
        {"description": "text"},
        {"scopes": frozenset({"b", "c"})},
        {"metadata": {"plan": "gold"}},
        {"not_before": NOON + 1.0},
        {"expires_at": NOON + 200.0},
    ):
        receipt = await wired.issuer.amend(issued.record.key_id, **change)  # type: ignore[arg-type]
        expected = replace(expected, version=expected.version + 1, **change)  # type: ignore[arg-type]

        assert receipt.record == expected
        assert await stored(wired, issued) == expected


async def test_none_removes_an_instant() -> None:
    """A key loses its end or its start by None, and keeps them by not naming them."""
    wired = Wired()
    issued = await wired.issue(not_before=NOON + 1.0, expires_in=100.0)

    receipt = await wired.issuer.amend(issued.record.key_id, not_before=None, expires_at=None)

    assert receipt.record.not_before is None
    assert receipt.record.expires_at is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"description": None},
        {"metadata": None},
        {"scopes": None},
        {"scopes": "read"},
        {"scopes": ["two words"]},
        {"name": "a" * 256},
        {"expires_at": NOON},
        {"expires_at": NOON - 1.0},
        {"not_before": NOON + 100.0},
        {"not_before": NOON + 200.0},
        {"not_before": math.nan},
    ],
    ids=str,
)
async def test_amend_refuses_what_a_key_cannot_have(change: dict[str, object]) -> None:
    """None where there is no such thing as "no value", an end that has passed, a start that is not before the end."""
    wired = Wired()
    issued = await wired.issue(scopes=frozenset({"a"}), expires_in=100.0)

    with pytest.raises(InvalidRequest):
        await wired.issuer.amend(issued.record.key_id, **change)  # type: ignore[arg-type]
    assert await stored(wired, issued) == issued.record


async def test_a_key_replaced_at_the_instant_of_its_start_can_still_be_renamed() -> None:
    """Start and end coincide then, which is refused only to who sets one of them."""
    wired = Wired()
    issued = await wired.issue(not_before=NOON + 1.0)
    wired.clock.advance(1.0)
    await wired.issuer.rotate(issued.record.key_id, grace=0)

    receipt = await wired.issuer.amend(issued.record.key_id, name="replaced")

    assert receipt.record.name == "replaced"
    assert receipt.record.not_before == receipt.record.expires_at == NOON + 1.0


async def test_no_scopes_is_not_the_same_as_scopes_left_alone() -> None:
    """An empty collection takes all scopes away; `UNSET` takes none."""
    wired = Wired()
    issued = await wired.issue(scopes=frozenset({"a"}))

    kept = await wired.issuer.amend(issued.record.key_id, scopes=UNSET, metadata=UNSET)
    emptied = await wired.issuer.amend(issued.record.key_id, scopes=(), metadata={})

    assert kept.record.scopes == {"a"}
    assert emptied.record.scopes == frozenset()
    assert emptied.record.metadata == NO_METADATA


async def test_scopes_may_be_any_iterable_even_when_the_change_is_repeated() -> None:
    """A generator is read once, before the first of several attempts."""
    wired = Wired()
    issued = await wired.issue()
    hold = wired.store.after["get"]
    hold.shut()
    receipts: list[Receipt] = []

    async def amend() -> None:
        receipts.append(await wired.issuer.amend(issued.record.key_id, scopes=(name for name in ("a", "b"))))

    async with anyio.create_task_group() as group:
        group.start_soon(amend)
        await until(lambda: hold.waiting)
        await wired.repository.update(issued.record.key_id, RecordPatch(name="other"), version=1)
        hold.open()

    assert receipts[0].record.scopes == {"a", "b"}
    assert receipts[0].record.name == "other"


async def test_amended_scopes_are_seen_by_the_next_request() -> None:
    """A remembered principal does not outlive the change."""
    wired = Wired()
    issued = await wired.issue(scopes=frozenset({"read", "write"}))
    await wired.authenticate(issued.key)

    await wired.issuer.amend(issued.record.key_id, scopes={"read"})

    assert wired.remembered(issued.key) is None
    assert (await wired.authenticate(issued.key)).scopes == {"read"}


# ---- disable, enable, revoke, delete ---------------------------------------------------------------------------------


async def test_disabling_is_reversible() -> None:
    """Off and on again, each at once and each a version of its own."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    off = await wired.issuer.disable(issued.record.key_id)
    while_off = await wired.outcome(issued.key)
    on = await wired.issuer.enable(issued.record.key_id)

    assert (off.record.disabled_at, off.record.version) == (NOON, 2)
    assert while_off == "DisabledKey"
    assert (on.record.disabled_at, on.record.version) == (None, 3)
    assert await wired.outcome(issued.key) == "acme"


@pytest.mark.parametrize("verb", ["disable", "enable"])
async def test_switching_to_where_it_is_writes_nothing_but_is_announced(verb: str) -> None:
    """The first call's announcement may have been lost; the second repeats it at the version that is current."""
    wired, invalidation = watching()
    issued = await wired.issue()
    await wired.issuer.disable(issued.record.key_id)
    if verb == "enable":
        await wired.issuer.enable(issued.record.key_id)
    before = await stored(wired, issued)
    invalidation.announced.clear()
    wired.clock.advance(1.0)

    receipt = await getattr(wired.issuer, verb)(issued.record.key_id)

    assert receipt.record == before == await stored(wired, issued)
    assert [[(change.seq, change.version) for change in each.changes] for each in invalidation.announced] == [
        [(0, before.version)]
    ]


async def test_a_revocation_is_kept_with_reason_and_actor() -> None:
    """The record stays, for whoever asks later."""
    wired = Wired()
    issued = await wired.issue()

    receipt = await wired.issuer.revoke(issued.record.key_id, by="ada", reason="leaked in a log")

    assert receipt.record == await stored(wired, issued)
    assert (receipt.record.revoked_at, receipt.record.revoked_by) == (NOON, "ada")
    assert receipt.record.revoke_reason == "leaked in a log"


async def test_revoking_again_keeps_the_first_reason_and_announces_again() -> None:
    """Nobody rewrites why a key was revoked; and whoever is unsure whether everybody heard may ask again."""
    wired, invalidation = watching()
    issued = await wired.issue()
    first = await wired.issuer.revoke(issued.record.key_id, by="ada", reason="leaked")
    wired.clock.advance(1.0)

    second = await wired.issuer.revoke(issued.record.key_id, by="bob", reason="other")

    assert second.record == first.record
    assert len(invalidation.announced) == 3
    assert [change.version for change in invalidation.announced[2].changes] == [2]


@pytest.mark.parametrize("verb", ["amend", "disable", "enable", "rotate"])
async def test_nothing_brings_a_revoked_key_back(verb: str) -> None:
    """A revoked key can only be looked at, revoked again, or deleted."""
    wired = Wired()
    issued = await wired.issue()
    revoked = await wired.issuer.revoke(issued.record.key_id)

    with pytest.raises(InvalidRequest, match="revoked"):
        await getattr(wired.issuer, verb)(issued.record.key_id)
    assert await stored(wired, issued) == revoked.record


async def test_a_reason_that_cannot_be_kept_revokes_nothing() -> None:
    """The caller learns it before the key is changed."""
    wired = Wired()
    issued = await wired.issue()

    with pytest.raises(InvalidRequest, match="revoke_reason"):
        await wired.issuer.revoke(issued.record.key_id, reason="a" * 3_000)
    assert await wired.outcome(issued.key) == "acme"


async def test_a_deleted_key_is_gone() -> None:
    """Record and all; a remembered verdict with it."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    receipt = await wired.issuer.delete(issued.record.key_id)

    assert receipt.record == replace(issued.record, version=2)
    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "UnknownKey"
    with pytest.raises(KeyNotFound):
        await stored(wired, issued)


VERBS: dict[str, Callable[[Wired, str, int | None], Awaitable[object]]] = {
    "rotate": lambda wired, key_id, version: wired.issuer.rotate(key_id, version=version),
    "amend": lambda wired, key_id, version: wired.issuer.amend(key_id, name="new", version=version),
    "disable": lambda wired, key_id, version: wired.issuer.disable(key_id, version=version),
    "revoke": lambda wired, key_id, version: wired.issuer.revoke(key_id, version=version),
    "delete": lambda wired, key_id, version: wired.issuer.delete(key_id, version=version),
}
WRITES = {"rotate": "replace", "amend": "update", "disable": "update", "revoke": "revoke_all", "delete": "delete"}


@pytest.mark.parametrize("verb", [*VERBS, "enable"])
async def test_a_key_that_is_not_there_cannot_be_changed(verb: str) -> None:
    """KeyNotFound names the id that was asked for."""
    wired = Wired()
    change = VERBS.get(verb, lambda wired, key_id, version: wired.issuer.enable(key_id, version=version))

    with pytest.raises(KeyNotFound) as info:
        await change(wired, MISSING, None)
    assert info.value.key_id == MISSING


# ---- versions and races ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [*VERBS, "enable", "revoke again"])
async def test_a_change_meant_for_another_version_is_refused(verb: str) -> None:
    """StaleRecord says which version was expected, and nothing is changed, not even where nothing would be."""
    wired = Wired()
    issued = await wired.issue()
    change = VERBS.get(verb, lambda wired, key_id, version: wired.issuer.enable(key_id, version=version))
    if verb == "revoke again":
        await wired.issuer.revoke(issued.record.key_id)
        change = VERBS["revoke"]
    before = await stored(wired, issued)

    with pytest.raises(StaleRecord) as info:
        await change(wired, issued.record.key_id, 7)
    assert (info.value.key_id, info.value.expected) == (issued.record.key_id, 7)
    assert await stored(wired, issued) == before


@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_meant_for_the_current_version_is_made(verb: str) -> None:
    """The version read is the version to name."""
    wired = Wired()
    issued = await wired.issue()

    await VERBS[verb](wired, issued.record.key_id, issued.record.version)

    assert wired.store.calls[WRITES[verb]] == 1


async def raced(wired: Wired, issued: IssuedKey, change: Callable[[], Awaitable[object]]) -> list[object]:
    """Let somebody else rename the key between this change's read and its write; return its result or its error."""
    hold = wired.store.after["get"]
    hold.shut()
    results: list[object] = []

    async def make() -> None:
        try:
            results.append(await change())
        except StaleRecord as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(make)
        await until(lambda: hold.waiting)
        await wired.repository.update(issued.record.key_id, RecordPatch(name="renamed"), version=1)
        hold.open()
    return results


@pytest.mark.parametrize("verb", VERBS)
async def test_without_a_version_a_lost_race_is_run_again(verb: str) -> None:
    """The change is decided anew on the record as it is now, and made once."""
    wired, invalidation = watching()
    issued = await wired.issue()
    invalidation.announced.clear()

    [result] = await raced(wired, issued, partial(VERBS[verb], wired, issued.record.key_id, None))

    assert not isinstance(result, StaleRecord)
    assert wired.store.calls["get"] == wired.store.calls[WRITES[verb]] == 2
    assert len(invalidation.announced) == 1


@pytest.mark.parametrize("verb", VERBS)
async def test_with_a_version_a_lost_race_is_told(verb: str) -> None:
    """Whoever names a version has read the record and decides again himself."""
    wired = Wired()
    issued = await wired.issue()

    [result] = await raced(wired, issued, partial(VERBS[verb], wired, issued.record.key_id, 1))

    assert isinstance(result, StaleRecord)
    assert (await stored(wired, issued)).name == "renamed"


async def test_a_lost_race_is_decided_on_the_record_as_it_is_now() -> None:
    """A key revoked between the read and the write of `enable` stays revoked."""
    wired = Wired()
    issued = await wired.issue()
    await wired.issuer.disable(issued.record.key_id)
    hold = wired.store.after["get"]
    hold.shut()

    async def enable() -> None:
        with pytest.raises(InvalidRequest, match="revoked"):
            await wired.issuer.enable(issued.record.key_id)

    async with anyio.create_task_group() as group:
        group.start_soon(enable)
        await until(lambda: hold.waiting)
        await wired.repository.update(issued.record.key_id, RecordPatch(revoked_at=NOON), version=2)
        hold.open()

    assert (await stored(wired, issued)).revoked_at == NOON


async def test_lost_races_are_bounded() -> None:
    """A key that somebody changes without pause is given up on, with an error that may be tried again."""
    wired = Wired()
    issued = await wired.issue()
    wired.store.failures["update"] = StaleRecord(issued.record.key_id, 1)

    with pytest.raises(StoreUnavailable, match="keeps changing") as info:
        await wired.issuer.disable(issued.record.key_id)
    assert not info.value.outcome_unknown
    assert wired.store.calls["update"] == 20


# ---- announcements ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_every_change_is_announced_with_the_version_it_made(verb: str) -> None:
    """One announcement for each transaction, with its rows of the feed."""
    wired, invalidation = watching()
    issued = await wired.issue()
    invalidation.announced.clear()

    await VERBS[verb](wired, issued.record.key_id, None)

    [committed] = invalidation.announced
    assert (committed.changes[0].key_id, committed.changes[0].version) == (issued.record.key_id, 2)
    assert len(committed.changes) == (2 if verb == "rotate" else 1)


@pytest.mark.parametrize("verb", ["issue", *VERBS])
async def test_a_change_whose_caller_goes_away_is_made_and_announced(verb: str) -> None:
    """A cancelled request never leaves a revoked key in the caches."""
    wired, invalidation = watching()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    invalidation.announced.clear()
    hold = wired.store.before["add" if verb == "issue" else WRITES[verb]]
    hold.shut()
    caller = anyio.CancelScope()

    async def ask() -> None:
        with caller:
            if verb == "issue":
                await wired.issue()
            else:
                await VERBS[verb](wired, issued.record.key_id, None)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await until(lambda: hold.waiting)
        caller.cancel()
    hold.open()
    await until(lambda: invalidation.announced)

    assert caller.cancelled_caught
    assert len(invalidation.announced) == 1
    assert verb == "issue" or wired.remembered(issued.key) is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_change_whose_caller_is_cancelled_by_asyncio_itself_is_announced() -> None:
    """The same for `Task.cancel`, after the commit and before the announcement."""
    wired, invalidation = watching()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    invalidation.announced.clear()
    hold = wired.store.after["revoke_all"]
    hold.shut()
    caller = asyncio.create_task(wired.issuer.revoke(issued.record.key_id))
    await until(lambda: hold.waiting)

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    hold.open()
    await until(lambda: invalidation.announced)

    assert wired.remembered(issued.key) is None
    assert await wired.outcome(issued.key) == "RevokedKey"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_that_failed_is_not_announced(verb: str) -> None:
    """Nothing was changed, so what is remembered stays, and the caller gets the store's own error."""
    wired, invalidation = watching()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    invalidation.announced.clear()
    error = wired.store.failures[WRITES[verb]] = StoreUnavailable("busy", retry_after=4.0)

    with pytest.raises(StoreUnavailable) as info:
        await VERBS[verb](wired, issued.record.key_id, None)
    assert info.value is error
    assert invalidation.announced == []
    assert wired.remembered(issued.key) is not None


@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_that_may_have_been_made_is_announced(verb: str) -> None:
    """The answer to a commit is lost: the caller is told so, and no memory goes on serving what may be over."""
    wired, _ = watching()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    wired.store.lost[WRITES[verb]] = StoreUnavailable(outcome_unknown=True)

    with pytest.raises(StoreUnavailable) as info:
        await VERBS[verb](wired, issued.record.key_id, None)
    assert info.value.outcome_unknown
    assert wired.remembered(issued.key) is None
    assert (
        await wired.outcome(issued.key)
        == {
            "rotate": "acme",
            "amend": "acme",
            "disable": "DisabledKey",
            "revoke": "RevokedKey",
            "delete": "UnknownKey",
        }[verb]
    )


@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_that_may_have_been_made_but_was_not_locks_nobody_out(verb: str) -> None:
    """The key is read again and works as before."""
    wired, _ = watching()
    issued = await wired.issue()
    await wired.authenticate(issued.key)
    wired.store.failures[WRITES[verb]] = StoreUnavailable(outcome_unknown=True)

    with pytest.raises(StoreUnavailable):
        await VERBS[verb](wired, issued.record.key_id, None)
    assert await wired.outcome(issued.key) == "acme"
    assert wired.remembered(issued.key) is not None


async def test_the_receipt_is_the_invalidations() -> None:
    """The issuer adds nothing to what is known about a change's effect, and takes nothing away."""
    wired, invalidation = watching()
    issued = await wired.issue()
    told = Receipt(record=issued.record, confirmed=True, workers=4, acknowledged=4, elapsed=0.004, max_staleness=0.0)

    async def announce(committed: Committed) -> Receipt:
        return told

    invalidation.announce = announce  # type: ignore[method-assign]

    assert await wired.issuer.revoke(issued.record.key_id) is told
    assert (await wired.issuer.rotate((await wired.issue()).record.key_id)).receipt is told


# ---- find ------------------------------------------------------------------------------------------------------------


async def test_get_returns_the_record_or_says_that_there_is_none() -> None:
    """Read from the repository each time, never from the cache of the request path."""
    wired = Wired()
    issued = await wired.issue()
    await wired.authenticate(issued.key)

    assert await wired.issuer.get(issued.record.key_id) == issued.record
    assert wired.store.calls["get"] == 2
    with pytest.raises(KeyNotFound):
        await wired.issuer.get(MISSING)


async def test_pages_go_from_newest_to_oldest_without_gaps() -> None:
    """Three pages of two hold five keys, each once, also while one more is issued meanwhile."""
    wired = Wired()
    names = []
    for number in range(5):
        wired.clock.advance(1.0)
        names.append((await wired.issue(name=str(number))).record.name)
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = await wired.issuer.find(KeyQuery(limit=2, cursor=cursor))
        found += [record.name for record in page.records]
        cursor = page.next_cursor
        wired.clock.advance(1.0)
        await wired.issue(name="later")

    assert cursor is None
    assert found == names[::-1]


async def test_the_status_asked_for_is_the_one_of_now() -> None:
    """A key that has ended since is no longer among the active ones."""
    wired = Wired()
    issued = await wired.issue(expires_in=10.0)
    before = await wired.issuer.find(KeyQuery(status=Status.ACTIVE))
    wired.clock.advance(10.0)
    after = await wired.issuer.find(KeyQuery(status=Status.ACTIVE))
    expired = await wired.issuer.find(KeyQuery(status=Status.EXPIRED))

    assert before.records == expired.records == (issued.record,)
    assert after.records == ()


async def test_a_key_id_that_is_taken_twice_never_escapes_as_such() -> None:
    """KeyExists is the repository's word to the issuer; who issues a key has named no id."""
    wired = Wired()
    wired.store.failures["add"] = KeyExists(MISSING)

    with pytest.raises(StoreUnavailable):
        await wired.issue()


@pytest.mark.parametrize("verb", [*VERBS, "enable"])
async def test_a_whole_key_in_place_of_its_id_goes_nowhere(verb: str) -> None:
    """Neither into the store's statements nor into the text of the error."""
    wired = Wired()
    issued = await wired.issue()
    change = VERBS.get(verb, lambda wired, key_id, version: wired.issuer.enable(key_id, version=version))

    with pytest.raises(InvalidRequest) as info:
        await change(wired, issued.key, None)
    assert issued.key[-39:] not in str(info.value)
