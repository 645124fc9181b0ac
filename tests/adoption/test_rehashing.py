"""Which schemes and peppers are left, and that none is dropped too early."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.census import Making, counted, making_of
from asgi_apikey.errors import InvalidKey
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher
from asgi_apikey.hashers.peppers import PepperRing
from tests.adoption.golden import GOLDEN
from tests.adoption.worlds import system_of
from tests.cli.conftest import PEPPER, Console, Shell
from tests.servers import free_port

NEW = "pQ8_xV2-kD7mZ4tR9cB1nW6yL3jF5sHg"
OLD_ID, NEW_ID = PepperRing(PEPPER).newest, PepperRing(NEW).newest


@pytest.mark.parametrize(
    ("digest", "making"),
    [
        ("hmac-sha256$1a2b3c4d$abc", Making("hmac-sha256", "1a2b3c4d")),
        ("hmac-sha256+argon2$1a2b3c4d$argon2id$v=19$", Making("hmac-sha256+argon2", "1a2b3c4d")),
        ("hmac-sha256+bcrypt$1a2b3c4d$2b$12$", Making("hmac-sha256+bcrypt", "1a2b3c4d")),
        ("sha256$abc", Making("sha256")),
        ("$argon2id$v=19$m=1", Making("argon2id")),
        ("keyshield+argon2$deadbeef$argon2id$v=19$", Making("keyshield+argon2")),
    ],
)
def test_a_digest_says_how_it_was_made(digest: str, making: Making) -> None:
    """By scheme and pepper; what another system's begins with is no pepper."""
    assert making_of(digest) == making


def test_the_status_counts_by_scheme_and_pepper(console: Console) -> None:
    """Keys that are over need no pepper any more."""
    keys = [console.issue()[1] for _ in range(3)]
    console("revoke", keys[0], "--yes")
    console.environ["ASGI_APIKEY_PEPPER"] = f"{PEPPER} {NEW}"
    console.issue()
    outcome = console("rehash", "--status", "--json", "--without", OLD_ID)

    assert outcome.exit_code == 1
    document = json.loads(outcome.stdout)
    assert (document["keys"], document["stranded"], document["needing"]) == (4, 0, 2)
    assert sorted(document["digests"], key=lambda each: each["state"]) == [
        {"scheme": "hmac-sha256", "pepper": NEW_ID, "usable": 1, "over": 0, "state": "current"},
        {"scheme": "hmac-sha256", "pepper": OLD_ID, "usable": 2, "over": 1, "state": "outdated"},
    ]


def test_keys_whose_pepper_is_gone_are_told(console: Console) -> None:
    """And that they can be revoked, if nobody has it any more."""
    _, key_id = console.issue()
    console.environ["ASGI_APIKEY_PEPPER"] = NEW
    outcome = console("rehash", "--status")
    console("revoke", key_id, "--yes")

    assert outcome.exit_code == 1
    assert "not given here" in outcome.stdout
    assert "1 keys cannot be verified" in outcome.stderr
    assert console("rehash", "--status").exit_code == 0


def test_a_service_does_not_start_while_keys_need_a_dropped_pepper(shell: Shell) -> None:
    """It would answer 401 to customers, and nobody would know why."""
    shell.environ["ASGI_APIKEY_PORT"] = str(free_port())
    assert shell("issue", "--owner", "acme", "--quiet").returncode == 0
    shell.environ["ASGI_APIKEY_PEPPER"] = NEW
    served = shell("serve")

    assert served.returncode == 4
    assert f"keys in the store need hmac-sha256${OLD_ID}" in served.stderr


@pytest.mark.anyio
async def test_what_was_taken_over_is_counted_by_its_system() -> None:
    """Until it has been used."""
    golden = next(each for each in GOLDEN if each.system == "beanone-apikey")
    async with APIKeys("memory:", pepper=PEPPER, adopted=[system_of(golden)]) as keys:
        await keys.import_records(golden.records())
        await keys.authenticate(golden.keys["active"].encode())
        await keys.close()
        [census] = [each async for each in counted(keys.repository.archive, keys.hasher, now=0.0)]

    assert census.usable[Making("hmac-sha256", OLD_ID)] == 1
    assert census.needing("beanone-apikey+sha256") == 3
    assert census.stranded == 0
    assert Making("beanone-apikey+sha256") in census.outdated


@pytest.mark.anyio
async def test_a_pepper_changes_under_load_and_no_request_is_lost(tmp_path: Path) -> None:
    """Two workers, each restarted with the new ring while the other goes on; then the old pepper is dropped."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    rings = [[PEPPER], [NEW, PEPPER], [PEPPER, NEW]]
    async with APIKeys(url, pepper=PEPPER) as first:
        await first.repository.open(create=True)
        presented = [(await first.issue(owner="acme")).key.encode() for _ in range(20)]
    refused: list[InvalidKey] = []
    served = 0

    async def ask(keys: APIKeys) -> None:
        nonlocal served
        for key in presented:
            try:
                await keys.authenticate(key)
                served += 1
            except InvalidKey as error:
                refused.append(error)

    # One is at the next step of the rotation while the other is still at the one before.
    for before, after in pairwise(rings):
        async with APIKeys(url, pepper=before) as one, APIKeys(url, pepper=after) as other:
            async with anyio.create_task_group() as tasks:
                for keys in (one, other, one, other):
                    tasks.start_soon(ask, keys)
            issued = await other.issue(owner="acme")
            presented.append(issued.key.encode())
            await ask(one)
    # What is dropped by a full queue is replaced after a later read.
    for _ in range(3):
        async with APIKeys(url, pepper=[PEPPER, NEW]) as last:
            await ask(last)
    async with APIKeys(url, pepper=NEW) as only:
        await ask(only)
        [census] = [each async for each in counted(only.repository.archive, HMACSHA256Hasher(NEW), now=0.0)]

    assert refused == []
    assert served > 200
    assert census.usable == {Making("hmac-sha256", NEW_ID): 22}
