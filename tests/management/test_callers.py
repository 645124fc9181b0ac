"""The value that says who calls."""

from __future__ import annotations

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.grants import Grant, excess, grant_of
from asgi_apikey.management.callers import EVERY_ACTION, Action, Caller
from asgi_apikey.models import Actor, KeyRecord


def test_a_caller_without_more_may_do_nothing_and_hand_on_nothing() -> None:
    """Absent means none, never all."""
    caller = Caller(actor=Actor("somebody"))

    assert caller.actions == frozenset()
    assert caller.grant == Grant()
    assert excess(grant_of(KeyRecord(key_id="k", digest="d", owner="o", created_at=0.0)), caller.grant)


def test_each_action_has_a_scope_that_allows_it() -> None:
    """They are spelled as the actions, below `apikeys:`."""
    assert {action.scope for action in EVERY_ACTION} == {
        "apikeys:read",
        "apikeys:write",
        "apikeys:revoke",
        "apikeys:verify",
        "apikeys:audit",
    }
    assert "read" in EVERY_ACTION
    assert Action("audit") is Action.AUDIT


@pytest.mark.parametrize(("owner", "tenant"), [("", ""), ("  ", "t"), ("acme", None)])
def test_an_owners_face_names_its_owner_and_tenant(owner: str, tenant: str | None) -> None:
    """A blank owner, or none of the tenants, would be read as everybody's by somebody."""
    with pytest.raises(ConfigurationError):
        Caller(actor=Actor(), owner=owner, tenant=tenant)


def test_an_operators_face_may_be_of_one_tenant_or_of_all() -> None:
    """Both have no owner."""
    of_one, of_all = Caller(actor=Actor(), tenant="t"), Caller(actor=Actor())

    assert (of_one.owner, of_one.tenant) == (None, "t")
    assert (of_all.owner, of_all.tenant) == (None, None)
