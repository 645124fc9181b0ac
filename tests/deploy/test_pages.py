"""What the pages about deploying tell to type fits the examples that they are about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from asgi_apikey.settings import Configuration, read_configuration
from tests.deploy.files import DEPLOY, NGINX, ROOT, compose
from tests.docs.pages import DOCS, blocks

PAGES = {name: DOCS / "howto" / f"{name}.md" for name in ("container", "systemd", "nginx")}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the shell block of the page about containers makes."""
    folder = tmp_path_factory.mktemp("deploy")
    (block,) = (each for each in blocks(PAGES["container"]) if each.language == "sh")
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, env=environ, check=True)
    return folder / "secrets"


@pytest.fixture(scope="module")
def configuration(secrets: Path) -> Configuration:
    """What the service makes of its file."""
    return read_configuration({"ASGI_APIKEY_ENV_FILE": str(secrets / "service.env")})


def test_the_secrets_are_those_that_the_compose_file_asks_for(secrets: Path) -> None:
    """By name; in a folder that only its owner can enter, and there readable for other accounts."""
    asked = {Path(each["file"]) for each in compose("prod")["secrets"].values()}

    assert {Path("secrets") / path.name for path in secrets.iterdir()} == asked
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o444}


def test_the_service_finds_the_database_that_is_made(secrets: Path, configuration: Configuration) -> None:
    """Host, account, database and password are those of the compose file."""
    url = urlsplit(configuration.keys.url)
    made = compose("prod")["services"][url.hostname or ""]["environment"]

    assert url.scheme == "postgresql"
    assert url.username == made["POSTGRES_USER"]
    assert url.path == f"/{made['POSTGRES_DB']}"
    assert url.password == (secrets / "postgres.password").read_text()


def test_the_service_finds_the_redis_that_is_configured(secrets: Path, configuration: Configuration) -> None:
    """Under the name of its service, with its password."""
    url = urlsplit(configuration.keys.redis)
    lines = dict(line.split(" ", 1) for line in (secrets / "redis.conf").read_text().splitlines())

    assert url.hostname in compose("prod")["services"]
    assert url.password == lines["requirepass"]
    assert lines["maxmemory-policy"] == "allkeys-lru"


def test_no_two_secrets_are_one(secrets: Path, configuration: Configuration) -> None:
    """Each is random, and for one purpose."""
    assert isinstance(configuration.keys.pepper, tuple)
    passwords = [urlsplit(configuration.keys.redis).password, (secrets / "postgres.password").read_text()]
    drawn = {*configuration.keys.pepper, configuration.keys.cache_secret, *passwords}

    assert len(drawn) == 4
    assert all(len(each or "") >= 43 for each in drawn)


def test_the_page_says_what_the_image_is_made_of() -> None:
    """The extras that its pins are made for."""
    line = re.search(r"^IMAGE_EXTRAS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    told = re.search(r"the service with the extras ([^;]+);", PAGES["container"].read_text(encoding="utf-8"))

    assert line
    assert told
    assert re.findall(r"`(\w+)`", told[1]) == line[1].split()


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_command_names_is_there(page: str) -> None:
    """From the root of the project, where the commands are typed."""
    text = PAGES[page].read_text(encoding="utf-8")
    named = set(re.findall(r"docs/examples/deploy/[\w.-]*\w|constraints/\w+\.txt", text))

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_page_about_nginx_quotes_its_configuration() -> None:
    """Each line that it tells to keep stands there."""
    text = NGINX.read_text(encoding="utf-8")

    for line in (
        "X-Original-URI $request_uri",
        "proxy_pass http://app;",
        "X-Forwarded-For $remote_addr",
        "map $http_upgrade",
        "error_page 500 = @undecided",
    ):
        assert line in text
        assert line.removesuffix(";") in PAGES["nginx"].read_text(encoding="utf-8")


def test_every_example_has_its_page() -> None:
    """Nobody has to guess what a file is for."""
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    examples = {path.name for path in DEPLOY.iterdir() if path.is_file()}

    unnamed = {name for name in examples if name not in text}

    assert unnamed == {"health.py"}
