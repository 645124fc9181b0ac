"""Pure rules of a key's life: which values a key may have, and which changes its state allows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.keyformat import ENVIRONMENT_SHAPE
from asgi_apikey.limits import limit_rules, text_of
from asgi_apikey.models import (
    Instant,
    KeyRecord,
    KeyRequest,
    Metadata,
    RecordPatch,
    Revocation,
    Seconds,
    Status,
    Unset,
    frozen_metadata,
)
from asgi_apikey.origins import origin_text
from asgi_apikey.policy import is_scope_name, network_text, route_text
from asgi_apikey.verification import status_of

MAX_NAME = 255
"""Characters of an owner, tenant, name or actor: what fits the narrowest column of the systems people come from."""
MAX_TEXT = 2_048
"""Characters of a description or a reason."""
MAX_SCOPES = 100
MAX_SCOPE = 128
MAX_TAGS = 20
MAX_TAG = 64
MAX_RULES = 50
"""Networks, and routes, of a key: each is compared with every request of it."""
MAX_RULE = 512
MAX_METADATA = 8_192
"""Bytes of the metadata as JSON text; they are held in memory with every cached key."""
MAX_LEVELS = 32
"""Containers within each other in the metadata: deeper ones could be written, and not be read on a fuller stack."""

_ENVIRONMENT = re.compile(ENVIRONMENT_SHAPE)


def instant(value: object) -> Instant:
    """Round to the millisecond, which every repository keeps exactly.

    Raises:
        InvalidRequest: Not a finite number of seconds within the years 1970 to 9999.
    """
    number = _number(value)
    # The upper bound is one for what is kept: the last half of a millisecond of 9999 is rounded into the next year.
    if not (number >= 0 and round(number, 3) < 253_402_300_800):
        raise InvalidRequest("an instant is a number of Unix seconds between the years 1970 and 9999")
    return round(number, 3)


def environment(value: object) -> str:
    """Return `value` if it can stand in a key.

    Raises:
        InvalidRequest: Not 1 to 16 lower-case letters and digits, starting with a letter.
    """
    if not isinstance(value, str) or not _ENVIRONMENT.fullmatch(value):
        raise InvalidRequest("an environment is 1 to 16 lower-case letters and digits, starting with a letter")
    return value


def text(value: object, what: str, *, most: int, least: int = 0) -> str:
    """Return `value`, which may have several lines, if every repository can keep it.

    Raises:
        InvalidRequest: Too long, blank where it must not be, or with control characters or lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidRequest(f"{what} must be text")
    if len(value) > most or len(value.strip()) < least:
        raise InvalidRequest(f"{what} must have {least} to {most} characters, and not only spaces")
    if any((ord(char) < 0x20 and char not in "\n\t") or 0x7F <= ord(char) < 0xA0 for char in value):
        raise InvalidRequest(f"{what} must not contain control characters")
    if any(0xD800 <= ord(char) < 0xE000 for char in value):
        raise InvalidRequest(f"{what} must be valid Unicode")
    return value


def line(value: object, what: str, *, most: int, least: int = 0) -> str:
    """Return `value` if it is a `text` that stays on one line of a log and in one column of a table.

    Raises:
        InvalidRequest: As `text` does, or with a tab or a line break; U+2028 and U+2029 are line breaks too.
    """
    checked = text(value, what, most=most, least=least)
    if any(char in "\n\t\u2028\u2029" for char in checked):
        raise InvalidRequest(f"{what} must be one line without tabs")
    return checked


def scopes(values: object) -> frozenset[str]:
    """Return the scopes as a set.

    Raises:
        InvalidRequest: A string instead of a collection, too many, too long, or not an RFC 6749 scope token.
    """
    result = frozenset(_scope(value) for value in _collection(values, "scopes"))
    if len(result) > MAX_SCOPES:
        raise InvalidRequest(f"a key has at most {MAX_SCOPES} scopes")
    return result


def tags(values: object) -> frozenset[str]:
    """Return the tags as a set.

    Raises:
        InvalidRequest: A string instead of a collection, too many, too long, or with spaces or control characters.
    """
    result = frozenset(line(value, "a tag", least=1, most=MAX_TAG) for value in _collection(values, "tags"))
    if len(result) > MAX_TAGS or any(char.isspace() for tag in result for char in tag):
        raise InvalidRequest(f"a key has at most {MAX_TAGS} tags, without spaces")
    return result


def networks(values: object) -> frozenset[str]:
    """Return the network rules as a set, each in its one spelling; `policy` says what they mean.

    Raises:
        InvalidRequest: A string instead of a collection, too many, or not a network.
    """
    return _rules(values, "networks", network_text)


def routes(values: object) -> frozenset[str]:
    """Return the route rules as a set, each in its one spelling; `policy` says what they mean.

    Raises:
        InvalidRequest: A string instead of a collection, too many, or not a route.
    """
    return _rules(values, "routes", route_text)


def limits(values: object) -> frozenset[str]:
    """Return the limits as a set, each in its one spelling; `asgi_apikey.limits` says what they mean.

    Raises:
        InvalidRequest: A string instead of a collection, too many, not a limit, or two for the same span.
    """
    return frozenset(map(text_of, limit_rules(_collection(values, "limits"))))


def origins(values: object) -> frozenset[str]:
    """Return the origins as a set, each in its one spelling; `asgi_apikey.origins` says what they mean.

    Raises:
        InvalidRequest: A string instead of a collection, too many, or not an origin.
    """
    return _rules(values, "origins", origin_text)


def metadata(value: Metadata) -> Metadata:
    """Return the metadata as a read-only copy.

    Raises:
        InvalidRequest: Not a JSON object, too large, or nested too deeply.
    """
    if not isinstance(value, Mapping):
        raise InvalidRequest("metadata must be a JSON object")
    try:
        written = json.dumps(dict(value), default=_plain, allow_nan=False, ensure_ascii=False)
        size = len(written.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("metadata must consist of JSON values, without NaN and infinity") from error
    # A backslash of the text itself is written as two: without those, what is left opens an escape.
    if size > MAX_METADATA or "\\u0000" in written.replace("\\\\", ""):
        raise InvalidRequest(f"metadata must be at most {MAX_METADATA} bytes of JSON, without NUL characters")
    # Small and free of cycles by now, so it can be walked.
    if not _well_formed(value, MAX_LEVELS):
        raise InvalidRequest(f"metadata must have text for keys and at most {MAX_LEVELS} levels")
    return frozen_metadata(json.loads(written))


def record_of(
    request: KeyRequest,
    *,
    key_id: str,
    digest: str,
    hint: str,
    environment: str,
    now: Instant,
    replaces: str | None = None,
    lineage: str = "",
) -> KeyRecord:
    """Return the record of a new key as asked for; without a `lineage`, it begins its own.

    Raises:
        InvalidRequest: A value that a key cannot have.
    """
    now = instant(now)
    expires_at = _end(request, now)
    not_before = None if request.not_before is None else instant(request.not_before)
    if not_before is not None and expires_at is not None and not_before >= expires_at:
        raise InvalidRequest("not_before must lie before the end of the key")
    return KeyRecord(
        key_id=key_id,
        digest=digest,
        owner=line(request.owner, "owner", least=1, most=MAX_NAME),
        tenant=line(request.tenant, "tenant", most=MAX_NAME),
        environment=environment,
        name=line(request.name, "name", most=MAX_NAME),
        description=text(request.description, "description", most=MAX_TEXT),
        hint=hint,
        scopes=scopes(request.scopes),
        created_at=now,
        created_by=line(request.created_by, "created_by", most=MAX_NAME),
        not_before=not_before,
        expires_at=expires_at,
        replaces=replaces,
        metadata=metadata(request.metadata),
        lineage=lineage,
        tags=tags(request.tags),
        networks=networks(request.networks),
        routes=routes(request.routes),
        limits=limits(request.limits),
        origins=origins(request.origins),
    )


def amendment(record: KeyRecord, patch: RecordPatch, now: Instant) -> RecordPatch:
    """Return the patch, checked against the record that it is for.

    Raises:
        InvalidRequest: A value that a key cannot have, or the key is revoked.
    """
    if record.revoked_at is not None:
        raise InvalidRequest("a revoked key cannot be amended")
    checked = replace(
        patch,
        name=patch.name if isinstance(patch.name, Unset) else line(patch.name, "name", most=MAX_NAME),
        description=patch.description
        if isinstance(patch.description, Unset)
        else text(patch.description, "description", most=MAX_TEXT),
        scopes=patch.scopes if isinstance(patch.scopes, Unset) else scopes(patch.scopes),
        metadata=patch.metadata if isinstance(patch.metadata, Unset) else metadata(patch.metadata),
        tags=patch.tags if isinstance(patch.tags, Unset) else tags(patch.tags),
        networks=patch.networks if isinstance(patch.networks, Unset) else networks(patch.networks),
        routes=patch.routes if isinstance(patch.routes, Unset) else routes(patch.routes),
        limits=patch.limits if isinstance(patch.limits, Unset) else limits(patch.limits),
        origins=patch.origins if isinstance(patch.origins, Unset) else origins(patch.origins),
        not_before=_instant_or_none(patch.not_before),
        expires_at=_instant_or_none(patch.expires_at),
    )
    if isinstance(checked.not_before, Unset) and isinstance(checked.expires_at, Unset):
        # A key replaced at the instant of its start has ended at it; that is no reason to refuse it a new name.
        return checked
    start = record.not_before if isinstance(checked.not_before, Unset) else checked.not_before
    end = record.expires_at if isinstance(checked.expires_at, Unset) else checked.expires_at
    if not isinstance(checked.expires_at, Unset) and end is not None and end <= now:
        raise InvalidRequest("expires_at must lie in the future; revoke the key to end it now")
    if start is not None and end is not None and start >= end:
        raise InvalidRequest("not_before must lie before the end of the key")
    return checked


def disabling(record: KeyRecord, now: Instant) -> RecordPatch | None:
    """Return what switches the key off; None when it is off.

    Raises:
        InvalidRequest: The key is revoked.
    """
    if record.revoked_at is not None:
        raise InvalidRequest("a revoked key cannot be disabled")
    return None if record.disabled_at is not None else RecordPatch(disabled_at=instant(now))


def enabling(record: KeyRecord, now: Instant) -> RecordPatch | None:
    """Return what switches the key on; None when it is on.

    Raises:
        InvalidRequest: The key is revoked, which is for good.
    """
    if record.revoked_at is not None:
        raise InvalidRequest("a revoked key cannot be enabled; issue a new one")
    return None if record.disabled_at is None else RecordPatch(disabled_at=None)


def revocation(record: KeyRecord, now: Instant, *, by: str, reason: str) -> RecordPatch | None:
    """Return what revokes the key; None when it is revoked: the first reason stays.

    Raises:
        InvalidRequest: A reason or actor that cannot be kept.
    """
    if record.revoked_at is not None:
        return None
    checked = revoked(now, by=by, reason=reason)
    return RecordPatch(revoked_at=checked.at, revoked_by=checked.by, revoke_reason=checked.reason)


def revoked(now: Instant, *, by: str, reason: str) -> Revocation:
    """Return what revokes any number of keys.

    Raises:
        InvalidRequest: A reason or actor that cannot be kept.
    """
    return Revocation(
        instant(now),
        line(by, "revoked_by", most=MAX_NAME),
        text(reason, "revoke_reason", most=MAX_TEXT),
    )


def past(now: Instant, seconds: Seconds) -> Instant:
    """Return the instant so many seconds ago.

    Raises:
        InvalidRequest: Not a number of seconds, 0 or more, or longer ago than 1970.
    """
    if not 0 <= _number(seconds) <= now:
        raise InvalidRequest("a span of the past is a number of seconds, 0 or more, and begins after 1970")
    return instant(now - _number(seconds))


def succession(record: KeyRecord, now: Instant, *, grace: Seconds) -> RecordPatch:
    """Return what ends a key that is being replaced: `grace` seconds from now, but never later than it ends anyway.

    Raises:
        InvalidRequest: The key is not in use, or the grace is not a number of seconds, 0 or more.
    """
    status = status_of(record, now)
    if status is not Status.ACTIVE:
        raise InvalidRequest(f"only an active key can be rotated; this one is {status.value.replace('_', ' ')}")
    if not _number(grace) >= 0:
        raise InvalidRequest("grace must be 0 or more seconds")
    over = now + _number(grace)
    if record.expires_at is not None and record.expires_at <= over:
        return RecordPatch(expires_at=record.expires_at)
    end = instant(over)
    # Never rounded up: with no grace the key must have ended when this returns, not half a millisecond later.
    return RecordPatch(expires_at=end if end <= over else instant(end - 0.001))


def successor(record: KeyRecord, now: Instant, *, created_by: str) -> KeyRequest:
    """Return what to issue in place of `record`: the same rights, and again the lifetime it was given."""
    lifetime = None if record.expires_at is None else record.expires_at - record.created_at
    return KeyRequest(
        owner=record.owner,
        tenant=record.tenant,
        environment=record.environment,
        name=record.name,
        description=record.description,
        scopes=record.scopes,
        expires_at=None if lifetime is None else now + lifetime,
        created_by=created_by,
        metadata=record.metadata,
        tags=record.tags,
        networks=record.networks,
        routes=record.routes,
        limits=record.limits,
        origins=record.origins,
    )


def _collection(values: object, what: str) -> Iterable[object]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidRequest(f"{what} must be a collection of names, not one string")
    return values


def _rules(values: object, what: str, spelled: Callable[[object], str]) -> frozenset[str]:
    result = frozenset(spelled(value) for value in _collection(values, what))
    if len(result) > MAX_RULES or any(len(rule) > MAX_RULE for rule in result):
        raise InvalidRequest(f"a key has at most {MAX_RULES} {what} of at most {MAX_RULE} characters")
    return frozenset(line(rule, what, most=MAX_RULE) for rule in result)


def _scope(value: object) -> str:
    if not is_scope_name(value) or len(value) > MAX_SCOPE:
        raise InvalidRequest(
            f"a scope is 1 to {MAX_SCOPE} printable ASCII characters without space, quotation mark and backslash"
        )
    if "*" in value.removesuffix("*") or (value.endswith("*") and value != "*" and value[-2] not in ".:"):
        # It would be compared as a name, letter by letter, and whoever wrote it meant more.
        raise InvalidRequest("'*' in a scope stands alone, or for all below at its end: orders:* or orders.*")
    return value


def _end(request: KeyRequest, now: Instant) -> Instant | None:
    if request.expires_in is not None and request.expires_at is not None:
        raise InvalidRequest("give expires_in or expires_at, not both")
    if request.expires_in is not None:
        end = instant(now + _number(request.expires_in))
    elif request.expires_at is not None:
        end = instant(request.expires_at)
    else:
        return None
    if end <= now:
        raise InvalidRequest("the end of a key must lie in the future")
    return end


def _instant_or_none(value: Instant | Unset | None) -> Instant | Unset | None:
    return value if value is None or isinstance(value, Unset) else instant(value)


def _number(value: object) -> float:
    """Return `value` as a float, and NaN for what is no number or too large for one: comparisons then refuse it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _well_formed(value: object, levels: int) -> bool:
    # JSON would write the key 1 as "1" silently, beside a "1" that may be there already.
    if isinstance(value, Mapping):
        return levels > 0 and all(isinstance(key, str) and _well_formed(value[key], levels - 1) for key in value)
    if isinstance(value, list | tuple):
        return levels > 0 and all(_well_formed(item, levels - 1) for item in value)
    return True


def _plain(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not a JSON value: {type(value).__name__}")
