"""The oracle: an independent process that revokes keys, knows when each was confirmed, and hammers every worker.

    python -m tests.faults.oracle [--plug NAME …] [--revokes N] [--slots N] [--workers N]

Late is a request first sent after the revoke had returned confirmed, and accepted. There must be none.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from asgi_apikey.keyformat import KeyFormat
from tests.faults.client import Connection, connect
from tests.faults.fleet import Fleet, Refused, WorkerProcess
from tests.faults.ledger import Kind, Ledger, Presented, Revocation, median, percentile
from tests.faults.plugs import LIARS, PLUGS, Site
from tests.servers import PostgresServer, RedisServer
from tests.wiring import forged

_WARM: Final = 2
_PROBES: Final = 3
_DEAD: Final = 200
_AGAIN: Final = 0.05


@dataclass(slots=True)
class Ground:
    """Where a deployment's servers run; started when they are first needed.

    Attributes:
        folder: For files and logs.
    """

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _postgres: PostgresServer | None = None
    _redis: RedisServer | None = None

    @property
    def postgres(self) -> PostgresServer:
        """A PostgreSQL server of this ground's own."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(PostgresServer())
        return self._postgres

    @property
    def redis(self) -> RedisServer:
        """A Redis server of this ground's own."""
        if self._redis is None:
            self._redis = self._stack.enter_context(RedisServer())
        return self._redis

    async def site(self, plug: str, **settings: object) -> Site:
        """Return a new deployment with an empty store."""
        number = secrets.token_hex(4)
        kind = (PLUGS | LIARS)[plug]
        if kind.store == "postgres":
            url = self.postgres.url_of(self.postgres.new_database())
        else:
            url = f"sqlite:///{self.folder}/{number}.db"
        bus = {"": "", "postgres": url, "redis": self.redis.url if kind.bus == "redis" else ""}[kind.bus]
        site = Site(plug=plug, url=url, pepper=secrets.token_urlsafe(32), bus=bus, secret=secrets.token_urlsafe(32))
        site = replace(site, **settings)  # type: ignore[arg-type] # the caller names fields
        keys = site.keys()
        await keys.repository.open(create=True)
        await keys.close()
        return site


@contextmanager
def ground() -> Iterator[Ground]:
    """Give a folder, and servers when they are asked for; all is gone afterwards."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="asgi-apikey-faults-"))
        yield Ground(Path(folder), stack)


class Load:
    """Connections to every worker that present keys without a pause.

    Three of four requests present a key that is about to be revoked or just was; the fourth a good one, a forged one,
    or one that died earlier.

    Args:
        fleet: Whom to ask.
        ledger: Who is told.
        connections: To each worker.
        pause: Seconds between two requests of one connection.
    """

    def __init__(self, fleet: Fleet, ledger: Ledger, *, connections: int = 2, pause: float = 0.0) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._connections = connections
        self._pause = pause
        self._tasks: list[asyncio.Task[None]] = []
        self._open: set[Connection] = set()
        self.good: list[Presented] = []
        self.forged: list[Presented] = []
        self.targets: list[Presented] = []
        self.dead: list[Presented] = []

    def start(self) -> None:
        """Begin."""
        for worker in self._fleet.workers:
            self._tasks += [asyncio.create_task(self._press(worker)) for _ in range(self._connections)]

    async def stop(self) -> None:
        """End. What a connection of ours has raised is raised here."""
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._open:
            connection.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    def retire(self, target: Presented) -> None:
        """Go on with presenting it now and then: a key must not come back to life."""
        self.targets.remove(target)
        self.dead.append(target)
        if len(self.dead) > _DEAD:
            del self.dead[random.randrange(len(self.dead))]

    async def _press(self, worker: WorkerProcess) -> None:
        connection: Connection | None = None
        for turn in itertools.count(random.randrange(1_000)):
            presented = self._choice(turn)
            sent = time.monotonic()
            try:
                if connection is None:
                    connection = await connect(worker.port)
                    self._open.add(connection)
                self._ledger.note(worker, presented, await connection.request(presented.request))
            except OSError:
                self._ledger.dropped(worker, sent)
                if connection is not None:
                    self._open.discard(connection)
                    connection = None
                await asyncio.sleep(0.02)
            if self._pause:
                await asyncio.sleep(self._pause)

    def _choice(self, turn: int) -> Presented:
        if self.targets and turn % 4:
            return self.targets[turn % len(self.targets)]
        others = (self.good, self.forged, self.dead)[turn // 4 % 3] or self.good
        return others[turn % len(others)]


class Oracle:
    """Issues, warms and revokes keys, and keeps the ledger.

    Args:
        fleet: The workers.
        ledger: What is true.
        load: Who presents keys.
        patience: Seconds within which a verb must succeed, by trying again, and a key be seen by all workers.

    Attributes:
        refusals: Why verbs had to be tried again.
        scale_seconds: How long a fault lasts.
    """

    scale_seconds: float = 3.0

    def __init__(self, fleet: Fleet, ledger: Ledger, load: Load, *, patience: float = 30.0) -> None:
        self.fleet = fleet
        self.ledger = ledger
        self.load = load
        self.patience = patience
        self.refusals: Counter[str] = Counter()
        self._turn = itertools.count()

    async def issue(self, kind: Kind = Kind.TARGET, *, by: WorkerProcess | None = None) -> Presented:
        """Issue a key through any worker."""
        said = await self.call("issue", by=by)
        return self.ledger.expect(kind, str(said["key"]), str(said["key_id"]))

    async def warm(self, *presented: Presented) -> None:
        """Present keys until every worker that is there has each in its memory."""
        for each in presented:
            await each.until(lambda each=each: self._by_all(each.accepted, _WARM), within=self.patience)  # type: ignore[misc]

    async def revoke(self, target: Presented, *, by: WorkerProcess | None = None) -> Revocation:
        """Revoke a key and have the ledger know from when on accepting it is late."""
        began = target.refusable_from = time.monotonic()
        said = await self.call("revoke", by=by, key_id=target.key_id)
        self.ledger.revoked(target, said, began=began, now=time.monotonic())
        return self.ledger.revocations[-1]

    async def probe(self, target: Presented) -> None:
        """Wait until every worker that is there has answered some requests that were sent when it was too late."""
        await target.until(lambda: self._by_all(target.probed, _PROBES), within=self.patience)

    async def life(self, *, by: WorkerProcess | None = None) -> Revocation:
        """One key: issued, in every worker's memory, revoked, refused."""
        target = await self.issue()
        self.load.targets.append(target)
        try:
            await self.warm(target)
            revocation = await self.revoke(target, by=by)
            await self.probe(target)
        finally:
            self.load.retire(target)
        return revocation

    async def lives(self, count: int, *, slots: int, until: asyncio.Event | None = None) -> None:
        """So many of them, `slots` at a time; and more, as long as `until` is not set."""
        numbers = itertools.count()

        async def slot() -> None:
            while next(numbers) < count or (until is not None and not until.is_set()):
                await self.life()

        async with asyncio.TaskGroup() as group:
            for _ in range(slots):
                group.create_task(slot())

    async def call(self, name: str, *, by: WorkerProcess | None = None, **params: object) -> dict[str, object]:
        """Call a verb of any worker that is there until it succeeds.

        Raises:
            TimeoutError: It never does.
        """
        async with asyncio.timeout(self.patience):
            while True:
                worker = by or self._anybody()
                try:
                    return await worker.call(name, **params)
                except (Refused, OSError) as error:
                    self.refusals[str(error) if isinstance(error, Refused) else "the worker was gone"] += 1
                    await asyncio.sleep(_AGAIN)

    async def mail(self, worker: WorkerProcess, target: Presented) -> asyncio.Task[None]:
        """Send a request to a worker that may be frozen, on a new connection; the task judges the answer."""
        connection = await connect(worker.port)

        async def answered() -> None:
            try:
                self.ledger.note(worker, target, await connection.request(target.request))
            except OSError:
                self.ledger.lost += 1
            finally:
                connection.close()

        task = asyncio.create_task(answered())
        # Run to its first await: when we return, the request is in the worker's socket.
        await asyncio.sleep(0)
        return task

    async def recovered(self) -> float:
        """Return the seconds until every worker accepts a good key and a revoke is confirmed and in force."""
        began = time.monotonic()
        probe = await self.issue()
        self.load.targets.append(probe)
        try:
            await self.warm(probe)
            seconds = time.monotonic() - began
            await self.revoke(probe)
            await self.probe(probe)
        finally:
            self.load.retire(probe)
        return seconds

    def _anybody(self) -> WorkerProcess:
        present = self.fleet.present
        return present[next(self._turn) % len(present)]

    def _by_all(self, counts: Collection[int], most: int) -> bool:
        return all(counts[worker.number] >= most for worker in self.fleet.present)  # type: ignore[index]


@asynccontextmanager
async def watching(
    site: Site,
    folder: Path,
    *,
    workers: int = 4,
    connections: int = 2,
    slowest: float = 5.0,
    margin: float = 0.0,
    pause: float = 0.0,
    environ: dict[str, str] | None = None,
    options: Sequence[str] = (),
    sink: int | None = None,
) -> AsyncIterator[Oracle]:
    """Start workers and a load, and judge everything at the end.

    Args:
        site: The deployment.
        folder: For logs.
        workers: How many.
        connections: Of the load, to each worker.
        slowest: Seconds; see `Ledger`.
        margin: Seconds; see `Ledger`.
        pause: Seconds; see `Load`.
        environ: More variables for the workers.
        options: More options for uvicorn.
        sink: See `Fleet`.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    ledger = Ledger(slowest=slowest, margin=margin)
    async with Fleet(site, place, size=workers, environ=environ, options=options, sink=sink) as fleet:
        load = Load(fleet, ledger, connections=connections, pause=pause)
        oracle = Oracle(fleet, ledger, load)
        load.good.append(await oracle.issue(Kind.GOOD))
        keys = KeyFormat()
        unknown = keys.generate("live")
        wrong = forged(keys, load.good[0].key_id)
        load.forged.append(ledger.expect(Kind.FORGED, unknown.key, unknown.key_id))
        load.forged.append(ledger.expect(Kind.FORGED, wrong, load.good[0].key_id))
        load.start()
        try:
            yield oracle
        finally:
            await load.stop()
    await _settle(site, ledger)
    written = fleet.written()
    for secret in (*ledger.secrets(), *site.pepper.split(), site.secret):
        if secret in written:
            ledger.violate("I5 a secret was written", "see the workers' logs")
    if "Traceback" in written:
        ledger.violate("I3 an unexpected error was logged", written[written.index("Traceback") :][:2_000])


async def _settle(site: Site, ledger: Ledger) -> None:
    """Compare the store with everything that was acknowledged."""
    async with site.keys() as keys:
        for presented in ledger.presented:
            if presented.kind is Kind.FORGED:
                continue
            record = await keys.repository.get(presented.key_id)
            if record is None:
                ledger.violate("I4 an acknowledged key is gone", presented.key_id)
            elif presented.kind is Kind.TARGET and presented.late_from < float("inf") and record.revoked_at is None:
                ledger.violate("I4 an acknowledged revoke is gone", presented.key_id)
        report = await keys.audit.verify()
        if not report.sound:
            ledger.violate("I4 the audit has gaps", str(report.findings[0]))


HEADER: Final = (
    f"{'plug':14}{'revokes':>8}{'confirmed':>10}{'late':>6}{'probes after':>13}"
    f"{'p50 ms':>9}{'p99 ms':>9}{'commit→receipt p50':>20}{'p99':>9}{'requests':>10}{'503':>6}{'violations':>11}"
)


def row(name: str, ledger: Ledger) -> str:
    """Return one line under `HEADER`."""
    all_of = ledger.revocations
    took, elapsed = [each.took * 1e3 for each in all_of], [each.elapsed * 1e3 for each in all_of]
    undecided = sum(count for (_, status), count in ledger.statuses.items() if status == 503)
    return (
        f"{name:14}{len(all_of):>8}{sum(each.confirmed for each in all_of):>10}{ledger.late:>6}"
        f"{ledger.probes_after:>13}{median(took):>9.1f}{percentile(took, 0.99):>9.1f}"
        f"{median(elapsed):>20.2f}{percentile(elapsed, 0.99):>9.2f}{sum(ledger.statuses.values()):>10}"
        f"{undecided:>6}{sum(ledger.violations.values()):>11}"
    )


async def _main(plugs: Sequence[str], revokes: int | None, slots: int, workers: int) -> int:
    failed = 0
    print(HEADER, flush=True)
    with ground() as here:
        for plug in plugs:
            fast = (PLUGS | LIARS)[plug].fast
            site = await here.site(plug)
            async with watching(site, here.folder, workers=workers) as oracle:
                # Without a bus each one waits for a lease to end, so many wait together.
                await oracle.lives(revokes or (1_000 if fast else 100), slots=slots if fast else 10)
            print(row(plug, oracle.ledger), flush=True)
            for example in oracle.ledger.examples:
                print(f"    {example}", file=sys.stderr)
            failed += bool(oracle.ledger.violations)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plug", action="append", choices=sorted(PLUGS | LIARS), help="default: all of them")
    parser.add_argument("--revokes", type=int, help="default: 1000, and 100 where each waits for a lease to end")
    parser.add_argument("--slots", type=int, default=4, help="keys at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    sys.exit(asyncio.run(_main(given.plug or list(PLUGS), given.revokes, given.slots, given.workers)))
