"""From scopes to a caller."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import MissingScope
from asgi_apikey.grants import EVERYTHING, Grant, excess
from asgi_apikey.management.callers import EVERY_ACTION, Action, Caller
from asgi_apikey.management.faces import caller_with
from asgi_apikey.models import Actor
from asgi_apikey.policy import EVERY_ROUTE, EVERYWHERE

DATA_SCOPES = ["*", "orders:read", "orders:*", "apikeys", "apikeys.read", "apikeys.*", "apikey:read", "API:*"]
MANAGEMENT_SCOPES = [each.scope for each in Action] + ["apikeys:operator", "apikeys:tenants", "apikeys:*"]


def made_of(*scopes: str, delegates: bool = False) -> Caller:
    """The caller that these scopes make of acme in tenant eu."""
    granted = frozenset(scopes)
    grant = Grant(scopes=granted, networks=EVERYWHERE, routes=EVERY_ROUTE, until=math.inf)
    return caller_with(granted, grant, owner="acme", tenant="eu", name="key:k1", key_id="k1", delegates=delegates)


@given(st.frozensets(st.sampled_from(DATA_SCOPES)))
def test_scopes_for_data_never_manage(scopes: frozenset[str]) -> None:
    """Neither `*` nor anything that only looks like `apikeys:`."""
    with pytest.raises(MissingScope):
        made_of(*scopes)


@pytest.mark.parametrize("action", list(Action))
def test_one_scope_allows_one_action_on_the_owners_own_keys(action: Action) -> None:
    """And names who it is."""
    caller = made_of(action.scope, "*")

    assert caller.actions == {action}
    assert (caller.owner, caller.tenant, caller.key_id, caller.actor) == ("acme", "eu", "k1", Actor("key:k1"))
    assert (caller.grant.owners, caller.grant.tenants) == ({"acme"}, {"eu"})


def test_an_operator_sees_every_owner_of_its_tenant() -> None:
    """The verbs are still only those that it has scopes for."""
    caller = made_of("apikeys:operator", "apikeys:read")

    assert (caller.owner, caller.tenant, caller.actions) == (None, "eu", {Action.READ})
    assert (caller.grant.owners, caller.grant.tenants) == (EVERYTHING, {"eu"})


def test_an_operator_of_all_tenants_says_so_in_a_scope_of_its_own() -> None:
    """Which without the operator's makes nobody an operator."""
    caller = made_of("apikeys:operator", "apikeys:tenants", "apikeys:read")
    no_operator = made_of("apikeys:tenants", "apikeys:read")

    assert (caller.owner, caller.tenant) == (None, None)
    assert (caller.grant.owners, caller.grant.tenants) == (EVERYTHING, EVERYTHING)
    assert (no_operator.owner, no_operator.tenant) == ("acme", "eu")


def test_operator_alone_may_do_nothing() -> None:
    """Whose keys, without what with them, is no right."""
    with pytest.raises(MissingScope):
        made_of("apikeys:operator", "apikeys:tenants")


def test_the_wildcard_of_management_is_all_of_it() -> None:
    """As every wildcard is all below it; so `apikeys:*` can never be gained from less."""
    caller = made_of("apikeys:*")

    assert caller.actions == EVERY_ACTION
    assert (caller.owner, caller.tenant) == (None, None)


@given(st.frozensets(st.sampled_from(DATA_SCOPES + MANAGEMENT_SCOPES)), st.sampled_from(MANAGEMENT_SCOPES))
def test_nobody_hands_on_management_unless_that_is_allowed(scopes: frozenset[str], wanted: str) -> None:
    """Then, what it has; not even `*` is more."""
    caller, delegate = made_of(*scopes, "apikeys:write"), made_of(*scopes, "apikeys:write", delegates=True)

    assert "scopes" in excess(Grant(scopes=frozenset({wanted})), caller.grant)
    has = wanted in scopes | {"apikeys:write"} or "apikeys:*" in scopes
    assert ("scopes" in excess(Grant(scopes=frozenset({wanted})), delegate.grant)) is not has


@given(st.frozensets(st.sampled_from(DATA_SCOPES)))
def test_what_is_handed_on_of_data_is_what_is_held(scopes: frozenset[str]) -> None:
    """No more and no less."""
    assert made_of(*scopes, "apikeys:write").grant.scopes == scopes


def test_an_actor_that_is_too_long_for_the_audit_is_cut_off() -> None:
    """The audit keeps 255 characters; a long subject must not make every change fail."""
    grant = Grant()
    caller = caller_with(frozenset({"apikeys:read"}), grant, owner="o", tenant="", name="jwt:" + "x" * 255)

    assert len(caller.actor.name) == 255
