"""From the filters of a request to those of a search: never beyond what the caller sees."""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.management import schemas
from asgi_apikey.management.callers import Caller
from asgi_apikey.models import Criteria

_NOBODY: Final = ""
"""An owner that no key has: none is blank."""


def criteria_of(caller: Caller, where: schemas.Filters) -> Criteria:
    """Return the criteria; who asks for what is foreign asks for nothing that there is."""
    given = _given(where)
    for name, own in (("owner", caller.owner), ("tenant", caller.tenant)):
        if own is not None and given.setdefault(name, own) != own:
            given["owner"] = _NOBODY
    return cast("Criteria", given)  # the fields have the names and types of the criteria


def check_filtered(where: schemas.Filters) -> None:
    """See that the client itself has said which keys: that it sees no others is not a filter.

    Raises:
        InvalidRequest: It has not.
    """
    if not _given(where):
        raise InvalidRequest("name the keys to revoke by at least one filter", path="where")


def _given(where: schemas.Filters) -> dict[str, object]:
    named = ((name, getattr(where, name)) for name in where.__struct_fields__)
    return {
        name: value.timestamp() if isinstance(value, datetime) else value
        for name, value in named
        # Every name contains a blank part, so that is no filter either.
        if value is not None and value != [] and (name, value) != ("name_contains", "")
    }
