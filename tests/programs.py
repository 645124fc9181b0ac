"""Programs that only the machine's packages bring: PgBouncer and the like. Tests that need one are marked `hosts`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.servers import ServerMissing

# Debian keeps servers where only root's PATH looks.
_FOR_ROOT = ("/usr/local/sbin", "/usr/sbin")


def program(name: str, *, package: str) -> Path:
    """Return where a program is.

    Args:
        name: What it is called.
        package: The Debian package that brings it.

    Raises:
        ServerMissing: Nowhere. Not a reason to skip: whoever runs these tests has asked for them.
    """
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_FOR_ROOT)))
    if found is None:
        raise ServerMissing(f"no {name} on this machine: apt-get install {package}")
    return Path(found)
