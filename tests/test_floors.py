"""The floors of the architecture hold, and the contracts that say so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.extras import ONE_MODULE, is_within

ROOT = Path(__file__).parent.parent


def lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the `pyproject.toml` in `project` on the package beside it."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]
    return subprocess.run(
        [*command, "--no-cache", "--no-logo"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to break."""
    shutil.copytree(ROOT / "asgi_apikey", tmp_path / "asgi_apikey", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def append(module: Path, line: str) -> None:
    """Add one line to a module, which may be new."""
    with module.open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")


def test_every_contract_is_kept() -> None:
    """Imports only point down, no package holds a cycle, vocabulary and rules are pure."""
    outcome = lint_imports(ROOT)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("models.py", "import asgi_apikey.usage", "asgi_apikey.models is not allowed to import asgi_apikey.usage"),
        ("errors.py", "def late():\n    import asgi_apikey.models", "asgi_apikey.errors is not allowed"),
        ("usage.py", "import asgi_apikey.caches", "asgi_apikey.usage is not allowed to import asgi_apikey.caches"),
        ("caches/__init__.py", "import asgi_apikey.invalidation", "asgi_apikey.caches is not allowed"),
        ("policy.py", "import time", "asgi_apikey.policy is not allowed to import time"),
        ("nowhere.py", "", "- asgi_apikey.nowhere"),
    ],
    ids=["upward", "upward in a function", "service to plug", "plug to plug", "a rule with a clock", "without a floor"],
)
def test_a_breach_is_found(project: Path, module: str, line: str, complaint: str) -> None:
    """One wrong import, or a module that nobody gave a floor, breaks the check and is named."""
    append(project / "asgi_apikey" / module, line)

    outcome = lint_imports(project)

    assert outcome.returncode == 1
    assert complaint in " ".join(outcome.stdout.split())


def test_a_detour_through_the_public_names_is_found(project: Path) -> None:
    """A lower module that imports `asgi_apikey` itself reaches everything the package root imports."""
    append(project / "asgi_apikey" / "__init__.py", "import asgi_apikey.usage")
    append(project / "asgi_apikey" / "models.py", "from asgi_apikey import Usage")

    outcome = lint_imports(project)

    assert outcome.returncode == 1
    assert "asgi_apikey.models is not allowed to import" in " ".join(outcome.stdout.split())


def test_a_cycle_inside_a_package_is_found(project: Path) -> None:
    """Siblings of one package do not import each other in a circle."""
    append(project / "asgi_apikey" / "caches" / "one.py", "import asgi_apikey.caches.two")
    append(project / "asgi_apikey" / "caches" / "two.py", "import asgi_apikey.caches.one")

    outcome = lint_imports(project)

    assert outcome.returncode == 1
    assert "No package holds a cycle BROKEN" in " ".join(outcome.stdout.split())


def test_one_module_imports_each_library() -> None:
    """Beside the standard library and the core's everyday libraries, a library has one module that imports it."""
    # trio is no dependency: code that finds itself run by trio may ask it; test_bare_import sees that nothing loads it.
    graph = grimp.build_graph("asgi_apikey", include_external_packages=True, cache_dir=None)
    everyday = {"anyio", "cachetools", "trio", *sys.stdlib_module_names}
    outside = {name for name in graph.modules if graph.is_module_squashed(name)} - everyday

    breaches = {
        f"{importer} imports {library}"
        for library in outside
        for importer in graph.find_modules_that_directly_import(library)
        if not is_within(importer, ONE_MODULE.get(library))
    }

    assert breaches == set()
