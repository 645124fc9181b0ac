"""Programs that the pages call and a test must not: what they answer is checked against the project instead.

    python -m tests.docs.stand_ins <program> <arguments>

`pip` and `make` check that the extras and targets they are given exist. `curl` sends the request to the test's own
server, wherever the page says it is: a page says port 8000, where somebody else may listen.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.docs.pages import ROOT


def pip(arguments: Sequence[str]) -> int:
    """Check that every extra of ours exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {extra for each in arguments for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*)\]", each)))}
    return _complain("extra", asked - set(project["optional-dependencies"]))


def make(arguments: Sequence[str]) -> int:
    """Check that every target exists."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return _complain("target", {each for each in arguments if "=" not in each} - set(targets))


def curl(arguments: Sequence[str]) -> int:
    """Send one GET request and print the answer."""
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("--retry", type=int)
    parser.add_argument("--retry-connrefused", action="store_true")
    parser.add_argument("url")
    parser.add_argument("-i", "--include", action="store_true")
    parser.add_argument("-H", "--header", action="append", default=[])
    options = parser.parse_args(arguments)
    path = options.url.removeprefix("http://127.0.0.1:8000")
    headers = dict(_with_key(each).split(": ", 1) for each in options.header)
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["STAGE_PORT"]), timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    if options.include:
        print(f"HTTP/1.1 {response.status} {response.reason}")
        print("\n".join(f"{name.lower()}: {value}" for name, value in response.getheaders()), end="\n\n")
    print(response.read().decode())
    return 0


def _with_key(header: str) -> str:
    """Do what a reader does with `ak_live_…`: put in the key that was printed last."""
    if "…" not in header:
        return header
    printed = Path(os.environ["STAGE_PRINTED"]).read_text(encoding="utf-8")
    return re.sub(r"ak_live_…", re.findall(r"ak_live_\w+", printed)[-1], header)


def _complain(kind: str, unknown: set[str]) -> int:
    for each in sorted(unknown):
        print(f"there is no {kind} {each!r}", file=sys.stderr)
    return len(unknown)


PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {"curl": curl, "make": make, "pip": pip}

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
