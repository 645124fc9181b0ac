"""The keys of a service, and what keeps its secrets out of its logs."""

from __future__ import annotations

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.logs import Redactor
from asgi_apikey.models import Unset
from asgi_apikey.settings import PREFIX, Configuration, Settings


def keys_of(settings: Settings) -> APIKeys:
    """Return the keys, if nothing about them is left to chance in a service.

    Raises:
        ConfigurationError: There is no pepper, and nobody has said that there is to be none; or as `APIKeys` does.
    """
    if isinstance(settings.pepper, Unset):
        raise ConfigurationError(
            f"set {PREFIX}PEPPER: `asgi-apikey pepper` prints a good one; "
            f"or write {PREFIX}PEPPER=none to store digests without one"
        )
    if settings.redis and not settings.cache_secret:
        raise ConfigurationError(
            f"a Redis needs {PREFIX}CACHE_SECRET, the same in all processes, or whoever can write to it could make "
            "keys; `asgi-apikey pepper` prints a good one"
        )
    return APIKeys.from_settings(settings)


def redactor_of(configuration: Configuration, keys: APIKeys) -> Redactor:
    """Return what cuts the secrets of this very service out of its logs."""
    settings = configuration.keys
    peppers = () if settings.pepper is None or isinstance(settings.pepper, Unset) else settings.pepper
    rings = (*peppers, *settings.checksum_keys, *settings.audit_key)
    return Redactor(
        keys.format,
        (
            *rings,
            settings.cache_secret,
            *settings.webhook_secret,
            settings.adopted_secret,
            configuration.service.jwt_secret,
        ),
    )
