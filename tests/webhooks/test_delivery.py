"""Messages on their way: at once, again after growing waits, and never lost while the store is there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio.lowlevel
import pytest

from asgi_apikey.background import Background
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.events import Event, EventName
from asgi_apikey.models import DAY, DeadLetter, Seconds
from asgi_apikey.repositories.deadletters import MemoryDeadLetters
from asgi_apikey.webhooks import Answer, Unsent, Webhook, Webhooks
from asgi_apikey.webhooks.delivery import MOST_WAITING, WAITS
from asgi_apikey.webhooks.signing import secret_bytes, signed_headers
from tests.fakes import NOON, FakeClock, Gate
from tests.webhooks.test_signing import SECRET

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Network:
    """Answers as it was told, and keeps what was sent.

    Attributes:
        answers: The next ones; 204 when there are no more. An error is raised.
    """

    answers: list[Answer | Exception] = field(default_factory=list)
    sent: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)

    async def post(self, endpoint: Webhook, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take it."""
        await self.gate.passed()
        self.sent.append((endpoint.host, headers, body))
        answer = self.answers.pop(0) if self.answers else Answer(204)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Lost(MemoryDeadLetters):
    """A store that is away."""

    async def put(self, letters: object) -> None:
        """Keep nothing."""
        raise StoreUnavailable("away")


ONE = Webhook(url="https://one.example/hooks", secret=SECRET)
TWO = Webhook(url="https://two.example/hooks", secret=SECRET, events={"revoked"})


@dataclass(slots=True)
class World:
    """A sender over a network of ours, on a clock of ours."""

    network: Network = field(default_factory=Network)
    letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    clock: FakeClock = field(default_factory=FakeClock)
    background: Background = field(default_factory=Background)
    endpoints: tuple[Webhook, ...] = (ONE,)
    waits: tuple[Seconds, ...] = (0.0, 0.0)

    def webhooks(self) -> Webhooks:
        """What is tested."""
        return Webhooks(
            self.endpoints,
            sender=self.network,
            letters=self.letters,
            clock=self.clock,
            spawn=self.background.spawn,
            waits=self.waits,
            jitter=lambda: 1.0,
        )

    async def settle(self) -> None:
        """Wait for what is under way."""
        assert await self.background.drain(5)

    async def dead(self) -> list[DeadLetter]:
        """What nobody has taken."""
        return list(await self.letters.page("", limit=10_000))


def an_event(number: int = 1, name: EventName = EventName.REVOKED) -> Event:
    """Something that happened."""
    details = {"name": "ci", "expires_at": NOON + DAY}
    return Event(
        name=name, at=NOON, key_id=f"k{number}", owner="acme", reason="é", details=details, event_id=f"e{number}"
    )


async def rounds() -> None:
    """Let the others run."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_a_message_is_sent_signed() -> None:
    """JSON with a type, an instant and facts; its id is the event's and the endpoint's."""
    world = World()
    await world.webhooks().take(an_event())
    await world.settle()

    [(host, headers, body)] = world.network.sent
    assert host == "one.example"
    assert json.loads(body) == {
        "type": "api_key.revoked",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "data": {
            "key_id": "k1",
            "owner": "acme",
            "tenant": "",
            "environment": "",
            "actor": "",
            "reason": "é",
            "name": "ci",
            "expires_at": "2027-01-16T08:00:00.000Z",
        },
    }
    assert headers["content-type"] == "application/json"
    expected = signed_headers([secret_bytes(SECRET)], f"e1-{ONE.endpoint_id}", int(NOON), body)
    assert {name: headers[name] for name in expected} == expected


async def test_an_endpoint_gets_what_it_wants() -> None:
    """And its messages have ids of their own."""
    world = World(endpoints=(ONE, TWO))
    webhooks = world.webhooks()
    await webhooks.take(an_event(1, EventName.ISSUED))
    await webhooks.take(an_event(2))
    await world.settle()

    assert sorted(host for host, _, _ in world.network.sent) == ["one.example", "one.example", "two.example"]
    assert len({headers["webhook-id"] for _, headers, _ in world.network.sent}) == 3
    assert webhooks.stats.delivered == 3


@pytest.mark.parametrize(
    "failure", [Answer(500), Answer(404), Answer(302), Answer(429), Unsent("silence"), RuntimeError("x")]
)
async def test_what_is_not_taken_is_sent_again(failure: Answer | Exception) -> None:
    """The same id and body under a new timestamp; a redirect is not followed, but a failure."""
    world = World()
    world.network.answers = [failure]
    await world.webhooks().take(an_event())
    await world.settle()

    [first, second] = world.network.sent
    assert first[1]["webhook-id"] == second[1]["webhook-id"]
    assert first[2] == second[2]
    assert await world.dead() == []


async def test_what_nobody_takes_becomes_a_dead_letter() -> None:
    """After the last attempt, with why; the next message is sent all the same."""
    world = World()
    world.network.answers = [Answer(500), Answer(503), Unsent("silence")]
    webhooks = world.webhooks()
    await webhooks.take(an_event(1))
    await webhooks.take(an_event(2))
    await world.settle()

    [letter] = await world.dead()
    assert (letter.letter_id, letter.endpoint) == (f"e1-{ONE.endpoint_id}", ONE.endpoint_id)
    assert (letter.attempts, letter.reason, letter.event, letter.at) == (3, "silence", "revoked", NOON)
    assert (webhooks.stats.delivered, webhooks.stats.failed, webhooks.stats.dead) == (1, 3, 1)


async def test_who_says_gone_is_left_alone() -> None:
    """410: no further attempt (Standard Webhooks, section "Webhook Delivery")."""
    world = World()
    world.network.answers = [Answer(410)]
    await world.webhooks().take(an_event())
    await world.settle()

    assert len(world.network.sent) == 1
    assert [each.reason for each in await world.dead()] == ["status 410"]


async def test_the_waits_grow_and_are_respected() -> None:
    """Nothing is sent before its time; an endpoint may ask for more."""
    world = World(waits=WAITS)
    world.network.answers = [Answer(500), Answer(503, retry_after=100.0)]
    webhooks = world.webhooks()
    await webhooks.take(an_event())
    await rounds()
    assert len(world.network.sent) == 1
    # Another message comes, and the first is looked at again.
    for advance, sent in ((4.9, 2), (0.1, 4), (99.0, 5), (1.0, 7)):
        world.clock.advance(advance)
        await webhooks.take(an_event(sent))
        await rounds()
        assert len(world.network.sent) == sent
    await webhooks.close(world.settle)


async def test_at_the_end_everything_is_tried_once_and_then_kept() -> None:
    """What waits for another attempt is a dead letter at once: nobody waits for it."""
    world = World(waits=(1000.0,))
    world.network.answers = [Answer(500)]
    webhooks = world.webhooks()
    await webhooks.take(an_event(1))
    await rounds()
    world.network.answers = [Answer(204), Answer(500)]
    await webhooks.take(an_event(2))
    await webhooks.take(an_event(3))
    await webhooks.close(world.settle)

    assert sorted((each.letter_id[:2], each.attempts) for each in await world.dead()) == [("e1", 1), ("e3", 1)]
    await webhooks.take(an_event(4))
    await world.settle()
    assert webhooks.stats.delivered == 2


async def test_what_hangs_at_the_end_is_kept_too() -> None:
    """It may have arrived: whoever gets it twice knows it by its id."""
    world = World()
    world.network.gate.shut()
    webhooks = world.webhooks()
    await webhooks.take(an_event(1))
    await webhooks.take(an_event(2))
    await rounds()
    await webhooks.close(anyio.lowlevel.checkpoint)
    world.network.gate.open()
    await world.settle()

    assert [each.letter_id[:2] for each in await world.dead()] == ["e1", "e2"]
    assert len(world.network.sent) == 1


async def test_a_flood_of_messages_is_bounded() -> None:
    """What is too much is kept as dead letters, not in memory."""
    world = World(waits=(1000.0,))
    world.network.gate.shut()
    webhooks = world.webhooks()
    for number in range(MOST_WAITING + 6):
        await webhooks.take(an_event(number))
        await anyio.lowlevel.checkpoint()
    dead = await world.dead()
    world.network.gate.open()
    await webhooks.close(world.settle)

    assert 4 <= len(dead) <= 6
    assert {each.reason for each in dead} == {"too many messages wait"}


async def test_without_a_store_a_loss_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in a counter."""
    world = World(letters=Lost(), waits=())
    world.network.answers = [Answer(500)]
    webhooks = world.webhooks()
    with caplog.at_level(logging.ERROR):
        await webhooks.take(an_event())
        await world.settle()

    assert (webhooks.stats.lost, webhooks.stats.dead) == (1, 0)
    assert "are lost" in caplog.text


async def test_dead_letters_are_sent_again_on_demand() -> None:
    """Under the same id; what is taken is removed, the others keep why not."""
    world = World(waits=())
    world.network.answers = [Answer(500), Answer(500), Answer(500)]
    webhooks = world.webhooks()
    for number in range(3):
        await webhooks.take(an_event(number))
    await world.settle()
    world.clock.advance(DAY)
    world.network.answers = [Answer(204), Answer(418)]

    assert await webhooks.redeliver([f"e0-{ONE.endpoint_id}", f"e1-{ONE.endpoint_id}"]) == (1, 1)
    left = {each.letter_id[:2]: each for each in await world.dead()}
    assert (left["e1"].attempts, left["e1"].reason, left["e1"].at) == (2, "status 418", NOON + DAY)
    assert left["e2"].attempts == 1
    assert await webhooks.redeliver() == (2, 0)
    assert await world.dead() == []
    assert world.network.sent[0][1]["webhook-id"] == world.network.sent[3][1]["webhook-id"]


async def test_a_letter_to_an_endpoint_of_before_stays() -> None:
    """Nobody knows its URL any more."""
    world = World(waits=())
    world.network.answers = [Answer(500)]
    await world.webhooks().take(an_event())
    await world.settle()

    assert await World(letters=world.letters, endpoints=(TWO,)).webhooks().redeliver() == (0, 1)
    assert len(await world.dead()) == 1


async def test_the_log_names_the_host_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The path may be a secret."""
    world = World(waits=(), endpoints=(Webhook(url="https://one.example/T0ken", secret=SECRET),))
    world.network.answers = [Answer(500)]
    with caplog.at_level(logging.DEBUG):
        await world.webhooks().take(an_event())
        await world.settle()

    assert "one.example" in caplog.text
    assert "T0ken" not in caplog.text
