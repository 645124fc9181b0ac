"""Roles: names for sets of scopes, written into records, and made into scopes when a record is read.

A key with the scope `role:reader` may do what the role says now, not what it said when the key was issued: change the
role, and all its keys change with the next start. What no configuration names grants nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import KeyRecord
from asgi_apikey.policy import ROLE, is_scope_name

_log = logging.getLogger("asgi_apikey")

_WARNINGS: Final = 1_000
"""Unknown names that are warned of, each once; names come out of the store."""


class Roles:
    """The configured roles.

    Args:
        roles: Names and the scopes that each stands for, wildcards included: `{"reader": {"orders:read"}}`.

    Raises:
        ConfigurationError: A name or a scope is none, or a role stands for another role.
    """

    def __init__(self, roles: Mapping[str, Collection[str]]) -> None:
        if not isinstance(roles, Mapping):
            raise ConfigurationError(f"roles={roles!r} is not a mapping; write roles={{'reader': {{'orders:read'}}}}")
        self._scopes = {ROLE + _name(name): _scopes(name, scopes) for name, scopes in roles.items()}
        self._warned: set[str] = set()

    def effective(self, record: KeyRecord) -> KeyRecord:
        """Return the record with what it may do in place of its roles; of those that are unknown, nothing."""
        return self._with(record, keep_unknown=False)

    def claimed(self, record: KeyRecord) -> KeyRecord:
        """Return the record with what it might do in place of its roles; unknown ones stay.

        For whoever judges what may be handed on: another process may know what an unknown role is.
        """
        return self._with(record, keep_unknown=True)

    def _with(self, record: KeyRecord, *, keep_unknown: bool) -> KeyRecord:
        named = [scope for scope in record.scopes if scope.startswith(ROLE)]
        if not named:
            return record
        scopes = record.scopes.difference(named)
        for name in named:
            known = self._scopes.get(name)
            if known is None:
                self._warn(name)
                known = frozenset({name} if keep_unknown else ())
            scopes |= known
        return replace(record, scopes=scopes)

    def _warn(self, name: str) -> None:
        if name in self._warned or len(self._warned) >= _WARNINGS:
            return
        self._warned.add(name)
        _log.warning(
            "keys have the role %r, which is not configured here: it grants nothing; add it to roles=",
            name.removeprefix(ROLE),
            extra={"event": "unknown_role"},
        )


def _name(name: object) -> str:
    if not is_scope_name(name) or "*" in name:
        raise ConfigurationError(f"roles: {name!r} is no name; use visible ASCII without quotes, backslashes and '*'")
    return name


def _scopes(name: str, scopes: object) -> frozenset[str]:
    if isinstance(scopes, str) or not isinstance(scopes, Collection) or not all(map(is_scope_name, scopes)):
        raise ConfigurationError(
            f"roles: {name!r} stands for no collection of scopes; write roles={{'{name}': {{'orders:read'}}}}"
        )
    if any(scope.startswith(ROLE) for scope in scopes):
        raise ConfigurationError(f"roles: {name!r} stands for another role; write out what that one stands for")
    return frozenset(scopes)
