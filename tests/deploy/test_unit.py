"""The systemd unit keeps what docs/howto/systemd.md promises, and systemd itself has nothing against it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import UNIT
from tests.deploy.unit import sections
from tests.programs import program

TEXT = UNIT.read_text(encoding="utf-8")
SERVICE = sections(TEXT)["Service"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateUsers", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("RestrictNamespaces", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallArchitectures", "native"),
        ("StateDirectory", "asgi-apikey"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("MemoryMax", "512M"),
        ("CPUQuota", "50%"),
    ],
)
def test_it_may_do_no_more_than_it_must(name: str, value: str) -> None:
    """Each of these is said once, so nothing further down takes it back."""
    assert SERVICE[name] == [value]


def test_secrets_come_as_a_credential() -> None:
    """A file for this service alone; its environment, which others may get to see, has only the file's name."""
    assert SERVICE["LoadCredential"] == ["service.env:/etc/asgi-apikey/service.env"]
    assert "ASGI_APIKEY_ENV_FILE=%d/service.env" in SERVICE["Environment"]
    assert [each for each in SERVICE["Environment"] if re.search("PEPPER|SECRET|PASSWORD|URL", each)] == []


def test_the_store_is_in_the_folder_that_is_its_own() -> None:
    """The default store lies in the working directory, and nothing else can be written to."""
    assert SERVICE["WorkingDirectory"] == [f"%S/{SERVICE['StateDirectory'][0]}"]
    assert "ReadWritePaths" not in SERVICE


def test_it_is_asked_to_stop_before_it_is_killed() -> None:
    """The default signal, and more time than uvicorn and the last write of usage take."""
    assert "KillSignal" not in SERVICE
    assert SERVICE["TimeoutStopSec"] == ["30s"]


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Ask systemd's own checker, which needs no systemd to be running."""
    command = [program("systemd-analyze", package="systemd"), "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists everywhere."""
    path = tmp_path / UNIT.name
    path.write_text(TEXT.replace("/opt/asgi-apikey/bin/asgi-apikey", "/bin/true"))
    return path


@pytest.mark.hosts
def test_systemd_has_nothing_against_it(unit: Path) -> None:
    """No unknown setting, no value that would be ignored with a line in the journal."""
    answer = systemd_analyze("verify", "--man=no", unit)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.hosts
def test_systemd_would_have_something_against_a_misspelt_one(unit: Path) -> None:
    """It does read it."""
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=stric"))

    assert "protect system" in systemd_analyze("verify", "--man=no", unit).stderr


@pytest.mark.hosts
def test_systemd_finds_it_little_exposed(unit: Path) -> None:
    """1.5 of 10 at most; what is left is that it speaks TCP and shares the host's addresses."""
    answer = systemd_analyze("security", "--offline=true", "--threshold=15", unit)

    assert answer.returncode == 0, answer.stdout
