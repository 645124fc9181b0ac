"""Every exception of the package, one tree, each with a stable `code`.

APIKeyError
├── AuthenticationError            the request does not get in
│   ├── MissingCredential
│   ├── AmbiguousCredential        duplicates, or two enabled places at once
│   ├── InvalidKey                 outside, all of these look the same
│   │   ├── MalformedKey
│   │   ├── UnknownKey
│   │   ├── WrongSecret
│   │   ├── RevokedKey
│   │   ├── ExpiredKey
│   │   ├── DisabledKey
│   │   ├── NotYetValid
│   │   ├── WrongEnvironment
│   │   └── InvalidToken           a JWT, where those are accepted beside keys
│   ├── MissingScope               this one and the next four only ever after authentication
│   ├── NetworkNotAllowed
│   ├── OriginNotAllowed
│   ├── RouteNotAllowed
│   ├── TooManyConnections
│   ├── RateLimited
│   └── LimitExceeded              the key is good, and has been used as much as it may be
│       ├── RateExceeded
│       └── QuotaExceeded
├── Undecidable                    we cannot tell, so the answer is 503, never "yes" and never "no"
│   ├── StoreUnavailable
│   └── Overloaded
├── LifecycleError                 a change of a key that cannot be made
│   ├── KeyNotFound
│   ├── KeyExists
│   ├── KeyLimitReached
│   ├── GrantExceeded
│   ├── IdempotencyConflict
│   ├── StaleRecord
│   ├── BodyTooLarge
│   └── InvalidRequest
└── ConfigurationError             raised while wiring, with the fix in the message
    └── MissingExtra

`code` is part of the public interface: it never changes once released. Evidence travels as attributes
(`key_id`, `retry_after`, …); no error ever carries a secret, a digest or the presented bytes.
The HTTP status of each is decided in one place, `asgi/problems.py`.
"""

from __future__ import annotations

from typing import ClassVar

from asgi_apikey.measures import Reading


class APIKeyError(Exception):
    """Root of everything this package raises on purpose."""

    code: ClassVar[str] = "api_key_error"


class AuthenticationError(APIKeyError):
    """The request is refused; the client can do something about it."""

    code = "authentication_error"


class MissingCredential(AuthenticationError):
    """No enabled place of the request carries a credential."""

    code = "missing_credential"


class AmbiguousCredential(AuthenticationError):
    """More than one credential: duplicate fields, or two enabled places (RFC 6750 section 2)."""

    code = "ambiguous_credential"


class InvalidKey(AuthenticationError):
    """The presented key does not authenticate anybody.

    Attributes:
        key_id: The public id when the presented key had a readable one, for logs; never sent to the client.
    """

    code = "invalid_key"
    reason: ClassVar[str] = "invalid"

    def __init__(self, key_id: str | None = None) -> None:
        super().__init__(f"key rejected: {self.reason}")
        self.key_id = key_id


class MalformedKey(InvalidKey):
    """Not of any accepted shape, or its checksum is wrong."""

    reason = "malformed"


class UnknownKey(InvalidKey):
    """Well formed, but no record has its id."""

    reason = "unknown"


class WrongSecret(InvalidKey):
    """The record exists, the presented key does not match its digest."""

    reason = "wrong_secret"


class RevokedKey(InvalidKey):
    """The key was revoked."""

    reason = "revoked"


class ExpiredKey(InvalidKey):
    """The key's end has passed."""

    reason = "expired"


class DisabledKey(InvalidKey):
    """The key is switched off for now."""

    reason = "disabled"


class NotYetValid(InvalidKey):
    """The key's start lies in the future."""

    reason = "not_yet_valid"


class WrongEnvironment(InvalidKey):
    """A key of another environment (a `test` key where `live` ones are served)."""

    reason = "wrong_environment"


class InvalidToken(InvalidKey):
    """A JSON Web Token that is not accepted, where those are a second credential.

    Attributes:
        fault: What is wrong with it, for logs: a value of `asgi_apikey.jwt.Fault`; never sent to the client.
    """

    reason = "invalid_token"

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.args = (f"token rejected: {fault}",)
        self.fault = fault


class MissingScope(AuthenticationError):
    """The authenticated key lacks scopes.

    Attributes:
        required: The scopes that were asked for.
    """

    code = "missing_scope"

    def __init__(self, required: frozenset[str]) -> None:
        super().__init__(f"missing scope; required: {' '.join(sorted(required))}")
        self.required = required


class NetworkNotAllowed(AuthenticationError):
    """The authenticated key may not be used from this address."""

    code = "network_not_allowed"

    def __init__(self) -> None:
        super().__init__("the key may not be used from this address")


class OriginNotAllowed(AuthenticationError):
    """The authenticated key may not be used from this web page, or from what is none."""

    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__("the key may not be used from this origin")


class RouteNotAllowed(AuthenticationError):
    """The authenticated key may not be used for this method and path."""

    code = "route_not_allowed"

    def __init__(self) -> None:
        super().__init__("the key may not be used for this method and path")


class TooManyConnections(AuthenticationError):
    """The key has as many open WebSockets in this process as it may have.

    Attributes:
        most: How many that is.
    """

    code = "too_many_connections"

    def __init__(self, most: int) -> None:
        super().__init__(f"the key has {most} open connections already")
        self.most = most


class RateLimited(AuthenticationError):
    """Too many failures from here; try again in `retry_after` seconds."""

    code = "rate_limited"

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("too many failed attempts")
        self.retry_after = retry_after


class LimitExceeded(AuthenticationError):
    """The authenticated key, or its owner, has been used as much as it may be. Nothing was taken.

    Attributes:
        readings: What the limits show, those that had not enough among them.
        retry_after: Seconds after which there is enough again; None: never, by itself.
    """

    code = "limit_exceeded"

    def __init__(self, readings: tuple[Reading, ...], retry_after: float | None) -> None:
        super().__init__(f"used up: {', '.join(each.meter.label for each in readings if each.refused)}")
        self.readings = readings
        self.retry_after = retry_after


class RateExceeded(LimitExceeded):
    """Too many requests at once, or in a short time."""

    code = "rate_exceeded"


class QuotaExceeded(LimitExceeded):
    """The quota of the hour, the day or the month is used up, or the credits are."""

    code = "quota_exceeded"


class Undecidable(APIKeyError):
    """The question cannot be answered now: neither accepted nor rejected.

    Attributes:
        retry_after: Seconds after which trying again makes sense.
    """

    code = "undecidable"

    def __init__(self, message: str = "cannot decide now", *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(Undecidable):
    """The repository did not answer in time, or not usefully.

    Attributes:
        outcome_unknown: A change may or may not have been committed; read before trying it again.
    """

    code = "store_unavailable"

    def __init__(
        self, message: str = "the key store is unavailable", *, retry_after: float = 1.0, outcome_unknown: bool = False
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.outcome_unknown = outcome_unknown


class Overloaded(Undecidable):
    """A bounded queue is full; nothing was looked up or hashed."""

    code = "overloaded"


class LifecycleError(APIKeyError):
    """A change of a key was refused; nothing was changed."""

    code = "lifecycle_error"


class KeyNotFound(LifecycleError):
    """No record has this key id."""

    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no key with id {key_id!r}")
        self.key_id = key_id


class KeyExists(LifecycleError):
    """A record with this key id exists already."""

    code = "key_exists"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"a key with id {key_id!r} exists already")
        self.key_id = key_id


class KeyLimitReached(LifecycleError):
    """One more live key than an owner, or the lineage of a rotated key, may have.

    Attributes:
        most: How many there may be.
    """

    code = "key_limit_reached"

    def __init__(self, message: str, most: int) -> None:
        super().__init__(message)
        self.most = most


class GrantExceeded(LifecycleError):
    """More would be handed on than whoever asks may hand on.

    Attributes:
        exceeds: In which respects, as the names of the attributes of a `Grant`.
    """

    code = "grant_exceeded"

    def __init__(self, exceeds: tuple[str, ...]) -> None:
        super().__init__(f"this goes beyond what may be handed on: {', '.join(exceeds)}")
        self.exceeds = exceeds


class IdempotencyConflict(LifecycleError):
    """The idempotency key was used before, for another request than this one."""

    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("the idempotency key was used before, for another request")


class StaleRecord(LifecycleError):
    """The record changed since the version the caller had read.

    Attributes:
        expected: The version the caller named.
    """

    code = "stale_record"

    def __init__(self, key_id: str, expected: int) -> None:
        super().__init__(f"key {key_id!r} is no longer at version {expected}; read it again")
        self.key_id = key_id
        self.expected = expected


class BodyTooLarge(LifecycleError):
    """A request of the management API with more than it reads.

    Attributes:
        most: Bytes that it reads.
    """

    code = "body_too_large"

    def __init__(self, most: int) -> None:
        super().__init__(f"the body is longer than {most} bytes")
        self.most = most


class InvalidRequest(LifecycleError):
    """A value that a key cannot have, or a change its state does not allow.

    Attributes:
        path: Of the value, in a request to the management API: `scopes[0]`; empty where no single one is to blame.
    """

    code = "invalid_request"

    def __init__(self, message: str = "the request cannot be met", *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class ConfigurationError(APIKeyError, ValueError):
    """The parts cannot be wired like this; the message says what to write instead."""

    code = "configuration_error"


class MissingExtra(ConfigurationError, ImportError):
    """A plug needs a library that is not installed."""

    code = "missing_extra"

    def __init__(self, extra: str, needed_by: str) -> None:
        super().__init__(f"{needed_by} needs an optional library: pip install 'asgi-apikey[{extra}]'")
        self.extra = extra
