"""The agreement as a state machine: one worker, one revoker, the store between them, and everything that goes wrong.

Whatever the code does between two suspensions is one step here; between steps anything else may happen, for as long as
it likes. So a stopped process is one whose next step comes late, a killed one is one whose next step never comes, and
a lost message is one that nobody reads. `World.without` takes one guard of the protocol away, to see that it is
needed.

Time is counted in ticks of the revoker's clock, `LEASE` to a lease. The worker's clock may be slow by `CLOCK_RATE`.
Clocks may be coarse: then what is read is the beginning of the present step, and the two clocks step in turn.
Time moves from one instant at which something may change to the next, or to just before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from asgi_apikey.invalidation.announcer import CLOCK_RATE
from asgi_apikey.invalidation.register import _BEAT, _DEAD, _VALID

LEASE: Final = 20
"""Ticks in a lease of the revoker's own configuration; its 5 % are a whole tick."""
NEVER: Final = -1
STEP: Final = 4
"""Ticks in a step of a coarse clock: more than what 5 % of a lease leave over."""

Row = tuple[int, str]
"""A row of the feed: its position and what it tells, `issue`, `other` or `revoke` of our key."""


class Registration(NamedTuple):
    """A row of the register."""

    worker: int
    bus: int
    beat: int


class Sighting(NamedTuple):
    """Since when the revoker has seen a worker at the same beat."""

    worker: int
    beat: int
    since: int


class Poll(NamedTuple):
    """A poll on its way.

    Attributes:
        at: What it does next.
        life: Whose it is: a closed or forked worker has another one.
        signal: The counter before the feed was read.
        bus: What the worker listens to.
        began: When the step that is on its way was asked for.
        rows: What was read.
        joined: The id under which it has joined.
    """

    at: str
    life: int
    signal: int
    bus: int
    began: int
    rows: tuple[Row, ...] = ()
    joined: int = 0


class Call(NamedTuple):
    """A request that was not answered from memory.

    Attributes:
        at: What it does next.
        late: It was first sent after a confirmed receipt, or later than `max_staleness` after the commit.
        early: The outcome is of a flight that began before this request was sent.
        mark: The cache's generation before the record was read.
        active: What was read.
        began: When the read began, in a world where that matters.
    """

    at: str
    late: bool
    early: bool = False
    mark: int = 0
    active: bool = False
    began: int = 0


class State(NamedTuple):
    """Everything there is. Each group belongs to one place."""

    now: int = 0
    # The store.
    feed: tuple[Row, ...] = ((1, "issue"),)
    revoked: bool = False
    register: tuple[Registration, ...] = ()
    next_worker: int = 1
    quiet_until: int = 0
    # Messages on their way, which may be read any number of times, and the counters of one host's files.
    wakes: tuple[int, ...] = ()
    acks: tuple[tuple[int, int], ...] = ()
    counters: tuple[int, ...] = (0,)
    next_signal: int = 1
    # The revoker.
    agenda: tuple[str, ...] = ()
    at: str = ""
    committed_at: int = 0
    seq: int = 0
    listed: tuple[Registration, ...] = ()
    unsure: bool = False
    sightings: tuple[Sighting, ...] = ()
    doomed: tuple[Registration, ...] = ()
    hearing: tuple[int, ...] = ()
    silent: bool = False
    confirmed: bool = False
    revoked_at: int = NEVER
    # The worker: its memory, its place in the agreement, and what is on its way.
    verdict: bool = False
    verdict_until: int = 0
    generation: int = 0
    tombstone: int = 0
    flushed: int = 0
    life: int = 0
    worker: int = 0
    bus: int = 0
    beat_at: int = 0
    newest: Row | None = None
    fresh_until: int = 0
    mapped: int = 0
    seen: int = 0
    poll: Poll | None = None
    waking: int = NEVER
    leaving: int = 0
    parent: int = 0
    calls: tuple[Call, ...] = ()
    # How often each of these may still happen.
    polls: int = 0
    requests: int = 0
    failures: int = 0
    jumps: int = 0
    forks: int = 0
    closes: int = 0
    restores: int = 0
    replacements: int = 0
    evictions: int = 0

    def tidied(self) -> State:
        """The same state, with one form for what makes no difference any more."""
        fresh_until = self.fresh_until if self.fresh_until > self.now - STEP else 0
        return self._replace(fresh_until=fresh_until, calls=tuple(sorted(self.calls)))


def warm(**facts: object) -> State:
    """A worker that has joined, has read the feed just now, and remembers our key."""
    state = State(
        register=(Registration(1, 1, 0),),
        next_worker=2,
        worker=1,
        bus=1,
        mapped=1,
        newest=(1, "issue"),
        fresh_until=LEASE,
        verdict=True,
    )
    return state._replace(**facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One small world to explore.

    Attributes:
        start: Where it begins, with what the revoker is going to do and how often everything else may happen.
        bus: `none`, `host` (a counter that both have mapped) or `acks` (messages).
        slow: The worker's clock is as slow as it may be.
        lease: The worker's own lease, in ticks of its own clock.
        step: Ticks in a step of both clocks.
        timed: The worker trusts its memory for a time, and reads no feed.
        without: The guard that is taken away.
    """

    start: State
    bus: str = "none"
    slow: bool = True
    lease: int = LEASE
    step: int = 1
    timed: bool = False
    without: str = ""

    def ticks(self, leases: float) -> int:
        """What so many of the worker's leases last on the revoker's clock."""
        return math.ceil(round(leases * self.lease * (CLOCK_RATE if self.slow else 1.0), 6))

    def clock(self, s: State) -> int:
        """What the worker's clock shows."""
        return s.now - s.now % self.step

    def revokers_clock(self, s: State) -> int:
        """What the revoker's clock shows, which steps in between."""
        return s.now - (s.now + self.step // 2) % self.step

    def has(self, guard: str) -> bool:
        """Whether the protocol still has a guard. Each name is asked for here and nowhere else."""
        return guard != self.without

    # ---- all that may happen next --------------------------------------------------------------------------------

    def steps(self, s: State) -> Iterator[tuple[str, State]]:
        """Everything that may happen in this state, by name."""
        yield from self._time(s)
        yield from self._accidents(s)
        yield from self._revoker(s)
        yield from self._poll(s)
        yield from self._messages(s)
        yield from self._requests(s)

    def _time(self, s: State) -> Iterator[tuple[str, State]]:
        if not s.jumps:
            return
        instants = [s.fresh_until, s.beat_at + self.ticks(_BEAT), s.beat_at + self.ticks(_VALID)]
        if s.now < s.quiet_until:
            instants.append(s.quiet_until)
        deaths = [each.since + round(_DEAD * LEASE) for each in s.sightings]
        if [death for death in deaths if death > s.now]:
            # All the instants before it, when nothing happens at them: a process was stopped, or nobody asked.
            yield "long time", s._replace(now=max(deaths), jumps=s.jumps - 1)
        if s.at == "waiting":
            instants.append(self._leases_end(s))
        if s.revoked_at != NEVER:
            instants.append(s.revoked_at + self.ticks(1))
        if self.timed and s.verdict:
            instants.append(s.verdict_until)
        # A coarse clock shows an instant up to a step late.
        instants = [instant + late for instant in instants for late in range(self.step)]
        ahead = [instant - early for instant in instants for early in (0, 1) if instant - early > s.now]
        if ahead:
            yield "time", s._replace(now=min(ahead), jumps=s.jumps - 1)

    def _accidents(self, s: State) -> Iterator[tuple[str, State]]:
        if s.forks:
            yield "fork", self._forked(s)
        if s.parent:
            yield "parent leaves", s._replace(register=_without(s.register, s.parent), parent=0)
        if s.closes and not s.leaving:
            yield "close", self._closed(s)
        if s.leaving and s.poll is None:
            yield "leave", s._replace(register=_without(s.register, s.leaving), leaving=0)
        if s.replacements:
            yield "another signal file", s._replace(counters=(*s.counters, 0), replacements=s.replacements - 1)
        if s.restores and not s.revoked and len(s.feed) > 1:
            # To before the worker joined, too. Whoever does it lets the leases of before end, as the manual says.
            quiet_until = s.now + self.ticks(1)
            restored = s._replace(feed=s.feed[:1], register=(), quiet_until=quiet_until, restores=s.restores - 1)
            yield "store put back", restored
        if s.evictions and s.verdict:
            yield "verdict ends", s._replace(verdict=False, evictions=s.evictions - 1)
        if s.failures and s.poll is not None:
            yield "poll fails", s._replace(poll=None, failures=s.failures - 1)

    def _forked(self, s: State) -> State:
        """Follow the child. The parent may go on, and leave; the child has none of its tasks."""
        child = s._replace(forks=s.forks - 1, parent=s.worker, poll=None, calls=(), waking=NEVER, leaving=0)
        if not self.has("a child begins anew"):
            return child
        return child._replace(life=s.life + 1, fresh_until=0, worker=0, newest=None, seen=0)

    def _closed(self, s: State) -> State:
        closed = s._replace(closes=s.closes - 1, fresh_until=0, leaving=s.worker, worker=0)
        return (
            closed._replace(life=s.life + 1) if self.has("no lease from a poll that began before closing") else closed
        )

    # ---- the one who makes changes ---------------------------------------------------------------------------------

    def _revoker(self, s: State) -> Iterator[tuple[str, State]]:
        if s.at == "" and s.agenda and s.now >= s.quiet_until:
            yield from self._begun(s)
        elif s.at == "listing":
            yield "list", self._have_listed(s)
            if s.failures and s.unsure:
                # Once more in vain: nothing is confirmed.
                yield (
                    "listing fails again",
                    s._replace(at="", agenda=s.agenda[1:], unsure=False, failures=s.failures - 1),
                )
            elif s.failures:
                failed = s._replace(listed=(), unsure=True, failures=s.failures - 1)
                yield "listing fails", failed._replace(at="committing" if s.committed_at == NEVER else "waking")
        elif s.at == "committing":
            yield "commit", self._have_committed(s, "revoke")._replace(at="waking")
        elif s.at == "waking":
            yield "wake", self._have_woken(s)
        elif s.at == "waiting" and (self.revokers_clock(s) >= self._leases_end(s) or not (s.hearing or s.silent)):
            if s.unsure and self.has("who could not be listed is listed later"):
                yield "list once more", s._replace(at="listing")
                return
            yield "confirm", s._replace(at="", agenda=s.agenda[1:], confirmed=s.confirmed or s.revoked)
        if s.doomed:
            doomed = s.doomed[0]
            kept = tuple(
                each
                for each in s.register
                if each.worker != doomed.worker or (self.has("a dismissal names the beat") and each.beat != doomed.beat)
            )
            yield "dismiss", s._replace(register=kept, doomed=s.doomed[1:])

    def _begun(self, s: State) -> Iterator[tuple[str, State]]:
        """Start the next thing on the agenda.

        `other` changes another key and tells nobody, `killed` revokes and is killed before telling, `revoke` revokes
        and announces, `again` announces what was revoked before, `look` only lists the workers.
        """
        what, later = s.agenda[0], s.agenda[1:]
        if what == "other":
            yield what, self._have_committed(s, "other")._replace(agenda=later)
        elif what == "killed":
            yield what, self._have_committed(s, "revoke")._replace(agenda=later)
        elif what == "look":
            looked = self._have_listed(s)
            yield what, looked._replace(at="", agenda=later, listed=())
        elif what == "again" and s.revoked:
            seq = s.feed[-1][0] if self.has("what is told again has a position") else 0
            yield what, s._replace(at="listing", committed_at=self.revokers_clock(s), seq=seq)
        elif what == "revoke" and not self.has("the workers are listed after the commit"):
            yield what, s._replace(at="listing", committed_at=NEVER)
        elif what == "revoke":
            if not self.has("the counter moves after the commit") and self.bus == "host":
                s = self._signalled(s)
            yield what, self._have_committed(s, "revoke")._replace(at="listing")

    def _have_committed(self, s: State, what: str) -> State:
        seq = s.feed[-1][0] + 1
        s = s._replace(feed=(*s.feed, (seq, what)), committed_at=self.revokers_clock(s), seq=seq)
        return s if what == "other" else s._replace(revoked=True, revoked_at=s.now)

    def _have_listed(self, s: State) -> State:
        sightings, listed, doomed = [], [], []
        for each in s.register:
            earlier = next((seen for seen in s.sightings if seen.worker == each.worker), None)
            same = earlier is not None and (earlier.beat == each.beat or not self.has("a beat is a sign of life"))
            sighting = earlier if same and earlier is not None else Sighting(each.worker, each.beat, s.now)
            sightings.append(sighting)
            dead = s.now - sighting.since >= _DEAD * max(LEASE, self.lease)
            (doomed if dead else listed).append(each)
        at = "committing" if s.committed_at == NEVER else "waking"
        return s._replace(
            at=at, listed=tuple(listed), unsure=False, sightings=tuple(sightings), doomed=(*s.doomed, *doomed)
        )

    def _have_woken(self, s: State) -> State:
        workers = tuple(each.worker for each in s.listed)
        ours = len(s.counters)
        named = self.has("who listens to another bus is waited for")
        heard = tuple(each.worker for each in s.listed if each.bus == ours or not named)
        s = s._replace(at="waiting", listed=())
        if self.bus == "host":
            if self.has("the counter moves after the commit"):
                s = self._signalled(s)
            return s._replace(hearing=(), silent=s.unsure or len(heard) < len(workers))
        if self.bus == "acks":
            return s._replace(hearing=workers, silent=s.unsure, wakes=(s.seq,), acks=())
        return s._replace(hearing=(), silent=bool(workers) or s.unsure)

    def _signalled(self, s: State) -> State:
        return s._replace(counters=(*s.counters[:-1], s.next_signal), next_signal=s.next_signal + 1)

    def _leases_end(self, s: State) -> int:
        # Of who is not listed, nothing is known.
        longest = LEASE if s.unsure or not self.has("the longest lease is waited for") else max(LEASE, self.lease)
        rate = CLOCK_RATE if self.has("clocks may run at different rates") else 1.0
        steps = 2 * (self.step - 1) if self.has("clocks may be coarse") else 0
        return s.committed_at + math.ceil(round(longest * rate, 6)) + steps

    # ---- the worker's poll -----------------------------------------------------------------------------------------

    def _poll(self, s: State) -> Iterator[tuple[str, State]]:
        poll = s.poll
        if poll is None:
            if s.polls:
                yield "poll", self._polling(s._replace(polls=s.polls - 1))
            return
        if poll.at == "beat":
            yield from self._beaten(s, poll)
        elif poll.at == "leave":
            left = s._replace(register=_without(s.register, s.worker), worker=0)
            yield "leave", left._replace(poll=poll._replace(at="join"))
        elif poll.at == "join":
            joined = Registration(s.next_worker, poll.bus, 0)
            poll = poll._replace(at="joined", joined=joined.worker)
            yield "join", s._replace(register=(*s.register, joined), next_worker=s.next_worker + 1, poll=poll)
        elif poll.at == "joined":
            if poll.life == s.life:
                s = s._replace(worker=poll.joined, bus=poll.bus, beat_at=poll.began)
            else:
                # Closed meanwhile: whoever closes leaves for us.
                s = s._replace(leaving=poll.joined)
            if self.timed:
                yield "joined", self._present(self._flushed(s) if self.has("who has joined forgets") else s)
                return
            yield "joined", self._obtained(s, poll) if poll.rows else self._starting_over(s, poll)
        elif poll.at == "present":
            # Apart from the step before: a process can be stopped anywhere.
            yield "ask", s._replace(poll=poll._replace(at="asked", began=self.clock(s)))
        elif poll.at == "asked":
            yield "read", s._replace(poll=poll._replace(at="land", rows=_since(s.feed, s.newest)))
        elif poll.at == "look":
            yield "look", s._replace(poll=poll._replace(at="settle", rows=s.feed[-1:]))
        elif poll.at == "settle":
            yield "settle", self._settled_down(s, poll)
        elif poll.at == "land":
            yield "land", self._landed(s, poll)

    def _present(self, s: State) -> State:
        """One who asks for no news is registered: that is all he needs."""
        return s._replace(poll=None, fresh_until=s.beat_at + self.ticks(_VALID))

    def _polling(self, s: State) -> State:
        """What the first step of a poll does, up to its first suspension."""
        mapped = len(s.counters) if self.bus == "host" else 1
        signal = s.counters[mapped - 1]
        poll = Poll("present", s.life, signal, mapped, self.clock(s))
        s = s._replace(mapped=mapped)
        if self.timed and s.worker == 0 and not self.has("who trusts memory for a time is registered"):
            return s._replace(fresh_until=s.now + self.ticks(_DEAD))
        if s.worker == 0 or s.bus != mapped:
            if self.has("no lease while not registered"):
                s = s._replace(fresh_until=0)
            if not self.has("join before the position is read"):
                return self._starting_over(s, poll)
            return s._replace(poll=poll._replace(at="leave"))
        if self.clock(s) - s.beat_at >= self.ticks(_BEAT):
            return s._replace(poll=poll._replace(at="beat"))
        return s if self.timed else s._replace(poll=poll)

    def _beaten(self, s: State, poll: Poll) -> Iterator[tuple[str, State]]:
        if not any(each.worker == s.worker for each in s.register):
            if self.has("no lease while not registered"):
                s = s._replace(fresh_until=0)
            yield "beat: gone", s._replace(poll=poll._replace(at="leave", began=self.clock(s)))
            return
        register = tuple(each._replace(beat=each.beat + 1) if each.worker == s.worker else each for each in s.register)
        s = s._replace(register=register, beat_at=poll.began)
        if self.timed:
            yield "beat", self._present(s)
            return
        yield "beat", s._replace(poll=poll._replace(at="present"))

    def _starting_over(self, s: State, poll: Poll) -> State:
        """Ask for the position, knowing nothing."""
        if not self.has("the position is read before the flush"):
            s = self._flushed(s)
        return s._replace(poll=poll._replace(at="look", began=self.clock(s)))

    def _settled_down(self, s: State, poll: Poll) -> State:
        """The position is known: what was read before is not trusted."""
        if self.has("the position is read before the flush") and self.has("starting over flushes"):
            s = self._flushed(s)
        s = s._replace(newest=poll.rows[-1])
        if s.worker == 0 and poll.life == s.life:
            return s._replace(poll=poll._replace(at="leave"))
        return self._obtained(s, poll)

    def _landed(self, s: State, poll: Poll) -> State:
        """The rows after ours are known, if ours is there."""
        if s.newest is not None and not self._goes_on(s.newest, poll.rows):
            s = s._replace(fresh_until=0)
            if self.has("who finds another store registers anew"):
                return s._replace(poll=poll._replace(at="leave", began=self.clock(s), rows=()))
            return self._starting_over(s, poll)
        known = 0 if s.newest is None else 1
        if any(what == "revoke" for _, what in poll.rows[known:]):
            s = self._invalidated(s)
        return self._obtained(s._replace(newest=poll.rows[-1]), poll)

    def _obtained(self, s: State, poll: Poll) -> State:
        """A lease, if we are still who we were; and an answer for whoever has woken us."""
        s = s._replace(poll=None)
        if s.waking != NEVER and s.newest is not None and s.newest[0] >= s.waking:
            s = self._acknowledged(s)
        if poll.life != s.life:
            return s
        began = poll.began if self.has("a lease begins when the poll began") else self.clock(s)
        fresh_until = began + self.ticks(1)
        if self.has("a lease ends with the registration's validity"):
            fresh_until = min(fresh_until, s.beat_at + self.ticks(_VALID))
        signal = poll.signal if self.has("the counter is noted before the read") else s.counters[s.mapped - 1]
        return s._replace(fresh_until=fresh_until, seen=signal)

    def _goes_on(self, newest: Row, rows: tuple[Row, ...]) -> bool:
        if not rows:
            return False
        return rows[0] == newest if self.has("the row at our position is compared") else rows[0][0] == newest[0]

    def _acknowledged(self, s: State) -> State:
        return s._replace(acks=(*s.acks, (s.worker, s.waking)), waking=NEVER)

    # ---- messages --------------------------------------------------------------------------------------------------

    def _messages(self, s: State) -> Iterator[tuple[str, State]]:
        if s.wakes and s.waking == NEVER and s.worker:
            heard = s._replace(waking=s.wakes[0])
            if not self.has("acknowledge only what was applied"):
                yield "woken", self._acknowledged(heard)
            else:
                yield "woken", heard
        for worker, _ in s.acks:
            if worker in s.hearing:
                yield "acknowledged", s._replace(hearing=tuple(each for each in s.hearing if each != worker))

    # ---- requests --------------------------------------------------------------------------------------------------

    def _requests(self, s: State) -> Iterator[tuple[str, State]]:
        if s.requests:
            late = s.confirmed or (s.revoked_at != NEVER and s.now >= s.revoked_at + self.ticks(1) + self.step - 1)
            s_after = s._replace(requests=s.requests - 1)
            remembered = s.verdict and self._in_time(s, s.verdict_until)
            if remembered and self._leased(s, self.has("memory is trusted under a lease only")):
                yield _accepted(late), s_after
            else:
                yield "request", s_after._replace(calls=(*s.calls, self._flown(s, Call("", late), early=True)))
        for number, call in enumerate(s.calls):
            if call.at == "read":
                read = call._replace(at="land", active=not s.revoked)
                yield "look up", s._replace(calls=_put(s.calls, number, read))
            elif call.at == "land":
                yield "landed", self._call_landed(s, number, call)
            elif call.at == "last look":
                yield from self._last_look(s, number, call)

    def _flown(self, s: State, call: Call, *, early: bool) -> Call:
        """Lead a flight, or join the one that is on its way; `early`, if there is one, it began before this request."""
        if any(each.at in ("read", "land") for each in s.calls):
            return call._replace(at="waits", early=early)
        return call._replace(at="read", early=False, mark=s.generation, began=self.clock(s) if self.timed else 0)

    def _call_landed(self, s: State, number: int, call: Call) -> State:
        """Remember the verdict if it is settled; everybody who waits has the same outcome."""
        if call.active and (self._settled(s, call.mark) or not self.has("only what is settled is remembered")):
            s = s._replace(verdict=True, verdict_until=call.began + self.ticks(1) if self.timed else 0)
        calls = tuple(
            each._replace(at="last look", mark=call.mark, active=call.active, began=call.began)
            if each.at == "waits" or index == number
            else each
            for index, each in enumerate(s.calls)
        )
        return s._replace(calls=calls)

    def _last_look(self, s: State, number: int, call: Call) -> Iterator[tuple[str, State]]:
        gone = s._replace(calls=s.calls[:number] + s.calls[number + 1 :])
        if not call.active:
            yield "refused", gone
            return
        known = self._leased(s, self.has("what was read before the request needs a lease")) or not call.early
        settled = self._settled(s, call.mark) or not self.has("a last look at the tombstones")
        in_time = self._in_time(s, call.began + self.ticks(1)) or not self.has("what was read is used for its time")
        if known and settled and in_time:
            yield _accepted(call.late), gone
        else:
            yield "again", gone._replace(calls=(*gone.calls, self._flown(gone, call, early=False)))

    def _in_time(self, s: State, until: int) -> bool:
        """Whether what was read may still be used, where that is a matter of time."""
        return not self.timed or self.clock(s) < until

    def _leased(self, s: State, guarded: bool) -> bool:
        counted = s.counters[s.mapped - 1] == s.seen if self.bus == "host" and s.mapped else True
        if not self.has("the counter is compared"):
            counted = True
        return (self.clock(s) < s.fresh_until and counted) or not guarded

    # ---- the cache -------------------------------------------------------------------------------------------------

    def _settled(self, s: State, mark: int) -> bool:
        return mark >= s.tombstone and mark >= s.flushed

    def _invalidated(self, s: State) -> State:
        generation = s.generation + 1
        tombstone = generation if self.has("an invalidation leaves a tombstone") else s.tombstone
        return s._replace(verdict=False, generation=generation, tombstone=tombstone)

    def _flushed(self, s: State) -> State:
        generation = s.generation + 1
        flushed = generation if self.has("a flush refuses what was read before") else s.flushed
        return s._replace(verdict=False, generation=generation, flushed=flushed)


VIOLATION: Final = "accepted too late"


def _accepted(late: bool) -> str:
    return VIOLATION if late else "accepted"


def _without(register: tuple[Registration, ...], worker: int) -> tuple[Registration, ...]:
    return tuple(each for each in register if each.worker != worker)


def _since(feed: tuple[Row, ...], newest: Row | None) -> tuple[Row, ...]:
    return feed if newest is None else tuple(row for row in feed if row[0] >= newest[0])


def _put(calls: tuple[Call, ...], number: int, call: Call) -> tuple[Call, ...]:
    return (*calls[:number], call, *calls[number + 1 :])
