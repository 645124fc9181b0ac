"""Several hashers as one."""

from __future__ import annotations

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.hashers.argon2 import Argon2Hasher, Argon2Profile
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher, SHA256Hasher
from asgi_apikey.hashers.suite import HasherSuite
from asgi_apikey.models import Lane
from asgi_apikey.protocols import Hasher
from tests.contracts.hasher import KEY, HasherContract

PEPPER = "7Zp3mQ0wX9vKc2LrT5sNbH8yJ4dF6gAe1uRiOoWq"
CHEAP = Argon2Profile(memory=8, passes=1, parallelism=1)


class Recording:
    """A hasher that says which digests it was asked to verify."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self.verified: list[str] = []
        self.decoy = hasher.decoy
        self.accepts = hasher.accepts
        self.outdated = hasher.outdated
        self.hash = hasher.hash
        self.closed = 0

    async def verify(self, presented: bytes, digest: str, *, lane: Lane) -> bool:
        """Note the digest, then verify."""
        self.verified.append(digest)
        return await self._hasher.verify(presented, digest, lane=lane)

    def close(self) -> None:
        """Note it."""
        self.closed += 1


class TestSuite(HasherContract):
    """A suite is a hasher."""

    @pytest.fixture
    def hasher(self) -> HasherSuite:
        """Fast current, slow and plain retired."""
        return HasherSuite(HMACSHA256Hasher(PEPPER), Argon2Hasher(profile=CHEAP), SHA256Hasher())


@pytest.mark.anyio
async def test_retired_schemes_verify_and_are_outdated() -> None:
    """What a retired hasher made is accepted and should be replaced; replacing it makes it current."""
    slow = Argon2Hasher(profile=CHEAP)
    before = await slow.hash(KEY)
    suite = HasherSuite(HMACSHA256Hasher(PEPPER), slow)

    assert suite.accepts(before)
    assert suite.outdated(before)
    assert await suite.verify(KEY, before, lane=Lane.STRANGER)
    assert not suite.outdated(await suite.hash(KEY))


@pytest.mark.anyio
async def test_a_digest_goes_to_the_one_hasher_that_accepts_it() -> None:
    """Nothing is tried with several hashers, not even when the answer is no."""
    current, retired = Recording(HMACSHA256Hasher(PEPPER)), Recording(SHA256Hasher())
    suite = HasherSuite(current, retired)
    plain = await SHA256Hasher().hash(KEY)

    assert not await suite.verify(b"another key", plain, lane=Lane.STRANGER)
    assert current.verified == []
    assert retired.verified == [plain]


@pytest.mark.anyio
async def test_an_unknown_scheme_reaches_no_hasher() -> None:
    """A digest that nobody accepts is answered without hashing."""
    current = Recording(HMACSHA256Hasher(PEPPER))
    suite = HasherSuite(current)

    assert not await suite.verify(KEY, "md5$0123", lane=Lane.STRANGER)
    assert not suite.accepts("md5$0123")
    assert current.verified == []


@pytest.mark.anyio
async def test_whatever_a_retired_hasher_accepts_is_outdated() -> None:
    """Even where the current hasher, asked about a digest that is not its own, would call it current."""
    current = Recording(HMACSHA256Hasher(PEPPER))
    current.outdated = lambda digest: False

    assert HasherSuite(current, SHA256Hasher()).outdated(await SHA256Hasher().hash(KEY))


def test_the_decoy_is_the_current_one() -> None:
    """Unknown ids cost what a current digest costs."""
    current = HMACSHA256Hasher(PEPPER)

    assert HasherSuite(current, SHA256Hasher()).decoy == current.decoy


@pytest.mark.parametrize(
    "members",
    [
        (HMACSHA256Hasher(PEPPER, accept_plain=True), SHA256Hasher()),
        (SHA256Hasher(), SHA256Hasher()),
        (HMACSHA256Hasher(PEPPER), HMACSHA256Hasher(["nC4xV8bT1yQ6kP3fJ9wZ2sL7hR5gD0mAeUiOqWxY", PEPPER])),
        (Argon2Hasher(profile=CHEAP), Argon2Hasher()),
    ],
)
def test_two_hashers_for_one_digest_are_refused(members: tuple[Hasher, ...]) -> None:
    """Which of them decides must not depend on their order."""
    with pytest.raises(ConfigurationError, match="two hashers"):
        HasherSuite(*members)


def test_closing_closes_them_all() -> None:
    """Retired hashers have threads too."""
    members = [Recording(HMACSHA256Hasher(PEPPER)), Recording(Argon2Hasher(profile=CHEAP)), Recording(SHA256Hasher())]
    HasherSuite(*members).close()

    assert [each.closed for each in members] == [1, 1, 1]
