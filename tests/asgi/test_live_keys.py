"""Open connections and real keys, in every mode of consistency."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.authenticator import Limits
from asgi_apikey.models import IssuedKey
from tests.asgi.driver import key, websocket
from tests.asgi.played import Played, echo, playing
from tests.asgi.test_connections import GONE
from tests.fakes import until

pytestmark = pytest.mark.anyio

BRIEF = Limits(cache_ttl=0.2, negative_ttl=0.2)


@pytest.fixture
def anyio_backend() -> str:
    """SQLite is asyncio's alone; `test_connections` has both."""
    return "asyncio"


@asynccontextmanager
async def keys_in(path: Path, **options: object) -> AsyncIterator[APIKeys]:
    """A process of its own, as far as keys go."""
    keys = APIKeys(f"sqlite:///{path}", pepper=None, **options)  # type: ignore[arg-type]
    await keys.repository.open(create=True)
    async with keys:
        yield keys


@asynccontextmanager
async def open_websocket(keys: APIKeys, issued: IssuedKey, **options: object) -> AsyncIterator[Played]:
    """One that has been answered."""
    app = APIKeyMiddleware(echo, keys=keys, **options)  # type: ignore[arg-type]
    async with playing(app, websocket(key(issued.key.encode()))) as played:
        played.says("hello")
        await played.got("websocket.send")
        yield played


@pytest.mark.parametrize("consistency", ["leases", "ttl", "strict"])
@pytest.mark.parametrize("verb", ["revoke", "disable", "delete"])
async def test_a_change_in_the_same_process_closes(tmp_path, consistency, verb) -> None:
    """At once."""
    async with keys_in(tmp_path / "keys.db", consistency=consistency) as keys:
        issued = await keys.issue(owner="acme")
        async with open_websocket(keys, issued) as played:
            await getattr(keys, verb)(issued.record.key_id)

            assert await played.got("websocket.close") == GONE


@pytest.mark.parametrize(
    "options",
    [{}, {"consistency": "strict"}, {"consistency": "ttl", "limits": BRIEF}],
    ids=["leases", "strict", "ttl"],
)
async def test_a_change_in_another_process_closes(tmp_path, options) -> None:
    """As soon as requests are refused, or half a second later."""
    async with keys_in(tmp_path / "keys.db", **options) as keys, keys_in(tmp_path / "keys.db") as office:
        issued = await office.issue(owner="acme")
        async with open_websocket(keys, issued) as played:
            await office.revoke(issued.record.key_id, wait=False)

            assert await played.got("websocket.close") == GONE


async def test_a_change_behind_our_back_is_found_after_a_while(tmp_path) -> None:
    """By whoever writes to the store without telling anybody: within `cache_ttl`, as for requests."""
    async with keys_in(tmp_path / "keys.db", cache_ttl=0.2) as keys:
        issued = await keys.issue(owner="acme")
        async with open_websocket(keys, issued) as played:
            await keys.repository._driver.write(  # type: ignore[attr-defined]
                lambda transaction: transaction.fetch(
                    "UPDATE api_keys SET revoked_at = 1 WHERE key_id = ?", (issued.record.key_id,)
                )
            )

            assert await played.got("websocket.close") == GONE


async def test_an_open_connection_is_one_use(tmp_path) -> None:
    """However long it is open, and however often its key is looked at."""
    async with keys_in(tmp_path / "keys.db", consistency="strict") as keys:
        issued = await keys.issue(owner="acme")
        async with open_websocket(keys, issued) as played:
            for _ in range(5):
                played.says("hello")
            await keys.amend(issued.record.key_id, name="another")
            played.says("last")
            await until(lambda: "last" in played.texts())
        await keys.flush()
        record = await keys.get(issued.record.key_id)

    assert record is not None
    assert record.uses == 1


async def test_closing_the_keys_closes_what_is_open(tmp_path) -> None:
    """And they may be opened again."""
    async with keys_in(tmp_path / "keys.db") as keys:
        issued = await keys.issue(owner="acme")
        async with open_websocket(keys, issued) as played:
            await keys.close()
            closed = await played.got("websocket.close")
        async with open_websocket(keys, issued) as played:
            await keys.revoke(issued.record.key_id)
            again = await played.got("websocket.close")

    assert (closed["code"], again) == (1013, GONE)
