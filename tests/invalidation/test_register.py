"""The register of workers: who may hold a lease, judged without comparing clocks."""

from __future__ import annotations

import pytest

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.invalidation.register import Register
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import FakeClock, Watched, together, until
from tests.feeds import MemoryFeed

pytestmark = pytest.mark.anyio

LEASE = 2.0


class Two:
    """Two workers with clocks of their own."""

    def __init__(self, lease: float = LEASE) -> None:
        self.feed = MemoryFeed(MemoryRepository())
        self.watched = Watched(self.feed)
        self.clock, self.other_clock = FakeClock(), FakeClock(monotonic=77.0)
        self.ours = Register(self.watched, self.clock, lease=LEASE)
        self.theirs = Register(self.feed, self.other_clock, lease=lease)


async def test_who_has_not_joined_is_not_present() -> None:
    """It says so without asking the store."""
    two = Two()

    assert not await two.ours.present("")
    assert not two.watched.calls


async def test_who_has_joined_is_present_and_listed_with_its_lease() -> None:
    """The others wait that long for it."""
    two = Two()
    await two.theirs.join("host:x")

    assert await two.theirs.present("host:x")
    [other] = await two.ours.others()
    assert (other.bus, other.lease) == ("host:x", LEASE)


async def test_nobody_is_one_of_the_others_to_himself() -> None:
    """Our own memory is told directly."""
    two = Two()
    await two.ours.join("")

    assert list(await two.ours.others()) == []


async def test_a_beat_is_sent_every_two_leases() -> None:
    """Not with every poll."""
    two = Two()
    await two.ours.join("")
    two.clock.advance(2 * LEASE - 0.01)
    assert await two.ours.present("")
    assert two.watched.calls["beat"] == 0
    two.clock.advance(0.01)

    assert await two.ours.present("")
    assert two.watched.calls["beat"] == 1


async def test_a_registration_is_valid_from_when_its_beat_was_sent() -> None:
    """Not from when the answer came: whoever was stopped meanwhile may have been dismissed."""
    two = Two()
    await two.ours.join("")
    sent = two.clock.monotonic()
    assert two.ours.valid_until == sent + 3 * LEASE
    two.clock.advance(2 * LEASE)
    beating = two.clock.monotonic()
    await two.ours.present("")

    assert two.ours.valid_until == beating + 3 * LEASE


async def test_who_was_dismissed_is_not_present() -> None:
    """The next beat tells."""
    two = Two()
    await two.ours.join("")
    two.feed.registered.clear()
    two.clock.advance(2 * LEASE)

    assert not await two.ours.present("")


async def test_a_beat_without_an_answer_is_no_beat() -> None:
    """The registration is in doubt, and not valid for longer than before."""
    two = Two()
    await two.ours.join("")
    before = two.ours.valid_until
    two.clock.advance(2 * LEASE)
    two.watched.lost["beat"] = StoreUnavailable("lost")

    with pytest.raises(StoreUnavailable):
        await two.ours.present("")
    assert two.ours.valid_until == before


async def test_who_listens_to_something_else_is_not_present() -> None:
    """Those who make changes would count on the wrong bus."""
    two = Two()
    await two.ours.join("host:x")

    assert not await two.ours.present("host:y")


async def test_joining_again_leaves_the_earlier_registration() -> None:
    """Under a new id."""
    two = Two()
    await two.ours.join("host:x")
    earlier = two.ours.worker_id
    await two.ours.join("host:y")

    assert earlier != two.ours.worker_id
    assert [(each.worker_id, each.bus) for each in two.feed.registered.values()] == [(two.ours.worker_id, "host:y")]


async def test_leaving_twice_does_no_harm() -> None:
    """Who is not registered has nothing to remove."""
    two = Two()
    await two.ours.join("")
    await two.ours.leave()
    await two.ours.leave()

    assert not two.feed.registered
    assert two.ours.worker_id == ""


async def test_who_shows_no_sign_of_life_is_removed_after_ten_leases() -> None:
    """On our own clock, from when we first saw him at that beat."""
    two = Two()
    await two.theirs.join("")
    assert len(await two.ours.others()) == 1
    two.clock.advance(10 * LEASE - 0.01)
    assert len(await two.ours.others()) == 1
    two.clock.advance(0.01)

    assert list(await two.ours.others()) == []
    assert not two.feed.registered


async def test_a_beat_seen_in_between_begins_the_count_anew() -> None:
    """However wrong its clock is, a worker that beats lives."""
    two = Two()
    await two.theirs.join("")
    for _ in range(5):
        await two.ours.others()
        two.clock.advance(9 * LEASE)
        two.other_clock.advance(2 * LEASE)
        await two.theirs.present("")

    assert len(await two.ours.others()) == 1


async def test_a_worker_with_a_longer_lease_is_given_more_time() -> None:
    """Its beats come more rarely."""
    two = Two(lease=5 * LEASE)
    await two.theirs.join("")
    await two.ours.others()
    two.clock.advance(10 * LEASE)
    assert len(await two.ours.others()) == 1
    two.clock.advance(40 * LEASE)

    assert list(await two.ours.others()) == []


async def test_who_has_just_beaten_is_not_removed() -> None:
    """Though we have listed him before: the store compares once more."""
    two = Two()
    await two.theirs.join("")
    await two.ours.others()
    two.clock.advance(10 * LEASE)
    two.watched.after["workers"].shut()

    async def beat_in_between() -> None:
        await until(lambda: two.watched.after["workers"].waiting)
        two.other_clock.advance(2 * LEASE)
        await two.theirs.present("")
        two.watched.after["workers"].open()

    await together(two.ours.others, beat_in_between)

    assert len(two.feed.registered) == 1


async def test_a_list_that_came_late_makes_nobody_look_dead() -> None:
    """Silence counts until the list was asked for: while it was on its way, anybody may have beaten."""
    two = Two()
    await two.theirs.join("")
    await two.ours.others()
    two.watched.after["workers"].shut()

    async def be_late() -> None:
        await until(lambda: two.watched.after["workers"].waiting)
        two.clock.advance(10 * LEASE)
        two.watched.after["workers"].open()

    others, _ = await together(two.ours.others, be_late)

    assert isinstance(others, list)
    assert len(others) == 1


async def test_a_look_is_due_at_once_and_then_every_ten_leases() -> None:
    """Two of them at the same beat are needed to take somebody for dead."""
    two = Two()
    assert two.ours.look_is_due
    await two.ours.tidy()
    assert not two.ours.look_is_due
    two.clock.advance(10 * LEASE)

    assert two.ours.look_is_due


async def test_in_a_large_fleet_each_looks_more_rarely() -> None:
    """Two hundred workers together read the register as often as fifty."""
    two = Two()
    for number in range(200):
        await two.feed.join(str(number), "", lease=LEASE)
    await two.ours.tidy()
    two.clock.advance(40 * LEASE - 0.01)
    assert not two.ours.look_is_due
    two.clock.advance(0.01)

    assert two.ours.look_is_due


async def test_looking_in_vain_is_tried_again_when_it_is_due_again() -> None:
    """Not with every poll: the store has trouble enough."""
    two = Two()
    two.watched.failures["workers"] = StoreUnavailable("away")
    await two.ours.tidy()

    assert not two.ours.look_is_due
