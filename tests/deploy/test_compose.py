"""The compose files are what the specification allows, and keep what docs/howto/container.md promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.dockerfile import stages
from tests.deploy.files import COMPOSE, DEPLOY, DOCKERFILE, compose

PROD: dict[str, Any] = compose("prod")
DEV: dict[str, Any] = compose("dev")
SERVICES: dict[str, Any] = PROD["services"]
OURS = ("prepare", "api")

ROTATED = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


def follow_the_specification(*files: Path) -> bool:
    """Whether files are what the JSON schema of the compose specification describes; the linter carries it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, *files], capture_output=True, check=False).returncode == 0


def test_both_follow_the_specification() -> None:
    """No misspelt name, no value of another kind."""
    assert follow_the_specification(*COMPOSE.values())


def test_what_does_not_follow_it_is_noticed(tmp_path: Path) -> None:
    """Somebody does look at it."""
    (tmp_path / "compose.yaml").write_text("services: {api: {image: a, read_onyl: true}}")

    assert not follow_the_specification(tmp_path / "compose.yaml")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_do_more_than_it_must(name: str) -> None:
    """A read-only root, no capability, no way to any, an account that is not root."""
    service = SERVICES[name]
    user = service.get("user") or stages(DOCKERFILE.read_text(encoding="utf-8"))[-1].last("USER").text

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(user.partition(":")[0]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_can_starve_the_host(name: str) -> None:
    """Half a processor, 512 MB, a bounded number of processes, 30 MB of log."""
    service = SERVICES[name]

    assert service["deploy"]["resources"]["limits"] == {"cpus": "0.5", "memory": "512M", "pids": 128}
    assert service["logging"] == ROTATED


def test_only_the_service_can_be_reached_and_only_from_the_host() -> None:
    """Neither database publishes a port, and their network has no way out."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"api": ["127.0.0.1:8002:8002"]}
    assert PROD["networks"]["stores"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["stores"]


def test_each_service_waits_for_what_it_needs() -> None:
    """The tables are made once the database answers, and the service starts once they are made."""
    healthy = {"condition": "service_healthy"}

    assert SERVICES["prepare"]["depends_on"] == {"postgres": healthy}
    assert SERVICES["api"]["depends_on"] == {
        "prepare": {"condition": "service_completed_successfully"},
        "postgres": healthy,
        "redis": healthy,
    }
    assert all("test" in SERVICES[name]["healthcheck"] for name in ("api", "postgres", "redis"))


def test_the_service_is_ready_when_its_store_is() -> None:
    """The image's own health check, asked for the store too."""
    (_, serve) = stages(DOCKERFILE.read_text(encoding="utf-8"))

    assert SERVICES["api"]["healthcheck"]["test"] == ["CMD", *serve.health_check(), "/ready"]


def test_what_runs_once_is_not_started_again() -> None:
    """Else the tables would be prepared for ever, and nobody would ever start."""
    assert SERVICES["prepare"]["restart"] == "no"
    assert {SERVICES[name]["restart"] for name in SERVICES} == {"no", "unless-stopped"}


def test_secrets_are_files_and_have_no_defaults() -> None:
    """No value of a secret stands in the file or in an environment, where `docker inspect` shows it."""
    text = COMPOSE["prod"].read_text(encoding="utf-8")
    environ = {name: value for service in SERVICES.values() for name, value in service.get("environment", {}).items()}

    assert re.findall(r"\$\{\w+:?-", text) == []
    assert all("file" in secret for secret in PROD["secrets"].values())
    for name, value in environ.items():
        assert not re.search("PEPPER|SECRET|PASSWORD|URL|REDIS", name) or str(value).startswith("/run/secrets/")


def test_every_secret_is_given_to_who_needs_it_alone() -> None:
    """The database does not know the pepper, the service does not know how Redis is configured."""
    given = {name: service["secrets"] for name, service in SERVICES.items()}

    assert given == {
        "prepare": ["service.env"],
        "api": ["service.env"],
        "postgres": ["postgres.password"],
        "redis": ["redis.conf"],
    }


def test_images_are_pinned_to_a_release() -> None:
    """None is `latest`, and ours has to be named by whoever starts it."""
    images = {name: service["image"] for name, service in SERVICES.items()}

    assert images["api"] == images["prepare"]
    assert images["api"].startswith("asgi-apikey:${VERSION:?")
    assert re.fullmatch(r"postgres:\d+-[a-z]+", images["postgres"])
    assert re.fullmatch(r"redis:\d+\.\d+-[a-z]+", images["redis"])


def test_the_development_server_reads_the_working_tree_and_starts_anew() -> None:
    """What is mounted cannot be changed from within, and nobody but this host reaches it."""
    api = DEV["services"]["api"]
    mounted = next(each for each in api["volumes"] if isinstance(each, dict))

    assert api["command"][:2] == ["serve", "--reload"]
    assert (DEPLOY / mounted["source"]).resolve() == DEPLOY.parents[2] / "asgi_apikey"
    assert mounted["read_only"] is True
    assert api["ports"] == ["127.0.0.1:8002:8002"]
    assert api["logging"] == ROTATED


def test_development_has_no_secret_that_production_could_inherit() -> None:
    """Doing without a pepper is written out, in an environment whose keys production refuses."""
    environ = DEV["services"]["api"]["environment"]

    assert environ["ASGI_APIKEY_PEPPER"] == "none"
    assert environ["ASGI_APIKEY_ENVIRONMENT"] == "test"
