"""The routes of the Django application."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET

from asgi_apikey import get_api_key
from asgi_apikey.contrib.django import requires


@require_GET
async def whoami(request: HttpRequest) -> JsonResponse:
    """Say who is calling."""
    return JsonResponse({"owner": request.api_key.owner, "name": get_api_key(request).name})


def health(request: HttpRequest) -> JsonResponse:
    """Answer anybody, from a thread."""
    return JsonResponse({"anonymous": get_api_key() is None})


@requires("orders:read")
def orders(request: HttpRequest) -> JsonResponse:
    """Answer those who may read orders."""
    return JsonResponse({"orders": []})


urlpatterns = [path("", whoami), path("health", health), path("orders", orders)]
