-- The web pages that a key may be used from.

ALTER TABLE api_keys ADD COLUMN origins TEXT NOT NULL DEFAULT '';
