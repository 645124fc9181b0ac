"""The verbs of a key's life, done by the management API of a server: the same arguments, values and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, Unpack
from urllib.parse import urlencode

from asgi_apikey.cli.answers import document_of, error_of, stranger
from asgi_apikey.cli.documents import (
    Document,
    bulk_receipt_of,
    hour_of,
    receipt_of,
    record_of,
    where_of,
)
from asgi_apikey.cli.output import rfc3339
from asgi_apikey.cli.wire import Transport
from asgi_apikey.errors import ConfigurationError, InvalidRequest, StaleRecord, StoreUnavailable
from asgi_apikey.models import (
    NO_METADATA,
    UNSET,
    BulkReceipt,
    Criteria,
    HourlyUsage,
    Instant,
    IssuedKey,
    JSONValue,
    KeyPage,
    KeyRecord,
    Metadata,
    Receipt,
    Seconds,
    Unset,
)
from asgi_apikey.settings import PREFIX

T = TypeVar("T")

_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
_RACES: Final = 20


class RemoteKeys:
    """Asks a server. What `APIKeys` does, as far as the management API has it.

    Who makes a change is known to the server by the token, so nobody else's name can be given.

    Args:
        transport: Sends the requests.
        token: Returns the token; asked once, before the first request that needs it.
    """

    def __init__(self, transport: Transport, token: Callable[[], str]) -> None:
        self._transport = transport
        self._ask_token = token
        self._token = ""

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, JSONValue] | None = None,
        *,
        key_id: str = "",
        version: int | None = None,
        changes: bool = False,
        anybody: bool = False,
    ) -> Document:
        """Send one request and return the document in its answer.

        Args:
            method: In capitals.
            path: Below the API, with its query.
            body: Goes as JSON.
            key_id: The key that it is about, for errors.
            version: The key must still be at it.
            changes: Whether it changes something.
            anybody: Whether it is for those without a token, too.

        Raises:
            APIKeyError: As the store's own verbs do, or the server does not answer, or is none.
        """
        headers = {"Accept": "application/json", "User-Agent": "asgi-apikey"}
        if not anybody:
            headers["Authorization"] = f"Bearer {self._checked_token()}"
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, default=dict).encode()
        try:
            answer = await self._transport.send(method, path, headers, content)
        except StoreUnavailable as error:
            raise StoreUnavailable(str(error), outcome_unknown=error.outcome_unknown and changes) from None
        if 200 <= answer.status < 300:
            return document_of(answer)
        raise error_of(answer, key_id=key_id, version=version, changes=changes)

    async def get(self, key_id: str) -> KeyRecord:
        """Return the record of a key."""
        return read(record_of, await self.ask("GET", f"/{key_id}", key_id=key_id))

    async def find(self, *, limit: int = 50, cursor: str | None = None, **criteria: Unpack[Criteria]) -> KeyPage:
        """Return one page of records."""
        order = {name: str(criteria[name]) for name in ("sort",) if name in criteria}
        body = {
            "where": where_of(criteria),
            **order,
            "ascending": criteria.get("ascending", False),
            "limit": limit,
            "cursor": cursor,
        }
        document = await self.ask("POST", "/search", body)
        return read(lambda told: KeyPage(tuple(map(record_of, told["keys"])), told["next_cursor"]), document)

    async def count(self, **criteria: Unpack[Criteria]) -> int:
        """Return how many records there are on all pages."""
        document = await self.ask("POST", "/count", {"where": where_of(criteria)})
        return read(lambda told: int(told["count"]), document)

    async def usage(
        self, key_id: str, *, since: Instant | None = None, until: Instant | None = None
    ) -> Sequence[HourlyUsage]:
        """Return the hours in which a key was presented."""
        span = {name: rfc3339(at) for name, at in (("since", since), ("until", until)) if at is not None}
        document = await self.ask("GET", f"/{key_id}/usage?{urlencode(span)}", key_id=key_id)
        return read(lambda told: tuple(map(hour_of, told["hours"])), document)

    async def issue(
        self,
        *,
        owner: str,
        tenant: str = "",
        environment: str | None = None,
        name: str = "",
        description: str = "",
        scopes: Iterable[str] = (),
        not_before: Instant | None = None,
        expires_at: Instant | None = None,
        expires_in: Seconds | None = None,
        created_by: str = "",
        metadata: Metadata = NO_METADATA,
        tags: Iterable[str] = (),
        networks: Iterable[str] = (),
        routes: Iterable[str] = (),
        limits: Iterable[str] = (),
        origins: Iterable[str] = (),
    ) -> IssuedKey:
        """Make a new key."""
        _check_nobody_named(created_by)
        body = {
            "owner": owner,
            "tenant": tenant,
            "environment": environment,
            "name": name,
            "description": description,
            "scopes": list(scopes),
            "not_before": rfc3339(not_before),
            "expires_at": rfc3339(expires_at),
            "expires_in": expires_in,
            "metadata": metadata,
            "tags": list(tags),
            "networks": list(networks),
            "routes": list(routes),
            "limits": list(limits),
            "origins": list(origins),
        }
        # The default tenant is the caller's own for whoever sees only one.
        given = {name: value for name, value in body.items() if value not in (None, "")}
        document = await self.ask("POST", "/", given, changes=True)
        return read(lambda told: IssuedKey(str(told["key"]), record_of(told["record"])), document)

    async def rotate(
        self, key_id: str, *, grace: Seconds | None = None, created_by: str = "", version: int | None = None
    ) -> IssuedKey:
        """Make a successor."""
        _check_nobody_named(created_by)
        body = {} if grace is None else {"grace": grace}
        document = await self.ask("POST", f"/{key_id}/rotate", body, key_id=key_id, version=version, changes=True)
        return read(_rotated, document)

    async def amend(
        self,
        key_id: str,
        *,
        name: str | Unset = UNSET,
        description: str | Unset = UNSET,
        scopes: Iterable[str] | Unset = UNSET,
        metadata: Metadata | Unset = UNSET,
        not_before: Instant | Unset | None = UNSET,
        expires_at: Instant | Unset | None = UNSET,
        tags: Iterable[str] | Unset = UNSET,
        networks: Iterable[str] | Unset = UNSET,
        routes: Iterable[str] | Unset = UNSET,
        limits: Iterable[str] | Unset = UNSET,
        origins: Iterable[str] | Unset = UNSET,
        version: int | None = None,
    ) -> Receipt:
        """Change what is given."""
        labels = {"scopes": scopes, "tags": tags, "networks": networks, "routes": routes, "limits": limits}
        labels |= {"origins": origins}
        times = {"not_before": not_before, "expires_at": expires_at}
        patch: dict[str, JSONValue] = {
            **{n: v for n, v in (("name", name), ("description", description)) if not isinstance(v, Unset)},
            **{n: list(v) for n, v in labels.items() if not isinstance(v, Unset)},
            **{n: rfc3339(v) for n, v in times.items() if not isinstance(v, Unset)},
        }
        if isinstance(metadata, Unset):
            return await self._change("PATCH", key_id, "", patch, version)
        for _ in range(_RACES):
            record = await self.get(key_id)
            merge = patch | {"metadata": merge_patch(record.metadata, metadata)}
            try:
                return await self._change("PATCH", key_id, "", merge, version or record.version)
            except StaleRecord:
                if version is not None:
                    raise
        raise StoreUnavailable("the key keeps changing")

    async def disable(self, key_id: str, *, version: int | None = None) -> Receipt:
        """Switch a key off."""
        return await self._change("POST", key_id, "/disable", {}, version)

    async def enable(self, key_id: str, *, version: int | None = None) -> Receipt:
        """Switch a key on."""
        return await self._change("POST", key_id, "/enable", {}, version)

    async def revoke(
        self, key_id: str, *, by: str = "", reason: str = "", only: bool = False, version: int | None = None
    ) -> Receipt:
        """End a key and its lineage, or it alone."""
        _check_nobody_named(by)
        return await self._change("POST", key_id, "/revoke", {"reason": reason, "only": only}, version)

    async def delete(self, key_id: str, *, version: int | None = None) -> Receipt:
        """Remove a key and its record."""
        return await self._change("DELETE", key_id, "", None, version)

    async def revoke_where(
        self, *, by: str = "", reason: str = "", dry_run: bool = False, **criteria: Unpack[Criteria]
    ) -> BulkReceipt:
        """End every key that the filters match."""
        _check_nobody_named(by)
        body: dict[str, JSONValue] = {"where": where_of(criteria), "reason": reason, "dry_run": dry_run}
        return read(bulk_receipt_of, await self.ask("POST", "/revoke", body, changes=not dry_run))

    async def _change(
        self, method: str, key_id: str, verb: str, body: Mapping[str, JSONValue] | None, version: int | None
    ) -> Receipt:
        path = f"/{key_id}{verb}"
        document = await self.ask(method, path, body, key_id=key_id, version=version, changes=True)
        return read(lambda told: receipt_of(told["receipt"], record_of(told["record"])), document)

    def _checked_token(self) -> str:
        if not self._token:
            token = self._ask_token().strip()
            if not _TOKEN.fullmatch(token):
                raise ConfigurationError(f"{PREFIX}TOKEN must be an API key or a JSON Web Token, without blanks in it")
            self._token = token
        return self._token


def merge_patch(target: Metadata, wanted: Metadata) -> dict[str, JSONValue]:
    """Return the merge patch (RFC 7396) that makes one object of another.

    Raises:
        InvalidRequest: A value is to be `null`, which in such a patch means that it is to go.
    """
    patch: dict[str, JSONValue] = {name: None for name in target if name not in wanted}
    for name, value in wanted.items():
        if value is None:
            raise InvalidRequest(f"a server cannot be told to set metadata {name!r} to null")
        if isinstance(value, Mapping):
            before = target.get(name)
            patch[name] = merge_patch(before if isinstance(before, Mapping) else NO_METADATA, value)
        else:
            patch[name] = value
    return patch


def _rotated(document: Document) -> IssuedKey:
    record = record_of(document["record"])
    return IssuedKey(str(document["key"]), record, receipt_of(document["receipt"], record))


def read(reader: Callable[[Document], T], document: Document) -> T:
    """Return what a document says.

    Raises:
        ConfigurationError: It is not one of the management API.
    """
    try:
        return reader(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise stranger(200) from None


def _check_nobody_named(name: Any) -> None:
    if name:
        raise InvalidRequest("a server knows by the token who asks: leave --by and --created-by out")
