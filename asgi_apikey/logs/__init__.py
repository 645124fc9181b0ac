"""Logs: lines for programs and people, who they are about, and no secret in them.

redactor   cuts secrets out of any text
filters    for handlers of any application: the key id in every line, no secret in any
lines      one JSON object per line, or text; where a service writes them

Each line of ours has a name for programs in the attribute `event` of its record; the page about logging lists them. All
of this is a net below code that logs no secrets in the first place.
"""

from asgi_apikey.logs.filters import EVENT, PrincipalFilter, RedactingFilter
from asgi_apikey.logs.lines import FIELDS, REQUEST_ID, JSONLines, LogFields, TextLines, configure, rfc3339
from asgi_apikey.logs.redactor import REDACTED, Redact, Redactor

__all__ = [
    "EVENT",
    "FIELDS",
    "REDACTED",
    "REQUEST_ID",
    "JSONLines",
    "LogFields",
    "PrincipalFilter",
    "Redact",
    "RedactingFilter",
    "Redactor",
    "TextLines",
    "configure",
    "rfc3339",
]
