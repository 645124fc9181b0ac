"""What `asgi-apikey serve` needs beside the keys: where to listen, who may manage, what to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings.given import PREFIX, Given, Reader

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["json", "text"]

SHARED_SECRET_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
PUBLIC_KEY_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
JWKS_PATH: Final = "/.well-known/jwks.json"

_LAST_PORT: Final = 65_535
_MOST_WORKERS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What the service needs beside a `Settings`. Secrets are not in the repr.

    Attributes:
        host: The address to listen on.
        port: The port.
        workers: Processes; each has its own cache, connections and counters.
        trusted_proxies: Addresses and networks whose `X-Forwarded-For` is believed; the Unix socket's peer is not.
        cors_origins: Whose pages may call the service from a browser.
        metrics: Whether `/metrics` is served beside the rest.
        metrics_port: Another port, on loopback, where only metrics are served; None: none.
        log_level: What is logged at least.
        log_format: One JSON object per line, or text for people.
        migrate: Whether the store is made, or brought up to this version, at the start; None: only an SQLite file is.
        jwt_secret: Shared with the login service; empty: none.
        jwt_algorithm: Of its tokens; empty: HS256 with a secret.
        jwt_issuer: What `iss` must be.
        jwt_audience: What `aud` may be.
        jwt_scopes: What everybody may who has a token, such as `apikeys:read`.
        jwt_operator: The role, or scope, in a token that makes its bearer an operator of all keys; empty: none does.
        jwks_url: Where the issuer publishes its keys; empty: nowhere.
        login_url: Of the login service, for compatibility: `/.well-known/jwks.json` below it is the default `jwks_url`
            of algorithms that have public keys.

    Raises:
        ConfigurationError: A value that cannot be, or that would leave something open.
    """

    host: str = "127.0.0.1"
    port: int = 8002
    workers: int = 1
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    metrics: bool = False
    metrics_port: int | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"
    migrate: bool | None = None
    jwt_secret: str = field(default="", repr=False)
    jwt_algorithm: str = ""
    jwt_issuer: str = ""
    jwt_audience: tuple[str, ...] = ()
    jwt_scopes: tuple[str, ...] = ()
    jwt_operator: str = ""
    jwks_url: str = ""
    login_url: str = ""

    def __post_init__(self) -> None:
        for origin in self.cors_origins:
            _check_origin(origin)
        for proxy in self.trusted_proxies:
            _check_network(proxy)
        if self.metrics_port is not None and self.workers > 1:
            raise ConfigurationError(
                f"{PREFIX}METRICS_PORT is of one process; with several workers write {PREFIX}METRICS=1, where each "
                "tells its own numbers"
            )
        if self.metrics_port is not None and self.metrics_port == self.port:
            raise ConfigurationError(f"{PREFIX}METRICS_PORT must be another port than {PREFIX}PORT")
        self._check_tokens()

    @classmethod
    def from_given(cls, given: Mapping[str, Given]) -> ServiceSettings:
        """Read the settings from texts, by their names without the prefix.

        Raises:
            ConfigurationError: A value that cannot be read, or cannot be.
        """
        read, default = Reader(given), cls()
        return cls(
            host=read.text("HOST", default.host),
            port=read.number("PORT", 1, _LAST_PORT) or default.port,
            workers=read.number("WORKERS", 1, _MOST_WORKERS) or default.workers,
            trusted_proxies=read.words("TRUSTED_PROXIES"),
            cors_origins=read.words("CORS_ORIGINS"),
            metrics=bool(read.switch("METRICS")),
            metrics_port=read.number("METRICS_PORT", 1, _LAST_PORT),
            log_level=read.word("LOG_LEVEL", get_args(LogLevel), default.log_level),
            log_format=read.word("LOG_FORMAT", get_args(LogFormat), default.log_format),
            migrate=read.switch("MIGRATE"),
            jwt_secret=read.text("JWT_SECRET"),
            jwt_algorithm=read.text("JWT_ALGORITHM"),
            jwt_issuer=read.text("JWT_ISSUER"),
            jwt_audience=read.words("JWT_AUDIENCE"),
            jwt_scopes=read.words("JWT_SCOPES"),
            jwt_operator=read.text("JWT_OPERATOR"),
            jwks_url=read.text("JWKS_URL"),
            login_url=read.text("LOGIN_URL"),
        )

    @property
    def algorithm(self) -> str:
        """The algorithm of tokens; empty where there are none."""
        return self.jwt_algorithm or ("HS256" if self.jwt_secret else "")

    @property
    def jwks(self) -> str:
        """Where the public keys of tokens are read; empty where there are none."""
        if self.jwks_url or not self.login_url or self.algorithm not in PUBLIC_KEY_ALGORITHMS:
            return self.jwks_url
        return self.login_url.rstrip("/") + JWKS_PATH

    @property
    def accepts_tokens(self) -> bool:
        """Whether the management API takes JSON Web Tokens beside API keys."""
        return bool(self.jwt_secret or self.jwks)

    def _check_tokens(self) -> None:
        """Refuse what would verify nothing, or not what was meant.

        `jwt_algorithm` and `login_url` alone are no error: earlier systems have them without using them.
        """
        if self.jwt_algorithm and self.jwt_algorithm not in SHARED_SECRET_ALGORITHMS + PUBLIC_KEY_ALGORITHMS:
            raise ConfigurationError(
                f"{PREFIX}JWT_ALGORITHM must be one of {' '.join(SHARED_SECRET_ALGORITHMS + PUBLIC_KEY_ALGORITHMS)}"
            )
        if self.jwt_secret and self.algorithm not in SHARED_SECRET_ALGORITHMS:
            raise ConfigurationError(
                f"{PREFIX}JWT_SECRET is for HS256, HS384 and HS512; the keys of {self.algorithm} are public: "
                f"leave the secret out and give {PREFIX}JWKS_URL"
            )
        if self.jwt_secret and self.jwks_url:
            raise ConfigurationError(f"give {PREFIX}JWT_SECRET or {PREFIX}JWKS_URL, not both: one issuer has one")
        if self.accepts_tokens and not (self.jwt_issuer and self.jwt_audience):
            raise ConfigurationError(
                f"tokens (JWT_SECRET, JWKS_URL, LOGIN_URL) need {PREFIX}JWT_ISSUER and {PREFIX}JWT_AUDIENCE too, or "
                "any token that is signed with the same key, for whatever end, would manage keys"
            )
        if (self.jwt_operator or self.jwt_scopes) and not self.accepts_tokens:
            raise ConfigurationError(
                f"{PREFIX}JWT_OPERATOR and {PREFIX}JWT_SCOPES need {PREFIX}JWT_SECRET or {PREFIX}JWKS_URL"
            )


def _check_origin(origin: str) -> None:
    """Check that this is an origin as browsers send it (RFC 6454 section 6.2).

    Raises:
        ConfigurationError: It is none, or stands for all.
    """
    if origin == "*":
        raise ConfigurationError(
            f"{PREFIX}CORS_ORIGINS=* would let every page that somebody looks at manage keys; "
            "list the origins: https://console.example"
        )
    try:
        parts = urlsplit(origin)
        plain = f"{parts.scheme}://{parts.netloc}" == origin and parts.port != 0
    except ValueError:
        plain = False
    if not plain or parts.scheme not in ("https", "http") or not parts.hostname or "@" in origin or "*" in origin:
        raise ConfigurationError(f"{PREFIX}CORS_ORIGINS: write origins as browsers do: https://console.example:8443")


def _check_network(text: str) -> None:
    try:
        network = ip_network(text)
    except ValueError:
        raise ConfigurationError(
            f"{PREFIX}TRUSTED_PROXIES: write addresses and networks, such as 127.0.0.1 10.0.0.0/8"
        ) from None
    if network.prefixlen == 0:
        raise ConfigurationError(
            f"{PREFIX}TRUSTED_PROXIES: {text} would believe anybody's X-Forwarded-For; list the proxies"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
