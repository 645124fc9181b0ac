"""Requests to a server: where it is, what may be sent there, and one connection for each.

From the standard library: a command sends few requests, one after the other, and a client with pools would take longer
to import than they take.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.models import Seconds
from asgi_apikey.settings.service import is_loopback

Headers: TypeAlias = Mapping[str, str]

API: Final = "/api/v1/api-keys"
"""Where `asgi-apikey serve` has the management API."""

_TIMEOUT: Final[Seconds] = 30.0
"""Of connecting, and of each read; a revoke waits 2.1 s for others."""

_LONGEST_ANSWER: Final = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a management API is.

    Attributes:
        path: Below which its verbs are; no slash at its end.
    """

    host: str
    port: int
    path: str
    tls: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has said.

    Attributes:
        body: There may be a key in it.
        challenge: `WWW-Authenticate`.
    """

    status: int
    body: bytes = field(repr=False)
    challenge: str = ""


class Transport(Protocol):
    """Sends requests to one management API."""

    async def send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        """Send one request.

        Args:
            method: In capitals.
            path: Below the API, with its query.
            headers: Their values may be secrets.
            body: JSON; None: none.

        Raises:
            StoreUnavailable: There was no answer; `outcome_unknown` unless the request was not even sent.
            ConfigurationError: It is not safe to send anything there, or no HTTP is spoken.
        """
        ...


def address_of(url: str, *, plain_http: bool = False) -> Address:
    """Return the address that a URL names; without a path, the API is where `serve` has it.

    Args:
        url: Of the server, or of the API on it.
        plain_http: A token may go to another machine without TLS.

    Raises:
        ConfigurationError: It is no such URL, or not a safe one.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("https", "http") or not host or not plain or parts.query or parts.fragment:
        raise ConfigurationError("the server must be a URL such as https://keys.example, or with the path of its API")
    if "@" in parts.netloc:
        raise ConfigurationError("the server's URL must not hold a password: the token goes into ASGI_APIKEY_TOKEN")
    tls = parts.scheme == "https"
    if not tls and not plain_http and not is_loopback(host):
        raise ConfigurationError(
            f"http://{host} would send the token in the clear to another machine; write https://, or add --plain-http "
            "where the network between is your own"
        )
    path = parts.path.rstrip("/")
    return Address(host, port or (443 if tls else 80), path or API, tls)


class HTTPTransport:
    """Sends requests over connections of its own; redirects are not followed, the token is for this server alone.

    Args:
        address: Of the API.
        timeout: Seconds of connecting, and of each read.
    """

    def __init__(self, address: Address, *, timeout: Seconds = _TIMEOUT) -> None:
        self._address = address
        self._timeout = timeout

    async def send(self, method: str, path: str, headers: Headers, body: bytes | None) -> Answer:
        """Send one request; see `Transport`."""
        # Not in a thread: nothing else is going on in a command, and Ctrl-C ends it at once like this.
        connection = self._connection()
        try:
            self._connect(connection)
            return self._exchange(connection, method, self._address.path + path, headers, body)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        address = self._address
        if not address.tls:
            return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
        # Certificates are compared with those that the system trusts, or those in SSL_CERT_FILE.
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(address.host, address.port, timeout=self._timeout, context=context)

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise ConfigurationError(
                f"the certificate of {self._address.host} is not to be trusted: {error.verify_message}; "
                "SSL_CERT_FILE may name one that is"
            ) from None
        except ssl.SSLError as error:
            raise ConfigurationError(f"{self._address.host} does not speak TLS: {error.reason}") from None
        except OSError as error:
            raise self._silent(error) from None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | None,
    ) -> Answer:
        try:
            connection.request(method, path, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
            # With its length, one that is cut off is noticed; with an amount, `read` would not say so.
            content = response.read() if (response.length or 0) <= _LONGEST_ANSWER else b""
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error, sent=True) from None
        if len(content) > _LONGEST_ANSWER:
            raise ConfigurationError(f"{self._address.host} answers with more than a management API would")
        return Answer(response.status, content, response.getheader("WWW-Authenticate", ""))

    def _silent(self, error: Exception, *, sent: bool = False) -> StoreUnavailable:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return StoreUnavailable(
            f"the server at {self._address.host}:{self._address.port} does not answer: {why}", outcome_unknown=sent
        )
