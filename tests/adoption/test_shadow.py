"""Both systems answer, one decides, differences are logged; what the other one does changes no answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.adopted.shadow import Shadow
from asgi_apikey.errors import APIKeyError, ConfigurationError, RevokedKey, StoreUnavailable, UnknownKey
from asgi_apikey.models import KeyRequest, Principal
from tests.adoption.golden import GOLDEN, NOW
from tests.adoption.worlds import PEPPER, system_of
from tests.fakes import FakeClock

BEANONE = next(each for each in GOLDEN if each.system == "beanone-apikey")
KEY = BEANONE.keys["active"].encode()
THEIRS = Principal(
    key_id="row-1",
    owner=BEANONE.rows[0]["user_id"],
    tenant="",
    environment="live",
    name="",
    scopes=frozenset(),
    metadata={},
    expires_at=None,
)

pytestmark = pytest.mark.anyio


def answering(answer: Principal | Exception | None) -> Callable[[bytes], object]:
    """The other system, which always says the same."""

    async def theirs(presented: bytes) -> Principal | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return theirs


async def ours(*, taken: bool) -> APIKeys:
    """Our store, with the keys of the other system or without."""
    keys = APIKeys("memory:", pepper=PEPPER, adopted=[system_of(BEANONE)], clock=FakeClock(NOW))
    if taken:
        await keys.import_records(BEANONE.records())
    return keys


CASES = [
    (THEIRS, True, "theirs", None, None),
    (THEIRS, True, "ours", None, None),
    (None, False, "theirs", UnknownKey, None),
    (None, False, "ours", UnknownKey, None),
    (THEIRS, False, "theirs", None, "theirs accepts, ours refuses: unknown"),
    (THEIRS, False, "ours", UnknownKey, "theirs accepts, ours refuses: unknown"),
    (None, True, "theirs", UnknownKey, "theirs refuses: unknown, ours accepts"),
    (None, True, "ours", None, "theirs refuses: unknown, ours accepts"),
    (RuntimeError(KEY.decode()), True, "theirs", StoreUnavailable, "theirs refuses: store_unavailable, ours accepts"),
    (RuntimeError(KEY.decode()), True, "ours", None, "theirs refuses: store_unavailable, ours accepts"),
]


@pytest.mark.parametrize(("theirs", "taken", "decides", "error", "difference"), CASES)
async def test_the_one_who_decides_decides(
    theirs: Principal | Exception | None,
    taken: bool,
    decides: str,
    error: type[APIKeyError] | None,
    difference: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the other one says or does; and the key itself is never logged."""
    shadow = Shadow(await ours(taken=taken), answering(theirs), decides=decides)  # type: ignore[arg-type]
    if error is None:
        principal = await shadow.authenticate(KEY)
        assert principal.owner == THEIRS.owner
    else:
        with pytest.raises(error):
            await shadow.authenticate(KEY)

    assert dict(shadow.differences) == ({difference: 1} if difference else {})
    assert shadow.agreed == (difference is None)
    assert (difference or "") in caplog.text
    assert KEY.decode() not in caplog.text
    await shadow.close()


async def test_another_owner_is_a_difference(caplog: pytest.LogCaptureFixture) -> None:
    """Both accept, and mean different accounts."""
    keys = await ours(taken=True)
    [first, *_] = [each for each in BEANONE.records() if each.revoked_at is None and each.disabled_at is None]
    await keys.delete(first.key_id)
    await keys.adopt(KEY.decode(), KeyRequest(owner="somebody-else"))
    shadow = Shadow(keys, answering(THEIRS))  # type: ignore[arg-type]
    await shadow.authenticate(KEY)

    assert dict(shadow.differences) == {"both accept, as keys of different owners": 1}


async def test_a_revoke_during_the_comparison_is_seen() -> None:
    """They may take their time; the last look comes after them."""
    keys = await ours(taken=True)

    async def theirs(presented: bytes) -> Principal | None:
        principal = keys.authenticate_nowait(presented) or await keys.authenticate(presented)
        await keys.revoke(principal.key_id)
        return THEIRS

    with pytest.raises(RevokedKey):
        await Shadow(keys, theirs, decides="ours").authenticate(KEY)


async def test_it_stands_in_for_the_keys_of_a_middleware() -> None:
    """And what cannot be meant is refused."""
    keys = await ours(taken=False)

    async def app(scope: object, receive: object, send: object) -> None:
        """Never called."""

    assert APIKeyMiddleware(app, keys=Shadow(keys, answering(None)), live=None)  # type: ignore[arg-type]
    assert APIKeyMiddleware(app, keys=Shadow(keys, answering(None), decides="ours"))  # type: ignore[arg-type]
    for wrong in ({"decides": "nobody"}, {"patience": 0.0}):
        with pytest.raises(ConfigurationError):
            Shadow(keys, answering(None), **wrong)  # type: ignore[arg-type]
