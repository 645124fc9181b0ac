-- The web pages that a key may be used from.

ALTER TABLE api_keys ADD COLUMN origins text COLLATE "C" NOT NULL DEFAULT '';
