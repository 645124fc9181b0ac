"""Who calls the management API: the value that every authoriser makes and every verb asks.

Two faces, one value. An owner's face (`owner` is set) sees and changes that owner's keys and no others: what is foreign
is as absent. An operator's face (`owner` is None) sees all keys of one tenant, or of all.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.grants import Grant
from asgi_apikey.models import Actor


class Action(enum.StrEnum):
    """What a verb needs its caller to be allowed; what the audit calls an action is `models.Action`."""

    READ = "read"
    """See keys and their usage."""
    WRITE = "write"
    """Make, change, rotate, disable and enable them."""
    REVOKE = "revoke"
    """End them, one or many, and delete what is left of them."""
    VERIFY = "verify"
    """Ask about keys that somebody presents elsewhere."""
    AUDIT = "audit"
    """Read who did what, and what has changed."""

    @property
    def scope(self) -> str:
        """The scope that allows it: `apikeys:read`."""
        return f"apikeys:{self.value}"


EVERY_ACTION = frozenset(Action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, for the length of one request.

    Attributes:
        actor: Who is written into the audit.
        grant: What may be handed on to keys that are made, changed, rotated or enabled. Absent means nothing.
        actions: What may be done.
        owner: Whose keys alone are seen and changed; None: an operator's face, everybody's.
        tenant: In which tenant alone; None: in all, which only an operator's face may.
        key_id: Of the API key that the request came with; None: it came with something else.

    Raises:
        ConfigurationError: An owner's face without a tenant or with a blank owner, which would be anybody's.
    """

    actor: Actor
    grant: Grant = field(default_factory=Grant)
    actions: frozenset[Action] = frozenset()
    owner: str | None = None
    tenant: str | None = None
    key_id: str | None = None

    def __post_init__(self) -> None:
        if self.owner is None:
            return
        if not self.owner.strip():
            raise ConfigurationError("a caller's owner must not be blank; an operator's face is owner=None")
        if self.tenant is None:
            raise ConfigurationError("a caller with an owner needs a tenant too; tenant='' is the default one")


class Authoriser(Protocol):
    """Finds out who calls. The management API cannot be built without one."""

    async def authorise(self, scope: Scope) -> Caller:
        """Return who has sent a request. Asked again where the body was waited for: he may have been revoked since.

        Args:
            scope: The request's ASGI scope.

        Raises:
            MissingCredential: It carries nothing to tell by.
            AmbiguousCredential: It carries more than one credential.
            InvalidKey: What it carries authenticates nobody.
            MissingScope: Somebody, but nobody who manages keys.
            NetworkNotAllowed: Not from this address.
            OriginNotAllowed: Not from this web page, or from none.
            RouteNotAllowed: Not for this method and path.
            RateLimited: Too many failures from this client.
            Undecidable: That cannot be told now.
        """
        ...
