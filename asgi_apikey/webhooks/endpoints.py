"""Where messages are sent: the endpoint, and the one who sends to it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.events import EventName
from asgi_apikey.models import Seconds
from asgi_apikey.webhooks.signing import secret_bytes

EVERY_EVENT = frozenset(EventName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One endpoint.

    Attributes:
        url: Where messages are posted. Its path may be a secret, so it is not in the repr.
        secret: Signs them: `whsec_…`; or several while it is being changed, newest last.
        events: What they are about.
        allow_http: Whether they may go over the network in the clear.
        allow_private: Whether they may go to addresses that are not public: of this machine, and of the networks
            around it, where other services trust whoever reaches them.

    Raises:
        ConfigurationError: A value that cannot be, or that would not be safe.
    """

    url: str = field(repr=False)
    secret: str | Sequence[str] = field(repr=False)
    events: Collection[EventName | str] = EVERY_EVENT
    allow_http: bool = False
    allow_private: bool = False
    _keys: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    _host: str = field(init=False, repr=True, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_host", _checked_host(self.url, self.allow_http))
        given = (self.secret,) if isinstance(self.secret, str) else tuple(self.secret)
        if not given:
            raise ConfigurationError("a webhook needs a secret; `asgi-apikey webhooks secret` prints a good one")
        object.__setattr__(self, "_keys", tuple(map(secret_bytes, given)))
        unknown = {self.events} if isinstance(self.events, str) else set(self.events) - set(EventName)
        if unknown or not self.events:
            raise ConfigurationError(
                f"events={self.events!r}: name some of {', '.join(EventName)}, as in events={{'revoked'}}"
            )

    @property
    def endpoint_id(self) -> str:
        """What dead letters call it: says nothing about the URL, and stays with it."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """Its machine, as logs may name it."""
        return self._host

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What signs, newest last."""
        return self._keys


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint has answered; its body is not read.

    Attributes:
        retry_after: Seconds that it asks to be left alone; None: it does not.
    """

    status: int
    retry_after: Seconds | None = None


class Unsent(Exception):
    """The message was not taken, and nobody has answered.

    Attributes:
        why: For logs and dead letters; nothing that anybody has sent.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Sender(Protocol):
    """Sends messages over a network."""

    async def post(self, endpoint: Webhook, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one and return the answer; follows no redirect, and never sends where the endpoint does not allow.

        Raises:
            Unsent: There was no answer.
        """
        ...


def _checked_host(url: object, allow_http: bool) -> str:
    plain = isinstance(url, str) and url.isascii() and url.isprintable() and " " not in url
    try:
        parts = urlsplit(url if plain and isinstance(url, str) else "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("https", "http") or not host or parts.fragment:
        raise ConfigurationError("a webhook's URL is written as https://example.com/hooks")
    if "@" in parts.netloc:
        raise ConfigurationError("a webhook's URL must not hold a password: its receiver checks the signature")
    if parts.scheme == "http" and not allow_http:
        raise ConfigurationError(
            f"http://{host} would show events to everybody on the way: write https://, or allow_http=True where the "
            "network between is your own"
        )
    return host
