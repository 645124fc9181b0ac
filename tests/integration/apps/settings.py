"""The keys of a served application, as a deployment would get them: from the environment."""

from __future__ import annotations

import os

from asgi_apikey import APIKeys
from asgi_apikey.settings import Settings


def keys_from_environment() -> APIKeys:
    """Return the keys that `ASGI_APIKEY_…` describe."""
    return APIKeys.from_settings(Settings.from_env(os.environ))
