"""A PostgreSQL that is frozen: how long a request waits for it, and how soon all is well again."""

from __future__ import annotations

import time

import anyio
import pytest

from asgi_apikey import APIKeys, IssuedKey
from asgi_apikey.errors import Undecidable
from asgi_apikey.invalidation.leases import LeaseTimes
from asgi_apikey.models import Seconds
from tests.servers import PostgresServer
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

TIMES = LeaseTimes(poll=0.2, lease=0.8)


async def answers(keys: APIKeys, issued: IssuedKey, *, until: Seconds) -> list[tuple[Seconds, bool]]:
    """Present a key until an instant; return how long each answer took, and whether it was yes."""
    found = []
    while (began := time.monotonic()) < until:
        try:
            await keys.authenticate(issued.key.encode())
            accepted = True
        except Undecidable:
            accepted = False
        found.append((time.monotonic() - began, accepted))
        await anyio.sleep(0.01)
    return found


async def test_nobody_waits_longer_than_a_second_for_a_frozen_server(postgres: PostgresServer) -> None:
    """Neither for a remembered key, nor for cold ones, of which there are more than slots; service is back at once."""
    url = postgres.url_of(postgres.new_database())
    async with APIKeys(url, pepper=PEPPER, leases=TIMES) as keys:
        issued = [await keys.issue(owner="acme") for _ in range(40)]
        await keys.authenticate(issued[0].key.encode())
        found: list[tuple[Seconds, bool]] = []
        postgres.freeze()
        try:
            until = time.monotonic() + 4.0
            async with anyio.create_task_group() as group:

                async def press(each: IssuedKey) -> None:
                    found.extend(await answers(keys, each, until=until))

                for each in issued:
                    group.start_soon(press, each)
        finally:
            postgres.thaw()
        began = time.monotonic()
        while not all(accepted for _, accepted in await answers(keys, issued[0], until=time.monotonic() + 0.05)):
            assert time.monotonic() - began < 10
        back = time.monotonic() - began

    refused = sorted(took for took, accepted in found if not accepted)
    print(f"\n{len(refused)} x 503, the slowest after {refused[-1]:.3f} s; back after {back:.2f} s", end=" ")
    assert any(accepted for _, accepted in found)
    assert len(refused) >= 40
    # Room for a machine that does other work as well; alone it is 0.91.
    assert refused[-1] < 1.2
    assert back < 3.0
