"""Where a server is, and requests to it over real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest

from asgi_apikey.cli.wire import API, Address, Answer, HTTPTransport, address_of
from asgi_apikey.errors import ConfigurationError, StoreUnavailable
from asgi_apikey.service.application import API as SERVED

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nWWW-Authenticate: Bearer scope="a"\r\n\r\n{}'


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer one connection, from another thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(10)


def ask(port: int, *, tls: bool = False, timeout: float = 10.0) -> Answer:
    """Send a request."""
    transport = HTTPTransport(Address("127.0.0.1", port, "/api", tls), timeout=timeout)
    return anyio.run(transport.send, "POST", "/search", {"Authorization": "Bearer x"}, b"{}")


def test_a_request_is_sent_and_its_answer_read() -> None:
    """Below the path of the API; the connection is not kept."""
    seen: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        seen.append(connection.recv(65_536))
        connection.sendall(OK)

    with server(answer) as port:
        told = ask(port)

    assert (told.status, told.body, told.challenge) == (200, b"{}", 'Bearer scope="a"')
    assert seen[0].startswith(b"POST /api/search HTTP/1.1\r\n")
    assert b"Authorization: Bearer x\r\n" in seen[0]
    assert b"Connection: close\r\n" in seen[0]


def test_a_redirect_is_not_followed() -> None:
    """The token is for this server alone."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/\r\n\r\n")

    with server(answer) as port:
        assert ask(port).status == 307


def test_a_server_that_is_not_there_has_done_nothing() -> None:
    """The outcome is known: there was nobody to send to."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port} does not answer") as caught:
        ask(port)

    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"SSH-2.0-x\r\n\r\n"])
def test_an_answer_that_is_cut_off_leaves_the_outcome_open(said: bytes) -> None:
    """The request went out; whether anything was done cannot be told."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(said)

    with server(answer) as port, pytest.raises(StoreUnavailable) as caught:
        ask(port)

    assert caught.value.outcome_unknown


def test_a_silent_server_is_given_up() -> None:
    """After the timeout."""
    done = threading.Event()

    with server(lambda connection: bool(done.wait(10)) and None) as port:
        with pytest.raises(StoreUnavailable) as caught:
            ask(port, timeout=0.1)
        done.set()

    assert caught.value.outcome_unknown


def test_a_server_without_tls_is_a_matter_of_configuration() -> None:
    """Where it should have."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with server(answer) as port, pytest.raises(ConfigurationError, match="does not speak TLS"):
        ask(port, tls=True)


def test_a_certificate_that_is_not_trusted_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends before anything is sent."""

    def untrusted(*_: object, **__: object) -> None:
        error = ssl.SSLCertVerificationError("x")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr("http.client.HTTPSConnection.connect", untrusted)
    with pytest.raises(ConfigurationError, match="self-signed certificate"):
        ask(1, tls=True)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://keys.example", Address("keys.example", 443, API, True)),
        ("https://keys.example/", Address("keys.example", 443, API, True)),
        ("https://keys.example:8443/api-keys/", Address("keys.example", 8443, "/api-keys", True)),
        ("http://127.0.0.1:8002", Address("127.0.0.1", 8002, API, False)),
        ("http://localhost", Address("localhost", 80, API, False)),
        ("http://[::1]:8002", Address("::1", 8002, API, False)),
    ],
)
def test_a_url_names_the_server_or_the_api_on_it(url: str, address: Address) -> None:
    """Without a path it is where `serve` has it."""
    assert address_of(url) == address
    assert API == SERVED


@pytest.mark.parametrize(
    "url",
    [
        *("", "keys.example", "ftp://keys.example", "https://", "https://:1", "https://keys.example:x", "https://a b"),
        *("https://keys.example?x=1", "https://keys.example#x", "https://k/\n", "https://k/ä", "https://[::1"),
    ],
)
def test_what_is_no_such_url_is_refused(url: str) -> None:
    """With one that is."""
    with pytest.raises(ConfigurationError, match="such as https"):
        address_of(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    """The token has its own place."""
    with pytest.raises(ConfigurationError, match="ASGI_APIKEY_TOKEN") as caught:
        address_of("https://user:CANARY@keys.example")

    assert "CANARY" not in str(caught.value)


def test_a_token_goes_to_another_machine_under_tls_alone() -> None:
    """Unless somebody says that the network is their own."""
    with pytest.raises(ConfigurationError, match="--plain-http"):
        address_of("http://keys.example")

    assert address_of("http://keys.example", plain_http=True).port == 80
