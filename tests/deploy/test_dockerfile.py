"""The Dockerfile is well written, and keeps what docs/howto/container.md promises of the image."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.context import allowed, excluded
from tests.deploy.dockerfile import Stage, instructions, stages
from tests.deploy.files import DOCKERFILE, ROOT

TEXT = DOCKERFILE.read_text(encoding="utf-8")
BUILD, SERVE = stages(TEXT)


def lint(text: str) -> str:
    """Return what hadolint says about a Dockerfile."""
    program = Path(sys.executable).with_name("hadolint")
    command = [program, "--no-color", "--failure-threshold", "style", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout


def test_the_linter_has_nothing_to_say() -> None:
    """Not even about style."""
    assert lint(TEXT) == ""


def test_the_linter_would_have_something_to_say() -> None:
    """It does run, and does read what it is given."""
    assert "DL3006" in lint("FROM python\n")


def test_both_stages_start_from_one_slim_release_of_python() -> None:
    """By its full tag, so that a build of next year is not another Python; one that this package supports."""
    assert BUILD.base == SERVE.base
    assert re.fullmatch(r"python:3\.1[1-4]\.\d+-slim-[a-z]+", SERVE.base)


def test_it_runs_as_a_number_that_is_not_root() -> None:
    """So `runAsNonRoot` can be checked without a look at the image's accounts."""
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", SERVE.last("USER").text)


def test_only_the_store_s_folder_belongs_to_the_account() -> None:
    """What is copied belongs to root, and the one folder that is made is the volume that SQLite lives in."""
    (made,) = SERVE.all("RUN")

    assert [each.flags.get("chown") for each in SERVE.all("COPY")] == [None, None]
    assert made.words()[-1] == "/data"
    assert SERVE.last("VOLUME").words() == ["/data"]
    assert SERVE.last("WORKDIR").text == "/data"


def test_everything_is_installed_by_hash() -> None:
    """From the lists that `make pins` writes, or from what the build itself has made of our code."""
    runs = " && ".join(each.text for each in BUILD.all("RUN"))
    installs = [command for command in re.split(r" && ", runs) if " install " in command or "pip wheel" in command]

    assert len(installs) == 4
    for command in installs:
        assert ("--require-hashes" in command) != ("--no-deps" in command)


@pytest.mark.parametrize("tool", ["curl", "wget", "apt-get", "pip install --upgrade"])
def test_it_needs_no_other_programs(tool: str) -> None:
    """Neither to build nor to be asked for its health."""
    assert all(tool not in each.text for each in instructions(TEXT))


def test_its_health_is_asked_for_by_its_own_python() -> None:
    """With the program that is copied in, isolated from the environment and from the current folder."""
    copied = SERVE.all("COPY")[-1].words()

    assert SERVE.health_check() == ["python", "-I", copied[-1]]
    assert (ROOT / copied[0]).is_file()


def test_programs_are_named_without_a_shell() -> None:
    """A shell in between would be the first process, and would not pass the signal to stop on."""
    assert SERVE.last("ENTRYPOINT").words() == ["asgi-apikey"]
    assert SERVE.last("CMD").words() == ["serve"]
    assert SERVE.last("STOPSIGNAL").text == "SIGTERM"


def test_no_secret_is_part_of_the_image() -> None:
    """Neither as an argument of the build nor in the environment; whoever has the image has nothing but our code."""
    names = {name for stage in (BUILD, SERVE) for name in stage.environment()}
    names |= {each.text.partition("=")[0] for stage in (BUILD, SERVE) for each in stage.all("ARG")}

    assert [name for name in names if re.search("PEPPER|SECRET|PASSWORD|KEY$|TOKEN", name)] == []


def test_the_store_is_not_chosen_by_the_image() -> None:
    """Variables go before files: a URL in the image would win over the one in a file of secrets, without a word."""
    assert "ASGI_APIKEY_URL" not in SERVE.environment()


def test_it_neither_writes_bytecode_nor_keeps_its_log_back() -> None:
    """The root is read-only, and a line that is still in a buffer is lost when the container is."""
    environ = SERVE.environment()

    assert environ["PYTHONDONTWRITEBYTECODE"] == environ["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize("name", ["title", "description", "licenses", "version", "revision"])
def test_the_image_says_what_it_is(name: str) -> None:
    """By the names that OCI gives to labels."""
    labels = {name: value for each in SERVE.all("LABEL") for name, value in each.assignments().items()}

    assert labels[f"org.opencontainers.image.{name}"]


def copied_from_the_context(stage: Stage) -> list[str]:
    """Return what a stage copies from the working tree."""
    return [name for each in stage.all("COPY") if "from" not in each.flags for name in each.words()[:-1]]


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    """No history, no `.env`, no database of somebody trying things out can get into a layer."""
    assert sorted(copied_from_the_context(BUILD) + copied_from_the_context(SERVE)) == sorted(allowed())


@pytest.mark.parametrize("path", ["asgi_apikey/keys.db", "asgi_apikey/cli/keys.db-wal", "asgi_apikey/.env"])
def test_what_lies_about_in_the_package_is_not_seen(path: str) -> None:
    """Secrets and databases, wherever they lie."""
    assert excluded(path)
