"""What `asgi-apikey serve` is told: what is refused, and what follows from what."""

from __future__ import annotations

from dataclasses import fields

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings import ServiceSettings, configuration
from asgi_apikey.settings.given import from_environ
from asgi_apikey.settings.service import is_loopback

TOKENS = {"JWT_ISSUER": "https://login.example", "JWT_AUDIENCE": "api other"}
SECRET = "Zp7-uY2_sW9kN4rT6bV1xC8mJ3hL5dQa"


def read(**given: str) -> ServiceSettings:
    """The settings that variables of ours make."""
    return configuration(from_environ({f"ASGI_APIKEY_{name}": text for name, text in given.items()})).service


def test_the_defaults_open_nothing() -> None:
    """Loopback, no other origins, no metrics, no proxy that is believed, no tokens."""
    service = read()

    assert service == ServiceSettings()
    assert (service.host, service.port, service.workers) == ("127.0.0.1", 8002, 1)
    assert (service.cors_origins, service.trusted_proxies, service.metrics, service.accepts_tokens) == (
        (),
        (),
        False,
        False,
    )


def test_every_variable_is_read() -> None:
    """Each becomes the field of its name."""
    given = {
        "HOST": "0.0.0.0",
        "PORT": "8080",
        "WORKERS": "4",
        "TRUSTED_PROXIES": "127.0.0.1 10.0.0.0/8",
        "CORS_ORIGINS": "https://console.example http://localhost:3000",
        "METRICS": "1",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "text",
        "MIGRATE": "0",
        "JWKS_URL": "https://login.example/keys",
        "JWT_ALGORITHM": "RS256",
        **TOKENS,
        "JWT_SCOPES": "apikeys:read",
        "JWT_OPERATOR": "admin",
        "LOGIN_URL": "https://login.example",
    }

    assert read(**given) == ServiceSettings(
        host="0.0.0.0",
        port=8080,
        workers=4,
        trusted_proxies=("127.0.0.1", "10.0.0.0/8"),
        cors_origins=("https://console.example", "http://localhost:3000"),
        metrics=True,
        log_level="debug",
        log_format="text",
        migrate=False,
        jwks_url="https://login.example/keys",
        jwt_algorithm="RS256",
        jwt_issuer="https://login.example",
        jwt_audience=("api", "other"),
        jwt_scopes=("apikeys:read",),
        jwt_operator="admin",
        login_url="https://login.example",
    )
    assert read(METRICS_PORT="9102").metrics_port == 9102
    assert read(JWT_SECRET=SECRET, **TOKENS).jwt_secret == SECRET
    assert {each.name.upper() for each in fields(ServiceSettings)} == {*given, "METRICS_PORT", "JWT_SECRET"}


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({"PORT": "0"}, "whole number"),
        ({"PORT": "65536"}, "whole number"),
        ({"PORT": "80 80"}, "whole number"),
        ({"PORT": "٣"}, "whole number"),
        ({"WORKERS": "0"}, "whole number"),
        ({"METRICS": "yes"}, "1 or 0"),
        ({"LOG_LEVEL": "verbose"}, "one of debug, info, warning, error"),
        ({"LOG_FORMAT": "xml"}, "one of json, text"),
        ({"CORS_ORIGINS": "*"}, "list the origins"),
        ({"CORS_ORIGINS": "https://*.example"}, "write origins as browsers do"),
        ({"CORS_ORIGINS": "console.example"}, "write origins as browsers do"),
        ({"CORS_ORIGINS": "https://console.example/"}, "write origins as browsers do"),
        ({"CORS_ORIGINS": "https://me@console.example"}, "write origins as browsers do"),
        ({"CORS_ORIGINS": "null"}, "write origins as browsers do"),
        ({"CORS_ORIGINS": "https://console.example:99999"}, "write origins as browsers do"),
        ({"TRUSTED_PROXIES": "*"}, "addresses and networks"),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "list the proxies"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "addresses and networks"),
        ({"METRICS_PORT": "9102", "WORKERS": "2"}, "METRICS=1"),
        ({"METRICS_PORT": "8002"}, "another port"),
        ({"JWT_SECRET": SECRET}, "JWT_ISSUER"),
        ({"JWT_SECRET": SECRET, "JWT_ISSUER": "x"}, "JWT_AUDIENCE"),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHM": "RS256", **TOKENS}, "leave the secret out"),
        ({"JWT_SECRET": SECRET, "JWKS_URL": "https://x.example/k", **TOKENS}, "not both"),
        ({"JWT_ALGORITHM": "none"}, "one of HS256"),
        ({"JWT_OPERATOR": "admin"}, "JWT_SECRET"),
        ({"JWT_SCOPES": "apikeys:read"}, "JWT_SECRET"),
        ({"WORKERS": "2", "SINGLE_PROCESS": "1"}, "several processes"),
        ({"WORKERS": "2", "URL": "memory:"}, "several processes"),
    ],
    ids=str,
)
def test_what_cannot_be_or_would_leave_something_open_is_refused(given: dict[str, str], fix: str) -> None:
    """With what to write instead, and without the secret."""
    with pytest.raises(ConfigurationError) as caught:
        read(**given)

    assert fix in str(caught.value)
    assert SECRET not in str(caught.value)


def test_keyword_arguments_are_checked_as_variables_are() -> None:
    """The value itself refuses."""
    with pytest.raises(ConfigurationError, match="list the origins"):
        ServiceSettings(cors_origins=("*",))


def test_a_secret_stands_in_no_repr() -> None:
    """Of tokens."""
    assert SECRET not in repr(read(JWT_SECRET=SECRET, **TOKENS))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    """By address, or by the one name that is reserved for it."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_anything_else_may_be_reached_by_others(host: str) -> None:
    """Other names may lead anywhere."""
    assert not is_loopback(host)
