-- Rotation chains, tags, and where a key may be used; and the indexes that searches need.

ALTER TABLE api_keys ADD COLUMN lineage TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN networks TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN routes TEXT NOT NULL DEFAULT '';

-- A key that replaces none is the first of its lineage; of the others, the chain leads there, or to the id of a
-- key that is gone.
UPDATE api_keys SET lineage = key_id;
CREATE INDEX api_keys_replaced ON api_keys (replaces) WHERE replaces IS NOT NULL;
UPDATE api_keys SET lineage = chain.first
FROM (
    WITH RECURSIVE chain (key_id, first) AS (
        SELECT key_id, replaces FROM api_keys AS orphan
        WHERE replaces IS NOT NULL AND NOT EXISTS (SELECT 1 FROM api_keys WHERE key_id = orphan.replaces)
        UNION
        SELECT successor.key_id, root.key_id FROM api_keys AS root
        JOIN api_keys AS successor ON successor.replaces = root.key_id
        WHERE root.replaces IS NULL
        UNION
        SELECT successor.key_id, chain.first FROM chain JOIN api_keys AS successor ON successor.replaces = chain.key_id
    )
    SELECT key_id, first FROM chain
) AS chain
WHERE chain.key_id = api_keys.key_id;
DROP INDEX api_keys_replaced;

CREATE INDEX api_keys_by_lineage ON api_keys (lineage);
CREATE INDEX api_keys_by_name ON api_keys (name, key_id);
-- What has no end ends last.
CREATE INDEX api_keys_by_end ON api_keys (coalesce(expires_at, 9223372036854775807), key_id);

-- The scopes and tags of `api_keys` once more, one per row, so that they can be looked up. Written with the key.
CREATE TABLE api_key_labels (
    kind   TEXT NOT NULL CHECK (kind IN ('scope', 'tag')),
    label  TEXT NOT NULL,
    key_id TEXT NOT NULL,
    PRIMARY KEY (kind, label, key_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_labels_by_key ON api_key_labels (key_id, kind, label);

INSERT INTO api_key_labels (kind, label, key_id)
WITH RECURSIVE split (key_id, label, rest) AS (
    SELECT key_id, '', scopes || ' ' FROM api_keys WHERE scopes <> ''
    UNION ALL
    SELECT key_id, substr(rest, 1, instr(rest, ' ') - 1), substr(rest, instr(rest, ' ') + 1)
    FROM split WHERE rest <> ''
)
SELECT DISTINCT 'scope', label, key_id FROM split WHERE label <> '';

-- Signs the cursors of searches.
INSERT INTO api_key_meta (name, value) VALUES ('cursor_key', lower(hex(randomblob(32))));
