"""Builds and runs our Dockerfile where there is no container engine: each instruction is executed as it is written.

In the place of an image of Python stands this machine: its `/usr`, read-only, with the Python that runs the tests as
`/usr/local`. In the place of a network stands a folder of wheels. What the commands see is as in a container: a root, a
first process and a network of their own, and nothing of the machine that could be changed. It takes root, and the
programs `unshare`, `nsenter` and `setpriv` of util-linux, which every Debian has.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import psutil

from tests.deploy.dockerfile import Instruction, Stage
from tests.deploy.inside import DEVICES, without_privileges
from tests.programs import program

Mount = tuple[str, str, bool]
"""From, to, read-only."""

_INSIDE: Final = Path(__file__).with_name("inside.py")
_APART: Final = ("--mount", "--pid", "--net", "--ipc", "--uts")
# Whatever ends the tests ends their containers: the kernel kills a process with its parent.
_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_OF_THE_MACHINE: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_STOPPING: Final = 20.0


class NotRoot(Exception):
    """Only root may make the namespaces of a container."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command has ended with, and said on both streams."""

    status: int
    said: str


def start(
    root: Path,
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: str,
    output: int,
    user: int | None = None,
    mounts: Sequence[Mount] = (),
    read_only: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a command as the first process of a container, and return when it is in there.

    Raises:
        NotRoot: We are not.
    """
    if os.geteuid() != 0:
        raise NotRoot("containers are made by root: sudo make test-hosts")
    specification = {
        "root": str(root),
        "mounts": [*_machine(), *mounts],
        "read_only": read_only,
        "user": user,
        "folder": folder,
        "environ": dict(environ),
        "command": list(command),
    }
    unshare = program("unshare", package="util-linux")
    reading, writing = os.pipe()
    enter = [sys.executable, "-I", str(_INSIDE), json.dumps(specification), str(writing)]
    try:
        process = subprocess.Popen(
            [*_WITH_US, unshare, *_APART, "--fork", *enter],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
        )
    finally:
        os.close(writing)
    # A byte, or the end where it did not get that far.
    os.read(reading, 1)
    os.close(reading)
    return process


def _machine() -> list[Mount]:
    """What of this machine stands in the place of the image of Python."""
    folders = [f"/{name}" for name in _OF_THE_MACHINE if Path("/", name).is_dir() and not Path("/", name).is_symlink()]
    mounts: list[Mount] = [(folder, folder, True) for folder in ("/usr", *folders)]
    if sys.base_prefix == "/usr":
        # Debian's, which knows itself as `python3` only; in the image it is `python`, in `/usr/local/bin`.
        return [*mounts, (_renamed(sys.executable), "/usr/local/bin", True)]
    return mounts if sys.base_prefix == "/usr/local" else [*mounts, (sys.base_prefix, "/usr/local", True)]


@cache
def _renamed(interpreter: str) -> str:
    """Return a folder in which an interpreter is called `python`, until this process ends."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder).chmod(0o755)
    Path(folder, "python").symlink_to(Path(interpreter).resolve())
    return folder


@dataclass(frozen=True, slots=True)
class Image:
    """The root folder that a stage has made, and the environment that it has set."""

    root: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})

    def inside(self, path: str, folder: str = "/") -> Path:
        """Return where a path of the image is on this machine."""
        return self.root / os.path.normpath(os.path.join(folder, path)).lstrip("/")


def build(stage: Stage, root: Path, *, context: Path, wheels: Path, others: Mapping[str, Image]) -> Image:
    """Execute the instructions of a stage, top to bottom.

    Args:
        stage: What is built.
        root: Does not exist; becomes the image.
        context: What `COPY` copies from.
        wheels: What pip installs from.
        others: The stages before this one, by their names.

    Raises:
        AssertionError: One of its commands has failed.
    """
    image, folder = Image(root), "/"
    _lay_out(image)
    for each in stage.instructions:
        if each.name == "RUN":
            _run(image, ["/bin/sh", "-c", each.text], folder=folder, wheels=wheels)
        elif each.name == "COPY":
            _copy(each, others[each.flags["from"]].root if "from" in each.flags else context, image, folder)
        elif each.name == "ENV":
            image.environ.update(each.assignments())
        elif each.name == "WORKDIR":
            folder = each.text
            image.inside(folder).mkdir(parents=True, exist_ok=True)
    return image


def _lay_out(image: Image) -> None:
    for name in ("dev", "proc", "etc", "usr", "opt", "root", "tmp", "wheels"):
        (image.root / name).mkdir(parents=True)
    for name in DEVICES:
        (image.root / "dev" / name).touch()
    for name in _OF_THE_MACHINE:
        if Path("/", name).is_symlink():
            (image.root / name).symlink_to(Path("/", name).readlink())
        elif Path("/", name).is_dir():
            (image.root / name).mkdir()
    # The libraries of the Python below /usr/local are found as everywhere: by the linker's cache.
    (image.root / "etc" / "ld.so.conf").write_text("/usr/local/lib\ninclude /etc/ld.so.conf.d/*.conf\n")
    shutil.copytree("/etc/ld.so.conf.d", image.root / "etc" / "ld.so.conf.d")
    _run(image, ["/sbin/ldconfig"], folder="/", wheels=image.root / "wheels")


def _run(image: Image, command: list[str], *, folder: str, wheels: Path) -> None:
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "HOME": "/root"}
    environ, mounts = image.environ | pip, [(str(wheels), "/wheels", True)]
    process = start(image.root, command, environ=environ, folder=folder, output=subprocess.PIPE, mounts=mounts)
    said, _ = process.communicate()
    assert process.returncode == 0, f"{' '.join(command)} has failed:\n{said.decode()}"


def _copy(instruction: Instruction, source: Path, image: Image, folder: str) -> None:
    *names, target = instruction.words()
    place = image.inside(target, folder)
    for name in names:
        found = source / name.lstrip("/")
        if found.is_dir():
            shutil.copytree(found, place, symlinks=True)
        else:
            into = place / found.name if target.endswith("/") else place
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, into)


class Container:
    """A running image.

    Args:
        stage: Whose it is: its user, its stop signal.
        process: The one that `start` gave.
        environ: What it was started with.
        log: The file that it writes to.
    """

    def __init__(
        self, stage: Stage, process: subprocess.Popen[bytes], *, environ: Mapping[str, str], log: Path
    ) -> None:
        self._stage = stage
        self._process = process
        self._environ = environ
        self._log = log

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def first(self) -> psutil.Process:
        """Its first process, as this machine sees it.

        Raises:
            ValueError: It has ended.
        """
        (child,) = psutil.Process(self._process.pid).children()
        return child

    def execute(self, *command: str, stdin: str = "") -> Done:
        """Run one more command in it, as its user and in its folder, as `docker exec` does."""
        nsenter = program("nsenter", package="util-linux")
        unprivileged = without_privileges(self._stage.user, command)
        done = subprocess.run(
            [nsenter, "--target", str(self.first.pid), *_APART, "--root", "--wd", *unprivileged],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(self._environ),
            timeout=60,
        )
        return Done(done.returncode, done.stdout)

    def stop(self) -> int:
        """Ask it to end, as the engine does, and return its exit code.

        Raises:
            TimeoutExpired: It does not.
        """
        self.first.send_signal(signal.Signals[self._stage.last("STOPSIGNAL").text])
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code; as for any engine, 128 and the signal that has ended it.

        Raises:
            TimeoutExpired: It goes on.
        """
        status = self._process.wait(_STOPPING)
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        """End it at once, if it has not ended: with its first process everybody in it ends."""
        with suppress(psutil.NoSuchProcess, ValueError):
            self.first.kill()
        self._process.wait(_STOPPING)


@contextmanager
def running(
    image: Image,
    stage: Stage,
    *,
    volumes: Mapping[str, Path],
    environ: Mapping[str, str],
    log: Path,
    command: Sequence[str] = (),
    folder: str = "",
) -> Iterator[Container]:
    """Run an image as `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` does.

    Args:
        image: What runs.
        stage: The one that made it: its entry point, command, account and folder.
        volumes: What is mounted, by the folder inside: the only places that can be written to.
        environ: Variables besides the image's own.
        log: Gets what it writes.
        command: In the place of the image's own.
        folder: Where it starts, in the place of the image's own.
    """
    mounts = [(str(source), target, False) for target, source in volumes.items()]
    environ = {**image.environ, **environ}
    with log.open("wb") as output:
        process = start(
            image.root,
            [*stage.last("ENTRYPOINT").words(), *(command or stage.last("CMD").words())],
            environ=environ,
            folder=folder or stage.last("WORKDIR").text,
            output=output.fileno(),
            user=stage.user,
            mounts=mounts,
            read_only=True,
        )
    container = Container(stage, process, environ=environ, log=log)
    try:
        yield container
    finally:
        container.kill()
