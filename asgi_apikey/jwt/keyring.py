"""Which trusted keys a token's header may mean, by name and algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.jwt.keys import TrustedKey

MAX_CANDIDATES: Final = 4
"""Keys that one token is tried with; where it could mean more, it must say which."""


class KeySource(Protocol):
    """Where trusted keys come from. `Keyring` and `JWKS` are two."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[TrustedKey]:
        """Return the keys of this algorithm that a token may mean, a few at most; none: nobody trusts such a key.

        It is asked for every token, remembered ones too: a key that is no longer returned ends its tokens.

        Args:
            kid: The name that the token gives, or None.
            algorithm: The one that the token claims; the keys have been bound to it before.

        Raises:
            StoreUnavailable: That cannot be told now.
        """
        ...


class NamedKeys:
    """Keys by name and algorithm; it never changes.

    Args:
        keys: Any number; several may share a name, as RFC 7517 section 4.5 allows.
    """

    def __init__(self, keys: Iterable[TrustedKey]) -> None:
        self._named: dict[tuple[str | None, str], tuple[TrustedKey, ...]] = {}
        self._all: dict[str, tuple[TrustedKey, ...]] = {}
        for key in keys:
            self._named[key.kid, key.algorithm] = (*self._named.get((key.kid, key.algorithm), ()), key)
            self._all[key.algorithm] = (*self._all.get(key.algorithm, ()), key)
        self._names = {kid for kid, _ in self._named}

    def knows(self, kid: str) -> bool:
        """Whether a key has this name, of any algorithm."""
        return kid in self._names

    def named(self, kid: str | None, algorithm: str) -> Sequence[TrustedKey]:
        """Return the keys with this very name; None: those without one."""
        return self._named.get((kid, algorithm), ())[:MAX_CANDIDATES]

    def meant(self, kid: str | None, algorithm: str) -> Sequence[TrustedKey]:
        """Return the keys that a token means: those it names, and if it names none, all, unless they are too many."""
        if kid is not None:
            return self.named(kid, algorithm)
        unnamed = self._all.get(algorithm, ())
        return unnamed if len(unnamed) <= MAX_CANDIDATES else ()


class Keyring:
    """Keys that one was given. A key without a name may be meant by every token of its algorithm.

    Args:
        keys: At least one; of an algorithm at most `MAX_CANDIDATES` without a name.

    Raises:
        ConfigurationError: None, or something else than keys, or too many without a name.
    """

    def __init__(self, keys: Iterable[TrustedKey]) -> None:
        given = tuple(keys)
        if not given or not all(isinstance(each, TrustedKey) for each in given):
            raise ConfigurationError(
                "keys needs what shared_secret(…) and public_key(…) return, a collection of them, or a JWKS(…)"
            )
        unnamed = [key.algorithm for key in given if key.kid is None]
        if any(unnamed.count(algorithm) > MAX_CANDIDATES for algorithm in unnamed):
            raise ConfigurationError(
                f"more than {MAX_CANDIDATES} keys of one algorithm have no name: every token would be tried with each; "
                "give them a kid=, and have the issuer write it into the header"
            )
        self._keys = NamedKeys(given)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[TrustedKey]:
        """See `KeySource.find`."""
        return self._keys.meant(kid, algorithm) or self._keys.named(None, algorithm)
