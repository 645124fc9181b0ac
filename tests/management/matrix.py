"""Who may do what, tried out on the real API and written down as the tables of `docs/howto/management-access.md`.

`python -m tests.management.matrix` prints them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.management.schemas import KeyPatch
from asgi_apikey.models import IssuedKey
from tests.fakes import NOON
from tests.management.cast import Cast, Person, new_cast

COLUMNS: Final = (
    # heading, who, whose key
    ("nobody", "anonymous", ("acme", "eu")),
    ("ended token", "ended token", ("acme", "eu")),
    ("data key", "data key", ("acme", "eu")),
    ("owner: own key", "owner", ("acme", "eu")),
    ("owner: another's", "owner", ("bolt", "eu")),
    ("owner: another tenant's", "owner", ("acme", "us")),
    ("tenant's operator: in it", "tenant's operator", ("acme", "eu")),
    ("tenant's operator: elsewhere", "tenant's operator", ("acme", "us")),
    ("operator", "operator", ("acme", "us")),
)

SAME: Final = {"owner's token": "owner", "operator's token": "operator"}
"""Who is like whom, whatever he came with."""

EMPTY: Final[Mapping[str, tuple[str, object]]] = {
    "list_keys": ("keys", []),
    "search_keys": ("keys", []),
    "count_keys": ("count", 0),
    "revoke_keys": ("matched", 0),
    "verify_key": ("active", False),
    "audit": ("entries", []),
}
"""What an answer says when there is nothing, or nothing that one may know of."""


def request_of(operation: Operation, target: IssuedKey) -> dict[str, Any]:
    """The request that does this operation to this key."""
    record = target.record
    where = {"owner": record.owner, "tenant": record.tenant, "lineage": record.lineage}
    bodies: dict[str, object] = {
        "issue_key": {"name": "new", "owner": record.owner, "tenant": record.tenant, "scopes": ["orders:read"]},
        "search_keys": {"where": where},
        "count_keys": {"where": where},
        "revoke_keys": {"where": where},
        "verify_key": {"key": target.key},
        "amend_key": {"description": "changed"},
    }
    queries = {"list_keys": where, "audit": {"key_id": record.key_id}}
    made: dict[str, Any] = {
        "method": operation.method,
        "url": operation.path.replace("{key_id}", record.key_id),
        "params": queries.get(operation.name, {}),
    }
    if operation.name in bodies:
        made["json"] = bodies[operation.name]
    return made


def outcome_of(operation: Operation, answer: httpx.Response) -> str:
    """An answer in a word or two."""
    if answer.status_code >= 400:
        return str(answer.status_code)
    empty = EMPTY.get(operation.name)
    nothing = empty is not None and answer.json()[empty[0]] == empty[1]
    return f"{answer.status_code}, none" if nothing else str(answer.status_code)


async def tried(cast: Cast, operation: Operation, person: Person, whose: tuple[str, str]) -> str:
    """What comes of it when somebody does an operation to a key of its own for this try."""
    target = await cast.target(*whose)
    async with cast.client(person) as client:
        return outcome_of(operation, await client.request(**request_of(operation, target)))


async def outcomes(cast: Cast) -> dict[str, list[str]]:
    """Every operation, by everybody, to own and foreign keys."""
    people = await cast.everybody()
    return {
        each.name: [await tried(cast, each, people[who], whose) for _, who, whose in COLUMNS] for each in OPERATIONS
    }


# ---- fields ----


def at(instant: float) -> str:
    """The instant as RFC 3339."""
    return datetime.fromtimestamp(instant, UTC).isoformat()


END: Final = NOON + 86_400
"""When the caller's own key ends."""

WITHIN: Final[Mapping[str, object]] = {
    "name": "x",
    "owner": "acme",
    "tenant": "eu",
    "environment": "live",
    "description": "x",
    "scopes": ["orders:read"],
    "not_before": at(NOON + 10),
    "expires_at": at(END),
    "expires_in": 60,
    "expires_in_days": 1,
    "metadata": {"a": 1},
    "tags": ["x"],
    "networks": ["192.0.2.0/25"],
    "routes": ["GET /api/orders"],
    "limits": ["50/minute"],
    "origins": ["https://a.example.com"],
}
"""A value of each field that a caller of these rights may set."""

BEYOND: Final[Mapping[str, tuple[object, str]]] = {
    "owner": ("bolt", "owners"),
    "tenant": ("us", "tenants"),
    "environment": ("test", "environments"),
    "scopes": (["bills:read"], "scopes"),
    "expires_at": (at(END + 1), "until"),
    "expires_in": (86_401, "until"),
    "expires_in_days": (2, "until"),
    "networks": (["198.51.100.0/24"], "networks"),
    "routes": (["GET /other"], "routes"),
    "limits": (["101/minute"], "limits"),
    "origins": (["https://example.com"], "origins"),
}
"""One that is beyond them, and in which respect."""

UNKNOWN: Final = (
    "key_id", "digest", "version", "hint", "status", "created_at", "created_by", "disabled_at", "revoked_at",
    "revoked_by", "revoke_reason", "replaces", "lineage", "last_used_at", "uses",
)  # fmt: skip
"""What the record has besides, and nobody sets."""

ABSENT: Final = object()

LEAST: Final[Mapping[str, object]] = {
    "name": "x",
    "owner": "acme",
    "expires_in": 60,
    "networks": ["192.0.2.0/24"],
    "routes": ["/api/*"],
    "limits": ["100/minute"],
    "origins": ["https://*.example.com"],
}
"""A request of this caller that is within what it has; the fields that are absent mean its own, or none."""


async def field_outcome(cast: Cast, caller: Person, changes: Mapping[str, object], *, amend: bool) -> str:
    """What comes of a request that sets some fields, or leaves out those that are ABSENT."""
    changed = {name: value for name, value in changes.items() if value is not ABSENT}
    kept = {} if amend else {name: value for name, value in LEAST.items() if name not in changes}
    if changes.keys() & {"expires_at", "expires_in_days"}:
        kept.pop("expires_in", None)
    async with cast.client(caller) as client:
        path = "/"
        if amend:
            made = (await client.post("/", json=LEAST)).json()
            path = f"/{made['record']['key_id']}"
        answer = await client.request("PATCH" if amend else "POST", path, json=kept | changed)
    exceeds = answer.json().get("exceeds")
    return f"{answer.status_code} {' '.join(exceeds)}" if exceeds else str(answer.status_code)


async def restricted(cast: Cast) -> Person:
    """An owner with a key that is bound in every respect in which one can be."""
    bound = await cast.with_key(
        "restricted",
        {"apikeys:read", "apikeys:write", "orders:*"},
        owner="acme",
        tenant="eu",
        networks=["192.0.2.0/24"],
        routes=["/api/*", "/", "PATCH /*"],
        limits=["100/minute"],
        origins=["https://*.example.com"],
        expires_at=END,
    )
    return replace(bound, headers=bound.headers | {"Origin": "https://console.example.com"})


# ---- the tables ----


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


async def tables() -> list[str]:
    """The lines of all tables."""
    found = await outcomes(new_cast())
    verbs = [
        [
            f"`{each.method} {each.path}`",
            "" if each.action is None else f"`{each.action.scope}`",
            *found[each.name],
        ]
        for each in OPERATIONS
    ]
    cast = new_cast()
    caller = await restricted(cast)
    return [
        *table(("verb", "needs", *(heading for heading, _, _ in COLUMNS)), verbs),
        "",
        *table(("field of a new key", "within", "beyond", "left out"), await field_rows(cast, caller)),
        "",
        *table(("field that is changed", "within", "beyond", "`null`"), await patch_rows(cast, caller)),
    ]


async def field_rows(cast: Cast, caller: Person) -> list[list[str]]:
    """Each field of a new key, as a caller with rights of its own sets it."""
    rows = []
    for name, value in WITHIN.items():
        tries = [{name: value}, {name: BEYOND[name][0]} if name in BEYOND else None, {name: ABSENT}]
        rows.append([f"`{name}`", *[await _tried(cast, caller, each, amend=False) for each in tries]])
    return rows


async def patch_rows(cast: Cast, caller: Person) -> list[list[str]]:
    """Each field of a key that can be changed."""
    rows = []
    for name in KeyPatch.__struct_fields__:
        tries = [{name: WITHIN[name]}, {name: BEYOND[name][0]} if name in BEYOND else None, {name: None}]
        rows.append([f"`{name}`", *[await _tried(cast, caller, each, amend=True) for each in tries]])
    return rows


async def _tried(cast: Cast, caller: Person, changes: Mapping[str, object] | None, *, amend: bool) -> str:
    return "" if changes is None else await field_outcome(cast, caller, changes, amend=amend)


if __name__ == "__main__":
    print("\n".join(asyncio.run(tables())))
