"""Worker processes of one deployment, and what can be done to them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import psutil

from tests.faults.client import Connection, connect, verb
from tests.faults.plugs import Site

ROOT: Final = Path(__file__).parents[2]
_STARTING: Final = 60.0
_STOPPING: Final = 20.0


class Refused(RuntimeError):
    """A verb was answered with an error of ours.

    Attributes:
        name: The error's class.
        outcome_unknown: Whether the change may have been made all the same.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(f"{said['error']}: {said['message']}")
        self.name = str(said["error"])
        self.outcome_unknown = bool(said["outcome_unknown"])


@dataclass(slots=True)
class WorkerProcess:
    """One uvicorn process.

    Attributes:
        number: In its fleet, from 0.
        port: On 127.0.0.1; a restarted worker has the same.
        log: Everything it has written.
        process: The process itself.
        excused: Set while it is frozen or dead on purpose: it owes nobody an answer.
        owes_since: When it was last let go on; what was sent before may have taken any time.
        verbs: How many verbs it is working on.
    """

    number: int
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    excused: bool = False
    owes_since: float = 0.0
    verbs: int = 0
    _desk: Connection | None = field(default=None, repr=False)

    async def call(self, name: str, **params: object) -> dict[str, Any]:
        """Call a verb, on a connection of its own that is kept.

        Raises:
            Refused: It was answered with an error.
            OSError: The worker is gone.
        """
        # Taken out while it is in use: two calls at once have a connection each.
        desk, self._desk = self._desk, None
        self.verbs += 1
        try:
            if desk is None or desk.closed:
                desk = await connect(self.port)
            reply = await desk.request(verb(name, urlencode(params)))
        finally:
            self.verbs -= 1
        self._desk = desk
        said: dict[str, Any] = json.loads(reply.body)
        if reply.status != 200:
            raise Refused(said)
        return said

    def freeze(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        self.excused = True
        self.process.send_signal(signal.SIGSTOP)
        while psutil.Process(self.process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.forgive()

    def hang_up(self) -> None:
        """Close the connection that verbs are called on."""
        if self._desk is not None:
            self._desk.close()

    def forgive(self) -> None:
        """What was sent until now may take any time, or get lost; from now on nothing may."""
        self.owes_since = time.monotonic()
        self.excused = False

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.excused = True
        self.process.kill()
        self.process.communicate()

    def terminate(self) -> None:
        """SIGTERM, and wait until it has ended in good order."""
        self.excused = True
        self.process.terminate()
        self.process.communicate(timeout=_STOPPING)


class Fleet:
    """Several workers of one site.

    Args:
        site: What they have in common.
        folder: Where their logs go.
        size: How many.
        environ: More variables for them.
        options: More of uvicorn's options.
        sink: Descriptor that takes what they write, in place of their logs.

    Attributes:
        environ: The variables; what is changed here, workers that are started later have.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        *,
        size: int = 4,
        environ: dict[str, str] | None = None,
        options: Sequence[str] = (),
        sink: int | None = None,
    ) -> None:
        self.site = site
        self._folder = folder
        self._size = size
        self.environ = dict(environ or {})
        self._options = options
        self._sink = sink
        self.workers: list[WorkerProcess] = []

    async def __aenter__(self) -> Self:
        try:
            self.workers = [self._start(number, 0) for number in range(self._size)]
            await asyncio.gather(*(self.ready(worker) for worker in self.workers))
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def present(self) -> list[WorkerProcess]:
        """Those that are neither frozen nor dead."""
        return [worker for worker in self.workers if not worker.excused]

    async def ready(self, worker: WorkerProcess) -> None:
        """Wait until a worker answers."""
        async with asyncio.timeout(_STARTING):
            while True:
                try:
                    await worker.call("stats")
                except OSError:
                    if worker.process.poll() is not None:
                        raise RuntimeError(f"a worker did not start:\n{worker.log.read_text()}") from None
                    await asyncio.sleep(0.05)
                else:
                    return

    async def restart(self, worker: WorkerProcess) -> None:
        """Start a dead worker again, on the same port."""
        again = self._start(worker.number, worker.port)
        worker.process = again.process
        await self.ready(worker)
        worker.forgive()

    def written(self) -> str:
        """Return all that the workers have written so far."""
        return "\n".join(worker.log.read_text(errors="replace") for worker in self.workers)

    def _start(self, number: int, port: int) -> WorkerProcess:
        log = self._folder / f"worker-{number}.log"
        # Listening before the process exists: no free port is lost, and whoever connects early waits in the queue.
        with socket.create_server(("127.0.0.1", port), backlog=512) as listening, log.open("ab") as output:
            # Inherited by what it accepts. asyncio does that only for sockets that it made itself, and each answer, of
            # two segments, would wait for the client's delayed acknowledgement: 40 ms.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            command = [sys.executable, "-m", "tests.integration.serve", "--factory", "tests.faults.app:create"]
            options = ["--http", "httptools", "--loop", "asyncio", "--no-access-log", "--log-level", "warning"]
            process = subprocess.Popen(
                [*command, "--fd", str(listening.fileno()), "--no-use-colors", *options, *self._options],
                cwd=ROOT,
                env={**os.environ, **self.site.environ(), **self.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=output if self._sink is None else self._sink,
                stderr=subprocess.STDOUT,
                pass_fds=[listening.fileno()],
            )
            return WorkerProcess(number, listening.getsockname()[1], log, process)

    def _stop(self) -> None:
        for worker in self.workers:
            worker.hang_up()
        running = [worker for worker in self.workers if worker.process.poll() is None]
        for worker in running:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.terminate()
        for worker in running:
            try:
                worker.process.communicate(timeout=_STOPPING)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.communicate()
