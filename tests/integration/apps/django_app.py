"""A Django application, wrapped; its routes are in `django_urls`."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

from asgi_apikey import APIKeyMiddleware
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["asgi_apikey.contrib.django.api_key"],
        ROOT_URLCONF="tests.integration.apps.django_urls",
        SECRET_KEY="for-tests",
        USE_TZ=True,
    )
    django.setup()
    return APIKeyMiddleware(CallCounter(get_asgi_application()), keys=keys_from_environment(), exempt=(OPEN_PATH,))
