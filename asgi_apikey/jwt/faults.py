"""What can be wrong with a token, as logs tell it. Clients get one and the same answer for all of these."""

from __future__ import annotations

import enum


class Fault(enum.StrEnum):
    """The values of `InvalidToken.fault`. They never change once released."""

    OVERSIZED = "oversized"
    """Longer than the verifier reads."""
    MALFORMED = "malformed"
    """Not three parts of canonical base64url that hold JSON objects, each name once."""
    HEADER = "header"
    """The header carries a key, or demands what is not understood."""
    TYPE = "type"
    """Not of a kind that is expected here: `typ`."""
    UNKNOWN_KEY = "unknown_key"
    """No trusted key has this `kid` and this `alg`."""
    SIGNATURE = "signature"
    """The signature does not fit."""
    ISSUER = "issuer"
    """Made by somebody else: `iss`."""
    AUDIENCE = "audience"
    """Made for somebody else: `aud`."""
    EXPIRED = "expired"
    """Its end has passed: `exp`."""
    NOT_YET_VALID = "not_yet_valid"
    """Its beginning, or its making, lies in the future: `nbf`, `iat`."""
    CLAIM = "claim"
    """A claim is missing, or has a value that it cannot have, or not the expected one."""
