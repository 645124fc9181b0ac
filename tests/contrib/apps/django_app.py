"""Django and REST framework, with their bridges. Django has its settings once per process."""

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.contrib.django import requires

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["rest_framework"],
    MIDDLEWARE=["asgi_apikey.contrib.django.api_key"],
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
    ROOT_URLCONF="tests.contrib.apps.django_urls",
    SECRET_KEY="for-tests",
    USE_TZ=True,
)
django.setup()


@requires("orders:read")
async def orders(request) -> HttpResponse:
    """Answer those who may read orders."""
    return HttpResponse(request.api_key.owner)


@requires()
def anybody(request) -> HttpResponse:
    """Answer those with a key, from a thread."""
    return HttpResponse(request.api_key.owner)


@method_decorator(requires("orders:read"), name="dispatch")
class Part(View):
    """A class whose every method asks."""

    def get(self, request) -> HttpResponse:
        """Answer."""
        return HttpResponse("part")


def create() -> ASGIApp:
    """Return the application without a guard."""
    return get_asgi_application()
