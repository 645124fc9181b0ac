"""Fetching the public keys of an issuer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from asgi_apikey.errors import ConfigurationError, InvalidToken
from asgi_apikey.jwt.jwks import MAX_BYTES
from asgi_apikey.service.tokens import check_published, fetch, token_verifier
from asgi_apikey.settings import ServiceSettings

SECRET = "Zp7-uY2_sW9kN4rT6bV1xC8mJ3hL5dQa"


class Issuer(BaseHTTPRequestHandler):
    """Answers as the path says."""

    def do_GET(self) -> None:
        """Answer."""
        body = {"/keys": b'{"keys": []}', "/html": b"<html>", "/large": b"x" * (MAX_BYTES + 10)}.get(self.path, b"")
        status = {"/keys": 200, "/html": 200, "/large": 200, "/moved": 302, "/empty": 204}.get(self.path, 500)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "/keys")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The address of one on loopback."""
    server = HTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.anyio
async def test_the_body_of_a_200_is_returned(issuer: str) -> None:
    """As it is."""
    assert json.loads(await fetch(f"{issuer}/keys")) == {"keys": []}


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/moved", "/empty", "/broken"])
async def test_everything_else_is_an_error(issuer: str, path: str) -> None:
    """A redirect above all: whoever chooses where it leads can sign."""
    with pytest.raises(OSError):
        await fetch(f"{issuer}{path}")


@pytest.mark.anyio
async def test_no_more_is_read_than_a_set_may_have(issuer: str) -> None:
    """One byte more, so that it is noticed."""
    assert len(await fetch(f"{issuer}/large")) == MAX_BYTES + 1


@pytest.mark.anyio
async def test_what_is_published_can_be_checked(issuer: str) -> None:
    """A set of keys, or an error."""
    await check_published(f"{issuer}/keys")
    with pytest.raises((ValueError, InvalidToken)):
        await check_published(f"{issuer}/html")


def test_without_tokens_there_is_no_verifier() -> None:
    """Nothing is accepted by default."""
    assert token_verifier(ServiceSettings(), environment="live") is None


@pytest.mark.parametrize(
    "secret", ["changeme" * 4 + "0123456789abcdef", SECRET[:31], "a" * 64, "the-default-key-0123456789-zyxwvut"]
)
def test_a_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    """Short, an example, or following a pattern; and it is not repeated."""
    settings = ServiceSettings(jwt_secret=secret, jwt_issuer="login", jwt_audience=("api",))

    with pytest.raises(ConfigurationError) as caught:
        token_verifier(settings, environment="live")

    assert secret not in str(caught.value)
