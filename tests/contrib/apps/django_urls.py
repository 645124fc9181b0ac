"""The routes of the Django application."""

from django.http import HttpResponse
from django.urls import path
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import BasePermission
from rest_framework.response import Response

from asgi_apikey.contrib.djangorestframework import APIKeyAuthentication, has_scopes
from tests.contrib.apps.django_app import Part, anybody, orders


class Nobody(BasePermission):
    """Refuses everybody."""

    def has_permission(self, request, view) -> bool:
        """Never."""
        return False


@api_view()
@authentication_classes([APIKeyAuthentication])
@permission_classes([has_scopes("orders:read")])
def rest_orders(request) -> Response:
    """Answer those who may read orders."""
    return Response([request.user.owner, request.auth is not None, "orders:read" in request.auth])


@api_view()
@authentication_classes([APIKeyAuthentication])
@permission_classes([Nobody | has_scopes("orders:read")])
def rest_either(request) -> Response:
    """Answer those who pass either of two permissions."""
    return Response(request.user.owner)


@api_view()
@authentication_classes([APIKeyAuthentication])
def rest_open(request) -> Response:
    """Answer everybody."""
    return Response(request.user is not None)


def seen(request) -> HttpResponse:
    """Answer everybody, with what the middleware of Django tells."""
    return HttpResponse("nobody" if request.api_key is None else request.api_key.owner)


urlpatterns = [
    path("orders", orders),
    path("anybody", anybody),
    path("closed/part", Part.as_view()),
    path("seen", seen),
    path("rest/orders", rest_orders),
    path("rest/either", rest_either),
    path("rest/open", rest_open),
]
