"""Any order of issuing, changing, presenting and waiting: a key is let in exactly when a plain model says so."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.authenticator import Limits
from asgi_apikey.errors import InvalidKey, InvalidRequest, KeyLimitReached, KeyNotFound
from asgi_apikey.models import DAY, IssuedKey, Principal
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import FakeClock, Watched
from tests.wiring import PEPPER, forged

# All binary fractions: what the model adds up is exactly what the clock shows.
MOMENTS = st.sampled_from([0.25, 0.5, 1.0, 4.75, 5.0, 30.0, 54.0, 60.0, 600.0])
SCOPES = st.frozensets(st.sampled_from(["read", "write"]))
GRACES = st.none() | st.sampled_from([0.0, 0.25, 5.0, 60.0, 1_000_000.0])
TAGS = st.sampled_from(["a", "b"])

Outcome = Principal | InvalidKey


@dataclass
class Key:
    """What the model knows about a key: the rules of its life, in a dozen lines."""

    key: str
    key_id: str
    created_at: float
    scopes: frozenset[str]
    not_before: float | None = None
    expires_at: float | None = None
    disabled: bool = False
    revoked_at: float | None = None
    lineage: str = ""
    replaces: str | None = None
    tag: str = ""
    deleted: bool = False
    uses: int = 0

    def standing(self, now: float) -> str:
        """Why the key is rejected now, or "accepted"."""
        if self.deleted:
            return "UnknownKey"
        if self.revoked_at is not None:
            return "RevokedKey"
        if self.expires_at is not None and now >= self.expires_at:
            return "ExpiredKey"
        if self.disabled:
            return "DisabledKey"
        if self.not_before is not None and now < self.not_before:
            return "NotYetValid"
        return "accepted"


class Life(RuleBasedStateMachine):
    """One process that issues, changes and verifies keys; and a new one now and then that has seen nothing yet."""

    keys = Bundle("keys")

    @initialize()
    def start(self) -> None:
        """A store, a process, and a clock that stands still."""
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.inner = MemoryRepository()
        self.store = Watched(self.inner)
        self.here = self.process(self.store)
        self.known: list[Key] = []
        self.under_way: list[tuple[Key, asyncio.Task[Outcome]]] = []
        self.held: list[Callable[[], None]] = []
        self.jumped_at = -1_000.0

    def process(self, store: Any) -> APIKeys:
        """A process over the store, with an empty memory. Keys may change only in the first one."""
        # The timer of the usage counts runs on real time: it is to ring when the process is closed, and never before.
        return APIKeys(repository=store, pepper=PEPPER, clock=self.clock, single_process=True, usage_interval=1e9)

    def teardown(self) -> None:
        """Let everybody finish; then the counts in the store are those of the model."""
        if not hasattr(self, "runner"):
            return
        self.finish_look_ups()
        self.runner.run(self.here.close())
        for key in self.known:
            record = self.runner.run(self.inner.get(key.key_id))
            assert (record is None) == key.deleted
            assert record is None or record.uses == key.uses
        self.runner.close()

    # ---- issuing and changing ----

    @rule(target=keys, scopes=SCOPES, starts_in=st.none() | MOMENTS, lives=st.none() | MOMENTS, tag=TAGS)
    def issue(self, scopes: frozenset[str], starts_in: float | None, lives: float | None, tag: str = "a") -> Key:
        """A new key, perhaps with a start and an end."""
        now = self.clock.wall()
        starts_at = None if starts_in is None else now + starts_in
        ends_at = None if lives is None else now + lives + (starts_in or 0.0)
        issued = self.runner.run(
            self.here.issue(owner="acme", scopes=scopes, not_before=starts_at, expires_at=ends_at, tags={tag})
        )
        key_id = issued.record.key_id
        return self.learn(issued, Key(issued.key, key_id, now, scopes, starts_at, ends_at, lineage=key_id, tag=tag))

    @rule(target=keys, key=keys, grace=GRACES)
    def rotate(self, key: Key, grace: float | None) -> Any:
        """A successor with the same rights and lifetime, in place of an unused one; never a third live key."""
        now = self.clock.wall()
        others = self.alive_beside(key, now)
        successors = [each for each in others if each.replaces == key.key_id]
        if grace is None and successors and key.expires_at is not None:
            end = key.expires_at
        else:
            end = min(math.inf if key.expires_at is None else key.expires_at, now + (DAY if grace is None else grace))
        possible = (
            key.standing(now) == "accepted"
            and not any(each.uses for each in successors)
            and (len(others) == len(successors) or end <= now)
        )
        lifetime = self.lifetime(key)
        rotated = self.change(key, lambda: self.here.rotate(key.key_id, grace=grace), possible=possible)
        if rotated is None:
            return multiple()
        key.expires_at = end
        for each in successors:
            each.revoked_at = now
        successor = Key(rotated.key, rotated.record.key_id, now, key.scopes, lineage=key.lineage, tag=key.tag)
        successor.expires_at = None if lifetime is None else now + lifetime
        successor.replaces = key.key_id
        return self.learn(rotated, successor)

    @rule(key=keys, scopes=SCOPES)
    def amend_scopes(self, key: Key, scopes: frozenset[str]) -> None:
        """Other scopes, unless the key is revoked."""
        if self.change(key, lambda: self.here.amend(key.key_id, scopes=scopes), possible=key.revoked_at is None):
            key.scopes = scopes

    @rule(key=keys, ends_in=st.none() | st.just(0.0) | MOMENTS)
    def amend_end(self, key: Key, ends_in: float | None) -> None:
        """Another end, which must lie in the future and after the start; or none."""
        now = self.clock.wall()
        end = None if ends_in is None else now + ends_in
        possible = key.revoked_at is None and (
            end is None or (end > now and (key.not_before is None or key.not_before < end))
        )
        crowded = key.standing(now) == "ExpiredKey" and len(self.alive_beside(key, now)) >= 2
        verb = partial(self.here.amend, key.key_id, expires_at=end)
        if self.change(key, verb, possible=possible, crowded=crowded):
            key.expires_at = end

    @rule(key=keys, starts_in=st.none() | MOMENTS)
    def amend_start(self, key: Key, starts_in: float | None) -> None:
        """Another start, which must lie before the end; or none."""
        start = None if starts_in is None else self.clock.wall() + starts_in
        possible = key.revoked_at is None and (start is None or key.expires_at is None or start < key.expires_at)
        if self.change(key, lambda: self.here.amend(key.key_id, not_before=start), possible=possible):
            key.not_before = start

    @rule(key=keys)
    def disable(self, key: Key) -> None:
        """Off, unless it is revoked."""
        if self.change(key, lambda: self.here.disable(key.key_id), possible=key.revoked_at is None):
            key.disabled = True

    @rule(key=keys)
    def enable(self, key: Key) -> None:
        """On, unless it is revoked."""
        if self.change(key, lambda: self.here.enable(key.key_id), possible=key.revoked_at is None):
            key.disabled = False

    @rule(key=keys, only=st.booleans())
    def revoke(self, key: Key, only: bool) -> None:
        """For good, as often as one likes; alone or with its lineage."""
        if self.change(key, lambda: self.here.revoke(key.key_id, only=only), possible=True):
            self.revoked([key] if only else [each for each in self.known if each.lineage == key.lineage])

    @rule(tag=TAGS)
    def revoke_by_tag(self, tag: str) -> None:
        """Many at once, and the receipt counts them."""
        hit = [each for each in self.known if each.tag == tag and not each.deleted and each.revoked_at is None]
        receipt = self.runner.run(self.here.revoke_where(tags={tag}))

        assert set(receipt.key_ids) == {each.key_id for each in hit}
        self.revoked(hit)

    @rule(dead_for=MOMENTS)
    def prune(self, dead_for: float) -> None:
        """What is dead for long is gone, and nothing else."""
        then = self.clock.wall() - dead_for
        dead = [
            each
            for each in self.known
            if not each.deleted and any(end is not None and end <= then for end in (each.revoked_at, each.expires_at))
        ]

        assert self.runner.run(self.here.prune(dead_for=dead_for)) == len(dead)
        for each in dead:
            each.deleted = True

    @rule(key=consumes(keys))
    def delete(self, key: Key) -> None:
        """Gone; the model still presents it, through what is under way and at the end."""
        if self.change(key, lambda: self.here.delete(key.key_id), possible=True):
            key.deleted = True

    # ---- time ----

    @rule(seconds=MOMENTS)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule(key=keys)
    def wait_for_its_turn(self, key: Key) -> None:
        """Time passes to the very instant at which a key starts or ends; who asked before asks again."""
        self.ask(key)
        turns = [at for at in (key.not_before, key.expires_at) if at is not None and at > self.clock.wall()]
        if turns:
            self.clock.advance(min(turns) - self.clock.wall())
        self.ask(key)

    @rule(seconds=MOMENTS)
    def set_clock_forward(self, seconds: float) -> None:
        """The machine's clock is set; remembered rejections may be late by their lifetime, never an acceptance."""
        self.clock.set_wall(self.clock.wall() + seconds)
        self.jumped_at = self.clock.monotonic()

    # ---- presenting ----

    @rule(key=keys)
    def present(self, key: Key) -> None:
        """From memory, or by a look-up that runs through; or by joining one that is under way."""
        self.ask(key)

    @precondition(lambda self: len(self.held) < 4)
    @rule(key=keys, gate=st.sampled_from(["before", "after"]))
    def present_to_a_slow_store(self, key: Key, gate: str) -> None:
        """A look-up that stays under way while other things happen."""
        held = (self.store.before if gate == "before" else self.store.after)["get"]
        held.shut()
        self.ask(key)
        self.held.append(held.bypass())

    @precondition(lambda self: self.held)
    @rule()
    def finish_look_ups(self) -> None:
        """The store answers everybody, with what it has read long ago."""
        while self.held:
            self.held.pop()()
        self.settle()
        assert not self.under_way, "a look-up never ended"

    @rule(key=keys)
    def present_to_a_new_process(self, key: Key) -> None:
        """One that remembers nothing says the same."""
        outcome = self.runner.run(self.outcome(self.process(self.inner), key.key))
        self.compare(key, outcome, counted=False)

    @rule(key=keys)
    def present_a_forged_key(self, key: Key) -> None:
        """The right id with another secret is nobody's key, whatever is remembered about the right one."""
        outcome = self.runner.run(self.outcome(self.here, forged(self.here.format, key.key_id)))

        # A pruned key is still in the bundle, and its id is nobody's.
        assert type(outcome).__name__ == ("UnknownKey" if key.deleted else "WrongSecret")

    @invariant()
    def memory_never_lets_in_what_the_model_does_not(self) -> None:
        """At every instant, for every key ever issued: what memory accepts is accepted, with the rights of now."""
        for key in getattr(self, "known", ()):
            principal = self.here.authenticate_nowait(key.key.encode())
            if principal is not None:
                self.compare(key, principal)

    # ---- helpers ----

    def learn(self, issued: IssuedKey, key: Key) -> Key:
        """Take a new key into the model."""
        assert issued.record.expires_at == key.expires_at
        self.known.append(key)
        return key

    def lifetime(self, key: Key) -> float | None:
        """What it was given; where it was rotated, what its newest successor that is still there was given."""
        newer = [each for each in self.known if each.replaces == key.key_id and not each.deleted]
        if newer:
            return self.lifetime(max(newer, key=lambda each: (each.created_at, each.key_id)))
        return None if key.expires_at is None else key.expires_at - key.created_at

    def alive_beside(self, key: Key, now: float) -> list[Key]:
        """The other keys of the lineage that are, or may again be, let in."""
        dead = ("UnknownKey", "RevokedKey", "ExpiredKey")
        return [
            each
            for each in self.known
            if each.lineage == key.lineage and each is not key and each.standing(now) not in dead
        ]

    def revoked(self, keys: list[Key]) -> None:
        """Revoke them in the model, those that are not."""
        for each in keys:
            if each.revoked_at is None:
                each.revoked_at = self.clock.wall()

    def change(self, key: Key, verb: Callable[[], Awaitable[Any]], *, possible: bool, crowded: bool = False) -> Any:
        """Change a key; None when that was refused, which must be when the model says that it is not possible."""

        async def run() -> Any:
            return await verb()

        try:
            result, refusal = self.runner.run(run()), None
        except (InvalidRequest, KeyLimitReached, KeyNotFound) as error:
            result, refusal = None, type(error)
        accepted = KeyLimitReached if crowded else None
        assert refusal is (KeyNotFound if key.deleted else accepted if possible else InvalidRequest)
        return result

    async def outcome(self, process: APIKeys, key: str) -> Outcome:
        """Present a key."""
        try:
            return await process.authenticate(key.encode())
        except InvalidKey as error:
            return error

    def ask(self, key: Key) -> None:
        """Present a key to the process in a request of its own."""
        task = self.runner.get_loop().create_task(self.outcome(self.here, key.key))
        self.under_way.append((key, task))
        self.settle()

    def settle(self) -> None:
        """Run until nothing moves, and compare every answer that was given."""

        async def turn() -> None:
            for _ in range(30):
                await asyncio.sleep(0)

        self.runner.run(turn())
        answered = [(key, task) for key, task in self.under_way if task.done()]
        self.under_way = [(key, task) for key, task in self.under_way if not task.done()]
        for key, task in answered:
            self.compare(key, task.result())

    def compare(self, key: Key, outcome: Outcome, *, counted: bool = True) -> None:
        """An answer given at this instant is the model's answer of this instant."""
        expected = key.standing(self.clock.wall())
        if isinstance(outcome, Principal):
            key.uses += counted
            assert expected == "accepted"
            assert (outcome.key_id, outcome.scopes, outcome.expires_at) == (key.key_id, key.scopes, key.expires_at)
        elif self.clock.monotonic() >= self.jumped_at + Limits().negative_ttl:
            assert type(outcome).__name__ == expected


# Three times what a profile asks of one function: this machine stands for many.
Life.TestCase.settings = settings(max_examples=3 * settings().max_examples, stateful_step_count=40)


class TestLife(Life.TestCase):  # type: ignore[misc,valid-type]
    """The machine as a test."""


def test_the_model_can_tell_right_from_wrong() -> None:
    """The machine fails when a revoked key is let in: it does not pass for lack of looking."""
    life = Life()
    life.start()
    key = life.issue(frozenset(), None, None)
    life.present(key)
    key.revoked_at = 0.0

    with pytest.raises(AssertionError):
        life.memory_never_lets_in_what_the_model_does_not()
    key.revoked_at = None
    life.teardown()
