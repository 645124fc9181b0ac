"""The keys of a served application, as a deployment would get them: from the environment."""

from __future__ import annotations

import os
from functools import cache

from asgi_apikey import APIKeys
from asgi_apikey.settings import Settings


@cache
def keys_from_environment() -> APIKeys:
    """Return the keys that `ASGI_APIKEY_…` describe: one object for all applications of the process."""
    return APIKeys.from_settings(Settings.from_env(os.environ))
