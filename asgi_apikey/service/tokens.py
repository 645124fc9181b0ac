"""JSON Web Tokens as the configuration wants them, and the fetching of public keys. Needs the extra `jwt`."""

from __future__ import annotations

import urllib.request
from http.client import HTTPMessage
from typing import IO, Final, NoReturn
from urllib.error import HTTPError

import anyio.to_thread

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.hashers.peppers import weakness
from asgi_apikey.jwt import JWKS, JWTVerifier, KeySource, TrustedKey, shared_secret
from asgi_apikey.jwt.jwks import MAX_BYTES, key_set
from asgi_apikey.management.callers import Action
from asgi_apikey.management.faces import OPERATOR, TENANTS
from asgi_apikey.models import Seconds
from asgi_apikey.settings import PREFIX, ServiceSettings

_PATIENCE: Final[Seconds] = 5.0
_SCOPE_CLAIMS: Final = ("scope", "scp", "roles", ("realm_access", "roles"))
_SCOPES: Final = (*(action.scope for action in Action), OPERATOR, TENANTS)
_EVERYTHING: Final = ("*", "apikeys:*")


def token_verifier(settings: ServiceSettings, *, environment: str) -> JWTVerifier | None:
    """Return who verifies the tokens of people who manage keys; None where no tokens are configured.

    Raises:
        ConfigurationError: A secret that somebody could guess, or an address that is none.
    """
    if not settings.accepts_tokens:
        return None
    operator = settings.jwt_operator
    return JWTVerifier(
        _keys(settings),
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        scope_claims=_SCOPE_CLAIMS,
        # With a role of operators, what else the issuer calls a role is nobody's right here.
        scope_map={**{each: (each,) for each in _SCOPES}, operator: _EVERYTHING} if operator else None,
        environment=environment,
    )


def _keys(settings: ServiceSettings) -> TrustedKey | KeySource:
    if not settings.jwt_secret:
        return JWKS(settings.jwks, fetch, patience=_PATIENCE)
    secret = shared_secret(settings.jwt_secret, algorithm=settings.algorithm)
    if fault := weakness(settings.jwt_secret.encode()):
        raise ConfigurationError(f"{PREFIX}JWT_SECRET {fault}; share a random one with the login service")
    return secret


async def check_published(url: str) -> None:
    """Read the set of keys at an address once.

    Raises:
        OSError: There is no answer, or not 200.
        ValueError: It is no set of keys.
        InvalidToken: It is not JSON.
    """
    key_set(await fetch(url))


async def fetch(url: str) -> bytes:
    """Return the body of the 200 answer at an address; redirects are not followed.

    Raises:
        OSError: There is no such answer.
    """
    return await anyio.to_thread.run_sync(_fetched, url, abandon_on_cancel=True)


def _fetched(url: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirects)
    # `JWKS` has checked that it is https, or http of this machine.
    try:
        with opener.open(url, timeout=_PATIENCE) as answer:
            if answer.status != 200:
                raise OSError(f"the answer is {answer.status}")
            body: bytes = answer.read(MAX_BYTES + 1)
            return body
    except HTTPError as error:
        # It is the answer, too, and keeps its connection until it is closed.
        error.close()
        raise OSError(f"the answer is {error.code}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Whoever chooses the answer can sign, so it has to come from the address itself."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> NoReturn:
        """Refuse."""
        raise HTTPError(req.full_url, code, "a redirect", headers, fp)
