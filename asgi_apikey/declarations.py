"""A file that says which keys there are: what has to be created, amended and revoked to match it.

    id = "team-a"                     # marks the keys as this file's: it never touches any other

    [[key]]
    name = "ci"                       # tells the file's keys apart
    owner = "acme"
    scopes = ["orders:read"]
    expires_at = 2027-01-31T00:00:00Z
    key_env = "CI_KEY"                # the variable that holds the whole key; without it, one is made

Reading and comparing are pure; whoever applies a plan carries it out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from asgi_apikey import lifecycle
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.models import Instant, KeyRecord, KeyRequest, Metadata, RecordPatch

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OWN: Final = {"id", "key"}
_FIELDS: Final = {"name", "owner", "tenant", "environment", "description", "scopes", "tags", "networks", "routes"} | {
    "limits",
    "origins",
    "metadata",
    "expires_at",
    "key_env",
}
_FIXED: Final = ("owner", "tenant", "environment")
_AMENDED: Final = ("description", "scopes", "tags", "networks", "routes", "limits", "origins", "metadata", "expires_at")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One key of a file.

    Attributes:
        request: The key as it has to be; its `created_by` names the file.
        key_env: The variable that holds the whole key; None: one is made.
    """

    request: KeyRequest
    key_env: str | None


@dataclass(frozen=True, slots=True)
class Amendment:
    """A record that has to be changed.

    Attributes:
        patch: What has to be set.
        changed: Field names, with what they are and what they have to be.
    """

    record: KeyRecord
    patch: RecordPatch
    changed: tuple[tuple[str, object, object], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done, in this order.

    Attributes:
        create: Keys that are not there, or that only a new one can replace.
        amend: Keys that can be changed as they are.
        revoke: Keys that are no longer declared, or are replaced.
    """

    create: tuple[Declaration, ...]
    amend: tuple[Amendment, ...]
    revoke: tuple[KeyRecord, ...]

    @property
    def empty(self) -> bool:
        """Whether everything is as declared."""
        return not (self.create or self.amend or self.revoke)


def mark_of(file_id: str) -> str:
    """Return what stands in `created_by` of a file's keys."""
    return f"apply:{file_id}"


def read(text: str, *, environment: str) -> tuple[str, tuple[Declaration, ...]]:
    """Return the id of a file, and its keys.

    Args:
        text: TOML.
        environment: Of keys that do not name one.

    Raises:
        ConfigurationError: Not such a file; the message says where. No value is repeated.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not TOML: {error}") from error
    _only(document, _OWN, "the file")
    file_id = document.get("id")
    if not isinstance(file_id, str) or not _ID.fullmatch(file_id):
        raise ConfigurationError('begin the file with an id of its own, such as id = "team-a"; never change it')
    tables = document.get("key", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ConfigurationError("write each key as a [[key]] table")
    declared = tuple(_declaration(each, number, file_id, environment) for number, each in enumerate(tables, 1))
    names = [each.request.name for each in declared]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"key {name!r} is declared twice")
    return file_id, declared


def plan(
    declared: Sequence[Declaration], managed: Sequence[KeyRecord], *, key_ids: Mapping[str, str], now: Instant
) -> Plan:
    """Compare what is declared with what there is.

    Args:
        declared: From the file.
        managed: The file's records; revoked and expired ones count as gone.
        key_ids: Ids of the keys that come from variables, by name of the declaration.
        now: Decides what has expired.
    """
    # Newest first: of two of one name (somebody was interrupted) the newer stays.
    living: dict[str, KeyRecord] = {}
    revoke: list[KeyRecord] = []
    for record in sorted(managed, key=lambda each: (-each.created_at, each.key_id)):
        if record.revoked_at is not None or (record.expires_at is not None and record.expires_at <= now):
            continue
        if living.setdefault(record.name, record) is not record:
            revoke.append(record)
    create: list[Declaration] = []
    amend: list[Amendment] = []
    for each in declared:
        found = living.pop(each.request.name, None)
        if found is not None and _replaceable_only(found, each, key_ids.get(each.request.name)):
            revoke.append(found)
            found = None
        if found is None:
            create.append(each)
        elif (amendment := _amendment(found, each.request)).changed:
            amend.append(amendment)
    return Plan(tuple(create), tuple(amend), (*revoke, *living.values()))


def _replaceable_only(record: KeyRecord, declared: Declaration, key_id: str | None) -> bool:
    """Whether a new key has to come: it is another key, or its owner, tenant or environment is."""
    if key_id is not None and key_id != record.key_id:
        return True
    return any(getattr(record, name) != getattr(declared.request, name) for name in _FIXED)


def _amendment(record: KeyRecord, request: KeyRequest) -> Amendment:
    changed = []
    for name in _AMENDED:
        old, new = getattr(record, name), getattr(request, name)
        if old != new:
            changed.append((name, old, new))
    return Amendment(record, RecordPatch(**{name: new for name, _, new in changed}), tuple(changed))


def _declaration(table: Mapping[str, object], number: int, file_id: str, environment: str) -> Declaration:
    where = f"key {number}"
    _only(table, _FIELDS, where)
    try:
        name = lifecycle.line(table.get("name", ""), "name", least=1, most=lifecycle.MAX_NAME)
        where = f"key {name!r}"
        expires_at = table.get("expires_at")
        request = KeyRequest(
            owner=lifecycle.line(table.get("owner", ""), "owner", least=1, most=lifecycle.MAX_NAME),
            tenant=lifecycle.line(table.get("tenant", ""), "tenant", most=lifecycle.MAX_NAME),
            environment=lifecycle.environment(table.get("environment", environment)),
            name=name,
            description=lifecycle.text(table.get("description", ""), "description", most=lifecycle.MAX_TEXT),
            scopes=lifecycle.scopes(table.get("scopes", ())),
            tags=lifecycle.tags(cast("Collection[str]", table.get("tags", ()))),
            networks=lifecycle.networks(cast("Collection[str]", table.get("networks", ()))),
            routes=lifecycle.routes(cast("Collection[str]", table.get("routes", ()))),
            limits=lifecycle.limits(table.get("limits", ())),
            origins=lifecycle.origins(table.get("origins", ())),
            metadata=lifecycle.metadata(cast("Metadata", table.get("metadata", {}))),
            expires_at=None if expires_at is None else _instant(expires_at),
            created_by=mark_of(file_id),
        )
    except InvalidRequest as error:
        raise ConfigurationError(f"{where}: {error}") from error
    key_env = table.get("key_env")
    if key_env is not None and (not isinstance(key_env, str) or not key_env):
        raise ConfigurationError(f"{where}: key_env is the name of a variable")
    return Declaration(request, key_env)


def _instant(value: object) -> Instant:
    """Return the Unix seconds of a TOML date-time with an offset."""
    timestamp = getattr(value, "timestamp", None)
    if timestamp is None or getattr(value, "tzinfo", None) is None:
        raise InvalidRequest("write expires_at with an offset, such as 2027-01-31T00:00:00Z")
    return lifecycle.instant(timestamp())


def _only(table: Mapping[str, object], known: Collection[str], where: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigurationError(f"{where} has no {unknown[0]!r}; there are {', '.join(sorted(known))}")
