"""A folder, a shell and a Python namespace in which the blocks of one page are run, top to bottom."""

from __future__ import annotations

import ast
import inspect
import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from asgi_apikey import APIKeys
from tests.docs.pages import ROOT, Block
from tests.servers import free_port

_PATIENCE: Final = 60.0
_END = "\x1e"
_SHOWN = re.compile(r"  # -> (.+)$")

# What the shell may hand on to the Python blocks: it is the page's own business what else is in there.
_EXPORTED = re.compile(r"ASGI_APIKEY_\w+|NEW_\w+")


class Stage:
    """Runs the blocks of one page, which may build on each other.

    * `python title="app.py"` is saved under that name, and executed by itself; later blocks may import it.
    * `python` runs in one namespace for the whole page; it may await. A line that ends in `# -> value` is compared.
    * `sh` is sourced by one shell for the whole page; every command must succeed.
    * `console` shows commands after `$ `, and lines that they print, in that order; `…` stands for anything. A command
      without shown lines must succeed.

    Args:
        folder: Empty; becomes the working directory of everything.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, object] = {"__name__": "page"}
        self._keys: dict[int, APIKeys] = {}
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._saved: set[str] = set()
        self._shell: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._before = dict(os.environ), Path.cwd()
        os.chdir(self._folder)
        sys.path.insert(0, str(self._folder))
        for name in [name for name in os.environ if _EXPORTED.fullmatch(name)]:
            del os.environ[name]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        environ, folder = self._before
        os.chdir(folder)
        sys.path.remove(str(self._folder))
        for name in self._saved:
            sys.modules.pop(name, None)
        os.environ.clear()
        os.environ.update(environ)
        self._listening.close()
        if self._shell is not None:
            self._end(self._shell)

    async def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            AssertionError: It does not do what the page says.
        """
        if block.language == "python" and block.title:
            self._save(block)
        elif block.language == "python":
            await self._python(block)
        elif block.language == "sh":
            self._commands(block.text, where=f"{block.page}:{block.line}")
        elif block.language == "console":
            self._session(block)

    async def close(self) -> None:
        """Close every `APIKeys` that the page has made."""
        for keys in self._keys.values():
            await keys.close()

    def _save(self, block: Block) -> None:
        path = self._folder / block.title
        path.write_text(block.text, encoding="utf-8")
        self._saved.add(path.stem)
        self._remember(runpy.run_path(str(path)))

    async def _python(self, block: Block) -> None:
        tree = ast.parse(block.text)
        lines = block.text.splitlines()
        for number, statement in enumerate(tree.body):
            told = _SHOWN.search(lines[statement.end_lineno - 1]) if statement.end_lineno else None
            if isinstance(statement, ast.Expr) and told:
                tree.body[number] = ast.copy_location(_assignment(statement.value), statement)
        ast.fix_missing_locations(tree)
        for statement in tree.body:
            await self._execute(statement, block, lines)

    async def _execute(self, statement: ast.stmt, block: Block, lines: list[str]) -> None:
        # Statement by statement, so that a value is compared before the next one changes it.
        where = f"{block.page}:{block.line + statement.lineno - 1}"
        code = compile(ast.Module([statement], []), where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        outcome = eval(code, self._names)
        if inspect.isawaitable(outcome):
            await outcome
        self._remember(self._names)
        if "__shown__" in self._names and statement.end_lineno:
            told = _SHOWN.search(lines[statement.end_lineno - 1])
            assert told
            assert repr(self._names.pop("__shown__")) == told[1], where

    def _remember(self, names: dict[str, object]) -> None:
        self._keys |= {id(value): value for value in names.values() if isinstance(value, APIKeys)}

    def _session(self, block: Block) -> None:
        where = f"{block.page}:{block.line}"
        for command, *shown in (each.splitlines() for each in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]):
            printed = self._commands(command, where=where, may_fail=bool(shown))
            _check_in_order(shown, printed, where=f"{where}: {command}")

    def _commands(self, text: str, *, where: str, may_fail: bool = False) -> str:
        """Source some commands and return what they have printed, on both streams."""
        shell = self._shell or self._started()
        script = self._folder / ".commands"
        script.write_text(text + "\n", encoding="utf-8")
        assert shell.stdin is not None
        source = f". {script} < /dev/null{' || true' if may_fail else ''}"
        shell.stdin.write(f"{source}\nenv -0 > .environ\nprintf '{_END}\\n'\n")
        shell.stdin.flush()
        printed = self._read(shell)
        assert printed.endswith(_END + "\n"), f"{where} failed:\n{printed}{self._server_log()}"
        self._take_over_environment()
        return printed.removesuffix(_END + "\n")

    def _read(self, shell: subprocess.Popen[str]) -> str:
        assert shell.stdout is not None
        watchdog = threading.Timer(_PATIENCE, lambda: os.killpg(shell.pid, signal.SIGKILL))
        watchdog.start()
        try:
            lines = []
            for line in shell.stdout:
                lines.append(line)
                if line.endswith(_END + "\n"):
                    break
            return "".join(lines)
        finally:
            watchdog.cancel()

    def _started(self) -> subprocess.Popen[str]:
        programs = self._folder / ".programs"
        programs.mkdir()
        python, printed = shlex.quote(sys.executable), shlex.quote(str(self._folder / ".printed"))
        stand_ins = {name: f'exec {python} -m tests.docs.stand_ins {name} "$@"' for name in ("curl", "make", "pip")}
        serve = f'{python} -m uvicorn "$@" --fd {self._listening.fileno()} --no-use-colors >> .server.log 2>&1'
        # A page names the service's usual port, too.
        moved = '"${@/127.0.0.1:8002/127.0.0.1:$STAGE_SERVICE_PORT}"'
        command = f"{python} -m asgi_apikey {moved}"
        # What a page serves without naming a port is served on one that is free here.
        run_service = f'exec {command} --port "$STAGE_SERVICE_PORT" >> .server.log 2>&1'
        # Not through a pipe where it is not needed: what is told on both streams stays in its order.
        keep_keys = (
            f'case "$1" in issue) {command} | tee -a {printed};; serve) {run_service};; *) exec {command};; esac'
        )
        ours = {"uvicorn": f"exec {serve}", "asgi-apikey": keep_keys}
        for name, command in (stand_ins | ours).items():
            (programs / name).write_text(f"#!/bin/bash\nset -o pipefail\n{command}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        self._shell = subprocess.Popen(
            ["bash", "--norc", "-e", "-u", "-o", "pipefail"],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[self._listening.fileno()],
            start_new_session=True,
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "STAGE_PORT": str(self._listening.getsockname()[1]),
                "STAGE_SERVICE_PORT": str(free_port()),
                "STAGE_PRINTED": str(self._folder / ".printed"),
            },
        )
        return self._shell

    def _take_over_environment(self) -> None:
        given = (self._folder / ".environ").read_bytes().decode().split("\0")
        exported = dict(each.split("=", 1) for each in given if "=" in each)
        os.environ.update({name: value for name, value in exported.items() if _EXPORTED.fullmatch(name)})

    def _server_log(self) -> str:
        log = self._folder / ".server.log"
        return log.read_text(encoding="utf-8") if log.exists() else ""

    def _end(self, shell: subprocess.Popen[str]) -> None:
        """End the shell and every server it has started: they are all of its session."""
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
        shell.communicate(timeout=_PATIENCE)


def _assignment(value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name("__shown__", ast.Store())], value)


def _check_in_order(shown: list[str], printed: str, *, where: str) -> None:
    """Check that the shown lines are among the printed ones, in that order."""
    rest = iter(printed.splitlines())
    for line in shown:
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        assert any(pattern.fullmatch(each) for each in rest), f"{where}\ndoes not show {line!r} in:\n{printed}"
