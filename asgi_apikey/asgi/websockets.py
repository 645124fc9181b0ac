"""How WebSockets present their key, and how they are told that it is not accepted: the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asgi_apikey.arguments import check_counts, check_flags, check_positive, present
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSockets:
    """What differs for WebSockets; all other options hold for them as for requests.

    Attributes:
        subprotocol: Whether one of the subprotocols that the client offers may be the key, see `subprotocol`. It is
            taken out of the ASGI scope before the application sees it, and never chosen.
        first_message: Seconds within which a client that has presented nothing may send its key as the first text
            message; None: it may not. Such a WebSocket is accepted before anybody knows whose it is.
        most_pending: How many of them this process has at once; whoever comes then is told 503.
        close_codes: Whether a WebSocket that is refused is accepted and closed at once, with 4401, 4403, 4429 or 1013.
            A page in a browser cannot see the response that denies a handshake, only codes.

    Raises:
        ConfigurationError: A value of the wrong kind.
    """

    subprotocol: bool = False
    first_message: Seconds | None = None
    most_pending: int = 100
    close_codes: bool = False

    def __post_init__(self) -> None:
        check_flags(subprotocol=self.subprotocol, close_codes=self.close_codes)
        check_positive(**present(first_message=self.first_message))
        check_counts(most_pending=self.most_pending)
        if self.most_pending < 1:
            raise ConfigurationError("most_pending must be at least 1; without any, write first_message=None")


AS_REQUESTS: Final = WebSockets()
"""Keys where requests have them, refusals as responses."""
