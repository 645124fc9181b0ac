"""nginx with our example configuration lets in whom the service accepts, and nobody else.

These run against a real nginx: `make test-hosts`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from tests.deploy.nginx import Application, Proxy, application, proxying
from tests.deploy.service import Service, serving
from tests.integration.wire import Reply, exchange

pytestmark = pytest.mark.hosts


@dataclass(frozen=True, slots=True)
class Site:
    """All three, and keys that are for different things."""

    app: Application
    proxy: Proxy
    service: Service
    key: str
    key_id: str
    from_elsewhere: str
    from_here: str
    to_read_orders: str

    def send(self, *lines: str, target: str = "/orders/7", method: str = "GET", body: bytes = b"") -> Reply:
        """Send one request through nginx."""
        head = [f"{method} {target} HTTP/1.1", "Host: api.example", "Connection: close", *lines]
        self.app.seen.clear()
        return exchange(self.proxy.port, "\r\n".join([*head, "", ""]).encode("latin-1") + body)[0]

    def with_key(self, *lines: str, target: str = "/orders/7", method: str = "GET", body: bytes = b"") -> Reply:
        """Send one request with the key that may do everything."""
        return self.send(f"X-API-Key: {self.key}", *lines, target=target, method=method, body=body)

    def reached(self, name: str) -> list[str]:
        """Return the values of a header of the one request that has reached the application."""
        (request,) = self.app.seen
        return [value for each, value in request["headers"] if each == name]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all tests."""
    with serving() as service, application() as app, proxying(app.port, service.port) as proxy:
        key, key_id = service.issue("--scope", "orders:read", "--scope", "orders:write")
        yield Site(
            app,
            proxy,
            service,
            key,
            key_id,
            from_elsewhere=service.issue("--network", "192.0.2.0/24")[0],
            from_here=service.issue("--network", "127.0.0.0/8")[0],
            to_read_orders=service.issue("--route", "GET /orders/*")[0],
        )


def test_a_good_key_is_let_in(site: Site) -> None:
    """The application gets the request as it was sent, but for the key."""
    reply = site.with_key(target="/orders/7?page=2")

    assert reply.status == 200
    (request,) = site.app.seen
    assert (request["method"], request["path"]) == ("GET", "/orders/7?page=2")


def test_a_key_with_as_much_to_tell_as_can_be_is_let_in(site: Site) -> None:
    """Longer headers than its buffer, and nginx gives up on the answer: the buffer is that long."""
    scopes = [f"{number:0>2}:".ljust(128, "x") for number in range(100)]
    named = [part for scope in scopes for part in ("--scope", scope)]
    key, _ = site.service.issue("--owner", "\U0001f511" * 255, "--tenant", "\U0001f511" * 255, *named)

    reply = site.send(f"X-API-Key: {key}")

    assert reply.status == 200
    assert site.reached("x-api-key-scopes") == [" ".join(scopes)]


def test_the_application_is_told_who_it_is(site: Site) -> None:
    """In headers that the service has written."""
    site.with_key()

    assert site.reached("x-api-key-id") == [site.key_id]
    assert site.reached("x-api-key-owner") == ["acme"]
    assert sorted(site.reached("x-api-key-scopes")[0].split()) == ["orders:read", "orders:write"]


def test_a_name_of_any_kind_is_one_header(site: Site) -> None:
    """What is not visible ASCII is escaped, so that no name can begin a line of its own."""
    key, _ = site.service.issue(owner="Müller & Söhne, 100 %")

    assert site.send(f"X-API-Key: {key}").status == 200
    assert [unquote(value) for value in site.reached("x-api-key-owner")] == ["Müller & Söhne, 100 %"]
    assert site.reached("x-api-key-owner")[0].isascii()


def test_a_location_may_need_a_scope(site: Site) -> None:
    """Which one is nginx's to say; a key without it is a good key that may not do this."""
    assert site.with_key(target="/write/7").status == 200
    assert site.send(f"X-API-Key: {site.from_here}", target="/write/7").status == 403
    assert site.app.seen == []


def test_the_application_never_sees_the_key(site: Site) -> None:
    """Neither in the header nor anywhere else in the request."""
    site.with_key("Authorization: Basic eDp5")

    assert site.reached("x-api-key") == site.reached("authorization") == []
    assert site.key not in json.dumps(site.app.seen)


@pytest.mark.parametrize("name", ["Id", "Owner", "Tenant", "Scopes"])
@pytest.mark.parametrize("spelling", ["X-API-Key-{}", "x-api-key-{}", "X_API_Key_{}"])
def test_nobody_can_say_himself_who_he_is(site: Site, name: str, spelling: str) -> None:
    """What a client sends under these names is replaced, also in spellings that some applications take for the same."""
    site.with_key(f"{spelling.format(name)}: mallory")

    assert "mallory" not in json.dumps(site.app.seen)


def test_a_request_without_a_key_is_refused(site: Site) -> None:
    """With 401 and the service's challenge; the application hears nothing of it."""
    reply = site.send()

    assert reply.status == 401
    assert "ApiKey" in reply.header("www-authenticate")
    assert site.app.seen == []


def strangers(key: str) -> dict[str, str]:
    """Keys that are not accepted, by what is wrong with them."""
    last = "A" if key[-1] != "A" else "B"
    return {"garbage": "x", "misspelt": key[:-1] + last, "too long": "k" * 5000, "empty": ""}


@pytest.mark.parametrize("wrong", strangers("?"))
def test_a_key_that_is_not_accepted_is_refused(site: Site, wrong: str) -> None:
    """With 401, whatever is wrong with it."""
    assert site.send(f"X-API-Key: {strangers(site.key)[wrong]}").status == 401
    assert site.app.seen == []


def test_a_revoked_key_is_refused_at_once(site: Site) -> None:
    """As soon as the command has returned; nginx remembers nothing of its own."""
    key, key_id = site.service.issue()
    assert site.send(f"X-API-Key: {key}").status == 200

    site.service.command("revoke", key_id, "--yes")

    assert site.send(f"X-API-Key: {key}").status == 401
    assert site.app.seen == []


def test_two_keys_are_refused(site: Site) -> None:
    """Nobody could tell which one to believe."""
    reply = site.with_key(f"X-API-Key: {site.from_here}")

    assert reply.status in (400, 401)
    assert site.app.seen == []


def test_a_key_is_bound_to_its_network_by_the_client_s_address(site: Site) -> None:
    """Not by the proxy's, and not by what the client says of itself."""
    assert site.send(f"X-API-Key: {site.from_here}").status == 200
    assert site.send(f"X-API-Key: {site.from_elsewhere}").status == 403
    assert site.send(f"X-API-Key: {site.from_elsewhere}", "X-Forwarded-For: 192.0.2.1").status == 403
    assert site.send(f"X-API-Key: {site.from_here}", "X-Forwarded-For: 192.0.2.1").status == 200


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/orders/7", 200),
        ("GET", "/orders/7?x=/admin", 200),
        ("POST", "/orders/7", 403),
        ("GET", "/admin", 403),
        ("GET", "/orders/../admin", 403),
        ("GET", "/orders/%2e%2e/admin", 403),
        ("GET", "/orders/..%2fadmin", 403),
        ("GET", "//orders/7", 403),
        ("GET", "/orders//7", 403),
    ],
)
def test_a_key_is_bound_to_its_routes(site: Site, method: str, target: str, status: int) -> None:
    """By what was asked for of nginx, as it was spelled; odd spellings lead nowhere."""
    reply = site.send(f"X-API-Key: {site.to_read_orders}", method=method, target=target)

    assert reply.status == status
    assert len(site.app.seen) == (status == 200)


@pytest.mark.parametrize("line", ["X-Original-URI: /orders/7", "X-Original-Method: GET", "X_Original_URI: /orders/7"])
def test_nobody_can_say_himself_what_he_asks_for(site: Site, line: str) -> None:
    """What the service is asked about is what nginx says."""
    reply = site.send(f"X-API-Key: {site.to_read_orders}", line, method="POST", target="/admin")

    assert reply.status == 403
    assert site.app.seen == []


def test_a_key_for_reading_does_not_open_websockets(site: Site) -> None:
    """The service hears of the upgrade, though the question itself is none."""
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")

    assert site.send(f"X-API-Key: {site.to_read_orders}", *upgrade).status == 403
    assert site.app.seen == []


@pytest.mark.parametrize(("sent", "passed"), [("websocket", ["websocket"]), ("h2c", []), ("websocket, h2c", [])])
def test_only_websockets_are_upgraded_to(site: Site, sent: str, passed: list[str]) -> None:
    """Behind an upgrade to another HTTP nobody would look at the requests."""
    site.with_key(f"Upgrade: {sent}")

    assert site.reached("upgrade") == passed


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 11",), b"hello=world"),
        (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n6\r\n=world\r\n0\r\n\r\n"),
    ],
)
def test_a_body_goes_to_the_application(site: Site, lines: tuple[str, ...], body: bytes) -> None:
    """And not with the question, which has none."""
    assert site.with_key(*lines, method="POST", body=body).status == 200
    assert site.app.seen[0]["body"] == "hello=world"


def test_the_question_is_not_the_client_s_to_change(site: Site) -> None:
    """A query of the request is not one of the question; the place of the question cannot be asked for."""
    assert site.with_key(target="/orders/7?scope=admin").status == 200
    assert site.with_key(target="/_verify").status == 404
    assert site.app.seen == []


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_what_the_application_answers_is_passed_on(site: Site, status: int) -> None:
    """Its errors are its own; only nginx's are replaced."""
    reply = site.with_key(target=f"/status/{status}")

    assert reply.status == status
    assert json.loads(reply.body)["path"] == f"/status/{status}"


def is_undecided(reply: Reply) -> bool:
    """Whether this is the answer that means: nobody could decide; come back."""
    problem: dict[str, Any] = json.loads(reply.body)
    return (
        reply.status == problem["status"] == 503
        and problem["code"] == "undecidable"
        and reply.header("retry-after") == "1"
        and reply.header("cache-control") == "no-store"
        and reply.header("content-type").startswith("application/problem+json")
    )


def test_no_log_holds_a_key(site: Site) -> None:
    """Neither nginx's nor the service's, accepted or not."""
    canary = secrets.token_hex(20)
    site.with_key()
    site.send(f"X-API-Key: ak_live_{canary}")

    told = site.proxy.logs() + site.service.process.log.read_text()

    assert site.key not in told
    assert canary not in told
    assert "/orders/7" in told


class TestWhenNobodyCanDecide:
    """The application hears nothing, and the client is told to come back: never 500, never let in."""

    @pytest.fixture
    def own(self, site: Site) -> Iterator[Site]:
        """A service of its own, because it does not come back."""
        with serving() as service, proxying(site.app.port, service.port) as proxy:
            unused = service.issue()[0]
            yield Site(site.app, proxy, service, unused, "", "", "", "")

    def test_because_the_store_is_gone(self, own: Site) -> None:
        """The service answers 503, which nginx by itself would tell as 500."""
        own.service.store.rename(own.service.store.with_name("moved"))

        assert is_undecided(own.with_key())
        assert own.app.seen == []

    def test_because_the_service_is_gone(self, own: Site) -> None:
        """Nobody listens."""
        own.service.process.kill()

        assert is_undecided(own.with_key())
        assert own.app.seen == []

    def test_because_the_service_is_frozen(self, own: Site) -> None:
        """It is waited for only so long."""
        own.service.process.freeze()

        assert is_undecided(own.with_key())
        assert own.app.seen == []
        own.service.process.thaw()
