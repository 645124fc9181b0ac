"""Why a middleware lets a request in or not."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.explainer import STAGES
from tests.asgi.driver import FakeKeys, Inner, http, key, serve
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One is enough: the middleware itself is tested on both."""
    return "asyncio"


async def site(**options: Any) -> tuple[APIKeyMiddleware, bytes]:
    """A middleware, and a key that is bound to a network and a page."""
    keys = APIKeys("memory:", pepper=PEPPER)
    issued = await keys.issue(
        owner="acme", scopes={"a"}, networks={"198.51.100.0/24"}, origins={"https://a.example"}, routes={"GET /orders"}
    )
    return APIKeyMiddleware(Inner(), keys=keys, trusted_proxies=("10.0.0.0/8",), **options), issued.key.encode()


GOOD = ((b"x-forwarded-for", b"198.51.100.7"), (b"origin", b"https://a.example"))
BEHIND: dict[str, Any] = {"client": ("10.0.0.1", 1)}


async def test_a_request_is_explained_as_the_middleware_sees_it() -> None:
    """The key from its place, the client behind the proxies, the scopes that are asked for; and it is so."""
    app, good = await site(scopes=["a"])
    scope = http(key(good), *GOOD, **BEHIND)

    explanation = await app.explain(scope)

    assert tuple(each.name for each in explanation.stages) == ("found", *STAGES)
    assert explanation.accepted
    assert (await serve(app, scope)).status == 200


@pytest.mark.parametrize(
    ("headers", "parts", "stage"),
    [
        ((GOOD[1],), BEHIND, "networks"),
        (GOOD, {}, "networks"),
        ((*GOOD, GOOD[0]), BEHIND, "networks"),
        ((GOOD[0],), BEHIND, "origins"),
        ((*GOOD, GOOD[1]), BEHIND, "origins"),
        (GOOD, BEHIND | {"method": "POST"}, "routes"),
        (GOOD, BEHIND | {"path": "//orders", "raw_path": b"//orders"}, "routes"),
    ],
)
async def test_what_is_explained_is_what_is_decided(headers: Any, parts: dict[str, Any], stage: str) -> None:
    """The stage that refuses is the code of the answer."""
    app, good = await site()
    scope = http(key(good), *headers, **parts)

    assert (await app.explain(scope)).refused_by == stage
    assert f'"{stage[:-1]}_not_allowed"'.encode() in (await serve(app, scope)).body


async def test_what_is_found_is_told_first() -> None:
    """None, too many, an empty one; nothing else is reached then."""
    app, good = await site(bearer=True)

    for headers in ((), (key(good), key(good)), (key(b""),)):
        explanation = await app.explain(http(*headers))
        assert explanation.refused_by == "found"
        assert [str(each.decision) for each in explanation.stages] == ["refused"] + ["not_reached"] * len(STAGES)


async def test_what_is_on_trial_is_told_as_such() -> None:
    """It refuses nothing, and says what it would."""
    app, good = await site(report_only=("networks",))
    scope = http(key(good), GOOD[1])

    explanation = await app.explain(scope)

    stages = {each.name: each for each in explanation.stages}
    assert (explanation.accepted, str(stages["networks"].decision)) == (True, "noted")
    assert "would be refused" in stages["networks"].detail
    assert (await serve(app, scope)).status == 200


async def test_keys_that_cannot_explain_say_so(keys: FakeKeys, inner: Inner) -> None:
    """Somebody's own keys need not."""
    with pytest.raises(ConfigurationError, match="cannot explain"):
        await APIKeyMiddleware(inner, keys=keys).explain(http(key()))
