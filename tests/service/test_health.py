"""Whether the process lives, and whether the store answers."""

from __future__ import annotations

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import KeyRecord
from asgi_apikey.service.health import Liveness, Readiness
from tests.asgi.driver import http, serve


class Store:
    """Raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def get(self, key_id: str) -> KeyRecord | None:
        """Raise it."""
        raise self.error


@pytest.mark.anyio
async def test_a_living_process_is_healthy() -> None:
    """Whatever the store does."""
    reply = await serve(Liveness(), http(path="/health"))

    assert (reply.status, reply.body) == (200, b'{"status":"healthy"}')
    assert reply.header(b"cache-control") == [b"no-store"]


@pytest.mark.anyio
async def test_a_store_that_answers_is_ready() -> None:
    """Asked as a look-up asks it."""
    keys = APIKeys("memory:", pepper=None)

    assert (await serve(Readiness(keys.repository), http())).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("error", [StoreUnavailable("canary"), ConfigurationError("canary")])
async def test_a_store_that_does_not_is_503_without_details(error: Exception) -> None:
    """Strangers may ask, too."""
    reply = await serve(Readiness(Store(error)), http())

    assert (reply.status, reply.header(b"retry-after")) == (503, [b"1"])
    assert b"canary" not in reply.body


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 405), ("DELETE", 405)])
async def test_it_is_for_reading(method: str, status: int) -> None:
    """Other methods are told what there is."""
    reply = await serve(Liveness(), http(method=method))

    assert reply.status == status
    assert (status == 405) == bool(reply.header(b"allow"))
