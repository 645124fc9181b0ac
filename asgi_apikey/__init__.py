"""API keys for any ASGI app: issue them, verify them in microseconds, revoke them everywhere at once."""

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.asgi.admission import get_api_key
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.require import require, require_any
from asgi_apikey.errors import APIKeyError, ConfigurationError, InvalidKey
from asgi_apikey.models import DAY, HOUR, MINUTE, IssuedKey, KeyRecord, Principal, Receipt

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "APIKeyError",
    "APIKeyMiddleware",
    "APIKeys",
    "ConfigurationError",
    "InvalidKey",
    "IssuedKey",
    "KeyRecord",
    "Principal",
    "Receipt",
    "get_api_key",
    "require",
    "require_any",
]
