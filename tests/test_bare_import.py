"""The core works where only the core's own dependencies are installed, and loads nothing it does not need.

Both halves matter. A tree that holds only the core finds a hard import of an optional library; a full environment
finds the polite one (`try: import redis`), which the first cannot see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackagePath, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.extras import ONE_MODULE, OPTIONAL, is_within

ROOT = Path(__file__).parent.parent
CORE = ("anyio", "argon2-cffi", "cachetools")
NOT_OURS_TO_LOAD = frozenset(
    {*OPTIONAL, "asyncpg", "databases", "fastapi", "jwt", "limits", "litestar", "msgspec", "opentelemetry"}
    | {"prometheus_client", "pydantic", "quart", "redis", "sqlalchemy", "starlette", "trio", "uvicorn", "uvloop"}
)

IMPORT_AND_LIST = """
import importlib, json, sys
sys.path[:0] = {paths!r}
for name in {modules!r}:
    importlib.import_module(name)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""

# Importing any module of a package imports the package first, and here that is most of the work: done once, then one
# process is forked for each module.
IMPORT_EACH_ALONE = """
import importlib, json, os, sys, traceback
sys.path[:0] = {paths!r}
import asgi_apikey
failures = {{}}
for name in {modules!r}:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
            told = ""
        except BaseException:
            told = traceback.format_exc()
        os.write(writer, told[-4000:].encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        failures[name] = pipe.read()
    if os.waitpid(child, 0)[1]:
        failures[name] += "it did not end in order"
print(json.dumps({{name: told for name, told in failures.items() if told}}))
"""


def dotted(source: Path) -> str:
    """The module name of a source file of the package."""
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EVERY_MODULE = sorted(dotted(source) for source in (ROOT / "asgi_apikey").rglob("*.py"))
BEHIND_AN_EXTRA = {
    # The command line's own package answers without click: it says what to install.
    module: library
    for library, plug in OPTIONAL.items()
    for module in EVERY_MODULE
    if is_within(module, plug) and module != "asgi_apikey.cli"
}
CORE_MODULES = [module for module in EVERY_MODULE if module not in BEHIND_AN_EXTRA and not module.endswith("__main__")]


def interpreter(
    flags: Iterable[str], paths: Iterable[Path], modules: Iterable[str], *, script: str = IMPORT_AND_LIST
) -> subprocess.CompletedProcess[str]:
    """Import modules in a new interpreter that also searches `paths`; it prints the top-level names it then holds."""
    written = script.format(paths=[str(path) for path in paths], modules=list(modules))
    return subprocess.run(
        [sys.executable, *flags, "-c", written], capture_output=True, text=True, timeout=120, check=False
    )


def failures_of(core_only: Path, modules: Iterable[str]) -> dict[str, str]:
    """The modules that cannot be imported, each as the first beside the package itself, and how they fail."""
    outcome = interpreter(["-I", "-S"], [ROOT, core_only], modules, script=IMPORT_EACH_ALONE)
    assert outcome.returncode == 0, outcome.stderr
    failures: dict[str, str] = json.loads(outcome.stdout)
    return failures


def with_dependencies(names: Iterable[str]) -> set[str]:
    """The named distributions and all that they require here, without any extra."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        needs = [Requirement(line) for line in distribution(name).requires or ()]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def top_level(files: Iterable[PackagePath]) -> set[str]:
    """First path segments of a distribution's files that lie in site-packages itself."""
    return {file.parts[0] for file in files} - {"..", "__pycache__"}


@pytest.fixture(scope="module")
def core_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from that holds the core's dependencies and nothing else."""
    folder = tmp_path_factory.mktemp("core_only")
    for name in with_dependencies(CORE):
        installed = distribution(name)
        for entry in top_level(installed.files or ()):
            (folder / entry).symlink_to(Path(str(installed.locate_file(entry))))
    return folder


def test_every_core_module_imports_without_any_extra(core_only: Path) -> None:
    """`pip install asgi-apikey` alone is enough to import each, first of all modules."""
    assert failures_of(core_only, CORE_MODULES) == {}


def test_a_module_behind_an_extra_lacks_nothing_but_its_library(core_only: Path) -> None:
    """Without the extra such a module imports, or says which library is missing: its own, not another one's."""
    failures = failures_of(core_only, BEHIND_AN_EXTRA)

    assert failures, "no library of an extra is missing here, so nothing was tested"
    assert {
        module: told for module, told in failures.items() if f"No module named '{BEHIND_AN_EXTRA[module]}'" not in told
    } == {}


def test_the_core_loads_no_optional_library_even_where_all_are_installed() -> None:
    """Importing every module of the core touches none of them: no `try: import`, no hidden speed-up."""
    outcome = interpreter(["-I"], [ROOT], CORE_MODULES)

    assert outcome.returncode == 0, outcome.stderr
    assert NOT_OURS_TO_LOAD.intersection(json.loads(outcome.stdout)) == set()


def test_importing_the_package_is_light() -> None:
    """`import asgi_apikey` leaves every library that has one module alone, argon2 of the core included."""
    outcome = interpreter(["-I"], [ROOT], ["asgi_apikey"])

    assert outcome.returncode == 0, outcome.stderr
    assert set(ONE_MODULE).intersection(json.loads(outcome.stdout)) == set()
