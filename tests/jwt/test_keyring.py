"""Which key a token means."""

from __future__ import annotations

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.jwt.keyring import MAX_CANDIDATES, Keyring, NamedKeys
from tests.jwt.issuer import signer, token, verifier

pytestmark = pytest.mark.anyio

NAMED, UNNAMED, OTHER = signer("HS256", "a", 1), signer("HS256", None, 2), signer("ES256", "a")


async def found(keyring: Keyring, kid: str | None, algorithm: str = "HS256") -> list[str | None]:
    """The names of the keys that are found."""
    return [key.kid for key in await keyring.find(kid, algorithm)]


async def test_a_name_and_an_algorithm_select() -> None:
    """The same name may stand for keys of two algorithms; a key without a name stands for any."""
    keyring = Keyring([NAMED.trusted, UNNAMED.trusted, OTHER.trusted])

    assert await found(keyring, "a") == ["a"]
    assert await found(keyring, "b") == [None]
    assert await found(keyring, None) == ["a", None]
    assert await found(keyring, "a", "ES256") == ["a"]
    assert await found(keyring, "b", "ES256") == []
    assert await found(keyring, None, "EdDSA") == []


async def test_two_secrets_without_names_allow_to_change_them() -> None:
    """Tokens under the old and the new one are accepted, and under no third."""
    old, new, third = (signer("HS256", None, number) for number in (3, 4, 5))
    tokens = verifier(old, new)

    assert [(await tokens.authenticate(token(by))).owner for by in (old, new)] == ["alice"] * 2
    assert [key.verifies(b"", third.sign(b"")) for key in (old.trusted, new.trusted)] == [False] * 2


def test_too_many_keys_without_names_are_refused() -> None:
    """Each bad token would be tried with all of them."""
    with pytest.raises(ConfigurationError, match="kid="):
        Keyring([signer("HS256", None, number).trusted for number in range(MAX_CANDIDATES + 1)])


@pytest.mark.parametrize("keys", [[], ["secret"], [None]], ids=str)
def test_a_keyring_holds_keys(keys) -> None:
    """One at least, and nothing else."""
    with pytest.raises(ConfigurationError):
        Keyring(keys)


def test_a_token_that_could_mean_too_many_keys_means_none() -> None:
    """One with a name is found among any number."""
    keys = NamedKeys([signer("HS256", f"k{number}", number).trusted for number in range(MAX_CANDIDATES + 1)])

    assert keys.meant(None, "HS256") == ()
    assert [key.kid for key in keys.meant("k3", "HS256")] == ["k3"]
