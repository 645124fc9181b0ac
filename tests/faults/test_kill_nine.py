"""`kill -9` at random moments of issues, rotations and revocations, on real stores, by real processes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asgi_apikey.audit import AuditChain
from asgi_apikey.auditor import Auditor
from asgi_apikey.hashers.peppers import PepperRing
from asgi_apikey.models import AuditEntry, KeyRecord
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories import open_repository
from tests.faults.victim import AUDIT_KEY
from tests.servers import PostgresServer

pytestmark = [pytest.mark.anyio, pytest.mark.faults]

AT_ONCE = 3
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is going to be."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'keys.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url_of(server.new_database())


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[KeyRepository]:
    """The store, seen from here."""
    repository = open_repository(url)
    await repository.open(create=True)
    yield repository
    await repository.close()


def killed(url: str, run: str, rng: random.Random, most: int) -> list[list[str]]:
    """Run a few victims, kill each in the middle of something, and return what they said was acknowledged."""
    victims = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim", url, f"{run}-{number}"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(AT_ONCE)
    ]
    said: list[list[str]] = []
    for victim in victims:
        assert victim.stdout is not None
        # The moment is told by the number of lines, so it falls anywhere in what the next change does.
        said += [victim.stdout.readline().split() for _ in range(rng.randint(1, most))]
        victim.kill()
        rest = victim.communicate()[0].splitlines(keepends=True)
        said += [line.split() for line in rest if line.endswith("\n")]
    return said


async def everything(repository: KeyRepository) -> dict[str, KeyRecord]:
    """All records, by id."""
    records: dict[str, KeyRecord] = {}
    while page := await repository.archive.records(max(records, default=""), limit=1_000):
        records |= {each.key_id: each for each in page}
    return records


async def test_whatever_was_acknowledged_is_there_and_nothing_is_half_done(url: str, fault_rounds: int) -> None:
    """No change is lost, none is half made, and none is without its rows of the feed and of the audit."""
    rng = random.Random(fault_rounds)
    said: list[list[str]] = []
    run = 0
    async with opened(url) as repository:
        while min(Counter(line[0] for line in said)[verb] for verb in ("issued", "rotated", "revoked")) < fault_rounds:
            said += killed(url, f"run-{run}", rng, most=max(6, min(150, fault_rounds)))
            run += 1
        records = await everything(repository)
        auditor = Auditor(repository.audit, AuditChain(PepperRing(AUDIT_KEY)))
        report = await auditor.verify()
        entries: list[AuditEntry] = [each async for each in auditor.entries(await auditor.anchor())]

    latest = {each.key_id: each.version for each in entries}
    replaced = {each.replaces: each.key_id for each in records.values() if each.replaces is not None}
    assert report.findings == ()
    assert {key_id: each.version for key_id, each in records.items()} == latest
    assert {key_id for key_id, each in records.items() if each.expires_at is not None} == set(replaced)
    for verb, key_id, *successor in said:
        assert key_id in records
        if verb == "rotated":
            assert replaced[key_id] == successor[0]
        if verb == "revoked":
            assert records[key_id].revoked_at is not None
