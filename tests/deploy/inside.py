"""Turn this process into the first one of a container: `python inside.py SPECIFICATION FD`, in namespaces of its own.

The specification is a JSON object: `root` (a folder), `mounts` ([source, target inside, read-only]), `read_only` (the
root itself), `user` (number, or null for root), `folder`, `environ`, `command`. A byte goes to FD when it is done.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

DEVICES: Final = ("null", "zero", "random", "urandom")
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


def mount(*arguments: str) -> None:
    """Mount something, by the program of that name: it knows what the system call wants."""
    subprocess.run(["mount", *arguments], check=True)


def mount_all(specification: dict[str, Any]) -> None:
    """Put the machine's programs, devices and the mounts below the root."""
    root: str = specification["root"]
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    for source, target, read_only in specification["mounts"]:
        place = f"{root}{target}"
        mount("--bind", source, place)
        if read_only:
            mount("-o", "remount,bind,ro", place)
    for name in DEVICES:
        mount("--bind", f"/dev/{name}", f"{root}/dev/{name}")
    mount("-t", "proc", "proc", f"{root}/proc")
    if specification["read_only"]:
        mount("-o", "remount,bind,ro", root)


def bring_loopback_up() -> None:
    """A network namespace starts with a loopback interface that is down, and with no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def without_privileges(user: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs another one as this user: no capability, and no way to any."""
    account = ["--reuid", str(user), "--regid", str(user), "--clear-groups", "--pdeathsig", "KILL"]
    return ["/usr/bin/setpriv", *account, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--", *command]


def main() -> None:
    """Mount, enter, and become the command."""
    specification, ready = json.loads(sys.argv[1]), int(sys.argv[2])
    bring_loopback_up()
    mount_all(specification)
    os.chroot(specification["root"])
    os.chdir(specification["folder"])
    command: list[str] = specification["command"]
    if specification["user"] is not None:
        command = without_privileges(specification["user"], command)
    os.write(ready, b".")
    os.set_inheritable(ready, False)
    os.execvpe(command[0], command, specification["environ"])


if __name__ == "__main__":
    main()
