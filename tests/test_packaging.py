"""What is published holds what it should and nothing else; the pins agree; no text belongs to one machine."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SHIPPED_SUFFIXES = {".py", ".sql", ".typed"}
CONSTRAINTS = {name: ROOT / "constraints" / f"{name}.txt" for name in ("build", "serve", "run", "test", "dev")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend itself: no network, no other environment."""
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def sources() -> set[str]:
    """Every file of the package that users need, as files in the tree say it."""
    files = (path for path in (ROOT / "asgi_apikey").rglob("*") if path.suffix in SHIPPED_SUFFIXES)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, `py.typed` and every SQL file; no test, no cache, no stray file of the folder."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert "asgi_apikey/py.typed" in shipped
    assert shipped == sources()


def test_the_wheel_fits_every_platform(wheel: Path) -> None:
    """Pure Python: one wheel for all."""
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_carries_its_licence_and_its_command(wheel: Path) -> None:
    """The licence travels along, and installing gives the `asgi-apikey` command."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.partition(".dist-info/")[2]: archive.read(name).decode() for name in archive.namelist()}

    assert "asgi-apikey contributors" in inside["licenses/LICENSE"]
    assert inside["entry_points.txt"].split() == ["[console_scripts]", "asgi-apikey", "=", "asgi_apikey.cli:main"]


def test_the_metadata_says_what_a_user_needs_to_know(metadata: Message) -> None:
    """Name, one version, Python floor, licence, and the README as the long description."""
    assert metadata["Name"] == "asgi-apikey"
    assert metadata["Version"] == PROJECT["project"]["version"] == version("asgi-apikey")
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_core_needs_three_libraries(metadata: Message) -> None:
    """Whoever installs no extra gets argon2-cffi, anyio and cachetools, whatever they bring, and nothing more."""
    needs = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

    assert {need.name for need in needs if need.marker is None} == {"anyio", "argon2-cffi", "cachetools"}


def test_the_extra_all_is_all_extras_but_frameworks() -> None:
    """A new extra joins `all`, unless it is a framework, of which everybody has one."""
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = (Requirement(line) for line in extras["all"])
    bridges = {path.stem for path in (ROOT / "asgi_apikey" / "contrib").glob("*.py")}

    assert everything.name == "asgi-apikey"
    assert everything.extras == set(extras) - {"all"} - bridges


def declared() -> Iterator[tuple[str, Requirement]]:
    """Every dependency written in pyproject.toml, with the table it stands in."""
    tables: dict[str, list[Any]] = {
        "build-system": PROJECT["build-system"]["requires"],
        "core": PROJECT["project"]["dependencies"],
        **PROJECT["project"]["optional-dependencies"],
        **PROJECT["dependency-groups"],
    }
    for table, lines in tables.items():
        for line in lines:
            if isinstance(line, str):
                yield table, Requirement(line)


def test_every_dependency_has_a_floor_and_no_ceiling() -> None:
    """Floors say what works; a ceiling in a library locks its users out of their own updates."""
    loose = [
        f"{table}: {need}"
        for table, need in declared()
        if need.name != "asgi-apikey" and [each.operator for each in need.specifier] != [">="]
    ]

    assert loose == []


def pins(path: Path) -> dict[str, set[str]]:
    """The versions that a constraints file pins, by name; more than one where platforms differ."""
    found: dict[str, set[str]] = {}
    for name, pinned in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([\w.!+]+)", path.read_text(encoding="utf-8"), re.M):
        found.setdefault(canonicalize_name(name), set()).add(pinned)
    return found


@pytest.mark.parametrize("path", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_every_pin_has_hashes_and_no_address(path: Path) -> None:
    """Each line names a version and its hashes; where it comes from is the business of whoever installs."""
    text = path.read_text(encoding="utf-8")
    entries = re.split(r"^(?=[\w.-]+(?:\[|==))", text, flags=re.M)[1:]

    assert len(entries) >= len(pins(path)) > 0
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert re.findall(r"^-.*", text, re.M) == []


@pytest.mark.parametrize("smaller", ["build", "serve", "run", "test"])
def test_the_lists_of_pins_agree(smaller: str) -> None:
    """One environment serves them all, so installing one never undoes another; the image runs what was tested."""
    part, whole = pins(CONSTRAINTS[smaller]), pins(CONSTRAINTS["dev"])

    assert {name: versions for name, versions in part.items() if not versions <= whole.get(name, set())} == {}


def test_the_pins_cover_what_is_declared() -> None:
    """A dependency added to pyproject.toml without `make pins` is noticed here."""
    pinned = pins(CONSTRAINTS["dev"])

    absent = [
        f"{table}: {need}"
        for table, need in declared()
        if need.name != "asgi-apikey"
        and not any(need.specifier.contains(each) for each in pinned.get(canonicalize_name(need.name), ()))
    ]

    assert absent == []


def test_the_source_archive_can_be_built_and_tested(tmp_path: Path) -> None:
    """It holds the package, its tests and the two commands, and nothing that tools left behind."""
    archive_path = next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))

    with tarfile.open(archive_path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}

    assert sources() <= inside
    assert {"Makefile", "LICENSE", "README.md", "constraints/test.txt", "tests/conftest.py", ".ci/run"} <= inside
    assert [name for name in inside if "__pycache__" in name or name.startswith(".venv") or name.endswith(".db")] == []


# Patterns that do not match themselves, so that this file needs no exception.
FOREIGN_TEXT = {
    "a path of one machine": r"/(?:work|root|farm)/[a-z]",
    "a package registry's host": r"(?:py(?:pi|thonhosted)|npm(?:js))\.(?:org|com)|(?:deb|security)\.(?:debian)\.",
    "a published default secret": r"super-secret-(?:pepper)",
    "a private key": r"-----BEGIN [A-Z ]*(?:PRIVATE) KEY",
}


def project_texts() -> Iterator[tuple[str, str]]:
    """Every text file that belongs to the project, by relative path."""
    folders = [ROOT / name for name in ("asgi_apikey", "tests", "benchmarks", "docs", "constraints", ".ci")]
    names = ("*.md", "*.toml", "Makefile", "LICENSE", ".gitignore", ".editorconfig")
    files = [path for name in names for path in ROOT.glob(name)]
    files += [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    for path in files:
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield path.relative_to(ROOT).as_posix(), content.decode("utf-8", errors="replace")


@pytest.mark.parametrize("pattern", FOREIGN_TEXT.values(), ids=FOREIGN_TEXT)
def test_no_text_of_the_project_belongs_elsewhere(pattern: str) -> None:
    """Neither one machine's paths nor a registry's address nor a secret stands in any file."""
    found = [f"{name}: {hit[0]}" for name, text in project_texts() for hit in re.finditer(pattern, text)]

    assert found == []
