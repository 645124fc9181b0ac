"""Pure rules of who manages what: from the scopes of a credential to the caller it makes.

| scope | allows |
|---|---|
| `apikeys:read`, `:write`, `:revoke`, `:verify`, `:audit` | the verbs of that action, on the owner's own keys |
| `apikeys:operator` | those verbs on the keys of every owner in the tenant |
| `apikeys:tenants` | with the one before: in every tenant |
| `apikeys:*` | all of it |

`*` covers none of them, see `policy.MANAGEMENT`: a key for data never manages, however much data it is for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from asgi_apikey.errors import MissingScope
from asgi_apikey.grants import EVERYTHING, Grant
from asgi_apikey.lifecycle import MAX_NAME
from asgi_apikey.management.callers import Action, Caller
from asgi_apikey.models import Actor
from asgi_apikey.policy import MANAGEMENT, missing_scopes

OPERATOR: Final = "apikeys:operator"
TENANTS: Final = "apikeys:tenants"


def caller_with(
    scopes: frozenset[str],
    grant: Grant,
    *,
    owner: str,
    tenant: str,
    name: str,
    key_id: str | None = None,
    delegates: bool = False,
) -> Caller:
    """Return what these scopes make of somebody.

    Args:
        scopes: Of the credential.
        grant: What it allows its holder to do, which is the most that can be handed on.
        owner: Whose it is.
        tenant: On which side of the isolation boundary.
        name: For the audit; what is too long for it is cut off.
        key_id: Of the API key, if it is one.
        delegates: Whether scopes that manage keys may be handed on like others.

    Raises:
        MissingScope: None of the scopes manages keys.
    """
    actions = frozenset(action for action in Action if _allows(scopes, action.scope))
    if not actions:
        raise MissingScope(frozenset({Action.READ.scope}))
    every_owner = _allows(scopes, OPERATOR)
    every_tenant = every_owner and _allows(scopes, TENANTS)
    return Caller(
        actor=Actor(name[:MAX_NAME]),
        grant=replace(
            grant,
            scopes=scopes if delegates else _of_data(scopes),
            owners=EVERYTHING if every_owner else frozenset({owner}),
            tenants=EVERYTHING if every_tenant else frozenset({tenant}),
        ),
        actions=actions,
        owner=None if every_owner else owner,
        tenant=None if every_tenant else tenant,
        key_id=key_id,
    )


def _allows(scopes: frozenset[str], scope: str) -> bool:
    return not missing_scopes(scopes, [scope])


def _of_data(scopes: frozenset[str]) -> frozenset[str]:
    return frozenset(scope for scope in scopes if not scope.startswith(MANAGEMENT))
