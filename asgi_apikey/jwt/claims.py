"""What a verified payload must say to be believed here, and the principal that it makes.

Source: RFC 7519 section 4.1 for the names, RFC 8725 section 3 for what must be checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from asgi_apikey.errors import InvalidRequest, InvalidToken
from asgi_apikey.jwt.faults import Fault
from asgi_apikey.lifecycle import MAX_NAME, MAX_SCOPE, line, metadata
from asgi_apikey.models import Instant, JSONValue, Metadata, Principal, Seconds

ClaimPath: TypeAlias = str | tuple[str, ...]
"""Where a claim is: its name, or the names on the way down: `("realm_access", "roles")`."""

LAST_INSTANT: Final[Instant] = 253_402_300_799.0
"""The end of the year 9999, beyond which RFC 3339 has no dates."""

# The characters of a scope (RFC 6749 section 3.3) but `*`: wildcards are a word of ours, and an issuer that lets
# somebody have a scope with that name did not mean "everything".
_PLAIN_SCOPE = re.compile(rf"[\x21\x23-\x29\x2b-\x5b\x5d-\x7e]{{1,{MAX_SCOPE}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What a payload is compared with.

    Attributes:
        issuer: `iss` is exactly this.
        audiences: `aud` is, or holds, one of these.
        leeway: Seconds by which the issuer's clock may differ from ours.
        exactly: Claims and the values that they must have.
    """

    issuer: str
    audiences: frozenset[str]
    leeway: Seconds
    exactly: Mapping[str, str | int | bool]

    def check(self, claims: Mapping[str, JSONValue], now: Instant) -> Instant:
        """Return the token's end, if it is for us and for this instant.

        Raises:
            InvalidToken: It is not, or a claim is missing or has a value that it cannot have.
        """
        if claims.get("iss") != self.issuer:
            raise InvalidToken(Fault.ISSUER)
        if self.audiences.isdisjoint(_audiences(claims.get("aud"))):
            raise InvalidToken(Fault.AUDIENCE)
        ends_at = _instant(claims.get("exp"))
        begins = [_instant(claims[name]) for name in ("nbf", "iat") if name in claims]
        if now >= ends_at + self.leeway:
            raise InvalidToken(Fault.EXPIRED)
        if any(now < each - self.leeway for each in begins):
            raise InvalidToken(Fault.NOT_YET_VALID)
        for name, wanted in self.exactly.items():
            # By type too: True equals 1.
            if type(claims.get(name)) is not type(wanted) or claims[name] != wanted:
                raise InvalidToken(Fault.CLAIM)
        return ends_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Which claims become which fields of the principal. What is absent grants nothing.

    Attributes:
        scope_claims: Each is text with spaces between the names (RFC 8693 section 4.2), or a list; all count.
        scope_map: Names of the issuer -> scopes of ours, and no others; None: the names are the scopes.
        tenant_claim: Must be there, if named; None: the default tenant.
        metadata_claims: Copied if they are there.
    """

    scope_claims: tuple[ClaimPath, ...]
    scope_map: Mapping[str, frozenset[str]] | None = None
    tenant_claim: ClaimPath | None = None
    metadata_claims: tuple[str, ...] = ()
    environment: str = "live"

    def principal(self, claims: Mapping[str, JSONValue], ends_at: Instant) -> Principal:
        """Return whom a checked payload speaks for.

        `key_id` is `jwt:` and the subject: stable over the subject's tokens, and never the id of a key.

        Raises:
            InvalidToken: A claim that is used here is missing or has a value that it cannot have.
        """
        owner = _line(claims.get("sub"))
        return Principal(
            key_id=f"jwt:{owner}",
            owner=owner,
            tenant="" if self.tenant_claim is None else _line(claim_at(claims, self.tenant_claim)),
            environment=self.environment,
            scopes=self._scopes(claims),
            metadata=self._metadata(claims),
            expires_at=ends_at,
            method="jwt",
        )

    def _scopes(self, claims: Mapping[str, JSONValue]) -> frozenset[str]:
        names = {name for path in self.scope_claims for name in _names(claim_at(claims, path))}
        if self.scope_map is not None:
            return frozenset(scope for name in names for scope in self.scope_map.get(name, ()))
        return frozenset(name for name in names if _PLAIN_SCOPE.fullmatch(name))

    def _metadata(self, claims: Mapping[str, JSONValue]) -> Metadata:
        try:
            return metadata({name: claims[name] for name in self.metadata_claims if name in claims})
        except InvalidRequest as error:
            raise InvalidToken(Fault.CLAIM) from error


def claim_at(claims: Mapping[str, JSONValue], path: ClaimPath) -> JSONValue:
    """Return the claim at a path, None if there is none."""
    value: JSONValue = claims
    for name in (path,) if isinstance(path, str) else path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _audiences(claim: JSONValue) -> Collection[str]:
    values = claim if isinstance(claim, list) else [claim]
    return frozenset(each for each in values if isinstance(each, str))


def _instant(claim: JSONValue) -> Instant:
    """Read a NumericDate (RFC 7519 section 2)."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        raise InvalidToken(Fault.CLAIM)
    # Also false for NaN and infinity, and no number of digits is too large to compare.
    if not 0 <= claim <= LAST_INSTANT:
        raise InvalidToken(Fault.CLAIM)
    return float(claim)


def _line(claim: JSONValue) -> str:
    """Read a name as those of keys are: not blank, of one line, of bounded length."""
    try:
        return line(claim, "a claim", most=MAX_NAME, least=1)
    except InvalidRequest as error:
        raise InvalidToken(Fault.CLAIM) from error


def _names(claim: JSONValue) -> Collection[str]:
    if claim is None:
        return ()
    names = claim.split(" ") if isinstance(claim, str) else claim
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise InvalidToken(Fault.CLAIM)
    return [name for name in names if name and " " not in name]
