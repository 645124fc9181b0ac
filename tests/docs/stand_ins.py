"""Programs that the pages call and a test must not: what they answer is checked against the project instead.

    python -m tests.docs.stand_ins <program> <arguments>

`pip` and `make` check that the extras and targets they are given exist. `curl` sends the request to the test's own
server, wherever the page says it is: a page says port 8000, or 8002, where somebody else may listen.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.docs.pages import ROOT

_TRIES_A_SECOND = 5


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
    """Send one request and print the answer."""
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("--retry-connrefused", action="store_true")
    parser.add_argument("url")
    parser.add_argument("-i", "--include", action="store_true")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-X", "--request")
    parser.add_argument("--json")
    parser.add_argument("-H", "--header", action="append", default=[])
    options = parser.parse_args(arguments)
    headers = dict(_with_key(each).split(": ", 1) for each in options.header)
    if options.json is not None:
        headers["Content-Type"] = "application/json"
    method = options.request or ("GET" if options.json is None else "POST")
    response = _answer(options.url, method, options.json, headers, retries=options.retry)
    if options.include:
        print(f"HTTP/1.1 {response.status} {response.reason}")
        print("\n".join(f"{name.lower()}: {value}" for name, value in response.getheaders()), end="\n\n")
    print(response.read().decode())
    return 0


def _answer(
    url: str, method: str, body: str | None, headers: dict[str, str], *, retries: int
) -> http.client.HTTPResponse:
    """Send a request, again after a while where nobody listens yet."""
    path, port = url, ""
    for shown, served in (("http://127.0.0.1:8000", "STAGE_PORT"), ("http://127.0.0.1:8002", "STAGE_SERVICE_PORT")):
        if url.startswith(shown):
            path, port = url.removeprefix(shown), os.environ[served]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    _connect(connection, tries=1 + retries * _TRIES_A_SECOND)
    connection.request(method, path, body, headers)
    return connection.getresponse()


def _connect(connection: http.client.HTTPConnection, *, tries: int) -> None:
    for left in reversed(range(tries)):
        try:
            connection.connect()
            return
        except ConnectionRefusedError:
            if not left:
                raise
            time.sleep(1 / _TRIES_A_SECOND)


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
