-- One row for each change of each key, in the transaction of the change, sealed together with the row before.
-- Rows are only ever added.

CREATE TABLE api_key_audit (
    number         bigint PRIMARY KEY CHECK (number >= 1),
    seq            bigint NOT NULL,
    at             bigint NOT NULL,
    actor          text COLLATE "C" NOT NULL,
    action         text COLLATE "C" NOT NULL,
    key_id         text COLLATE "C" NOT NULL,
    tenant         text COLLATE "C" NOT NULL,
    version        bigint NOT NULL,
    fields         text COLLATE "C" NOT NULL,
    reason         text COLLATE "C" NOT NULL,
    correlation_id text COLLATE "C" NOT NULL,
    mac            text COLLATE "C" NOT NULL
);

CREATE INDEX api_key_audit_by_key ON api_key_audit (key_id, version);
CREATE INDEX api_key_audit_by_seq ON api_key_audit (seq);

-- What was changed before this table was there has no row: the feed position after which each change has one.
INSERT INTO api_key_meta (name, value)
    SELECT 'audit_after', CAST(coalesce(max(seq), 0) AS text) FROM api_key_changes;
