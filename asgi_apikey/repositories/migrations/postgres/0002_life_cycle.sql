-- Rotation chains, tags, and where a key may be used; and the indexes that searches need.

ALTER TABLE api_keys
    ADD COLUMN lineage  text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN tags     text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN networks text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN routes   text COLLATE "C" NOT NULL DEFAULT '';

-- A key that replaces none is the first of its lineage; of the others, the chain leads there, or to the id of a
-- key that is gone.
UPDATE api_keys SET lineage = chain.first
FROM (
    WITH RECURSIVE chain (key_id, first) AS (
        SELECT key_id, coalesce(replaces, key_id) FROM api_keys AS root
        WHERE replaces IS NULL OR NOT EXISTS (SELECT 1 FROM api_keys WHERE key_id = root.replaces)
        UNION
        SELECT successor.key_id, chain.first FROM chain JOIN api_keys AS successor ON successor.replaces = chain.key_id
    )
    SELECT key_id, first FROM chain
) AS chain
WHERE chain.key_id = api_keys.key_id;
-- What no chain reaches leads in a circle, which only raw SQL can have made.
UPDATE api_keys SET lineage = key_id WHERE lineage = '';

CREATE INDEX api_keys_by_lineage ON api_keys (lineage);
CREATE INDEX api_keys_by_name ON api_keys (name, key_id);
-- What has no end ends last.
CREATE INDEX api_keys_by_end ON api_keys ((coalesce(expires_at, 9223372036854775807)), key_id);

-- The scopes and tags of `api_keys` once more, one per row, so that they can be looked up. Written with the key.
CREATE TABLE api_key_labels (
    kind   text COLLATE "C" NOT NULL CHECK (kind IN ('scope', 'tag')),
    label  text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, label, key_id)
);

CREATE INDEX api_key_labels_by_key ON api_key_labels (key_id, kind, label);

INSERT INTO api_key_labels (kind, label, key_id)
SELECT DISTINCT 'scope', label, key_id
FROM api_keys CROSS JOIN LATERAL unnest(string_to_array(scopes, ' ')) AS label
WHERE label <> '';

-- Signs the cursors of searches.
INSERT INTO api_key_meta (name, value)
VALUES ('cursor_key', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));
