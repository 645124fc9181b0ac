"""The verbs that only read: keys, their usage, the audit, the change feed."""

from __future__ import annotations

from asgi_apikey.errors import GrantExceeded
from asgi_apikey.management import schemas
from asgi_apikey.management.calls import Call, Reply
from asgi_apikey.management.criteria import criteria_of
from asgi_apikey.management.managed import ManagedKeys
from asgi_apikey.management.pages import audit_page
from asgi_apikey.management.times import instant_of
from asgi_apikey.management.views import hour_of, key_of
from asgi_apikey.models import AuditEntry


async def get(keys: ManagedKeys, call: Call, query: schemas.Nothing) -> Reply:
    """Return one key."""
    record = await keys.get(call.key_id, owner=call.caller.owner, tenant=call.caller.tenant)
    return Reply(key_of(record, call.now), headers=(("etag", f'"{record.version}"'),))


async def find(keys: ManagedKeys, call: Call, search: schemas.Search) -> Reply:
    """Return one page of keys."""
    criteria = criteria_of(call.caller, search.where)
    criteria["sort"], criteria["ascending"] = search.sort, search.ascending
    page = await keys.find(limit=search.limit, cursor=search.cursor, **criteria)
    found = [key_of(record, call.now) for record in page.records]
    return Reply(schemas.Page(keys=found, next_cursor=page.next_cursor))


async def count(keys: ManagedKeys, call: Call, body: schemas.Counting) -> Reply:
    """Return how many keys there are on all pages."""
    return Reply(schemas.Count(count=await keys.count(**criteria_of(call.caller, body.where))))


async def usage(keys: ManagedKeys, call: Call, span: schemas.Span) -> Reply:
    """Return the hours in which a key was presented."""
    record = await keys.get(call.key_id, owner=call.caller.owner, tenant=call.caller.tenant)
    hours = await keys.usage(record.key_id, since=instant_of(span.since), until=instant_of(span.until))
    return Reply(schemas.Usage(hours=[hour_of(hour) for hour in hours]))


async def audit(keys: ManagedKeys, call: Call, query: schemas.AuditQuery) -> Reply:
    """Return one page of the audit, of which entries do not say whose the key is: owners have to name a key."""
    caller = call.caller
    if caller.owner is not None:
        if query.key_id is None:
            raise GrantExceeded(("owners",))
        await keys.get(query.key_id, owner=caller.owner, tenant=caller.tenant)

    def admits(entry: AuditEntry) -> bool:
        return query.key_id in (None, entry.key_id) and caller.tenant in (None, entry.tenant)

    return Reply(await audit_page(keys.repository.audit, query, admits))


async def changes(keys: ManagedKeys, call: Call, query: schemas.ChangesQuery) -> Reply:
    """Return one page of the change feed, whose rows do not say whose the keys are: it is for who sees all."""
    if call.caller.owner is not None:
        raise GrantExceeded(("owners",))
    if call.caller.tenant is not None:
        raise GrantExceeded(("tenants",))
    rows = await keys.repository.audit.changes(query.since, limit=query.limit)
    found = [schemas.FeedRow(seq=row.seq, key_id=row.key_id, version=row.version) for row in rows]
    return Reply(schemas.Changes(changes=found, next_since=rows[-1].seq + 1 if rows else query.since))
