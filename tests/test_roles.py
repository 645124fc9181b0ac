"""Roles: named sets of scopes, expanded when a record is read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, GrantExceeded
from asgi_apikey.grants import EVERYTHING, Grant, grant_of
from asgi_apikey.limits import UNLIMITED
from asgi_apikey.management import KeyAuthoriser
from asgi_apikey.policy import EVERY_ROUTE, EVERYWHERE, covering, covers
from asgi_apikey.roles import Roles
from tests.asgi.driver import http
from tests.contracts.repository import a_record
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

ROLES = {"reader": {"orders:read", "bills:read"}, "admin": ["*", "apikeys:*"], "nobody": ()}


def keys_with(roles: object = None) -> APIKeys:
    """Keys in memory."""
    return APIKeys("memory:", pepper=PEPPER, roles=roles)  # type: ignore[arg-type]


def granter(*scopes: str) -> Grant:
    """Somebody who may hand on these scopes, and everything else."""
    return Grant(
        scopes=frozenset(scopes),
        tenants=EVERYTHING,
        owners=EVERYTHING,
        environments=EVERYTHING,
        networks=EVERYWHERE,
        routes=EVERY_ROUTE,
        limits=UNLIMITED,
        origins=EVERYTHING,
        until=math.inf,
    )


async def test_a_key_may_do_what_its_roles_say() -> None:
    """Beside its other scopes; the role's own name is none of them, and stays in the record."""
    keys = keys_with(ROLES)
    issued = await keys.issue(owner="acme", scopes={"role:reader", "x"})

    principal = await keys.authenticate(issued.key.encode())

    assert principal.scopes == {"orders:read", "bills:read", "x"}
    assert (await keys.get(issued.record.key_id)).scopes == {"role:reader", "x"}
    assert (await keys.verify(issued.key.encode())).scopes == principal.scopes


@pytest.mark.parametrize("roles", [None, {}, {"writer": {"orders:write"}}])
async def test_an_unknown_role_grants_nothing_and_is_warned_of_once(roles: object, caplog: object) -> None:
    """Also where none are configured: a name that is a role's is never a scope."""
    keys = keys_with(roles)
    issued = await keys.issue(owner="acme", scopes={"role:reader", "x"})

    for _ in range(2):
        keys.forget(issued.record.key_id)
        assert (await keys.authenticate(issued.key.encode())).scopes == {"x"}
    warned = [each.message for each in caplog.records if "role" in each.message]  # type: ignore[attr-defined]
    assert len(warned) == 1
    assert "'reader'" in warned[0]


@pytest.mark.parametrize(
    "roles",
    [
        *(
            [],
            "reader",
            {"": {"x"}},
            {"a b": {"x"}},
            {"*": {"x"}},
            {"a*": {"x"}},
            {7: {"x"}},
            {"a": "x"},
            {"a": {"b c"}},
        ),
        *({"a": {7}}, {"a": None}, {"a": {"role:b"}, "b": {"x"}}),
    ],
)
def test_what_is_no_role_is_refused(roles: object) -> None:
    """At construction; a role that stands for another one, too."""
    with pytest.raises(ConfigurationError, match="role"):
        keys_with(roles)


async def test_what_may_be_handed_on_is_compared_as_what_it_stands_for() -> None:
    """A role is neither more nor less than its scopes, on both sides."""
    keys = keys_with(ROLES)
    reader = grant_of(await keys.verify((await keys.issue(owner="acme", scopes={"role:reader"})).key.encode()))

    await keys.issue(owner="acme", scopes={"role:reader"}, granter=granter("orders:*", "bills:read"))
    await keys.issue(owner="acme", scopes={"orders:read"}, granter=reader)
    await keys.issue(owner="acme", scopes={"role:reader", "role:nobody"}, granter=reader)
    for scopes, by in (
        ({"role:reader"}, granter("orders:*")),
        ({"role:admin"}, granter("*")),
        ({"role:admin"}, reader),
        ({"orders:write"}, reader),
    ):
        with pytest.raises(GrantExceeded) as caught:
            await keys.issue(owner="acme", scopes=scopes, granter=by)
        assert caught.value.exceeds == ("scopes",)


async def test_an_unknown_role_cannot_be_handed_on() -> None:
    """Another process may know it, and there it may be everything; on amend and rotate, too."""
    keys = keys_with(ROLES)
    plain = (await keys.issue(owner="acme")).record
    held = (await keys.issue(owner="acme", scopes={"role:elsewhere"})).record
    everything = granter("*", "apikeys:*", "orders:*")

    with pytest.raises(GrantExceeded):
        await keys.issue(owner="acme", scopes={"role:elsewhere"}, granter=everything)
    with pytest.raises(GrantExceeded):
        await keys.amend(plain.key_id, scopes={"role:elsewhere"}, granter=everything)
    with pytest.raises(GrantExceeded):
        await keys.rotate(held.key_id, granter=everything)


async def test_who_manages_by_a_role_manages() -> None:
    """The management API sees what the role stands for, and hands on no more."""
    keys = keys_with({"manager": {"apikeys:write", "orders:read"}})
    issued = await keys.issue(owner="acme", scopes={"role:manager"})

    caller = await KeyAuthoriser(keys).authorise(http((b"x-api-key", issued.key.encode())))

    assert {action.scope for action in caller.actions} == {"apikeys:write"}
    assert caller.grant.scopes == {"orders:read"}


def test_a_star_covers_no_role() -> None:
    """What a role stands for is known only where it is configured."""
    assert not covers("*", "role:admin")
    assert "*" not in covering("role:admin")
    assert covers("role:admin", "role:admin")


@given(st.frozensets(st.sampled_from(["role:reader", "role:admin", "role:unknown", "a", "b:*", "role:nobody"])))
def test_what_is_claimed_is_what_is_effective_and_what_is_unknown(scopes: frozenset[str]) -> None:
    """So whatever is effective anywhere was looked at before it was handed on."""
    roles, record = Roles(ROLES), a_record(scopes=scopes)
    effective, claimed = roles.effective(record).scopes, roles.claimed(record).scopes

    assert claimed - effective == scopes & {"role:unknown"}
    assert effective <= claimed
    assert not any(scope.startswith("role:") for scope in effective)
