"""A JSON Web Token in, a principal out: shape, header, key, signature, claims, in this order."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, cast

from cachetools import LRUCache

from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import ConfigurationError, InvalidRequest, InvalidToken, StoreUnavailable
from asgi_apikey.jwt.claims import ClaimPath, Expectations, Rights
from asgi_apikey.jwt.compact import Compact, decoded, json_object, media_type, parse
from asgi_apikey.jwt.faults import Fault
from asgi_apikey.jwt.keyring import Keyring, KeySource
from asgi_apikey.jwt.keys import TrustedKey
from asgi_apikey.lifecycle import environment as checked_environment
from asgi_apikey.lifecycle import scopes as checked_scopes
from asgi_apikey.models import Instant, Principal, Seconds
from asgi_apikey.protocols import Clock

MAX_LEEWAY: Final[Seconds] = 60.0
LARGEST: Final = 65_536
"""Bytes of a token that can be allowed at most; servers stop at 8 to 64 kB of headers."""


@dataclass(slots=True)
class TokenStats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        hits: Tokens accepted from memory.
        accepted: Tokens verified.
        rejected: Tokens rejected.
        undecided: Tokens whose key could not be told.
    """

    hits: int = 0
    accepted: int = 0
    rejected: int = 0
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that was verified.

    Attributes:
        deadline: Its end, on the monotonic clock; the wall clock may be set back.
        ends_at: Its end, on the wall clock, which may be set forward.
    """

    principal: Principal
    key: TrustedKey
    kid: str | None
    deadline: Seconds
    ends_at: Instant


class JWTVerifier:
    """Verifies tokens of one issuer. Two issuers are two applications, or one verifier of your own around two.

    `iss`, `aud`, `exp` and `sub` are required. A token is not revoked: it ends with `exp`, or with its key.

    Args:
        keys: What `shared_secret` and `public_key` return, one or several, or a `JWKS`.
        audience: Our name, or names, in `aud`.
        issuer: What `iss` must be, exactly.
        leeway: Seconds by which the issuer's clock may differ from ours, 0 to 60.
        types: What `typ` may be, in any case, with or without `application/`; with None in it, a token need not have
            one. It keeps tokens apart that the same issuer makes for other ends (RFC 8725 section 3.11).
        exactly: Claims that must have a certain value, such as `{"token_use": "access"}`.
        scope_claims: Where scopes are, as text with spaces or as a list; all of these count. Names with a `*` grant
            nothing.
        scope_map: Names of the issuer -> our scopes, wildcards included; what is not in it grants nothing.
            None: the issuer's names are our scopes.
        tenant_claim: Where the tenant is. A token without it is rejected. None: the default tenant.
        metadata_claims: Names of claims to copy into the principal's metadata.
        environment: The principal's.
        max_size: Bytes of a token beyond which it is not read.
        cache_size: Most verified tokens remembered; 0 for none.
        clock: Wall and monotonic time; None: the machine's.

    Raises:
        ConfigurationError: An argument that makes no sense, or would leave something open.
    """

    def __init__(
        self,
        keys: TrustedKey | Collection[TrustedKey] | KeySource,
        *,
        audience: str | Collection[str],
        issuer: str,
        leeway: Seconds = 30.0,
        types: Collection[str | None] = ("JWT", "at+jwt"),
        exactly: Mapping[str, str | int | bool] | None = None,
        scope_claims: Collection[ClaimPath] = ("scope", "scp"),
        scope_map: Mapping[str, Collection[str]] | None = None,
        tenant_claim: ClaimPath | None = None,
        metadata_claims: Collection[str] = (),
        environment: str = "live",
        max_size: int = 8_192,
        cache_size: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= leeway <= MAX_LEEWAY:
            raise ConfigurationError(f"leeway={leeway!r} is not 0 to {MAX_LEEWAY:g} seconds; set the clocks instead")
        if not (1 <= max_size <= LARGEST and cache_size >= 0):
            raise ConfigurationError(f"max_size must be 1 to {LARGEST} bytes, and cache_size at least 0")
        self._keys = _source(keys)
        self._types = _types(types)
        self._expectations = Expectations(
            issuer=_names("issuer", [issuer])[0],
            audiences=frozenset(_names("audience", [audience] if isinstance(audience, str) else audience)),
            leeway=leeway,
            exactly=_exactly(exactly or {}),
        )
        self._rights = Rights(
            scope_claims=tuple(_path("scope_claims", each) for each in _collection("scope_claims", scope_claims)),
            scope_map=None if scope_map is None else _scope_map(scope_map),
            tenant_claim=None if tenant_claim is None else _path("tenant_claim", tenant_claim),
            metadata_claims=_names("metadata_claims", metadata_claims) if metadata_claims else (),
            environment=_environment(environment),
        )
        self._max_size = max_size
        self._clock = clock or SystemClock()
        self._verified: LRUCache[bytes, _Verified] | None = LRUCache(cache_size) if cache_size else None
        self._keyed = blake2b(digest_size=32, key=secrets.token_bytes(32))
        self.stats = TokenStats()

    async def authenticate(self, presented: bytes) -> Principal:
        """Return the principal that a token speaks for.

        Nothing is awaited after the key was found and before this returns, so the answer is of this instant.

        Raises:
            InvalidToken: It speaks for nobody; `fault` says why, for logs only.
            StoreUnavailable: Whether its key is trusted cannot be told now.
        """
        try:
            return await self._authenticate(presented)
        except InvalidToken:
            self.stats.rejected += 1
            raise
        except StoreUnavailable:
            self.stats.undecided += 1
            raise

    async def _authenticate(self, presented: bytes) -> Principal:
        if len(presented) > self._max_size:
            raise InvalidToken(Fault.OVERSIZED)
        fingerprint = self._fingerprint(presented)
        principal = await self._remembered(fingerprint)
        if principal is not None:
            self.stats.hits += 1
            return principal
        compact = parse(presented)
        header = compact.header
        if header.typ not in self._types:
            raise InvalidToken(Fault.TYPE)
        candidates = await self._keys.find(header.kid, header.algorithm)
        key = _verifying(compact, [each for each in candidates if each.algorithm == header.algorithm])
        # Only now is anything of the payload read.
        claims = json_object(decoded(compact.payload))
        ends_at = self._expectations.check(claims, self._clock.wall())
        principal = self._rights.principal(claims, ends_at)
        self._remember(fingerprint, principal, key, header.kid, ends_at)
        self.stats.accepted += 1
        return principal

    def _fingerprint(self, presented: bytes) -> bytes:
        """BLAKE2b (RFC 7693) of the whole token under a key of this process: no token is kept, nor a part of one."""
        keyed = self._keyed.copy()
        keyed.update(presented)
        return keyed.digest()

    async def _remembered(self, fingerprint: bytes) -> Principal | None:
        """Return the principal of a token that was verified before, has not ended, and whose key is still trusted."""
        if self._verified is None:
            return None
        held = self._verified.get(fingerprint)
        if held is None:
            return None
        trusted = held.key in await self._keys.find(held.kid, held.key.algorithm)
        # The clocks after the wait.
        if trusted and self._clock.monotonic() < held.deadline and self._clock.wall() < held.ends_at:
            return held.principal
        self._verified.pop(fingerprint, None)
        return None

    def _remember(
        self, fingerprint: bytes, principal: Principal, key: TrustedKey, kid: str | None, ends_at: Instant
    ) -> None:
        left = ends_at - self._clock.wall()
        # In the leeway after its end it is verified each time.
        if self._verified is not None and left > 0:
            deadline = self._clock.monotonic() + left
            self._verified[fingerprint] = _Verified(principal, key, kid, deadline, ends_at)


def _verifying(compact: Compact, candidates: Collection[TrustedKey]) -> TrustedKey:
    """Return the key whose signature the token has.

    Raises:
        InvalidToken: None of them.
    """
    if not candidates:
        raise InvalidToken(Fault.UNKNOWN_KEY)
    for key in candidates:
        if key.verifies(compact.signed, compact.signature):
            return key
    raise InvalidToken(Fault.SIGNATURE)


# ---- arguments ----


def _source(keys: TrustedKey | Collection[TrustedKey] | KeySource) -> KeySource:
    if isinstance(keys, TrustedKey):
        return Keyring([keys])
    # Text and bytes have a `find` of their own.
    if callable(getattr(keys, "find", None)) and not isinstance(keys, str | bytes):
        return cast("KeySource", keys)
    try:
        return Keyring(cast("Collection[TrustedKey]", keys))
    except TypeError as error:
        raise ConfigurationError(
            "keys is no key, nor a source of keys; write keys=shared_secret(…) or JWKS(…)"
        ) from error


def _collection(what: str, values: object) -> Collection[object]:
    if isinstance(values, str | bytes) or not isinstance(values, Collection):
        raise ConfigurationError(f"{what}={values!r} is not a collection of names; write {what}=('…',)")
    return values


def _names(what: str, values: object) -> tuple[str, ...]:
    given = tuple(_collection(what, values))
    names = tuple(each for each in given if isinstance(each, str) and each.strip())
    if not names or names != given:
        raise ConfigurationError(f"{what} must be text that is not blank: an empty one would match what nobody wrote")
    return names


def _types(types: object) -> frozenset[str | None]:
    given = _collection("types", types)
    if not given or not all(each is None or (isinstance(each, str) and each) for each in given):
        raise ConfigurationError("types must be values of `typ`, such as 'JWT'; None for tokens without one")
    return frozenset(media_type(each) if isinstance(each, str) else None for each in given)


def _path(what: str, path: object) -> ClaimPath:
    names = path if isinstance(path, tuple) else (path,)
    if not names or not all(isinstance(each, str) and each for each in names):
        raise ConfigurationError(f"{what}: {path!r} is neither the name of a claim nor a tuple of names")
    return cast("ClaimPath", path)


def _exactly(exactly: object) -> Mapping[str, str | int | bool]:
    if not isinstance(exactly, Mapping) or not all(isinstance(each, str | int) for each in exactly.values()):
        raise ConfigurationError("exactly must map claims to text, numbers or booleans: {'token_use': 'access'}")
    return cast("Mapping[str, str | int | bool]", dict(exactly))


def _scope_map(scope_map: Mapping[str, Collection[str]]) -> Mapping[str, frozenset[str]]:
    try:
        return {name: checked_scopes(scopes) for name, scopes in scope_map.items()}
    except (InvalidRequest, AttributeError) as error:
        raise ConfigurationError(
            f"scope_map must map the issuer's names to collections of our scopes: {error}"
        ) from error


def _environment(environment: str) -> str:
    try:
        return checked_environment(environment)
    except InvalidRequest as error:
        raise ConfigurationError(f"environment: {error}") from error
