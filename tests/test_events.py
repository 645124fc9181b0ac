"""Events: hooks are told in the background, bounded, and never in a request's way."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.background import Background
from asgi_apikey.errors import APIKeyError, ConfigurationError, GrantExceeded, InvalidKey, KeyNotFound
from asgi_apikey.events import Event, EventName, Events
from asgi_apikey.grants import Grant
from asgi_apikey.limits import LimitPolicy
from asgi_apikey.logs import REQUEST_ID
from asgi_apikey.models import DAY, HOUR, Actor, KeyRequest
from tests.fakes import NOON, FakeClock, Gate

pytestmark = pytest.mark.anyio

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"


class Ear:
    """A hook that keeps what it hears; it can be made to wait, or to fail."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.gate = Gate()
        self.fails = False

    async def __call__(self, event: Event) -> None:
        """Hear."""
        await self.gate.passed()
        if self.fails:
            raise ValueError("ak_live_secret")
        self.heard.append(event)

    @property
    def names(self) -> list[str]:
        """Of what it has heard."""
        return [str(each.name) for each in self.heard]


def an_event(key_id: str = "k1", name: EventName = EventName.REVOKED) -> Event:
    """Something that happened."""
    return Event(name=name, at=NOON, key_id=key_id)


@pytest.fixture
def background() -> Background:
    """Where hooks run."""
    return Background()


async def test_a_hook_is_told_in_order(background: Background) -> None:
    """Of every name that it is for, and of no other."""
    events, ear = Events(background.spawn), Ear()
    events.on("revoked", ear)
    events.on(EventName.ISSUED, ear)
    events.on("revoked", ear)
    for name in (EventName.ISSUED, EventName.DELETED, EventName.REVOKED, EventName.ISSUED):
        events.emit(an_event(name=name))
    await background.drain(5)

    assert ear.names == ["issued", "revoked", "issued"]
    assert (events.stats.told, events.stats.dropped, events.stats.failed) == (3, 0, 0)
    assert (events.wants(EventName.REVOKED), events.wants(EventName.EXPIRING)) == (True, False)


async def test_telling_waits_for_nobody(background: Background) -> None:
    """A slow hook loses nothing of the others', and only what is too much of its own."""
    events, slow, quick = Events(background.spawn, capacity=3), Ear(), Ear()
    slow.gate.shut()
    events.on("revoked", slow)
    events.on("revoked", quick)
    for number in range(6):
        events.emit(an_event(f"k{number}"))
        await quick_round()
    slow.gate.open()
    await background.drain(5)

    assert [each.key_id for each in quick.heard] == [f"k{number}" for number in range(6)]
    assert [each.key_id for each in slow.heard] == ["k0", "k1", "k2", "k3"]
    assert events.stats.dropped == 2


async def quick_round() -> None:
    """Let the others run."""
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_a_hook_that_fails_is_called_again(background: Background, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged by class and place: its text may hold anything."""
    events, ear = Events(background.spawn), Ear()
    events.on("revoked", ear)
    ear.fails = True
    events.emit(an_event())
    await background.drain(5)
    ear.fails = False
    events.emit(an_event())
    await background.drain(5)

    assert (len(ear.heard), events.stats.failed) == (1, 1)
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_hook_has_a_deadline(background: Background) -> None:
    """Then the next event is told."""
    events, ear = Events(background.spawn, patience=0.01), Ear()
    ear.gate.shut()
    events.on("revoked", ear)
    events.emit(an_event("k1"))
    await background.drain(5)
    ear.gate.open()
    events.emit(an_event("k2"))
    await background.drain(5)

    assert [each.key_id for each in ear.heard] == ["k2"]
    assert events.stats.failed == 1


def test_a_hook_outlives_its_event_loop() -> None:
    """As under test clients, which start a new loop for each request."""
    background, ear = Background(), Ear()
    events = Events(background.spawn)
    events.on("revoked", ear)

    async def cut_short() -> None:
        ear.gate.shut()
        events.emit(an_event("k1"))
        await quick_round()

    async def another() -> None:
        ear.gate = Gate()
        events.emit(an_event("k2"))
        await background.drain(5)

    events.emit(an_event("k0"))
    anyio.run(cut_short)
    anyio.run(another)
    # What was being told when the loop died is lost; what waited is not.
    assert [each.key_id for each in ear.heard] == ["k1", "k2"]


@pytest.mark.parametrize(("name", "hook"), [("revoke", Ear()), ("", Ear()), ("revoked", None)])
def test_what_is_no_event_and_no_hook_is_refused(name: str, hook: Ear) -> None:
    """At once, not when it happens."""
    with pytest.raises(ConfigurationError):
        Events(Background().spawn).on(name, hook)


def subscribe(ear: Ear, keys: APIKeys) -> None:
    """Subscribe to everything."""
    for name in EventName:
        keys.on(name, ear)


async def test_every_change_is_told() -> None:
    """With who, why and whose; once for each key."""
    ear, clock = Ear(), FakeClock()
    async with APIKeys("memory:", pepper=PEPPER, clock=clock) as keys:
        subscribe(ear, keys)
        first = await keys.issue(owner="acme", tenant="eu", name="ci", expires_in=DAY, created_by="ada")
        key_id = first.record.key_id
        await keys.amend(key_id, name="x", actor=Actor("bob"))
        await keys.disable(key_id)
        await keys.disable(key_id)
        await keys.enable(key_id)
        second = await keys.rotate(key_id)
        third = await keys.rotate(key_id)
        await keys.revoke(third.record.key_id, by="eve", reason="leaked")
        await keys.delete(key_id)

    told = [(str(each.name), each.key_id) for each in ear.heard]
    ids = [key_id, second.record.key_id, third.record.key_id]
    assert told[:6] == [
        ("issued", ids[0]),
        ("amended", ids[0]),
        ("disabled", ids[0]),
        ("enabled", ids[0]),
        ("rotated", ids[1]),
        ("rotated", ids[2]),
    ]
    assert told[6] == ("revoked", ids[1])
    assert sorted(told[7:9]) == sorted([("revoked", ids[0]), ("revoked", ids[2])])
    assert told[9:] == [("deleted", ids[0])]
    issued, amended, revoked = ear.heard[0], ear.heard[1], ear.heard[8]
    assert (issued.actor, issued.owner, issued.tenant, issued.environment) == ("ada", "acme", "eu", "live")
    assert issued.details == {"name": "ci", "expires_at": NOON + DAY, "replaces": None}
    assert (amended.actor, amended.at) == ("bob", NOON)
    assert (revoked.actor, revoked.reason) == ("eve", "leaked")
    assert ear.heard[5].details["replaces"] == ids[0]
    assert len({each.event_id for each in ear.heard}) == len(ear.heard)


async def test_many_at_once_are_told_one_by_one() -> None:
    """Those that were revoked before are not."""
    ear = Ear()
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        ids = {(await keys.issue(owner="acme")).record.key_id for _ in range(5)}
        gone = (await keys.issue(owner="acme")).record.key_id
        await keys.revoke(gone)
        keys.on("revoked", ear)
        await keys.revoke_where(owner="acme", reason="bankrupt")

    assert {each.key_id for each in ear.heard} == ids
    assert {each.reason for each in ear.heard} == {"bankrupt"}


async def test_very_many_at_once_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more events are made than a hook's queue holds; the others are counted."""
    monkeypatch.setattr("asgi_apikey.reporter.CAPACITY", 3)
    ear = Ear()
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        for _ in range(5):
            await keys.issue(owner="acme")
        keys.on("revoked", ear)
        await keys.revoke_where(owner="acme")
        dropped = keys.vitals().events_dropped

    assert (len(ear.heard), dropped) == (3, 2)


async def test_a_hook_need_not_be_hashable(background: Background) -> None:
    """Nor the same object each time, as a bound method is not."""
    events, ear = Events(background.spawn), Ear()
    ear.__class__ = type("Unhashable", (Ear,), {"__hash__": None})
    events.on("revoked", ear)
    events.on("revoked", ear.__call__)
    events.on("revoked", ear.__call__)
    events.emit(an_event())
    await background.drain(5)

    assert len(ear.heard) == 2


async def test_an_adopted_key_is_told_once() -> None:
    """Adopting it again changes nothing."""
    ear = Ear()
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        keys.on("adopted", ear)
        key = keys.format.generate("live").key
        for _ in range(2):
            await keys.adopt(key, KeyRequest(owner="acme"))

    assert ear.names == ["adopted"]


async def test_what_was_refused_is_not_told_as_done() -> None:
    """No event without a commit."""
    ear = Ear()
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        subscribe(ear, keys)
        refused: list[APIKeyError] = []
        for attempt in (
            lambda: keys.issue(owner="acme", scopes={"x"}, granter=Grant()),
            lambda: keys.revoke("nobody123456"),
        ):
            try:
                await attempt()
            except (GrantExceeded, KeyNotFound) as error:
                refused.append(error)

    assert (len(refused), ear.heard) == (2, [])


async def test_refusals_of_existing_keys_are_told_now_and_then() -> None:
    """The first at once, then one a minute with how many there were; the use of a revoked key has a name of its own."""
    ear, clock = Ear(), FakeClock()
    async with APIKeys("memory:", pepper=PEPPER, clock=clock) as keys:
        issued = await keys.issue(owner="acme")
        await keys.revoke(issued.record.key_id)
        keys.on("refused", ear)
        keys.on("revoked_key_used", ear)
        unknown = keys.format.generate("live").key
        for seconds in (0, 1, 1, 60, 1):
            clock.advance(seconds)
            for key in (issued.key, unknown, "x"):
                with pytest.raises(InvalidKey):
                    await keys.authenticate(key.encode())

    assert [(str(each.name), each.reason, each.details) for each in ear.heard] == [
        ("refused", "revoked", {"times": 1}),
        ("revoked_key_used", "revoked", {"times": 1}),
        ("refused", "revoked", {"times": 3}),
        ("revoked_key_used", "revoked", {"times": 3}),
    ]
    assert {each.key_id for each in ear.heard} == {issued.record.key_id}


async def test_a_limit_is_told_when_it_is_nearly_used_up() -> None:
    """At four fifths, once in its period."""
    ear, clock = Ear(), FakeClock()
    async with APIKeys("memory:", pepper=PEPPER, clock=clock, limiting=LimitPolicy(per_key=("quota 10/hour",))) as keys:
        issued = await keys.issue(owner="acme")
        keys.on("limit_near", ear)
        principal = await keys.authenticate(issued.key.encode())
        for _ in range(7):
            await keys.limiter.take(principal, method="GET", path="/")
        await quick_round()
        before = list(ear.heard)
        for _ in range(3):
            await keys.limiter.take(principal, method="GET", path="/")
        clock.advance(HOUR)
        for _ in range(9):
            await keys.limiter.take(principal, method="GET", path="/")

    assert before == []
    assert [each.details["remaining"] for each in ear.heard] == [2, 2]
    assert ear.heard[0].details["limit"] == "quota 10/hour"
    assert (ear.heard[0].key_id, ear.heard[0].owner) == (issued.record.key_id, "acme")


async def test_expiring_keys_are_told_once_for_each_span() -> None:
    """Whoever asks; again when they were given another end; never those that may not be used anyway."""
    ear, clock = Ear(), FakeClock()
    async with APIKeys("memory:", pepper=PEPPER, clock=clock) as keys:
        soon = (await keys.issue(owner="acme", expires_in=3 * DAY)).record.key_id
        later = (await keys.issue(owner="acme", expires_in=10 * DAY)).record.key_id
        await keys.issue(owner="acme")
        await keys.revoke((await keys.issue(owner="acme", expires_in=DAY)).record.key_id)
        keys.on("expiring", ear)

        assert [await keys.notice_expiring(each * DAY) for each in (14, 14, 5, 5)] == [2, 0, 1, 0]
        await keys.amend(later, expires_at=NOON + 12 * DAY)
        assert await keys.notice_expiring(14 * DAY) == 1

    assert [each.key_id for each in ear.heard] == [soon, later, soon, later]
    assert ear.heard[0].details["expires_at"] == NOON + 3 * DAY
    assert ear.heard[0].details["within"] == 14 * DAY


@pytest.mark.parametrize("within", [0, -1, float("nan"), float("inf")])
async def test_a_span_that_is_none_is_refused(within: float) -> None:
    """Before anything is read."""
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        with pytest.raises(APIKeyError):
            await keys.notice_expiring(within)


async def test_a_key_written_into_a_reason_does_not_get_out() -> None:
    """People paste the wrong thing; an event goes to other programs."""
    ear = Ear()
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        subscribe(ear, keys)
        issued = await keys.issue(owner="acme", name="ci")
        await keys.revoke(issued.record.key_id, reason=f"leaked: {issued.key}")

    assert issued.key[-39:-5] not in repr(ear.heard)
    assert issued.record.key_id in ear.heard[1].reason


async def test_what_a_hook_logs_is_not_of_the_request_that_woke_it() -> None:
    """It runs in a context of its own."""
    seen: list[str] = []

    async def hook(event: Event) -> None:
        seen.append(REQUEST_ID.get())

    async with APIKeys("memory:", pepper=PEPPER) as keys:
        keys.on("issued", hook)
        token = REQUEST_ID.set("abcdef12")
        await keys.issue(owner="acme")
        REQUEST_ID.reset(token)

    assert seen == [""]
