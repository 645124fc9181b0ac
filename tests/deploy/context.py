"""What `.dockerignore` lets a build see. Of its language, only what ours is written in."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from tests.deploy.files import DOCKERFILE, ROOT

_IGNORE = DOCKERFILE.with_name("Dockerfile.dockerignore")


def _lines() -> list[str]:
    lines = [line.strip() for line in _IGNORE.read_text(encoding="utf-8").splitlines()]
    nothing, *rest = [line for line in lines if line and not line.startswith("#")]
    assert nothing == "*", "first everything is left out"
    assert all(line.startswith(("!", "**/")) for line in rest)
    return rest


def allowed() -> list[str]:
    """What is let in."""
    return [line[1:] for line in _lines() if line.startswith("!")]


def excluded(path: str) -> bool:
    """Whether a file is left out all the same, because of its name or of the name of a folder around it."""
    patterns = [line.removeprefix("**/") for line in _lines() if line.startswith("**/")]
    return any(fnmatch(part, pattern) for part in PurePosixPath(path).parts for pattern in patterns)


def copy(target: Path) -> None:
    """Make a copy of the working tree as a build sees it."""
    for name in allowed():
        source = ROOT / name
        for each in [source] if source.is_file() else source.rglob("*"):
            path = each.relative_to(ROOT)
            if each.is_file() and not excluded(path.as_posix()):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(each, target / path)
