"""Wake-ups and acknowledgements, whatever the server between them does with them."""

from __future__ import annotations

import asyncio
import logging
import secrets

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.invalidation.exchange import Exchange
from asgi_apikey.invalidation.letters import Ack, Seal, Wake
from asgi_apikey.invalidation.line import LineLost, LineUseless
from tests.fakes import until
from tests.invalidation.listeners import SECRET, Listener, listening

pytestmark = pytest.mark.anyio

SEAL = Seal(SECRET, "a-channel")


class Hub:
    """A server in memory.

    Attributes:
        refusal: What whoever connects is told.
        refused: How often.
        drops: How many of the next texts get lost.
        sent: All texts, and to which inbox.
    """

    def __init__(self) -> None:
        self.lines: list[HubLine] = []
        self.refusal: LineLost | None = None
        self.refused = 0
        self.drops = 0
        self.sent: list[tuple[str, bytes | None]] = []

    async def connect(self, inbox: bytes) -> HubLine:
        """Open a line, or refuse."""
        if self.refusal is not None:
            self.refused += 1
            raise self.refusal
        self.lines.append(line := HubLine(self, inbox))
        return line

    def bus(self) -> Exchange:
        """A bus over it."""
        return Exchange(self.connect, SEAL, kind="hub")

    def say(self, text: str, inbox: bytes | None = None) -> None:
        """What an intruder can do as well."""
        for line in self.lines:
            if inbox in (None, line.inbox):
                line.texts.put_nowait(text)

    def cut(self) -> None:
        """All lines are lost."""
        for line in self.lines:
            line.texts.put_nowait(None)


class HubLine:
    """A line to it."""

    def __init__(self, hub: Hub, inbox: bytes) -> None:
        self.hub = hub
        self.inbox = inbox
        self.texts: asyncio.Queue[str | None] = asyncio.Queue()

    async def receive(self, quiet: float) -> str | None:
        """Whatever comes."""
        text = await self.texts.get()
        if text is None:
            raise LineLost("cut")
        return text

    async def probe(self) -> None:
        """Always there."""

    async def send(self, text: str, inbox: bytes | None) -> None:
        """Lose it, or pass it on."""
        self.hub.sent.append((text, inbox))
        if self.hub.drops:
            self.hub.drops -= 1
            return
        self.hub.say(text, inbox)

    async def close(self) -> None:
        """Be gone."""
        self.hub.lines.remove(self)


@pytest.fixture
def hub() -> Hub:
    """The server."""
    return Hub()


async def test_everybody_answers(hub: Hub) -> None:
    """The call returns with the last answer, long before the caller's patience ends."""
    async with listening(hub.bus, Listener("one", 7), Listener("two", 8)) as (waker, *_):
        assert set(await waker.wake(7, ["one", "two"], patience=60.0)) == {"one", "two"}


async def test_who_has_not_come_so_far_has_not_answered(hub: Hub) -> None:
    """A worker that could not read the feed up to the change does not say that it has."""
    behind = Listener("behind", 6)
    async with listening(hub.bus, Listener("one", 7), behind) as (waker, *_):
        answered = await waker.wake(7, ["one", "behind"], patience=0.05)

    assert set(answered) == {"one"}
    assert 7 in behind.woken


async def test_whoever_was_not_asked_for_does_not_count(hub: Hub) -> None:
    """Only the workers that were listed are told to have applied the change."""
    async with listening(hub.bus, Listener("one", 7), Listener("other", 7)) as (waker, *_):
        assert set(await waker.wake(7, ["one"], patience=60.0)) == {"one"}


async def test_a_lost_wake_up_is_repeated(hub: Hub) -> None:
    """Servers of this kind lose what they cannot deliver, and say nothing."""
    async with listening(hub.bus, Listener("one", 7)) as (waker, *_):
        await until(lambda: len(hub.lines) == 2)
        hub.drops = 1

        assert set(await waker.wake(7, ["one"], patience=60.0)) == {"one"}


async def test_a_wake_up_waits_for_a_line(hub: Hub) -> None:
    """A process that has just started, such as the command line, is heard as soon as it can speak."""
    async with listening(hub.bus, Listener("one", 7)):
        newcomer = hub.bus()
        await newcomer.open(Listener("newcomer").catch_up)
        answered = await newcomer.wake(7, ["one"], patience=60.0)
        await newcomer.close()

    assert set(answered) == {"one"}


async def test_without_a_line_patience_ends(hub: Hub) -> None:
    """A server that is away costs what the caller was ready to wait, and no error."""
    hub.refusal = LineLost("away")
    async with listening(hub.bus) as (waker,):
        assert set(await waker.wake(7, ["one"], patience=0.02)) == set()


async def test_news_need_no_answer(hub: Hub) -> None:
    """A change that forbids nothing is told, and nobody answers."""
    one = Listener("one", 7)
    async with listening(hub.bus, one) as (waker, _):
        await until(lambda: len(hub.lines) == 2 and one.woken == [0])
        await waker.wake(7, (), patience=0.0)
        await until(lambda: 7 in one.woken)
        await waker.wake(8, (), patience=0.0)
        await until(lambda: 8 in one.woken)

    assert [inbox for _, inbox in hub.sent] == [None, None]


async def test_our_own_wake_up_is_not_for_us(hub: Hub) -> None:
    """Whoever makes a change has applied it already."""
    me = Listener("me", 7)
    bus = hub.bus()
    await bus.open(me.catch_up)
    await until(lambda: me.woken == [0])
    await bus.wake(7, (), patience=0.0)
    hub.say(SEAL.write(Wake(9, secrets.token_bytes(16), secrets.token_bytes(16))))
    await until(lambda: 9 in me.woken)
    await bus.close()

    assert me.woken == [0, 9]


async def test_a_new_line_is_a_gap(hub: Hub) -> None:
    """Whatever was sent while there was no line is made up for by a look at the feed."""
    one = Listener("one", 7)
    async with listening(hub.bus, one):
        await until(lambda: one.woken == [0])
        hub.cut()
        await until(lambda: one.woken == [0, 0])


async def test_wake_ups_are_answered_together(hub: Hub) -> None:
    """However many come while one look is under way: one more look answers them all."""
    one = Listener("one", 50)
    async with listening(hub.bus, one) as (waker, _):
        await until(lambda: one.woken == [0])
        one.before.shut()
        calls = [asyncio.create_task(waker.wake(seq, ["one"], patience=60.0)) for seq in range(1, 51)]
        await until(lambda: one.before.waiting and len(hub.sent) >= 50)
        one.before.open()
        answered = await asyncio.gather(*calls)

    assert all(set(each) == {"one"} for each in answered)
    assert len(one.woken) < 10


async def test_a_look_that_fails_ends_nothing(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is logged, and the next wake-up is followed."""
    one = Listener("one", 7)
    one.failure = ZeroDivisionError()
    async with listening(hub.bus, one) as (waker, _):
        assert set(await waker.wake(7, ["one"], patience=0.05)) == set()
        one.failure = None

        assert set(await waker.wake(7, ["one"], patience=60.0)) == {"one"}
    assert "could not be followed" in caplog.text


async def test_a_worker_without_a_registration_does_not_answer(hub: Hub) -> None:
    """Nobody waits for it."""
    async with listening(hub.bus, Listener("", 7)) as (waker, _):
        assert set(await waker.wake(7, [""], patience=0.05)) == set()


async def test_forged_answers_confirm_nothing(hub: Hub) -> None:
    """100,000 acknowledgements by somebody who hears everything but has no secret, and replays of real ones."""
    one = Listener("one", 7)
    async with listening(hub.bus, one) as (waker, _):
        await waker.wake(7, ["one"], patience=60.0)
        old = [text for text, inbox in hub.sent if inbox is not None]
        one.position = 0
        call = asyncio.create_task(waker.wake(8, ["one"], patience=2.0))
        await until(lambda: 8 in one.woken)
        wake = bytes.fromhex(hub.sent[-1][0])
        stranger = Seal(secrets.token_bytes(32), "a-channel")
        inbox = wake[25:41]
        for number in range(100_000):
            forged = (old[0], stranger.write(Ack(8, wake[9:25], "one")), hub.sent[-1][0], f"{number:x}")[number % 4]
            waker_line = next(each for each in hub.lines if each.inbox == inbox)
            waker_line.texts.put_nowait(forged)
        await until(lambda: all(line.texts.empty() for line in hub.lines))

        assert set(await call) == set()


async def test_replays_cost_a_bounded_number_of_looks(hub: Hub) -> None:
    """Whoever repeats a real wake-up 10,000 times makes us look a few times, and the next real one is followed."""
    one = Listener("one", 7)
    async with listening(hub.bus, one) as (waker, _):
        await waker.wake(7, ["one"], patience=60.0)
        text = hub.sent[0][0]
        for _ in range(10_000):
            hub.say(text)
            await asyncio.sleep(0)
        looks = len(one.woken)

        assert looks < 1_000
        assert set(await waker.wake(7, ["one"], patience=60.0)) == {"one"}


async def test_a_cancelled_call_leaves_nothing(hub: Hub) -> None:
    """A storm of cancelled callers: nothing is remembered of them, and the next call is answered."""
    one = Listener("one", 0)
    async with listening(hub.bus, one) as (waker, _):
        calls = [asyncio.create_task(waker.wake(7, ["one"], patience=60.0)) for _ in range(500)]
        await until(lambda: len(hub.sent) >= 500)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        one.position = 7

        assert set(await waker.wake(7, ["one"], patience=60.0)) == {"one"}
        assert waker._places.here()._calls == {}  # type: ignore[attr-defined]


async def test_an_outage_is_told_once(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log when the server goes, and one when it is back."""
    caplog.set_level(logging.WARNING)
    one = Listener("one", 7)
    hub.refusal = LineLost("away")
    bus = hub.bus()
    await bus.open(one.catch_up)
    await until(lambda: hub.refused == 3)
    hub.refusal = None
    await until(lambda: one.woken)
    await bus.close()

    assert [record.getMessage() for record in caplog.records] == [
        "the hub bus is out of reach, so changes spread with the leases: away",
        "the hub bus is back",
    ]


async def test_a_server_that_will_never_do_is_found_out(hub: Hub) -> None:
    """`check` says so before the first request; a server that is only away may come."""
    hub.refusal = LineUseless("the server is deaf")
    with pytest.raises(ConfigurationError, match="deaf"):
        await hub.bus().check()

    hub.refusal = LineLost("away")
    await hub.bus().check()


async def test_a_closed_bus_opens_again(hub: Hub) -> None:
    """Closing lets go of the line."""
    one = Listener("one", 7)
    async with listening(hub.bus, one) as (waker, other):
        await until(lambda: len(hub.lines) == 2)
        await other.close()
        await until(lambda: len(hub.lines) == 1)
        await other.open(one.catch_up)

        assert set(await waker.wake(7, ["one"], patience=60.0)) == {"one"}


def test_each_loop_has_its_own_line(hub: Hub) -> None:
    """One loop after the other, neither closed by us: both work, and nothing of the first one is left."""
    bus = hub.bus()

    async def once() -> object:
        await bus.open(Listener("self").catch_up)
        async with listening(hub.bus, Listener("one", 7)):
            return await bus.wake(7, ["one"], patience=60.0)

    assert [set(asyncio.run(once())) for _ in range(2)] == [{"one"}, {"one"}]  # type: ignore[call-overload]
    assert hub.lines == []
