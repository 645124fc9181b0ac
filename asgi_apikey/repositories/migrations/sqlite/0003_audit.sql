-- One row for each change of each key, in the transaction of the change, sealed together with the row before.
-- Rows are only ever added.

CREATE TABLE api_key_audit (
    number         INTEGER PRIMARY KEY NOT NULL CHECK (number >= 1),
    seq            INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    actor          TEXT NOT NULL,
    action         TEXT NOT NULL,
    key_id         TEXT NOT NULL,
    tenant         TEXT NOT NULL,
    version        INTEGER NOT NULL,
    fields         TEXT NOT NULL,
    reason         TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    mac            TEXT NOT NULL
) STRICT;

CREATE INDEX api_key_audit_by_key ON api_key_audit (key_id, version);
CREATE INDEX api_key_audit_by_seq ON api_key_audit (seq);

-- What was changed before this table was there has no row: the feed position after which each change has one.
INSERT INTO api_key_meta (name, value)
    SELECT 'audit_after', CAST(coalesce(max(seq), 0) AS TEXT) FROM api_key_changes;
