"""Every server on the same applications, each in a process of its own, by its own command.

    python -m tests.integration.fleet APPLICATION NAME=FD …

serves an application, `module:name`, on these sockets until the end of standard input. It is imported once, and then
one process is forked for each server: importing many frameworks is most of the work.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.integration.hosts import Host

ROOT: Final = Path(__file__).parents[2]

ROOT_PATH: Final = "/shop"

_STARTING: Final = 100.0
_STOPPING: Final = 10.0

_UVICORN: Final = ("uvicorn", "{app}", "--fd", "{fd}", "--no-access-log", "--no-use-colors")
_GRANIAN: Final = ("granian", "{app}", "--port", "{port}", "--interface", "asgi", "--no-access-log")
_HYPERCORN: Final = ("hypercorn", "{app}", "--bind", "fd://{fd}", "--workers", "0")
_DAPHNE: Final = ("daphne", "{app}", "--fd", "{fd}", "--verbosity", "0")

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "uvicorn h11, websockets": (*_UVICORN, "--http", "h11", "--ws", "websockets"),
    "uvicorn httptools, websockets-sansio": (*_UVICORN, "--http", "httptools", "--ws", "websockets-sansio"),
    "uvicorn h11, wsproto": (*_UVICORN, "--http", "h11", "--ws", "wsproto"),
    "granian": _GRANIAN,
    "hypercorn": _HYPERCORN,
    "daphne": _DAPHNE,
    "uvicorn below a root_path": (*_UVICORN, "--root-path", ROOT_PATH),
    "granian below a root_path": (*_GRANIAN, "--url-path-prefix", ROOT_PATH),
    "hypercorn below a root_path": (*_HYPERCORN, "--root-path", ROOT_PATH),
    "daphne below a root_path": (*_DAPHNE, "--root-path", ROOT_PATH),
}
"""What is called as `python -m`, by name. granian opens its own socket; its port is kept for it meanwhile."""


@contextmanager
def serving(app: str, names: Collection[str], folder: Path, environ: Mapping[str, str]) -> Iterator[list[Host]]:
    """Serve an application, `module:name`, by these servers for the body of the `with`."""
    log = folder / "fleet.log"
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(_socket(name)) for name in names}
        output = stack.enter_context(log.open("wb"))
        arguments = [app, *(f"{name}={each.fileno()}" for name, each in sockets.items())]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.fleet", *arguments],
            cwd=ROOT,
            env={**os.environ, **environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[each.fileno() for each in sockets.values()],
        )
        try:
            hosts = [Host(name, each.getsockname()[1], log, process) for name, each in sockets.items()]
            for host in hosts:
                _wait_for(host)
            yield hosts
        finally:
            process.communicate()


def _wait_for(host: Host) -> None:
    """Wait until it listens; whoever connects to the others earlier waits in their sockets' queues."""
    deadline = time.monotonic() + _STARTING
    while True:
        try:
            socket.create_connection(("127.0.0.1", host.port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"{host.name} has not started: {host.log.read_text()}"
            time.sleep(0.05)


def _socket(name: str) -> socket.socket:
    if not name.startswith("granian"):
        return socket.create_server(("127.0.0.1", 0), backlog=128)
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


def main(app: str, *arguments: str) -> None:
    """Serve in one child for each argument, until standard input ends."""
    importlib.import_module(app.partition(":")[0])
    children = [_child(app, *argument.rsplit("=", 1)) for argument in arguments]
    for child in children:
        os.waitpid(child, 0)


def _child(app: str, name: str, fd: str) -> int:
    child = os.fork()
    if child:
        return child
    try:
        # A group of its own, for servers that start processes themselves.
        os.setpgid(0, 0)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        listening = socket.socket(fileno=int(fd))
        port = listening.getsockname()[1]
        module, *rest = (part.format(app=app, fd=fd, port=port) for part in COMMANDS[name])
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__")
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os.killpg(0, signal.SIGKILL)
    return 0


def _end_with_parent() -> None:
    """Wait for the end of standard input, whose other end only the parent holds, and stop in good order, or at all."""
    # Not through `sys.stdin`: its lock would be held for ever in processes that a server forks.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOPPING)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
