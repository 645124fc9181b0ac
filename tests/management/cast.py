"""Everybody who might call the management API, over one store in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from asgi_apikey import APIKeys
from asgi_apikey.jwt import JWTVerifier
from asgi_apikey.management.application import Management
from asgi_apikey.management.authorisers import AnyOf, JWTAuthoriser, KeyAuthoriser
from asgi_apikey.management.callers import EVERY_ACTION
from asgi_apikey.models import IssuedKey
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import NOON, FakeClock
from tests.jwt import issuer
from tests.wiring import PEPPER

SIGNER = issuer.signer("HS256")
ACTIONS = frozenset(action.scope for action in EVERY_ACTION)
OWNER = {*ACTIONS, "orders:*"}
"""What an owner's key may do: every verb, and one kind of data."""

ROLES = {"owner": sorted(OWNER), "operator": ["apikeys:*", "*"]}


@dataclass(frozen=True)
class Person:
    """Somebody with a credential, or none."""

    name: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cast:
    """The API and everybody who calls it."""

    clock: FakeClock
    keys: APIKeys
    tokens: JWTVerifier
    app: Management

    def client(self, person: Person) -> httpx.AsyncClient:
        """A client that presents somebody's credential."""
        transport = httpx.ASGITransport(self.app, client=("192.0.2.1", 50_000))
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=person.headers)

    async def with_key(self, name: str, scopes: set[str], *, owner: str, tenant: str, **more: object) -> Person:
        """Somebody with a key."""
        issued = await self.keys.issue(owner=owner, tenant=tenant, scopes=scopes, **more)  # type: ignore[arg-type]
        return Person(name, {"X-API-Key": issued.key})

    def with_token(self, name: str, role: str, *, subject: str, tenant: str, **claims: object) -> Person:
        """Somebody with a token."""
        token = issuer.token(SIGNER, scope=role, sub=subject, org=tenant, **claims)
        return Person(name, {"Authorization": f"Bearer {token.decode()}"})

    async def everybody(self) -> dict[str, Person]:
        """All roles: with keys, and with tokens where those can be the same."""
        people = [
            Person("anonymous"),
            self.with_token("ended token", "operator", subject="ops", tenant="eu", exp=NOON - 60),
            await self.with_key("data key", {"*"}, owner="acme", tenant="eu"),
            await self.with_key("owner", OWNER, owner="acme", tenant="eu"),
            await self.with_key("other owner", OWNER, owner="bolt", tenant="eu"),
            self.with_token("owner's token", "owner", subject="acme", tenant="eu"),
            await self.with_key("tenant's operator", {*OWNER, "apikeys:operator"}, owner="ops", tenant="eu"),
            await self.with_key("operator", {"apikeys:*", "*"}, owner="ops", tenant=""),
            self.with_token("operator's token", "operator", subject="ops", tenant="eu"),
        ]
        return {person.name: person for person in people}

    async def target(self, owner: str, tenant: str) -> IssuedKey:
        """A new key to be managed."""
        return await self.keys.issue(owner=owner, tenant=tenant, name="target", scopes={"orders:read"})


def new_cast(repository: object = None) -> Cast:
    """A world of its own, over a store of its own, unless there is one."""
    clock = FakeClock()
    store = MemoryRepository() if repository is None else repository
    keys = APIKeys(repository=store, single_process=True, pepper=PEPPER, clock=clock)  # type: ignore[arg-type]
    tokens = issuer.verifier(SIGNER, clock=clock, tenant_claim="org", scope_map=ROLES)
    app = Management(keys, AnyOf(keys=KeyAuthoriser(keys), tokens=JWTAuthoriser(tokens)), clock=clock)
    return Cast(clock, keys, tokens, app)
