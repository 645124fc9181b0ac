"""Endpoints: only safe ones can be made."""

from __future__ import annotations

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.events import EventName
from asgi_apikey.webhooks import Webhook
from tests.webhooks.test_signing import SECRET


def test_an_endpoint_hides_its_url_and_its_secret() -> None:
    """The path of one may be all that protects it; its host may be told."""
    endpoint = Webhook(url="https://hooks.example/T0ken", secret=SECRET, events={"revoked"})

    assert "T0ken" not in repr(endpoint)
    assert SECRET[6:] not in repr(endpoint)
    assert endpoint.host == "hooks.example"
    assert "hooks" not in endpoint.endpoint_id


def test_its_id_stays_with_its_url() -> None:
    """Dead letters find it again, whatever else is changed."""
    one = Webhook(url="https://hooks.example/1", secret=SECRET)
    same = Webhook(url="https://hooks.example/1", secret=[SECRET, SECRET], events={"issued"})

    assert one.endpoint_id == same.endpoint_id
    assert one.endpoint_id != Webhook(url="https://hooks.example/2", secret=SECRET).endpoint_id
    assert frozenset(one.events) == frozenset(EventName)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://hooks.example/x", "allow_http=True"),
        ("ftp://hooks.example/x", "https://"),
        ("hooks.example", "https://"),
        ("https://", "https://"),
        ("https://user:pw@hooks.example/", "password"),
        ("https://hooks.example/\nX: y", "https://"),
        ("https://hooks.example/é", "https://"),
        ("https://[::1", "https://"),
        ("https://hooks.example:99999/", "https://"),
        ("https://hooks.example/#part", "https://"),
        (7, "https://"),
    ],
)
def test_an_unsafe_url_is_refused(url: str, says: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=says):
        Webhook(url=url, secret=SECRET)


@pytest.mark.parametrize("events", [(), {"revoke"}, "revoked", {"revoked", ""}])
def test_events_that_are_none_are_refused(events: frozenset[str]) -> None:
    """A misspelt one would never be sent, and nobody would notice."""
    with pytest.raises(ConfigurationError, match="limit_near"):
        Webhook(url="https://hooks.example", secret=SECRET, events=events)


def test_no_secret_is_no_endpoint() -> None:
    """Whoever knows the URL could send events of his own."""
    with pytest.raises(ConfigurationError, match="needs a secret"):
        Webhook(url="https://hooks.example", secret=())
