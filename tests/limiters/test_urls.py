"""From a URL to meters."""

from __future__ import annotations

import sys

import pytest

from asgi_apikey.errors import ConfigurationError, MissingExtra
from asgi_apikey.limiters import open_meters
from asgi_apikey.limiters.rates import RateMeters
from asgi_apikey.limiters.redis import RedisMeters
from asgi_apikey.metering import MemoryMeters

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryMeters),
        ("memory://", MemoryMeters),
        ("redis://localhost", RedisMeters),
        ("unix:///run/redis", RedisMeters),
        ("redis+cluster://localhost:6379", RedisMeters),
        ("async+memory://", RateMeters),
    ],
)
async def test_each_scheme_has_its_meters(url: str, kind: type) -> None:
    """Nothing is opened by naming it."""
    assert isinstance(open_meters(url), kind)


@pytest.mark.parametrize("url", ["", "memory", "memory:/x", "postgresql://:hunter2@x", "hunter2"])
def test_other_urls_are_refused_and_never_repeated(url: str) -> None:
    """They may hold a password."""
    with pytest.raises(ConfigurationError, match="must start with one of memory:") as caught:
        open_meters(url)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "library", "extra"),
    [
        ("redis://localhost", "asgi_apikey.limiters.redis", "redis", "redis"),
        ("async+memory://", "asgi_apikey.limiters.rates", "limits", "limits"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, library: str, extra: str
) -> None:
    """With the extra that brings it."""
    for name in [each for each in sys.modules if each == library or each.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(MissingExtra, match=rf"asgi-apikey\[{extra}\]"):
        open_meters(url)
