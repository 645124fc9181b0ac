"""The management of keys over HTTP. Needs the extra `api`.

operations   the one table of verbs; the routes and the OpenAPI description are made from it
schemas      what goes over the wire
making, changing, reading, asking
             the verbs: thin, for what they do is done by `APIKeys`
callers      who calls, and what he may; faces and authorisers find that out
idempotency  knowing a repetition by the id of the key it made
application  one request: who asks, may he, what for, done, answered
openapi      the description, and a page that shows it without any script
"""

from importlib import import_module

from asgi_apikey.errors import MissingExtra

try:
    for _library in ("starlette", "msgspec"):
        import_module(_library)
except ModuleNotFoundError as error:
    raise MissingExtra("api", __name__) from error

from asgi_apikey.management.application import Management
from asgi_apikey.management.authorisers import AnyOf, JWTAuthoriser, KeyAuthoriser, SessionAuthoriser
from asgi_apikey.management.callers import EVERY_ACTION, Action, Authoriser, Caller
from asgi_apikey.management.managed import ManagedKeys

__all__ = [
    "EVERY_ACTION",
    "Action",
    "AnyOf",
    "Authoriser",
    "Caller",
    "JWTAuthoriser",
    "KeyAuthoriser",
    "ManagedKeys",
    "Management",
    "SessionAuthoriser",
]
