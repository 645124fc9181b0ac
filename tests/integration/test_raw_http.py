"""The corpus of odd requests, on every framework and both parsers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest

from asgi_apikey import IssuedKey
from tests.integration.corpus import CASES, Case
from tests.integration.desk import Desk
from tests.integration.hosts import FRAMEWORKS, PARSERS, Host

_REFUSALS: Final = frozenset({0, 400, 401, 501})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one exchange.

    Attributes:
        statuses: Of the responses, in order; 0 for none at all.
        calls: How often the application inside was called, but for the open path.
    """

    statuses: tuple[int, ...]
    calls: int

    @property
    def refused(self) -> bool:
        """Whether nothing came through, not even to the open path."""
        return self.calls == 0 and _REFUSALS.issuperset(self.statuses)


@pytest.fixture(scope="module")
def issued(desk: Desk) -> IssuedKey:
    """A good key."""
    return desk.run(desk.keys.issue(owner="acme"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_odd_requests(case: Case, framework: str, hosts: dict[str, Host], issued: IssuedKey) -> None:
    """Nothing odd is let in, nothing is 500, and where the parsers differ, one of them refuses."""
    first, second = (outcome(hosts[f"{framework}-{parser}"], case, issued.key) for parser in PARSERS)

    for each in (first, second):
        assert case.statuses.issuperset(each.statuses)
        assert each.calls <= case.calls
    assert first == second or first.refused or second.refused


def test_trailers_never_become_headers_of_a_running_request(host: Host, issued: IssuedKey) -> None:
    """A handler that reads its body to the end sees the header list that was judged, whatever trailers bring."""
    head = f"POST /body HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {issued.key}\r\nExpect: 100-continue\r\n"
    framing = "Transfer-Encoding: chunked\r\nTrailer: X-API-Key\r\nConnection: close\r\n\r\n"
    rest = f"3\r\nabc\r\n0\r\nX-API-Key: {issued.key}\r\nX-Api-Key: other\r\n\r\n"

    # The server says "100 Continue" when the handler begins to read: the trailers are sent after that.
    go_on, reply = host.exchange((head + framing).encode(), rest.encode())

    assert (go_on.status, reply.status) == (100, 200)
    assert reply.json() == {"owner": "acme", "body": "abc", "key_lines": 1}


def test_a_key_admits_one_request_not_its_connection(host: Host, issued: IssuedKey) -> None:
    """On one connection, what was let in with a key is followed by what is refused without one, and the other way."""
    keyed = f"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {issued.key}\r\n".encode()
    bare = b"GET / HTTP/1.1\r\nHost: localhost\r\n"

    replies = host.exchange(keyed + b"\r\n", bare + b"\r\n", keyed + b"\r\n", bare + b"Connection: close\r\n\r\n")

    assert [reply.status for reply in replies] == [200, 401, 200, 401]


def test_refusals_repeat_nothing(host: Host) -> None:
    """What a client sends as a key does not come back in any part of the answer."""
    [reply] = host.exchange(
        b"GET /canary-in-path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-API-Key: canary<script>\r\n\r\n"
    )

    assert reply.status == 401
    assert b"canary" not in reply.body
    assert not [value for _, value in reply.headers if "canary" in value]


def outcome(host: Host, case: Case, key: str) -> Outcome:
    """Send a case to a host and tell what became of it."""
    before = host.calls()
    replies = host.exchange(*case.with_key(key))
    return Outcome(tuple(reply.status or 0 for reply in replies), host.calls() - before)
