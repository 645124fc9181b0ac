"""Every instruction of the Dockerfile works, and what it makes runs: unprivileged, on a read-only root, as process 1.

These run as root, in containers that `engine` makes: `make test-hosts`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import ask, context
from tests.deploy.dockerfile import stages
from tests.deploy.engine import Container, Done, Image, build, running
from tests.deploy.files import DOCKERFILE, ROOT, compose

pytestmark = pytest.mark.hosts

BUILD, SERVE = stages(DOCKERFILE.read_text(encoding="utf-8"))
PEPPER = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

# Outside of a container's limit of 512 MB there is nobody to give more.
_MOST_MEMORY = 160 * 2**20
_STARTING = 30.0


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build installs, downloaded and checked by the very lists that it installs from."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("build", "serve"):
        pins = ROOT / "constraints" / f"{name}.txt"
        options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, "--requirement", pins], check=True)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Image]:
    """Both stages, built."""
    folder = tmp_path_factory.mktemp("image")
    context.copy(folder / "context")
    images: dict[str, Image] = {}
    for stage in (BUILD, SERVE):
        images[stage.name] = build(stage, folder / stage.name, context=folder / "context", wheels=wheels, others=images)
    yield images[SERVE.name]
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Path:
    """A new volume: as the image has its folder, contents, owner and mode."""
    (target,) = SERVE.last("VOLUME").words()
    made, folder = image.inside(target), tmp_path_factory.mktemp("volume") / "data"
    shutil.copytree(made, folder)
    os.chown(folder, made.stat().st_uid, made.stat().st_gid)
    folder.chmod(made.stat().st_mode)
    return folder


@pytest.fixture(scope="module")
def container(image: Image, volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The service, started by the image's own command and waited for by its own health check."""
    log = tmp_path_factory.mktemp("log") / "log"
    with started(image, volume, log) as container:
        yield container


def started(image: Image, volume: Path, log: Path) -> Any:
    """Return a context in which the service runs on this volume."""
    return running(image, SERVE, volumes={"/data": volume}, environ={"ASGI_APIKEY_PEPPER": PEPPER}, log=log)


def first_key(container: Container) -> str:
    """Make the first key as the page says: by the command, beside the service."""
    done = container.execute("asgi-apikey", "issue", "--owner", "admin", "--scope", "apikeys:*", "--quiet")
    assert done.status == 0, done.said
    return done.said.strip().splitlines()[-1]


def wait_for_health(container: Container) -> Done:
    """Ask for its health, as the engine does, until it is well; return the last answer."""
    wait_for(lambda: container.execute(*SERVE.health_check()).status == 0)
    return container.execute(*SERVE.health_check())


def wait_for(fact: Callable[[], bool]) -> None:
    """Return when something is so, or when it has been waited for long enough."""
    give_up = time.monotonic() + _STARTING
    while not fact() and time.monotonic() < give_up:
        time.sleep(0.1)


def send(container: Container, method: str, path: str, *, key: str = "", body: object = None) -> tuple[int, Any]:
    """Send one request to the service and return the status and the body of the answer."""
    headers = {"content-type": "application/json"} | ({"X-API-Key": key} if key else {})
    text = "" if body is None else json.dumps(body)
    program = Path(ask.__file__).read_text(encoding="utf-8")
    done = container.execute("python", "-I", "-", method, path, json.dumps(headers), text, stdin=program)
    assert done.status == 0, done.said
    answer = json.loads(done.said)
    return answer["status"], json.loads(answer["body"]) if answer["body"] else None


def test_it_comes_up_and_says_that_it_is_well(container: Container) -> None:
    """By the image's own entry point, command and health check."""
    done = wait_for_health(container)

    assert done.status == 0, done.said + container.log


def test_its_store_is_there_too(container: Container) -> None:
    """The health check asks for it where it is told to; an SQLite file is made at the first start."""
    assert container.execute(*SERVE.health_check(), "/ready").status == 0


def test_a_service_that_is_not_there_is_not_well(container: Container) -> None:
    """The health check can say no: nobody listens, or the answer is another one than 200."""
    elsewhere = container.execute("env", "ASGI_APIKEY_PORT=9", *SERVE.health_check())
    another = container.execute(*SERVE.health_check(), "/nowhere")

    assert (elsewhere.status, another.status) == (1, 1)
    assert another.said.strip() == "/nowhere: 404"


def test_it_is_the_first_process_and_nobody_special(container: Container) -> None:
    """Its own signals reach it; it has no capability, and no way to get one."""
    status = dict(line.split(":\t", 1) for line in container.execute("cat", "/proc/1/status").said.splitlines())

    assert status["Name"] == "asgi-apikey"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert status["Groups"].strip() == ""
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("place", ["/", "/tmp", "/opt/asgi-apikey", "/opt/asgi-apikey/lib", "/etc", "/usr/local"])
def test_nothing_but_its_volume_can_be_written_to(container: Container, place: str) -> None:
    """The root is read-only, and what is on it belongs to root."""
    assert container.execute("touch", f"{place}/here").status != 0
    assert container.execute("touch", "/data/here").status == 0


def test_it_has_not_even_tried(container: Container) -> None:
    """Nothing in its log is about a file that could not be written."""
    assert "Read-only" not in container.log
    assert "Permission denied" not in container.log


def test_it_has_no_installer(container: Container) -> None:
    """Whoever gets in finds neither pip nor a build backend in its environment."""
    for module in ("pip", "hatchling", "setuptools"):
        assert container.execute("python", "-I", "-c", f"import {module}").status != 0


def test_it_stays_far_below_its_limit(container: Container) -> None:
    """Memory after starting and a few requests."""
    assert container.first.memory_info().rss < _MOST_MEMORY


def test_a_key_can_be_issued_beside_it_and_used(container: Container) -> None:
    """The first key comes from the command line, in the same container; then everything is HTTP."""
    key = first_key(container)

    assert send(container, "GET", "/verify", key=key)[0] == 200
    assert send(container, "GET", "/api/v1/api-keys", key=key)[0] == 200
    assert send(container, "GET", "/verify")[0] == 401


def test_it_logs_objects_to_its_output(container: Container) -> None:
    """One per line, for whoever collects them; nothing goes to a file, and no secret to either."""
    send(container, "GET", "/verify")
    lines = [json.loads(line) for line in container.log.splitlines()]

    assert any("/verify" in json.dumps(line) for line in lines)
    assert PEPPER not in container.log


def test_it_ends_when_asked_to_and_goes_on_where_it_was(image: Image, volume: Path, tmp_path: Path) -> None:
    """In good order, well before it would be killed; the next one finds the keys of this one."""
    with started(image, volume, tmp_path / "first") as first:
        assert wait_for_health(first).status == 0, first.log
        key = first_key(first)
        began = time.monotonic()
        ended, took = first.stop(), time.monotonic() - began
    with started(image, volume, tmp_path / "second") as second:
        assert wait_for_health(second).status == 0, second.log
        accepted, _ = send(second, "GET", "/verify", key=key)

    assert ended in (0, 143), first.log
    assert took < 10
    assert accepted == 200


def test_several_workers_end_together(image: Image, volume: Path, tmp_path: Path) -> None:
    """The first process passes the signal on, and waits for them."""
    log = tmp_path / "log"
    environ = {"ASGI_APIKEY_PEPPER": PEPPER, "ASGI_APIKEY_WORKERS": "2"}
    with running(image, SERVE, volumes={"/data": volume}, environ=environ, log=log) as container:
        assert wait_for_health(container).status == 0, container.log
        family = container.first.children(recursive=True)
        ended = container.stop()

    assert len(family) >= 2
    assert ended in (0, 143), log.read_text()
    assert log.read_text().count("Application shutdown complete") == 2


def test_the_development_server_starts_anew_when_the_package_changes(image: Image, tmp_path: Path) -> None:
    """As its compose file runs it, with a copy of the working tree."""
    api = compose("dev")["services"]["api"]
    volumes = {"/src/asgi_apikey": tmp_path / "package", "/data": tmp_path / "data"}
    shutil.copytree(ROOT / "asgi_apikey", volumes["/src/asgi_apikey"], ignore=shutil.ignore_patterns("__pycache__"))
    volumes["/data"].mkdir()
    os.chown(volumes["/data"], SERVE.user, SERVE.user)
    # The mount point, which an engine makes by itself.
    image.inside("/src/asgi_apikey").mkdir(parents=True, exist_ok=True)
    asked = {"command": api["command"], "folder": api["working_dir"], "environ": api["environment"]}
    with running(image, SERVE, volumes=volumes, log=tmp_path / "log", **asked) as container:
        assert wait_for_health(container).status == 0, container.log
        changed = volumes["/src/asgi_apikey"] / "models.py"
        changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        wait_for(lambda: container.log.count("Started server process") > 1)
        anew = wait_for_health(container)

    assert "models.py" in container.log
    assert anew.status == 0, container.log


def test_secrets_may_come_as_a_file(image: Image, tmp_path: Path) -> None:
    """As in production: prepare, serve and the command beside it read it, and no environment holds what is in it."""
    services, given = compose("prod")["services"], tmp_path / "secrets"
    volumes = {"/run/secrets": given, "/data": tmp_path / "data"}
    for folder in volumes.values():
        folder.mkdir()
    os.chown(volumes["/data"], SERVE.user, SERVE.user)
    (given / "service.env").write_text(f"ASGI_APIKEY_URL=sqlite:////data/other.db\nASGI_APIKEY_PEPPER={PEPPER}\n")
    image.inside("/run/secrets").mkdir(parents=True, exist_ok=True)
    asked = {"volumes": volumes, "environ": services["api"]["environment"]}

    with running(image, SERVE, log=tmp_path / "first", command=services["prepare"]["command"], **asked) as prepare:
        assert prepare.wait() == 0, prepare.log
    with running(image, SERVE, log=tmp_path / "second", command=services["api"]["command"], **asked) as api:
        assert wait_for_health(api).status == 0, api.log
        accepted, _ = send(api, "GET", "/verify", key=first_key(api))
        seen = api.execute("cat", "/proc/1/environ").said

    assert accepted == 200
    assert (volumes["/data"] / "other.db").exists()
    assert "service.env" in seen
    assert PEPPER not in seen


def test_without_a_pepper_it_does_not_start(image: Image, volume: Path, tmp_path: Path) -> None:
    """And says what to do, in place of running with one that everybody knows."""
    log = tmp_path / "log"
    with running(image, SERVE, volumes={"/data": volume}, environ={}, log=log) as container:
        ended = container.wait()

    assert ended != 0
    assert "ASGI_APIKEY_PEPPER" in log.read_text()
