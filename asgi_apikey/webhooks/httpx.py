"""Sends messages over the network. Needs the extra `webhooks`."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

import anyio
import httpx

from asgi_apikey.models import HOUR, Seconds
from asgi_apikey.webhooks.addresses import address_of
from asgi_apikey.webhooks.endpoints import Answer, Unsent, Webhook

_TIMEOUT: Final[Seconds] = 20.0


class HTTPXSender:
    """Posts messages, each over a connection of its own, to an address that was judged before.

    No proxy of the environment is used: it would look the name up itself.

    Args:
        timeout: Seconds for one attempt, looking up the name included.
        tls: Whom to believe; None: the authorities that the platform does.
    """

    def __init__(self, *, timeout: Seconds = _TIMEOUT, tls: ssl.SSLContext | None = None) -> None:
        self._timeout = timeout
        # Each step ends before the whole does: who is cancelled in the middle of a handshake leaves its socket open.
        self._steps = httpx.Timeout(timeout / 4, read=timeout / 2)
        self._tls = tls

    async def post(self, endpoint: Webhook, headers: Mapping[str, str], body: bytes) -> Answer:
        """See `Sender.post`."""
        try:
            with anyio.fail_after(self._timeout):
                return await self._post(endpoint, headers, body)
        except TimeoutError as error:
            raise Unsent(f"no answer within {self._timeout:g} seconds") from error
        except (httpx.HTTPError, OSError) as error:
            # By class: the text may repeat the URL.
            raise Unsent(type(error).__name__) from None

    async def _post(self, endpoint: Webhook, headers: Mapping[str, str], body: bytes) -> Answer:
        named = httpx.URL(endpoint.url)
        port = named.port or (443 if named.scheme == "https" else 80)
        address = await address_of(named.host, port, allow_private=endpoint.allow_private)
        sent = {**headers, "host": named.netloc.decode("ascii")}
        # The certificate must still be the name's.
        extensions = {"sni_hostname": named.host}
        # Made when it is needed, for it takes longer than anything else here.
        tls = self._tls = ssl.create_default_context() if self._tls is None else self._tls
        async with (
            httpx.AsyncClient(verify=tls, trust_env=False, timeout=self._steps) as client,
            client.stream(
                "POST",
                named.copy_with(host=address),
                content=body,
                headers=sent,
                extensions=extensions,
                follow_redirects=False,
            ) as answer,
        ):
            return Answer(answer.status_code, _seconds(answer.headers.get("retry-after", "")))


def _seconds(text: str) -> Seconds | None:
    """Read `Retry-After` (RFC 9110 section 10.2.3) where it is a number of seconds; at most an hour."""
    return min(float(text), HOUR) if text.isascii() and text.isdigit() and len(text) < 10 else None
